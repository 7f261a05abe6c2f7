// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * place.c - programs on the pairs, and on which CPU and at what priority the
 * server's receive processing runs.
 *
 *   ni       veth's NAPI runs on the sender's CPU, which is N: native program, not threaded
 *   strict   NAPI thread on CPU S at SCHED_FIFO: native program
 *   softirq  NAPI on CPU N hands on by RPS to CPU S, where the generic program runs
 *   fair     NAPI thread on CPU S at SCHED_OTHER: native program
 *
 * The client's end always has its NAPI thread on CPU N, and RPS to it, so that the server does not
 * pay for what its clients receive. Placement is verified with packets, never assumed.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <lrp/abi.h>

#include "internal.h"

#include "bench.skel.h"
#include "raw_xsk.skel.h"

#define SERVER_PRIORITY 50 /* above every process, as an interrupt */
#define CLIENT_PRIORITY 20
#define PROBES		64

static bool generic(enum bed_placement placement)
{
	return placement == BED_SOFTIRQ;
}

/* ---- programs -------------------------------------------------------------------- */

static int attach(struct bed *bed, struct bed_pair *pair, struct bpf_program *prog,
		  enum bed_placement placement)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		    .flags = generic(placement) ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
	int err = bed_netns_enter(bed, BED_SERVER);

	if (err)
		return err;
	pair->link_fd =
		bpf_link_create(bpf_program__fd(prog), (int)pair->server_ifindex, BPF_XDP, &opts);
	bed_netns_leave(bed);
	if (pair->link_fd < 0)
		return bed_fail(bed, pair->link_fd, "%s: attaching %s: %s", pair->server,
				bpf_program__name(prog), strerror(-pair->link_fd));
	pair->attached = true;
	return 0;
}

bool bed_embedded(void)
{
	struct utsname u;
	int major = 0, minor = 0;

	uname(&u);
	sscanf(u.release, "%d.%d", &major, &minor);
	return major < 6 || (major == 6 && minor < 6);
}

static int attach_lrp(struct bed *bed, struct bed_pair *pair, enum bed_placement placement)
{
	char lrp[4200], path[512];
	struct stat st;
	int err;

	if (bed_embedded()) {
		pair->attached = true; /* by the receiver, when it starts */
		return 0;
	}
	snprintf(lrp, sizeof(lrp), "%s/lrp", bed->bin);
	err = bed_run(bed, BED_SERVER,
		      (char *[]){lrp, "attach", pair->server, "--mode",
				 generic(placement) ? "skb" : "native", NULL});
	if (err)
		return err;
	pair->attached = true;
	if (fstat(bed->netns[BED_SERVER], &st))
		return bed_fail(bed, -errno, "fstat: %s", strerror(errno));
	snprintf(path, sizeof(path), "/proc/%d/root/sys/fs/bpf/lrp/net-%lu/dev-%u/lrp_reasons",
		 bed->holder[BED_SERVER], (unsigned long)st.st_ino, pair->server_ifindex);
	pair->seen_fd = bpf_obj_get(path);
	if (pair->seen_fd < 0)
		return bed_fail(bed, pair->seen_fd, "%s: %s: cannot count what LRP sees", path,
				strerror(errno));
	pair->seen_entries = LRP_XDP_REASON_COUNT;
	return 0;
}

static int attach_pair(struct bed *bed, struct bed_pair *pair, enum bed_placement placement)
{
	switch (pair->program == BED_LRP && bed->same ? BED_PASS : pair->program) {
	case BED_PASS:
	case BED_DROP:
		pair->skel = bench_bpf__open_and_load();
		if (!pair->skel)
			return bed_fail(bed, -errno, "bench.bpf.o: %s", strerror(errno));
		pair->seen_fd = dup(bpf_map__fd(pair->skel->maps.seen));
		pair->seen_entries = 1;
		return attach(bed, pair,
			      pair->program == BED_DROP ? pair->skel->progs.bench_drop
							: pair->skel->progs.bench_pass,
			      placement);
	case BED_RAW:
		pair->raw = raw_xsk_bpf__open_and_load();
		if (!pair->raw)
			return bed_fail(bed, -errno, "raw_xsk.bpf.o: %s", strerror(errno));
		return attach(bed, pair, pair->raw->progs.bench_raw, placement);
	case BED_BARE:
		pair->attached = true;
		return 0;
	default:
		return attach_lrp(bed, pair, placement);
	}
}

