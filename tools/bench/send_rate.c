/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * send_rate - UDP datagrams sent per second by one thread, kernel socket against
 * lrp_tx_send(), over a veth whose other end drops everything in XDP.
 *
 *     this namespace                    a child's namespace
 *     [sender] lrp-tx0 198.18.0.1 ===== lrp-tx1 198.18.0.2 [XDP: drop]
 *
 * Both namespaces belong to this program and end with it. All ways are run in
 * turn, again and again (A B C A B C); the median of the rounds and their
 * spread are printed, and what really left the device is counted.
 *
 *     send_rate [--json] [--rounds N] [--ms N] [--payload BYTES] [--only NAME]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <ifaddrs.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "../../runtime/base/clock.h"
#include "../../runtime/tx/tx.h"

#define BATCH	   64
#define ROUNDS_MAX 99
#define PORT	   9

static uint8_t payload[65536];
static uint32_t payload_len = 14;
static struct sockaddr_in peer;
static int plain_fd, connected_fd;

static struct mmsghdr messages[BATCH];
static struct iovec iov[BATCH];
static struct sockaddr_in ports[BATCH]; /* one destination each, for the mixed batch */
static struct mmsghdr mixed[BATCH];
static struct lrp_udp_datagram same_dgram[BATCH], mixed_dgram[BATCH];
static struct lrp_tx_dest same_dest, mixed_dest[BATCH];
static struct lrp_tx_dest *same_dests[BATCH], *mixed_dests[BATCH];
static uint64_t by_shadow;

static void die(const char *what)
{
	fprintf(stderr, "send_rate: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void sh(const char *command)
{
	if (system(command) != 0) {
		fprintf(stderr, "send_rate: failed: %s\n", command);
		exit(1);
	}
}

static void attach_drop(const char *ifname)
{
	const struct bpf_insn drop[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = XDP_DROP},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "drop", "GPL", drop, 2, NULL);

	if (fd < 0 || bpf_xdp_attach((int)if_nametoindex(ifname), fd, XDP_FLAGS_DRV_MODE, NULL))
		die("attaching a program that drops");
}

/* The other end lives in a child, whose namespace goes when it does. */
static void make_link(void)
{
	int up[2], done[2];
	char c, command[128];
	pid_t child;

	if (unshare(CLONE_NEWNET))
		die("a network namespace (root is needed)");
	if (pipe(up) || pipe(done))
		die("pipe");
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) || write(up[1], "n", 1) != 1 || read(done[0], &c, 1) != 1)
			exit(1);
		sh("ip link set lrp-tx1 address 02:00:00:00:00:02 up && "
		   "ip addr add 198.18.0.2/24 dev lrp-tx1");
		attach_drop("lrp-tx1");
		if (write(up[1], "a", 1) != 1)
			exit(1);
		for (;;)
			pause();
	}
	close(up[1]);
	if (read(up[0], &c, 1) != 1)
		die("the peer's namespace");
	snprintf(command, sizeof(command),
		 "ip link add lrp-tx0 address 02:00:00:00:00:01 type veth peer name lrp-tx1 netns "
		 "%d",
		 child);
	sh(command);
	if (write(done[1], "l", 1) != 1 || read(up[0], &c, 1) != 1)
		die("the peer's interface");
	sh("ip link set lo up && ip link set lrp-tx0 up && ip addr add 198.18.0.1/24 dev lrp-tx0 "
	   "&& "
	   "ip neigh replace 198.18.0.2 lladdr 02:00:00:00:00:02 dev lrp-tx0 nud permanent");
	usleep(300000);
}

static void counters(uint64_t *sent, uint64_t *dropped)
{
	struct ifaddrs *list, *a;

	*sent = *dropped = 0;
	if (getifaddrs(&list))
		die("getifaddrs");
	for (a = list; a; a = a->ifa_next)
		if (a->ifa_addr && a->ifa_addr->sa_family == AF_PACKET &&
		    !strcmp(a->ifa_name, "lrp-tx0")) {
			const struct rtnl_link_stats *s = a->ifa_data;

			*sent = s->tx_packets;
			*dropped = s->tx_dropped;
		}
	freeifaddrs(list);
}

