/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_kernel.c - what is said when a kernel or a process cannot do what an attachment needs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/capability.h>

#include "loader/base/internal.h"
#include "loader/device/kernel.h"

#define BIT(c) (1ull << (c))
#define ALL                                                                                        \
	(BIT(CAP_BPF) | BIT(CAP_PERFMON) | BIT(CAP_NET_ADMIN) | BIT(CAP_NET_RAW) |                 \
	 BIT(CAP_IPC_LOCK))

static const struct lrp_kernel_facts good = {
	.release = "6.12.41+deb13-amd64", .capabilities = ALL, .memlock = 8 << 20, .btf = true};

static void refused(const struct lrp_kernel_facts *facts, struct lrp_kernel_needs needs, int error,
		    const char *word, const char *other)
{
	char text[LRP_ERROR_SIZE] = "";

	needs.locked_bytes = 64 << 20;
	assert_int_equal(lrp_kernel_judge(facts, &needs, text), error);
	if (!strstr(text, word) || !strstr(text, other) || strchr(text, '\n'))
		fail_msg("'%s' does not say '%s' and '%s'", text, word, other);
}

static void test_versions(void **state)
{
	struct lrp_kernel_facts facts = good;
	struct lrp_kernel_needs lrpd = {0}, embedded = {.embedded = true},
				jumbo = {.embedded = true, .several_frames = true};
	char text[LRP_ERROR_SIZE];

	(void)state;
	assert_int_equal(lrp_kernel_judge(&good, &lrpd, text), 0);
	strcpy(facts.release, "5.10.0-35-amd64");
	refused(&facts, embedded, -EOPNOTSUPP, "6.1 for lrp_embed", "linux-image-6.12-amd64");
	strcpy(facts.release, "6.1.0-40-amd64");
	refused(&facts, lrpd, -EOPNOTSUPP, "programs that call lrp_embed() work here",
		"linux-image-6.12-amd64");
	refused(&facts, jumbo, -EOPNOTSUPP, "several frames need 6.6", "MTU smaller");
	assert_int_equal(lrp_kernel_judge(&facts, &embedded, text), 0);
	strcpy(facts.release, "6.6.0");
	assert_int_equal(lrp_kernel_judge(&facts, &lrpd, text), 0);
	strcpy(facts.release, "7.0");
	assert_int_equal(lrp_kernel_judge(&facts, &lrpd, text), 0);
	strcpy(facts.release, "nonsense");
	refused(&facts, lrpd, -EOPNOTSUPP, "nonsense", "6.6");
}

static void test_features(void **state)
{
	struct lrp_kernel_facts facts = good;
	struct lrp_kernel_needs plain = {0}, libxdp = {.libxdp = true};
	char text[LRP_ERROR_SIZE];

	(void)state;
	facts.btf = false;
	assert_int_equal(lrp_kernel_judge(&facts, &plain, text), 0);
	refused(&facts, libxdp, -EOPNOTSUPP, "CONFIG_DEBUG_INFO_BTF", "without --libxdp");
	facts = good;
	strcpy(facts.missing, "AF_XDP (CONFIG_XDP_SOCKETS)");
	refused(&facts, plain, -EOPNOTSUPP, "CONFIG_XDP_SOCKETS", "kernel of the distribution");
}

static void test_capabilities(void **state)
{
	struct lrp_kernel_facts facts = good;
	struct lrp_kernel_needs plain = {0};
	char text[LRP_ERROR_SIZE];

	(void)state;
	facts.capabilities = ALL & ~BIT(CAP_PERFMON);
	refused(&facts, plain, -EPERM, "missing CAP_PERFMON;", "CAP_IPC_LOCK");
	facts.capabilities = BIT(CAP_NET_ADMIN);
	refused(&facts, plain, -EPERM, "missing CAP_BPF, CAP_PERFMON, CAP_NET_RAW;", "root");
	/* What they were split off from contains them. */
	facts.capabilities =
		BIT(CAP_SYS_ADMIN) | BIT(CAP_NET_ADMIN) | BIT(CAP_NET_RAW) | BIT(CAP_IPC_LOCK);
	assert_int_equal(lrp_kernel_judge(&facts, &plain, text), 0);
	/* Memory to lock: the capability, or the limit. */
	facts.capabilities = ALL & ~BIT(CAP_IPC_LOCK);
	refused(&facts, plain, -EPERM, "RLIMIT_MEMLOCK is 8", "CAP_IPC_LOCK");
	facts.memlock = UINT64_MAX;
	assert_int_equal(lrp_kernel_judge(&facts, &plain, text), 0);
}

static void test_verifier_end(void **state)
{
	static const char log[] = "libbpf: prog 'lrp_xdp': -- BEGIN PROG LOAD LOG --\n"
				  "0: R1=ctx() R10=fp0\n"
				  "0: (61) r2 = *(u32 *)(r1 +4)\n"
				  "1: (2d) if r2 > r1 goto pc+1\n"
				  "R2 pointer comparison prohibited\n"
				  "processed 2 insns (limit 1000000)\n"
				  "-- END PROG LOAD LOG --\n";
	char line[320], small[24];

	(void)state;
	lrp_verifier_end(log, line, sizeof(line));
	assert_string_equal(line, "1: (2d) if r2 > r1 goto pc+1; R2 pointer comparison prohibited; "
				  "processed 2 insns (limit 1000000)");
	lrp_verifier_end(log, small, sizeof(small));
	assert_true(strlen(small) < sizeof(small));
	lrp_verifier_end("-- BEGIN PROG LOAD LOG --\nonly this\n-- END PROG LOAD LOG --\n", line,
			 sizeof(line));
	assert_string_equal(line, "only this");
	lrp_verifier_end("-- BEGIN PROG LOAD LOG --\n-- END PROG LOAD LOG --\n", line,
			 sizeof(line));
	assert_string_equal(line, "");
	lrp_verifier_end("-- END PROG LOAD LOG --", line, sizeof(line));
	assert_string_equal(line, "");
	lrp_verifier_end("libbpf: something else", line, sizeof(line));
	assert_string_equal(line, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_verifier_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
