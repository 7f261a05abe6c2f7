/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_relay.c - our TCP and the kernel's, with a bad wire between them.
 *
 *    client ns              relay ns               this namespace
 *   198.18.1.2 c0 ────── r1  relay  r0 ────── s0 198.18.1.1
 *   2001:db8:1::2                             2001:db8:1::1     ours, embedded
 *
 * Both ends send at once, shut down writing when they have sent all, and read to the end; each
 * byte is compared. Either end connects, over IPv4 and IPv6, with MTUs from 576 to 9000. What
 * happens on the wire, how much is sent and in which pieces comes from a seed, which is said when
 * something fails; LRP_SEED sets it. As many exchanges as a share of LRP_SOAK_SECONDS allows.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lrp/lrp.h>

#include "../lib/bed.h"
#include "relay.h"
#include "stream_peer.h"

#define STUCK_S 60 /* no byte has moved */
#define PIECE	50000

static const struct network {
	const char *name;
	struct relay_net net;
	uint32_t bytes; /* at most, each way */
} networks[] = {
	{"a good one", {0}, 4 << 20},
	{"1 % lost", {.loss = 10}, 1 << 20},
	{"10 % lost", {.loss = 100}, 400 << 10},
	{"reordering", {.reorder = 100}, 1 << 20},
	{"duplicates", {.duplicate = 100}, 2 << 20},
	{"corruption", {.corrupt = 20}, 1 << 20},
	{"marks", {.mark = 30}, 1 << 20},
	{"all at once",
	 {.loss = 30, .reorder = 50, .duplicate = 30, .corrupt = 10, .mark = 20},
	 600 << 10},
};

/* One exchange, as one end has it. */
struct order {
	uint64_t seed;
	uint32_t out, in; /* bytes */
	int family;
	bool active;
};

struct report {
	char failure[200]; /* empty: none */
	uint64_t processed;
	uint32_t marked; /* of what it sent, as the peer has said */
};

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static uint32_t draw(uint64_t *random, uint32_t below)
{
	*random = *random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((*random >> 33) % below);
}

/* The bytes of a stream, from where it is. */
static void fill(uint8_t *p, size_t n, uint64_t *stream)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((*stream = *stream * 6364136223846793005ull + 1) >> 56);
}

/* ---- one end ------------------------------------------------------------------------ */

struct end {
	const struct ops *ops;
	int fd;
	struct order o;
	struct report *r;
	uint64_t random, out_stream, in_stream;
	uint32_t sent, got, piece; /* piece: what is left of `bytes` */
	uint8_t bytes[PIECE];
	bool shut, over;
	double moved;
};

static bool fail(struct end *e, const char *what)
{
	snprintf(e->r->failure, sizeof(e->r->failure),
		 "%s: %s (%s); sent %u of %u, received %u of %u", e->ops->name, what,
		 strerror(errno), e->sent, e->o.out, e->got, e->o.in);
	return false;
}