static void make_messages(void)
{
	struct lrp_udp_datagram d = {.family = AF_INET, .iov_count = 1, .length = payload_len};
	struct sockaddr_in local;
	socklen_t len = sizeof(local);
	struct sockaddr_in any = {.sin_family = AF_INET};

	peer.sin_family = AF_INET;
	peer.sin_port = htons(PORT);
	peer.sin_addr.s_addr = inet_addr("198.18.0.2");
	plain_fd = socket(AF_INET, SOCK_DGRAM, 0);
	connected_fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (plain_fd < 0 || connected_fd < 0 || bind(plain_fd, (void *)&any, sizeof(any)) ||
	    connect(connected_fd, (void *)&peer, sizeof(peer)) ||
	    getsockname(plain_fd, (void *)&local, &len))
		die("sockets");
	d.src.v4.s_addr = inet_addr("198.18.0.1");
	d.dst.v4 = peer.sin_addr;
	d.sport = local.sin_port;
	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){payload, payload_len};
		messages[i].msg_hdr = (struct msghdr){.msg_name = &peer,
						      .msg_namelen = sizeof(peer),
						      .msg_iov = &iov[i],
						      .msg_iovlen = 1};
		ports[i] = peer;
		ports[i].sin_port = htons((uint16_t)(1000 + i));
		mixed[i] = messages[i];
		mixed[i].msg_hdr.msg_name = &ports[i];
		d.iov = &iov[i];
		d.dport = peer.sin_port;
		same_dgram[i] = d;
		d.dport = ports[i].sin_port;
		mixed_dgram[i] = d;
		same_dests[i] = &same_dest;
		mixed_dests[i] = &mixed_dest[i];
	}
}

/* Each sends BATCH datagrams. */

static void kernel_sendto(void)
{
	for (int i = 0; i < BATCH; i++)
		if (sendto(plain_fd, payload, payload_len, 0, (void *)&peer, sizeof(peer)) < 0)
			die("sendto");
}

static void kernel_send(void)
{
	for (int i = 0; i < BATCH; i++)
		if (send(connected_fd, payload, payload_len, 0) < 0)
			die("send");
}

static void kernel_batch(void)
{
	if (sendmmsg(plain_fd, messages, BATCH, 0) != BATCH)
		die("sendmmsg");
}

static void kernel_mixed(void)
{
	if (sendmmsg(plain_fd, mixed, BATCH, 0) != BATCH)
		die("sendmmsg");
}

/* What the socket layer does with the answer. */
static inline void lrp_send(struct lrp_tx_dest **dests, struct lrp_udp_datagram *d,
			    struct mmsghdr *m, uint32_t count)
{
	for (uint32_t done = 0; done < count;) {
		int n = lrp_tx_send(dests + done, d + done, count - done, 0);

		if (n < 0) {
			errno = -n;
			die("lrp_tx_send");
		}
		if (!n) {
			if (sendmsg(plain_fd, &m[done].msg_hdr, 0) < 0)
				die("shadow");
			by_shadow++;
			n = 1;
		}
		done += (uint32_t)n;
	}
}

static void lrp_single(void)
{
	for (int i = 0; i < BATCH; i++)
		lrp_send(same_dests, same_dgram, messages, 1);
}

static void lrp_batch(void)
{
	lrp_send(same_dests, same_dgram, messages, BATCH);
}

static void lrp_mixed(void)
{
	lrp_send(mixed_dests, mixed_dgram, mixed, BATCH);
}

