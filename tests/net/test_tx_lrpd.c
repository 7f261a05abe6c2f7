/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A process without any privilege, with lrpd: its socket calls send through the
 * TAP that lrpd gives it, also after the shadow's one datagram a second, and a
 * change of routes reaches it through lrpd's status page.
 */
#include <sys/wait.h>

#include <lrp/lrp.h>

#include "tx_bed.h"

#define NOBODY 65534

static int capture;

static const struct lrp_tx_device *tap_in_use(void)
{
	for (uint32_t i = 0; i < LRP_TX_DEVICES; i++)
		if (atomic_load(&lrp_tx_devices[i].ifindex) && lrp_tx_devices[i].tap)
			return &lrp_tx_devices[i];
	return NULL;
}

/* The way there is by an attached device, or not. */
static bool attached_to(const char *dst)
{
	struct lrp_tx_key key = {.family = AF_INET, .dst = address(AF_INET, dst)};
	struct lrp_tx_path path;

	return !lrp_tx_path(&key, &path) && path.attached;
}

static int child(void)
{
	struct sockaddr_storage local, to;
	union lrp_address any = {0}, peer = address(AF_INET, "198.18.1.2");
	socklen_t len = sockaddr_of(&local, AF_INET, &any, SPORT);
	int fd;

	if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
		return 10;
	fd = lrp_socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || lrp_bind(fd, (struct sockaddr *)&local, len))
		return 11;
	if (!attached_to("198.18.1.2") || attached_to("198.18.2.2"))
		return 15;
	len = sockaddr_of(&to, AF_INET, &peer, DPORT);
	for (uint8_t i = 0; i < 200; i += 10) {
		uint8_t byte[10];
		struct iovec iov[10];
		struct mmsghdr m[10] = {0};

		for (uint8_t k = 0; k < 10; k++) {
			byte[k] = (uint8_t)(i + k);
			iov[k] = (struct iovec){&byte[k], 1};
			m[k].msg_hdr = (struct msghdr){.msg_name = &to,
						       .msg_namelen = len,
						       .msg_iov = &iov[k],
						       .msg_iovlen = 1};
		}
		if (lrp_sendmmsg(fd, m, 10, 0) != 10)
			return 12;
		usleep(100000);
	}
	if (!tap_in_use())
		return 13;
	return lrp_close(fd) ? 14 : 0;
}

static void test_unprivileged_process(void **state)
{
	struct frames frames;
	uint8_t next = 0;
	int status;
	pid_t pid;

	(void)state;
	capture_drop(capture);
	pid = fork();
	if (!pid)
		_exit(child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	/* Each once and in order, whichever way it went. */
	capture_take(capture, &frames, 200);
	assert_int_equal(frames.count, 200);
	for (uint32_t i = 0; i < frames.count; i++)
		assert_int_equal(frames.bytes[i][42], next++);
	frames_free(&frames);
	/* Nothing is left of its TAP. */
	assert_int_equal(system("ip -o link | grep -q lrptx"), 256);
}

static int setup(void **state)
{
	(void)state;
	bed_sh(BED_NET);
	bed_sh("ping -c3 -i 0.2 -W1 198.18.1.2 >/dev/null");
	/* Runs are what the TAP is for; veth's own would reach the peer in one piece. */
	bed_sh("ethtool -K s0 tx-udp-segmentation off >/dev/null");
	bed_sh("build/bin/lrp attach s0 >/dev/null");
	capture = capture_open("client", "c0");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	bed_sh("build/bin/lrp stop >/dev/null");
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_unprivileged_process)};

	(void)argc;
	if (access("/dev/net/tun", W_OK)) {
		fprintf(stderr, "/dev/net/tun is missing (CONFIG_TUN), or no root\n");
		return 77;
	}
	bed_enter(argv);
	bed_needs_lrpd();
	return cmocka_run_group_tests(tests, setup, teardown) ? 1 : 0;
}
