// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * relay.c - a path with delay, loss and a bottleneck, in user space: netem is not in
 * every kernel, and both systems have to pass the same one.
 *
 * Frames are bridged as they are between a TAP device and the client's ends of the pairs. What the
 * server sends to the TAP's MAC is not for the client's end: the kernel there leaves it to the packet socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"

#define PRIORITY 15   /* above the clients, below the NAPI threads */
#define SLOTS	 8192 /* frames under way in one direction */
#define FRAME	 1536
#define BATCH	 64
#define ENDS	 2

static const enum bed_program end_program[ENDS] = {BED_PASS, BED_LRP};

/* First in, first out: the delay is the same for all. */
struct line {
	uint32_t head, tail;
	struct slot {
		uint64_t due_ns;
		uint32_t length;
		int out; /* descriptor */
		uint8_t data[FRAME];
	} slot[SLOTS];
};

struct bed_relay {
	struct bed_relay_spec spec;
	int tap, end[ENDS];
	uint8_t mac[ENDS][6]; /* of the server's ends */
	pid_t pid;
	uint64_t random, busy_until_ns;
	uint64_t frames, lost, dropped;
	struct line up, down; /* to the server, to the client */
};

struct in_addr bed_far(enum bed_program program, enum bed_ns ns)
{
	return (struct in_addr){
		htonl(0xc6140000u | (16u + program) << 8 | (ns == BED_SERVER ? 1 : 2))};
}

/* ---- the relay's process ------------------------------------------------------------- */

/* xorshift64*, 0..1 */
static double draw(struct bed_relay *r)
{
	r->random ^= r->random >> 12;
	r->random ^= r->random << 25;
	r->random ^= r->random >> 27;
	return (double)(r->random * 0x2545f4914f6cdd1dull >> 11) / (double)(1ull << 53);
}

/* When a frame leaves the bottleneck; 0: it finds the queue full. */
static uint64_t through_bottleneck(struct bed_relay *r, uint64_t now, uint32_t length)
{
	uint64_t start = r->busy_until_ns > now ? r->busy_until_ns : now;
	double room_s = r->spec.queue_s;

	if (r->spec.bit_per_s <= 0)
		return now;
	if (r->spec.queue_varies > 0)
		room_s *= 1 + r->spec.queue_varies * (2 * draw(r) - 1);
	if ((double)(start - now) > room_s * 1e9)
		return 0;
	r->busy_until_ns = start + (uint64_t)((double)length * 8e9 / r->spec.bit_per_s);
	return r->busy_until_ns;
}

static bool full(const struct line *line)
{
	return line->head - line->tail == SLOTS;
}

static void enter(struct bed_relay *r, struct line *line, uint64_t leaves, int out, ssize_t length)
{
	struct slot *slot = &line->slot[line->head++ % SLOTS];

	slot->due_ns = leaves + (uint64_t)(r->spec.delay_s * 1e9);
	slot->length = (uint32_t)length;
	slot->out = out;
}

/* Whose MAC it is; -1: nobody's. */
static int out_of(const struct bed_relay *r, const uint8_t *frame)
{
	int i;

	for (i = 0; i < ENDS; i++)
		if (memcmp(frame, r->mac[i], 6) == 0)
			return r->end[i];
	return -1;
}

static void take_up(struct bed_relay *r)
{
	int i;

	for (i = 0; i < BATCH && !full(&r->up); i++) {
		uint8_t *frame = r->up.slot[r->up.head % SLOTS].data;
		ssize_t n = read(r->tap, frame, FRAME);
		int out;

		if (n <= 0)
			return;
		out = out_of(r, frame);
		if (n > ETH_HLEN && out >= 0)
			enter(r, &r->up, bed_now(), out, n);
	}
}

static void take_down(struct bed_relay *r, int end)
{
	int i;

	for (i = 0; i < BATCH && !full(&r->down); i++) {
		uint8_t *frame = r->down.slot[r->down.head % SLOTS].data;
		ssize_t n = recv(end, frame, FRAME, MSG_DONTWAIT | MSG_TRUNC);
		uint64_t leaves;

		if (n <= 0)
			return;
		if (n < ETH_HLEN || n > FRAME)
			continue;
		r->frames++;
		if (r->spec.loss > 0 && draw(r) < r->spec.loss) {
			r->lost++;
			continue;
		}
		leaves = through_bottleneck(r, bed_now(), (uint32_t)n);
		if (leaves)
			enter(r, &r->down, leaves, r->tap, n);
		else
			r->dropped++;
	}
}

/* Sends what is due and returns when the next will be. */
static uint64_t deliver(struct line *line, uint64_t now)
{
	while (line->tail != line->head) {
		struct slot *slot = &line->slot[line->tail % SLOTS];

		if (slot->due_ns > now)
			return slot->due_ns;
		/* What the device refuses is lost, as on a wire. */
		if (write(slot->out, slot->data, slot->length) < 0 && errno == EBADF)
			_exit(1);
		line->tail++;
	}
	return UINT64_MAX;
}

