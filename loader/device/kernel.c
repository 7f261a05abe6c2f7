/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* kernel.c - see kernel.h. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../base/internal.h"
#include "kernel.h"

#define NEWER                                                                                      \
	"install a newer kernel (Debian 12: apt install linux-image-6.12-amd64, or -arm64, and "   \
	"reboot)"

/* ---- asking ------------------------------------------------------------------- */

static uint64_t capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	if (syscall(SYS_capget, &header, data))
		return 0;
	return data[0].effective | (uint64_t)data[1].effective << 32;
}

static bool has_af_xdp(void)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || errno != EAFNOSUPPORT;
}

void lrp_kernel_ask(struct lrp_kernel_facts *facts)
{
	struct rlimit limit = {0};
	struct utsname name;

	memset(facts, 0, sizeof(*facts));
	if (!uname(&name))
		snprintf(facts->release, sizeof(facts->release), "%s", name.release);
	facts->capabilities = capabilities();
	facts->memlock = getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY
				 ? UINT64_MAX
				 : limit.rlim_cur;
	facts->btf = access("/sys/kernel/btf/vmlinux", R_OK) == 0;
	if (!has_af_xdp())
		strcpy(facts->missing, "AF_XDP (CONFIG_XDP_SOCKETS)");
	else if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_XDP, NULL) == 0)
		strcpy(facts->missing, "XDP programs (CONFIG_BPF_SYSCALL, CONFIG_NET)");
	else if (libbpf_probe_bpf_map_type(BPF_MAP_TYPE_XSKMAP, NULL) == 0)
		strcpy(facts->missing, "maps of AF_XDP sockets (CONFIG_XDP_SOCKETS)");
	else if (libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, NULL) == 0)
		strcpy(facts->missing, "BPF ring buffers (CONFIG_BPF_SYSCALL)");
}

/* ---- judging ------------------------------------------------------------------ */

static bool at_least(const char *release, unsigned int major, unsigned int minor)
{
	unsigned int a = 0, b = 0;

	return sscanf(release, "%u.%u", &a, &b) == 2 && (a > major || (a == major && b >= minor));
}

static bool able(uint64_t capabilities, unsigned int which)
{
	bool admin = capabilities >> CAP_SYS_ADMIN & 1;

	/* CAP_SYS_ADMIN contains what was split off from it. */
	return capabilities >> which & 1 || (admin && (which == CAP_BPF || which == CAP_PERFMON));
}

/* The names of those that are missing; how many. */
static int unable(uint64_t capabilities, char *names, size_t size)
{
	static const struct {
		unsigned int which;
		const char *name;
	} needed[] = {
		{CAP_BPF, "CAP_BPF"},
		{CAP_PERFMON, "CAP_PERFMON"},
		{CAP_NET_ADMIN, "CAP_NET_ADMIN"},
		{CAP_NET_RAW, "CAP_NET_RAW"},
	};
	int count = 0;

	names[0] = 0;
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		size_t used = strlen(names);

		if (able(capabilities, needed[i].which))
			continue;
		snprintf(names + used, size - used, "%s%s", count++ ? ", " : "", needed[i].name);
	}
	return count;
}