static void detach_pair(struct bed *bed, struct bed_pair *pair)
{
	char lrp[4200];

	if (pair->program == BED_LRP && pair->attached && !bed->same && !bed_embedded()) {
		snprintf(lrp, sizeof(lrp), "%s/lrp", bed->bin);
		bed_run(bed, BED_SERVER, (char *[]){lrp, "detach", pair->server, NULL});
	}
	if (pair->link_fd >= 0)
		close(pair->link_fd);
	if (pair->seen_fd >= 0)
		close(pair->seen_fd);
	bench_bpf__destroy(pair->skel);
	raw_xsk_bpf__destroy(pair->raw);
	pair->skel = NULL;
	pair->raw = NULL;
	pair->link_fd = pair->seen_fd = -1;
	pair->attached = false;
}

void bed_unplace(struct bed *bed)
{
	int i;

	for (i = 0; i < BED_PROGRAMS; i++)
		detach_pair(bed, &bed->pair[i]);
	bed->placed = false;
}

uint64_t bed_seen(const struct bed *bed, enum bed_program program, uint64_t per_cpu[2])
{
	const struct bed_pair *pair = &bed->pair[program];
	int cpus = libbpf_num_possible_cpus(), other;
	uint64_t values[512], sum = 0;
	uint32_t key;

	per_cpu[0] = per_cpu[1] = 0;
	if (pair->seen_fd < 0 || cpus < 2 || cpus > 512)
		return 0;
	for (key = 0; key < pair->seen_entries; key++) {
		if (bpf_map_lookup_elem(pair->seen_fd, &key, values))
			continue;
		per_cpu[0] += values[bed->cpu_server];
		per_cpu[1] += values[bed->cpu_load];
		for (other = 0; other < cpus; other++)
			sum += values[other];
	}
	return sum;
}

/* ---- NAPI threads ------------------------------------------------------------------- */

/* The kernel thread napi/DEVICE-ID, as only the first pid namespace shows it. 0: none. */
static pid_t find_napi(const char *device)
{
	char want[32], path[300], comm[64];
	size_t length;
	struct dirent *entry;
	pid_t found = 0;
	DIR *proc = opendir("/proc");
	FILE *f;

	snprintf(want, sizeof(want), "napi/%s-", device);
	length = strlen(want);
	while (proc && !found && (entry = readdir(proc))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f) && strncmp(comm, want, length) == 0)
			found = atoi(entry->d_name);
		fclose(f);
	}
	if (proc)
		closedir(proc);
	return found;
}

static int place_thread(struct bed *bed, const char *device, int cpu, int priority, pid_t *napi)
{
	struct sched_param param = {.sched_priority = priority};
	cpu_set_t set;
	int tries;

	for (tries = 0; tries < 100 && !(*napi = find_napi(device)); tries++)
		usleep(2000);
	if (!*napi)
		return bed_fail(bed, -ESRCH,
				"kernel thread napi/%s-*: not to be seen; the bed must start in "
				"the machine's first pid namespace",
				device);
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(*napi, sizeof(set), &set) ||
	    sched_setscheduler(*napi, priority ? SCHED_FIFO : SCHED_OTHER, &param))
		return bed_fail(bed, -errno, "napi/%s on CPU %d at priority %d: %s", device, cpu,
				priority, strerror(errno));
	return 0;
}

/* Which CPU a device's received packets are handed to by RPS; -1: none. */
static int place_rps(struct bed *bed, enum bed_ns ns, const char *device, int cpu)
{
	char path[128], mask[64], *at = mask;
	int word;

	/* Words of 32 CPUs, the highest first. */
	at += sprintf(at, "%x", cpu < 0 ? 0 : 1u << cpu % 32);
	for (word = cpu / 32; word > 0 && at < mask + 48; word--)
		at += sprintf(at, ",0");
	snprintf(path, sizeof(path), "/sys/class/net/%s/queues/rx-0/rps_cpus", device);
	return bed_write(bed, ns, path, mask);
}