static int relay_main(void *arg)
{
	struct bed_relay *r = arg;
	struct pollfd fds[] = {{r->tap, POLLIN, 0}, {r->end[0], POLLIN, 0}, {r->end[1], POLLIN, 0}};

	for (;;) {
		uint64_t now = bed_now(), up = deliver(&r->up, now), down = deliver(&r->down, now);
		uint64_t next = up < down ? up : down;
		struct timespec wait = {(time_t)((next - now) / 1000000000u),
					(long)((next - now) % 1000000000u)};
		int i;

		if (ppoll(fds, 1 + ENDS, next == UINT64_MAX ? NULL : &wait, NULL) < 0 &&
		    errno != EINTR)
			return 1;
		if (fds[0].revents)
			take_up(r);
		for (i = 0; i < ENDS; i++)
			if (fds[1 + i].revents)
				take_down(r, r->end[i]);
	}
}

/* ---- setting it up --------------------------------------------------------------------- */

static int open_tap(struct bed *bed, struct bed_relay *r, char name[IFNAMSIZ], uint8_t mac[6])
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};

	r->tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (r->tap < 0)
		return bed_fail(bed, -errno, "/dev/net/tun: %s", strerror(errno));
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "relay%%d");
	if (ioctl(r->tap, TUNSETIFF, &ifr))
		return bed_fail(bed, -errno, "TUNSETIFF: %s", strerror(errno));
	memcpy(name, ifr.ifr_name, IFNAMSIZ);
	if (ioctl(r->tap, SIOCGIFHWADDR, &ifr))
		return bed_fail(bed, -errno, "%s: %s", name, strerror(errno));
	memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
	return 0;
}

static int open_end(struct bed *bed, const struct bed_pair *pair, int *out)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET,
				   .sll_protocol = htons(ETH_P_ALL),
				   .sll_ifindex = (int)pair->client_ifindex};
	int on = 1, bytes = 8 << 20, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	*out = fd;
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return bed_fail(bed, -errno, "packet socket on %s: %s", pair->client,
				strerror(errno));
	return 0;
}

static int configure(struct bed *bed, const struct bed_pair *pair, const char *tap,
		     const uint8_t tap_mac[6])
{
	const uint8_t *s = pair->server_mac, *t = tap_mac;
	unsigned int net = 16 + pair->program;
	int err;

	err = bed_sh(bed, BED_CLIENT,
		     "ip addr add 198.20.%u.2/24 dev %s; ip link set %s up; ip neigh replace "
		     "198.20.%u.1 lladdr %02x:%02x:%02x:%02x:%02x:%02x nud permanent dev %s; "
		     "ethtool -K %s gro off",
		     net, tap, tap, net, s[0], s[1], s[2], s[3], s[4], s[5], tap, pair->client);
	if (!err)
		err = bed_sh(bed, BED_SERVER,
			     "ip addr add 198.20.%u.1/24 dev %s; ip neigh replace 198.20.%u.2 "
			     "lladdr %02x:%02x:%02x:%02x:%02x:%02x nud permanent dev %s; "
			     "ethtool -K %s tso off gso off tx off",
			     net, pair->server, net, t[0], t[1], t[2], t[3], t[4], t[5],
			     pair->server, pair->server);
	return err;
}

int bed_relay_start(struct bed *bed, const struct bed_relay_spec *spec)
{
	struct bed_relay *r =
		mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char tap[IFNAMSIZ];
	uint8_t mac[6] = {0};
	int i, err;

	if (r == MAP_FAILED)
		return bed_fail(bed, -ENOMEM, "relay: no memory");
	bed->relay = r;
	r->spec = *spec;
	r->random = spec->seed * 2 + 1;
	r->tap = r->end[0] = r->end[1] = -1;
	err = bed_netns_enter(bed, BED_CLIENT);
	if (err)
		return err;
	err = open_tap(bed, r, tap, mac);
	for (i = 0; i < ENDS && !err; i++)
		err = open_end(bed, &bed->pair[end_program[i]], &r->end[i]);
	bed_netns_leave(bed);
	for (i = 0; i < ENDS && !err; i++) {
		memcpy(r->mac[i], bed->pair[end_program[i]].server_mac, 6);
		err = configure(bed, &bed->pair[end_program[i]], tap, mac);
	}
	if (!err) {
		r->pid = bed_fork(bed, BED_CLIENT, bed->cpu_load, PRIORITY, relay_main, r);
		err = r->pid < 0 ? -EAGAIN : 0;
	}
	/* lrpd learns of the new address. */
	bed_sleep(0.1);
	if (err)
		bed_relay_stop(bed);
	return err;
}

void bed_relay_stop(struct bed *bed)
{
	struct bed_relay *r = bed->relay;
	int i, status;

	if (!r)
		return;
	if (r->pid > 0) {
		kill(r->pid, SIGKILL);
		waitpid(r->pid, &status, 0);
	}
	for (i = 0; i < ENDS; i++) {
		const struct bed_pair *pair = &bed->pair[end_program[i]];

		if (r->end[i] >= 0)
			close(r->end[i]);
		bed_sh(bed, BED_SERVER,
		       "ip addr del 198.20.%u.1/24 dev %s; ethtool -K %s tx on tso on gso on",
		       16 + pair->program, pair->server, pair->server);
		bed_sh(bed, BED_CLIENT, "ethtool -K %s gro on", pair->client);
	}
	if (r->tap >= 0)
		close(r->tap);
	munmap(r, sizeof(*r));
	bed->relay = NULL;
}

void bed_relay_count(const struct bed *bed, uint64_t *frames, uint64_t *lost, uint64_t *dropped)
{
	const volatile struct bed_relay *r = bed->relay;

	*frames = r->frames;
	*lost = r->lost;
	*dropped = r->dropped;
}