int lrp_kernel_judge(const struct lrp_kernel_facts *facts, const struct lrp_kernel_needs *needs,
		     char *text)
{
	char names[128];

	if (!at_least(facts->release, 6, 1))
		return lrp_core_error(text, -EOPNOTSUPP,
				      "Linux %s runs, 6.6 or later is needed (6.1 for lrp_embed): "
				      "nothing of LRP works here; " NEWER,
				      facts->release);
	if (!needs->embedded && !at_least(facts->release, 6, 6))
		return lrp_core_error(
			text, -EOPNOTSUPP,
			"Linux %s runs, lrpd needs 6.6: it maps rings of AF_XDP sockets that are "
			"bound; programs that call lrp_embed() work here; " NEWER,
			facts->release);
	if (needs->several_frames && !at_least(facts->release, 6, 6))
		return lrp_core_error(
			text, -EOPNOTSUPP,
			"Linux %s runs, packets in several frames need 6.6: make the MTU smaller, "
			"or " NEWER,
			facts->release);
	/* First, for without them features cannot be asked for. */
	if (unable(facts->capabilities, names, sizeof(names)))
		return lrp_core_error(text, -EPERM,
				      "no permission: missing %s; run as root, or with CAP_BPF, "
				      "CAP_PERFMON, CAP_NET_ADMIN, CAP_NET_RAW, and CAP_IPC_LOCK",
				      names);
	if (!able(facts->capabilities, CAP_IPC_LOCK) && facts->memlock < needs->locked_bytes)
		return lrp_core_error(
			text, -EPERM,
			"%llu MiB of memory are to be locked and RLIMIT_MEMLOCK is %llu: "
			"CAP_IPC_LOCK "
			"is missing, or raise the limit (ulimit -l), or use fewer --frames",
			(unsigned long long)(needs->locked_bytes >> 20),
			(unsigned long long)(facts->memlock >> 20));
	if (facts->missing[0])
		return lrp_core_error(text, -EOPNOTSUPP,
				      "kernel %s was built without %s: use a kernel of the "
				      "distribution",
				      facts->release, facts->missing);
	if (needs->libxdp && !facts->btf)
		return lrp_core_error(text, -EOPNOTSUPP,
				      "--libxdp: kernel %s has no type information "
				      "(/sys/kernel/btf/vmlinux, CONFIG_DEBUG_INFO_BTF); attach "
				      "without --libxdp, or use a kernel of the distribution",
				      facts->release);
	return 0;
}

/* ---- the verifier's words ------------------------------------------------------- */

#define LOG_END "-- END PROG LOAD LOG --"
#define LAST	3 /* lines */

void lrp_verifier_end(const char *log, char *line, size_t size)
{
	const char *end = strstr(log, LOG_END), *from = end;
	int lines = 0;

	line[0] = 0;
	if (!end)
		return;
	/* Back over so many lines that are not empty. */
	while (from > log && lines < LAST) {
		from--;
		if (*from == '\n' && from[1] != '\n' && from + 1 != end)
			lines++;
	}
	from += *from == '\n';
	if (!strncmp(from, "--", 2)) /* the log is shorter than that */
		from += strcspn(from, "\n");
	for (size_t used = 0; from < end && used + 3 < size; from++) {
		if (*from != '\n')
			line[used++] = *from;
		else if (used && from + 1 < end && line[used - 1] != ' ')
			used += (size_t)snprintf(line + used, size - used, "; ");
		line[used] = 0;
	}
}

/* ---- who has it ------------------------------------------------------------------ */

static bool holds(const char *pid, uint32_t prog_id)
{
	char path[300], line[128];
	struct dirent *entry;
	unsigned int id;
	bool found = false;
	DIR *dir;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.16s/fdinfo", pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%.16s/fdinfo/%.16s", pid, entry->d_name);
		f = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
		while (f && !found && fgets(line, sizeof(line), f))
			found = sscanf(line, "prog_id: %u", &id) == 1 && id == prog_id;
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return found;
}

void lrp_program_holder(uint32_t prog_id, char *who, size_t size)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	who[0] = 0;
	while (proc && !who[0] && (entry = readdir(proc))) {
		char path[64], name[17] = "";
		FILE *f;

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
		    atoi(entry->d_name) == getpid() || !holds(entry->d_name, prog_id))
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/comm", entry->d_name);
		f = fopen(path, "re");
		if (f && fgets(name, sizeof(name), f))
			name[strcspn(name, "\n")] = 0;
		if (f)
			fclose(f);
		snprintf(who, size, "%s (pid %.16s)", name, entry->d_name);
	}
	if (proc)
		closedir(proc);
}