static bool give(struct end *e)
{
	uint32_t left = e->o.out - e->sent, size;
	ssize_t n;

	if (!left) {
		e->shut = true;
		return !e->ops->shutdown(e->fd, SHUT_WR) || fail(e, "shutdown");
	}
	if (!e->piece) {
		size = 1 + draw(&e->random, draw(&e->random, 4) ? PIECE : 100);
		e->piece = size < left ? size : left;
		fill(e->bytes, e->piece, &e->out_stream);
		memmove(e->bytes + PIECE - e->piece, e->bytes, e->piece);
	}
	n = e->ops->send(e->fd, e->bytes + PIECE - e->piece, e->piece, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || fail(e, "send");
	e->piece -= (uint32_t)n;
	e->sent += (uint32_t)n;
	e->moved = seconds();
	return true;
}

static bool take(struct end *e)
{
	static uint8_t got[PIECE], want[PIECE];
	ssize_t n = e->ops->recv(e->fd, got, 1 + draw(&e->random, PIECE), 0);

	if (n < 0)
		return errno == EAGAIN || fail(e, "recv");
	e->moved = seconds();
	if (!n) {
		e->over = true;
		return e->got == e->o.in || fail(e, "the stream ended");
	}
	fill(want, (size_t)n, &e->in_stream);
	if ((uint32_t)n > e->o.in - e->got || memcmp(got, want, (size_t)n))
		return fail(e, "other bytes than were sent");
	e->got += (uint32_t)n;
	return true;
}

static bool exchange(struct end *e)
{
	struct pollfd p = {.fd = e->fd};

	e->moved = seconds();
	while (!e->shut || !e->over) {
		p.events = (short)((e->shut ? 0 : POLLOUT) | (e->over ? 0 : POLLIN));
		e->ops->poll(&p, 1, 1000);
		if (p.revents & POLLOUT && !give(e))
			return false;
		if (p.revents & (POLLIN | POLLERR) && !take(e))
			return false;
		if (seconds() - e->moved > STUCK_S)
			return errno = 0, fail(e, "stuck");
	}
	return true;
}

/* The socket of an exchange: the peer's listener, or ours, is there already. */
static int begin(struct end *e, struct run *r, int lfd)
{
	bool ours = e->ops != &kernel_ops;
	struct timeval long_time = {.tv_sec = STUCK_S};
	struct sockaddr_storage a;
	socklen_t len;
	int fd;

	r->family = e->o.family;
	if (!e->o.active)
		return e->ops->accept(lfd, NULL, NULL);
	len = ours ? addr_client(r, &a, SERVICE_PORT) : addr_server(r, &a, PORT);
	fd = ours ? e->ops->socket(e->o.family, SOCK_STREAM, 0)
		  : client_socket(e->o.family, SOCK_STREAM, 0);
	e->ops->setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &long_time, sizeof(long_time));
	return fd < 0 || !e->ops->connect(fd, (void *)&a, len) ? fd : -1;
}