static int place_pair(struct bed *bed, struct bed_pair *pair, enum bed_placement placement)
{
	bool threaded = placement == BED_STRICT || placement == BED_FAIR;
	char path[128];
	int err;

	snprintf(path, sizeof(path), "/sys/class/net/%s/threaded", pair->client);
	err = bed_write(bed, BED_CLIENT, path, "1");
	if (!err)
		err = place_thread(bed, pair->client, bed->cpu_load, CLIENT_PRIORITY,
				   &pair->client_napi);
	/* veth passes NAPI by where the sender's end segments (the server's does), and would then have the
	 * client's share of the work done in the server's send call. */
	if (!err)
		err = place_rps(bed, BED_CLIENT, pair->client, bed->cpu_load);
	if (err)
		return err;
	snprintf(path, sizeof(path), "/sys/class/net/%s/threaded", pair->server);
	err = bed_write(bed, BED_SERVER, path, threaded ? "1" : "0");
	pair->napi = 0;
	if (!err && threaded)
		err = place_thread(bed, pair->server, bed->cpu_server,
				   placement == BED_STRICT ? SERVER_PRIORITY : 0, &pair->napi);
	if (err)
		return err;
	return place_rps(bed, BED_SERVER, pair->server,
			 placement == BED_SOFTIRQ ? bed->cpu_server : -1);
}

/* ---- proof ------------------------------------------------------------------------ */

/* Sends some packets and looks where the program ran. */
static int verify(struct bed *bed, enum bed_program program, enum bed_placement placement)
{
	uint64_t before[2], after[2], here, there, seen;
	int cpu = placement == BED_NI ? 1 : 0, tries, err;

	if (bed->pair[program].seen_fd < 0)
		return 0;
	seen = bed_seen(bed, program, before);
	err = bed_load(bed, program, 10000, 9, 1, 1);
	if (err)
		return err;
	/* 10 ms suffice on a quiet machine. */
	for (tries = 0; tries < 200; tries++) {
		bed_sleep(0.01);
		if (bed_seen(bed, program, after) - seen >= PROBES + PROBES / 8)
			break;
	}
	err = bed_load(bed, program, 0, 9, 1, 1);
	if (err)
		return err;
	bed_sleep(0.005);
	here = after[cpu] - before[cpu];
	there = after[!cpu] - before[!cpu];
	if (here < PROBES || there > here / 20)
		return bed_fail(bed, -EIO,
				"placement %s of %s did not take effect: %llu packets on the CPU "
				"that should process them, %llu on the other",
				bed_placement_name[placement], bed->pair[program].server,
				(unsigned long long)here, (unsigned long long)there);
	return 0;
}

/* The youngest map of that name: the process that attached has just made it, and pins nothing. */
static int youngest_map(const char *name)
{
	struct bpf_map_info info;
	uint32_t id = 0, length;
	int fd, found = -1;

	while (bpf_map_get_next_id(id, &id) == 0) {
		fd = bpf_map_get_fd_by_id(id);
		if (fd < 0)
			continue;
		length = sizeof(info);
		memset(&info, 0, sizeof(info));
		if (bpf_obj_get_info_by_fd(fd, &info, &length) || strcmp(info.name, name)) {
			close(fd);
			continue;
		}
		if (found >= 0)
			close(found);
		found = fd;
	}
	return found;
}

int bed_place_embedded(struct bed *bed, enum bed_program program)
{
	struct bed_pair *pair = &bed->pair[program];
	int err;

	if (pair->seen_fd >= 0)
		close(pair->seen_fd);
	pair->seen_fd = youngest_map("lrp_reasons");
	if (pair->seen_fd < 0)
		return bed_fail(bed, -ENOENT, "%s: no map lrp_reasons: cannot count what LRP sees",
				pair->server);
	pair->seen_entries = LRP_XDP_REASON_COUNT;
	err = place_pair(bed, pair, bed->placement);
	return err ? err : verify(bed, program, bed->placement);
}

int bed_place(struct bed *bed, enum bed_placement placement, unsigned int programs)
{
	bool switch_mode = bed->placed && generic(bed->placement) != generic(placement);
	int i, err = 0;

	if (switch_mode)
		bed_unplace(bed);
	bed->placement = placement;
	bed->placed = true;
	/* Placed before anything is attached and after: attaching makes veth's NAPI anew. */
	for (i = 0; i < BED_PROGRAMS && !err; i++) {
		if (!(programs & 1u << i))
			continue;
		if (!bed->pair[i].attached)
			err = attach_pair(bed, &bed->pair[i], placement);
		if (!err)
			err = place_pair(bed, &bed->pair[i], placement);
		if (!err)
			err = verify(bed, (enum bed_program)i, placement);
	}
	return err;
}