static struct way {
	const char *name, *what;
	void (*send)(void);
	int baseline; /* index of what it is compared with */
	double rate[ROUNDS_MAX], cpu_ns[ROUNDS_MAX];
	uint64_t offered, left, lost, shadow;
} ways[] = {
	{.name = "kernel-sendto", .what = "kernel sendto", .send = kernel_sendto, .baseline = 0},
	{.name = "lrp-single",
	 .what = "lrp_tx_send, one at a time",
	 .send = lrp_single,
	 .baseline = 0},
	{.name = "kernel-sendmmsg",
	 .what = "kernel sendmmsg(64)",
	 .send = kernel_batch,
	 .baseline = 2},
	{.name = "lrp-batch", .what = "lrp_tx_send(64)", .send = lrp_batch, .baseline = 2},
	{.name = "kernel-send",
	 .what = "kernel send, connected",
	 .send = kernel_send,
	 .baseline = 0},
	{.name = "kernel-mixed",
	 .what = "kernel sendmmsg(64), 64 ports",
	 .send = kernel_mixed,
	 .baseline = 5},
	{.name = "lrp-mixed",
	 .what = "lrp_tx_send(64), 64 ports",
	 .send = lrp_mixed,
	 .baseline = 5},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* The thread's own time: what other work on the machine takes away is not in it. */
static uint64_t cpu_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * LRP_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void measure(struct way *w, int round, uint64_t ns)
{
	uint64_t sent0, dropped0, sent1, dropped1, start, now, n = 0, shadow0 = by_shadow, cpu;

	w->send(); /* warm: routes, caches */
	w->send();
	counters(&sent0, &dropped0);
	cpu = cpu_now_ns();
	start = lrp_now_ns();
	do {
		w->send();
		n += BATCH;
		now = lrp_now_ns();
	} while (now - start < ns);
	cpu = cpu_now_ns() - cpu;
	counters(&sent1, &dropped1);
	w->cpu_ns[round] = (double)cpu / (double)n;
	w->rate[round] = (double)n * 1e9 / (double)(now - start);
	w->offered += n;
	w->left += sent1 - sent0;
	w->lost += dropped1 - dropped0;
	w->shadow += by_shadow - shadow0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(const double *sorted, int rounds)
{
	return (sorted[(rounds - 1) / 2] + sorted[rounds / 2]) / 2;
}

static void report(int rounds, bool json)
{
	for (size_t i = 0; i < WAYS; i++) {
		qsort(ways[i].rate, (size_t)rounds, sizeof(double), by_value);
		qsort(ways[i].cpu_ns, (size_t)rounds, sizeof(double), by_value);
	}
	for (size_t i = 0; i < WAYS; i++) {
		struct way *w = &ways[i];
		const struct way *b = &ways[w->baseline];
		double m = median(w->rate, rounds), base = median(b->rate, rounds);
		double cpu = median(w->cpu_ns, rounds), base_cpu = median(b->cpu_ns, rounds);
		double spread = m > 0 ? (w->rate[rounds - 1] - w->rate[0]) / m : 0;

		if (!w->offered)
			continue;
		if (json)
			printf("{\"experiment\":\"send_rate\",\"system\":\"%s\",\"placement\":"
			       "\"sender\","
			       "\"payload\":%u,\"offered\":%.0f,\"delivered\":%.0f,\"lost\":%llu,"
			       "\"repeats\":%d,\"spread\":%.3f,\"ratio\":%.3f,\"cpu_ns\":%.0f,"
			       "\"cpu_ratio\":%.3f,"
			       "\"shadow\":%llu}\n",
			       w->name, payload_len, m, m * (double)w->left / (double)w->offered,
			       (unsigned long long)w->lost, rounds, spread, base > 0 ? m / base : 0,
			       cpu, base_cpu / cpu, (unsigned long long)w->shadow);
		else
			printf("%-32s %7.3f M/s  spread %4.1f %%  x %.2f of %-16s "
			       "%5.0f ns of CPU (best %.0f)  x %.2f  left %5.1f %%  shadow %llu\n",
			       w->what, m / 1e6, 100 * spread, base > 0 ? m / base : 0, b->name,
			       cpu, w->cpu_ns[0], base_cpu / cpu,
			       100.0 * (double)w->left / (double)w->offered,
			       (unsigned long long)w->shadow);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},	{"rounds", required_argument, NULL, 'r'},
		{"ms", required_argument, NULL, 'm'},	{"payload", required_argument, NULL, 'p'},
		{"only", required_argument, NULL, 'o'}, {NULL, 0, NULL, 0}};
	int rounds = 15, ms = 50, c;
	const char *only = NULL;
	bool json = false;
	cpu_set_t set;

	while ((c = getopt_long(argc, argv, "jr:m:p:o:", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'r':
			rounds = atoi(optarg);
			break;
		case 'm':
			ms = atoi(optarg);
			break;
		case 'p':
			payload_len = (uint32_t)atoi(optarg);
			break;
		case 'o':
			only = optarg;
			break;
		default:
			fprintf(stderr, "usage: send_rate [--json] [--rounds N] [--ms N] "
					"[--payload BYTES] [--only NAME]\n");
			return 1;
		}
	}
	if (rounds < 1 || rounds > ROUNDS_MAX || ms < 1 || payload_len > 1472) {
		fprintf(stderr, "send_rate: rounds 1-%d, ms from 1, payload up to 1472\n",
			ROUNDS_MAX);
		return 1;
	}
	if (geteuid() != 0) {
		fprintf(stderr, "send_rate: needs root for its namespaces\n");
		return 77;
	}
	CPU_ZERO(&set);
	CPU_SET((int)sysconf(_SC_NPROCESSORS_ONLN) - 1, &set);
	sched_setaffinity(0, sizeof(set), &set);
	make_link();
	make_messages();
	if (!lrp_tx_ready()) {
		fprintf(stderr, "send_rate: no packet socket can be had here (CAP_NET_RAW)\n");
		return 77;
	}
	for (int r = 0; r < rounds; r++)
		for (size_t i = 0; i < WAYS; i++)
			if (!only || !strcmp(only, ways[i].name))
				measure(&ways[i], r, (uint64_t)ms * LRP_NS_PER_MS);
	report(rounds, json);
	return 0;
}