static void one(const struct ops *ops, const struct order *o, int lfd, struct report *report)
{
	static struct end e;
	struct run r = {.ops = ops};
	struct lrp_stats st = {.sz = sizeof(st)};
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	memset(report, 0, sizeof(*report));
	e = (struct end){.ops = ops, .o = *o, .r = report, .random = o->seed};
	/* Each direction has a stream of its own, which both ends know. */
	e.out_stream = o->seed * 2 + (ops == &kernel_ops);
	e.in_stream = o->seed * 2 + (ops != &kernel_ops);
	e.fd = begin(&e, &r, lfd);
	if (e.fd < 0) {
		fail(&e, o->active ? "connect" : "accept");
		return;
	}
	ops->fcntl(e.fd, F_SETFL, O_NONBLOCK);
	exchange(&e);
	ops->getsockopt(e.fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	report->marked = info.tcpi_delivered_ce;
	if (ops == &lrp_ops && !lrp_stats(e.fd, &st))
		report->processed = st.call + st.app;
	ops->close(e.fd);
}

/* An end: carries out orders. */
static void serve(const struct ops *ops, int family, int in, int out)
{
	struct timeval long_time = {.tv_sec = STUCK_S};
	struct run r = {.ops = ops, .family = family};
	struct report report = {0};
	struct order o = {0};
	int lfd = ops == &kernel_ops ? peer_listen(&r) : listener(&r, 5);

	ops->setsockopt(lfd, SOL_SOCKET, SO_RCVTIMEO, &long_time, sizeof(long_time));
	do {
		if (o.family)
			one(ops, &o, lfd, &report);
		if (write(out, &report, sizeof(report)) != sizeof(report))
			break;
	} while (read(in, &o, sizeof(o)) == sizeof(o));
	ops->close(lfd);
}

struct child {
	pid_t pid;
	int in, out;
};

static struct report hear(const struct child *c)
{
	struct report r = {0};

	if (read(c->out, &r, sizeof(r)) != sizeof(r))
		snprintf(r.failure, sizeof(r.failure), "the process is gone");
	return r;
}

/* The process before may linger for a peer's last acknowledgement, and has the device so long. */
static void embed(void)
{
	struct lrp_embed_opts opts = {.sz = sizeof(opts)};
	double end = seconds() + STUCK_S;

	while (lrp_embed("s0", &opts)) {
		if (errno != EBUSY || seconds() > end) {
			printf("lrp_embed: %s\n", lrp_embed_error());
			exit(1);
		}
		usleep(20000);
	}
}

static struct child start(const struct ops *ops, int family)
{
	struct child c;
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		exit(1);
	fflush(stdout);
	c.pid = fork();
	if (c.pid == 0) {
		close(in[1]);
		close(out[0]);
		if (ops == &lrp_ops)
			embed();
		serve(ops, family, in[0], out[1]);
		exit(0);
	}
	close(in[0]);
	close(out[1]);
	c.in = in[1];
	c.out = out[0];
	if (hear(&c).failure[0])
		exit(1);
	return c;
}

static void finish(struct child *c)
{
	close(c->in);
	waitpid(c->pid, NULL, 0);
	close(c->out);
}

/* ---- the plan ------------------------------------------------------------------------- */

/* Without offloads: the relay sees, and spoils, what a wire would carry. */
static void build(void)
{
	bed_sh("set -e; ip netns add relay; ip netns add client; "
	       "ip link add s0 type veth peer name r0 netns relay; "
	       "ip -n relay link add r1 type veth peer name c0 netns client; "
	       "for d in r0 r1; do ip netns exec relay sysctl -qw net.ipv6.conf.$d.disable_ipv6=1; "
	       "done; "
	       "sysctl -qw net.ipv6.conf.s0.accept_dad=0; "
	       "ip netns exec client sysctl -qw net.ipv6.conf.c0.accept_dad=0; "
	       "sysctl -qw net.ipv4.tcp_ecn=1; ip netns exec client sysctl -qw net.ipv4.tcp_ecn=1; "
	       "ethtool -K s0 tx off gro off >/dev/null; "
	       "ip netns exec client ethtool -K c0 tx off gro off >/dev/null; "
	       "for d in r0 r1; do ip netns exec relay ethtool -K $d gro off >/dev/null; done; "
	       "ip addr add 198.18.1.1/24 dev s0; ip -n client addr add 198.18.1.2/24 dev c0; "
	       "ip link set s0 up; ip -n client link set c0 up; "
	       "ip -n relay link set r0 up; ip -n relay link set r1 up; "
	       "ip addr add 2001:db8:1::1/64 dev s0 nodad; "
	       "ip -n client addr add 2001:db8:1::2/64 dev c0 nodad");
}

static void set_mtu(int mtu)
{
	char command[300];

	snprintf(command, sizeof(command),
		 "set -e; for d in r0 r1; do ip -n relay link set $d mtu %d; done; "
		 "ip link set s0 mtu %d; ip -n client link set c0 mtu %d",
		 mtu, mtu, mtu);
	bed_sh(command);
}

static int failures;
static uint64_t marked[2]; /* of what we sent, of what the kernel sent */

/* One exchange; false: it failed. */
static bool run(struct relay *relay, const struct child ends[2], int mtu, int family, uint64_t seed)
{
	uint64_t random = seed * 0x9e3779b97f4a7c15ull + 1;
	const struct network *net =
		&networks[draw(&random, sizeof(networks) / sizeof(networks[0]))];
	struct order o = {.seed = seed, .family = family, .active = draw(&random, 2)};
	struct report r[2];
	double start = seconds();
	int i;

	o.out = draw(&random, 4) ? draw(&random, net->bytes) : 0;
	o.in = draw(&random, 4) ? draw(&random, net->bytes) : 0;
	relay->net = net->net;
	relay->random = random | 1;
	for (i = 0; i < 2; i++) {
		struct order mine = o;

		if (i) {
			mine.out = o.in;
			mine.in = o.out;
			mine.active = !o.active;
		}
		if (write(ends[i].in, &mine, sizeof(mine)) != sizeof(mine))
			return false;
	}
	for (i = 0; i < 2; i++)
		r[i] = hear(&ends[i]);
	relay->net = networks[0].net;
	for (i = 0; i < 2; i++)
		marked[i] += r[i].marked;
	if (getenv("V") || r[0].failure[0] || r[1].failure[0])
		printf("MTU %d, IPv%d, %s, we %s; %u bytes out, %u in: %.1f s\n", mtu,
		       family == AF_INET ? 4 : 6, net->name, o.active ? "connect" : "accept", o.out,
		       o.in, seconds() - start);
	for (i = 0; i < 2; i++)
		if (r[i].failure[0])
			printf("FAIL %s\n", r[i].failure);
	if (r[0].failure[0] || r[1].failure[0])
		return false;
	if (o.in && r[0].processed < o.in / (uint32_t)mtu) {
		printf("FAIL only %lu segments came through a channel\n",
		       (unsigned long)r[0].processed);
		return false;
	}
	return true;
}

static void config(struct relay *relay, int mtu, int family, uint64_t seed, double length)
{
	struct child ends[2];
	double end;
	int count;

	set_mtu(mtu);
	ends[0] = start(&lrp_ops, family);
	ends[1] = start(&kernel_ops, family);
	end = seconds() + length;
	for (count = 0; seconds() < end; count++)
		if (!run(relay, ends, mtu, family, seed + (uint64_t)count)) {
			failures++;
			break;
		}
	printf("MTU %d, IPv%d: %d exchanges\n", mtu, family == AF_INET ? 4 : 6, count);
	/* The second has the first one's pipe, too. */
	finish(&ends[1]);
	finish(&ends[0]);
}

int main(int argc, char **argv)
{
	/* In this order: IPv6 leaves a device whose MTU becomes too small for it. */
	static const struct {
		int mtu, family;
	} configs[] = {{9000, AF_INET}, {9000, AF_INET6}, {1500, AF_INET}, {1500, AF_INET6},
		       {1280, AF_INET}, {1280, AF_INET6}, {576, AF_INET}};
	const char *soak = getenv("LRP_SOAK_SECONDS"), *from = getenv("LRP_SEED");
	uint64_t seed = from ? strtoull(from, NULL, 0) : (uint64_t)time(NULL) * 1000;
	double length = (soak ? atof(soak) : 30) * 2 / 3 / 7;
	struct relay *relay;
	size_t i;

	(void)argc;
	setvbuf(stdout, NULL, _IOLBF, 0);
	bed_enter(argv);
	signal(SIGPIPE, SIG_IGN);
	build();
	relay = relay_start("relay", "r0", "r1");
	for (i = 0; i < sizeof(configs) / sizeof(configs[0]); i++)
		config(relay, configs[i].mtu, configs[i].family, seed + i * 1000000, length);
	printf("the relay passed %lu segments, lost %lu, reordered %lu, duplicated %lu, corrupted "
	       "%lu, marked %lu; told of it: we %lu, the kernel %lu\n",
	       (unsigned long)relay->passed, (unsigned long)relay->lost,
	       (unsigned long)relay->reordered, (unsigned long)relay->duplicated,
	       (unsigned long)relay->corrupted, (unsigned long)relay->marked,
	       (unsigned long)marked[0], (unsigned long)marked[1]);
	if (!relay->lost || !relay->reordered || !relay->duplicated || !relay->corrupted ||
	    !relay->marked) {
		printf("FAIL the wire was too good\n");
		failures++;
	}
	if (!marked[0] || !marked[1]) {
		printf("FAIL no mark was told to %s\n", marked[0] ? "the kernel" : "us");
		failures++;
	}
	if (failures)
		printf("LRP_SEED=%lu\n", (unsigned long)seed);
	return failures != 0;
}
