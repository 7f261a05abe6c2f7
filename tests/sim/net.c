/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "net.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/ip/ip_input.h"
#include "runtime/tcp/isn.h"
#include "runtime/wire/checksum.h"
#include "trace.h"

#define RUNS	   4096
#define LINK_BYTES 14
#define FRAME_MAX  (LINK_BYTES + 40 + LRP_TCP_HEADER_MAX + 65536)

/* A packet on its way, or an ICMP error. */
struct sim_event {
	int64_t at_ns;
	uint64_t order; /* equal times: as they were made */
	struct sim_end *to;
	uint32_t len;
	uint32_t mtu; /* ICMP: packet too big; else 0 */
	uint32_t seq; /* of the packet that was */
	uint8_t *frame;
};

/* ---- chance ---------------------------------------------------------------- */

uint64_t sim_random(struct sim *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return s->random * 0x2545f4914f6cdd1dull;
}

bool sim_chance(struct sim *s, double chance)
{
	return chance > 0 && (double)(sim_random(s) >> 11) < chance * 9007199254740992.0;
}

static uint64_t below(struct sim *s, uint64_t n)
{
	return n ? sim_random(s) % n : 0;
}

static uint8_t pattern(uint64_t stream, uint64_t offset)
{
	return (uint8_t)(((offset ^ stream) * 0x9e3779b97f4a7c15ull) >> 56);
}

/* ---- the world --------------------------------------------------------------- */

struct sim *sim_new(uint64_t seed)
{
	struct sim *s = calloc(1, sizeof(*s));

	s->seed = seed;
	s->random = seed * 0x9e3779b97f4a7c15ull | 1;
	s->now = SIM_T0;
	s->room = 1024;
	s->event = calloc(s->room, sizeof(*s->event));
	trace_begin();
	for (int i = 0; i < 8; i++)
		sim_random(s);
	return s;
}

void sim_free(struct sim *s)
{
	for (uint32_t i = 0; i < s->events; i++)
		free(s->event[i].frame);
	for (uint32_t i = 0; i < s->ends; i++) {
		free(s->end[i].c.snd.base);
		free(s->end[i].c.rcv.base);
		free(s->end[i].c.recovery.board.run);
	}
	free(s->event);
	free(s);
}

struct sim_link *sim_link(struct sim *s, const struct sim_link *l)
{
	if (s->links == SIM_LINKS_MAX)
		sim_fail(s, "too many links");
	s->link[s->links] = *l;
	return &s->link[s->links++];
}

void sim_fail(struct sim *s, const char *format, ...)
{
	va_list args;

	trace_dump(stderr);
	fprintf(stderr, "seed %" PRIu64 ", at %.6f s: ", s->seed,
		(double)(s->now - SIM_T0) / SECOND);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

void sim_not_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	printf("too long under a sanitizer\n");
	exit(77);
#endif
}

struct sim_app sim_app(uint64_t send)
{
	struct sim_app a = {.send = send,
			    .snd_bytes = 1 << 18,
			    .rcv_bytes = 1 << 18,
			    .mtu = 1500,
			    .run_max = 65536,
			    .ends = true};

	lrp_tcp_options_default(&a.opt);
	return a;
}

static void end_new(struct sim *s, struct sim_end *e, const struct sim_app *app,
		    struct sim_end *peer, struct sim_link *out)
{
	struct lrp_tcp_memory m = {.snd = {calloc(1, app->snd_bytes), app->snd_bytes},
				   .rcv = {calloc(1, app->rcv_bytes), app->rcv_bytes},
				   .run = calloc(RUNS, sizeof(struct lrp_tcp_sent_run)),
				   .runs = RUNS};

	memset(e, 0, sizeof(*e));
	e->sim = s;
	e->app = *app;
	e->peer = peer;
	e->out = out;
	e->stream = sim_random(s);
	lrp_tcp_init(&e->c, &e->app.opt, &m);
}

static void flows(struct sim_end *a, struct sim_end *b, int family, uint32_t n)
{
	memset(&a->flow, 0, sizeof(a->flow));
	a->flow.family = (uint8_t)family;
	a->flow.lport = htons((uint16_t)(10000 + n));
	a->flow.rport = htons(80);
	if (family == AF_INET) {
		a->flow.laddr.v4.s_addr = htonl(0xc6120001);
		a->flow.raddr.v4.s_addr = htonl(0xc6120002);
	} else {
		inet_pton(AF_INET6, "2001:db8::1", &a->flow.laddr);
		inet_pton(AF_INET6, "2001:db8::2", &a->flow.raddr);
	}
	b->flow = a->flow;
	b->flow.laddr = a->flow.raddr;
	b->flow.raddr = a->flow.laddr;
	b->flow.lport = a->flow.rport;
	b->flow.rport = a->flow.lport;
}

struct sim_end *sim_pair(struct sim *s, int family, struct sim_link *there, struct sim_link *back,
			 const struct sim_app *client, const struct sim_app *server)
{
	struct sim_end *a = &s->end[s->ends], *b = a + 1;
	const uint64_t key[2] = {sim_random(s), sim_random(s)};
	uint64_t secret[4];

	if (s->ends + 2 > SIM_ENDS_MAX)
		sim_fail(s, "too many connections");
	end_new(s, a, client, b, there);
	end_new(s, b, server, a, back);
	flows(a, b, family, s->ends);
	s->ends += 2;
	a->start_ns = SIM_T0 + client->start_ns;
	b->start_ns = LRP_TCP_NEVER;
	b->passive = true;
	for (int i = 0; i < 4; i++)
		secret[i] = sim_random(s);
	lrp_tcp_listen_init(&b->listener, &b->app.opt, b->half, 8, 6, (const uint8_t *)secret);
	b->listener.mtu = server->mtu;
	b->listener.rcv_window = (uint16_t)(server->rcv_bytes < 65535 ? server->rcv_bytes : 65535);
	b->listener.rcv_wscale = lrp_tcp_wscale(
		b->app.opt.rcv_max > server->rcv_bytes ? b->app.opt.rcv_max : server->rcv_bytes);
	lrp_tcp_timewait_init(&a->timewaits, a->timewait, 4, key);
	lrp_tcp_timewait_init(&b->timewaits, b->timewait, 4, key);
	return a;
}

/* ---- events -------------------------------------------------------------------- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void push(struct sim *s, struct sim_event e)
{
	uint32_t i = s->events++;

	if (i == s->room) {
		s->room *= 2;
		s->event = realloc(s->event, s->room * sizeof(*s->event));
	}
	e.order = s->order++;
	for (; i && before(&e, &s->event[(i - 1) / 2]); i = (i - 1) / 2)
		s->event[i] = s->event[(i - 1) / 2];
	s->event[i] = e;
}

static struct sim_event pop(struct sim *s)
{
	struct sim_event first = s->event[0], last = s->event[--s->events];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < s->events) {
		if (child + 1 < s->events && before(&s->event[child + 1], &s->event[child]))
			child++;
		if (before(&last, &s->event[child]))
			break;
		s->event[i] = s->event[child];
		i = child;
	}
	s->event[i] = last;
	return first;
}

/* ---- the link -------------------------------------------------------------------- */

/* Congestion experienced; the header's checksum follows. */
static void mark(uint8_t *ip)
{
	if (ip[0] >> 4 == 4) {
		uint16_t old = (uint16_t)(ip[0] << 8 | ip[1]),
			 check = (uint16_t)(ip[10] << 8 | ip[11]);

		ip[1] |= 3;
		check = ntohs(lrp_checksum_update(htons(check), htons(old),
						  htons((uint16_t)(ip[0] << 8 | ip[1]))));
		ip[10] = (uint8_t)(check >> 8);
		ip[11] = (uint8_t)check;
	} else {
		ip[1] |= 3 << 4;
	}
}

static bool ecn_capable(const uint8_t *ip)
{
	return (ip[0] >> 4 == 4 ? ip[1] : ip[1] >> 4) & 3;
}

/* The packet waits for the bottleneck. When it has left; LRP_TCP_NEVER: it did not fit. */
static int64_t queue(struct sim *s, struct sim_link *l, uint8_t *ip, uint32_t len)
{
	int64_t start = l->free_ns > s->now ? l->free_ns : s->now;
	uint64_t waiting;

	if (!l->bits_per_s)
		return s->now;
	waiting = (uint64_t)((double)(start - s->now) * (double)l->bits_per_s / 8e9);
	if (waiting + len > l->queue_bytes) {
		l->overflowed++;
		return LRP_TCP_NEVER;
	}
	if (l->mark_bytes && waiting > l->mark_bytes && ecn_capable(ip)) {
		mark(ip);
		l->marked++;
	}
	l->free_ns = start + (int64_t)((double)len * 8e9 / (double)l->bits_per_s);
	return l->free_ns;
}

static void carry(struct sim_end *from, struct sim_link *l, const uint8_t *frame, uint32_t len,
		  int64_t left)
{
	struct sim *s = from->sim;
	struct sim_event e = {.to = from->peer, .len = len};

	e.at_ns = left + l->delay_ns + (int64_t)below(s, (uint64_t)l->jitter_ns);
	if (sim_chance(s, l->reorder))
		e.at_ns += l->reorder_ns;
	else if (e.at_ns < l->last_ns)
		e.at_ns = l->last_ns;
	else
		l->last_ns = e.at_ns;
	e.frame = malloc(len);
	memcpy(e.frame, frame, len);
	if (sim_chance(s, l->corrupt))
		e.frame[LINK_BYTES + below(s, len - LINK_BYTES)] ^= (uint8_t)(1 << below(s, 8));
	push(s, e);
}

static void too_big(struct sim_end *from, struct sim_link *l, uint32_t seq)
{
	struct sim *s = from->sim;

	l->too_big++;
	if (l->black_hole || s->icmp_off)
		return;
	s->icmps++;
	push(s, (struct sim_event){
			.at_ns = s->now + l->delay_ns, .to = from, .mtu = l->mtu, .seq = seq});
}

static void transmit(struct sim_end *from, uint8_t *frame, uint32_t len, uint32_t seq)
{
	struct sim *s = from->sim;
	struct sim_link *l = from->out;
	uint8_t *ip = frame + LINK_BYTES;
	int64_t left;

	l->packets++;
	l->bytes += len;
	if (l->mtu && len - LINK_BYTES > l->mtu) {
		too_big(from, l, seq);
		return;
	}
	left = queue(s, l, ip, len);
	if (left == LRP_TCP_NEVER)
		return;
	if (sim_chance(s, l->loss)) {
		l->lost++;
		return;
	}
	carry(from, l, frame, len, left);
	if (sim_chance(s, l->duplicate))
		carry(from, l, frame, len, left);
}

/* ---- sending ------------------------------------------------------------------------ */

static uint32_t ip_header(uint8_t *p, const struct lrp_tcp_flow *f, uint8_t ecn, uint32_t len)
{
	static const uint8_t macs[14] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
	uint32_t check;

	memcpy(p, macs, 14);
	p += LINK_BYTES;
	if (f->family == AF_INET) {
		p[-2] = 8;
		memset(p, 0, 20);
		p[0] = 0x45;
		p[1] = ecn;
		p[2] = (uint8_t)((len + 20) >> 8);
		p[3] = (uint8_t)(len + 20);
		p[6] = 0x40;
		p[8] = 64;
		p[9] = IPPROTO_TCP;
		memcpy(p + 12, &f->laddr, 4);
		memcpy(p + 16, &f->raddr, 4);
		check = (uint16_t)~lrp_checksum_fold(lrp_checksum_sum(p, 20));
		memcpy(p + 10, &(uint16_t){(uint16_t)check}, 2);
		return LINK_BYTES + 20;
	}
	p[-2] = 0x86;
	p[-1] = 0xdd;
	memset(p, 0, 8);
	p[0] = 0x60;
	p[1] = (uint8_t)(ecn << 4);
	p[4] = (uint8_t)(len >> 8);
	p[5] = (uint8_t)len;
	p[6] = IPPROTO_TCP;
	p[7] = 64;
	memcpy(p + 8, &f->laddr, 16);
	memcpy(p + 24, &f->raddr, 16);
	return LINK_BYTES + 40;
}

static void gather(uint8_t *to, const struct lrp_tcp_tx *tx, uint32_t offset, uint32_t len)
{
	uint32_t first = (uint32_t)tx->payload[0].iov_len, n;

	if (offset < first) {
		n = first - offset < len ? first - offset : len;
		memcpy(to, (const uint8_t *)tx->payload[0].iov_base + offset, n);
		to += n;
		len -= n;
		offset = first;
	}
	if (len)
		memcpy(to, (const uint8_t *)tx->payload[1].iov_base + offset - first, len);
}

/* One run as the segments that a device would make of it. */
static void send_run(struct sim_end *e, const struct lrp_tcp_tx *tx)
{
	static uint8_t frame[FRAME_MAX];
	uint8_t header[LRP_TCP_HEADER_MAX] __attribute__((aligned(4)));
	uint32_t offset = 0;

	do {
		uint32_t len = tx->payload_len - offset, l4, at;

		if (tx->mss && len > tx->mss)
			len = tx->mss;
		l4 = lrp_tcp_build(header, &e->flow, tx, offset, len, LRP_TCP_CHECKSUM_FULL);
		at = ip_header(frame, &e->flow, tx->ecn, l4 + len);
		memcpy(frame + at, header, l4);
		gather(frame + at + l4, tx, offset, len);
		if (at + l4 + len - LINK_BYTES > e->app.mtu)
			sim_fail(e->sim, "a packet of %u bytes over a device with an MTU of %u",
				 at + l4 + len - LINK_BYTES, e->app.mtu);
		trace_packet(e->sim->now - SIM_T0, !e->passive, frame + at, l4 + len);
		transmit(e, frame, at + l4 + len, tx->seq + offset);
		offset += len;
	} while (offset < tx->payload_len);
}

/* What the peer offered binds us, what we offered stands. */
static void check_tx(struct sim_end *e, const struct lrp_tcp_tx *tx)
{
	uint32_t end = tx->seq + tx->payload_len, scale = e->c.rcv_wscale, edge;
	bool fin = tx->flags & LRP_TCP_FIN;

	if (tx->flags & (LRP_TCP_SYN | LRP_TCP_RST))
		return;
	if (e->edge_known && tx->payload_len && tx->kind != LRP_TCP_TX_PROBE &&
	    lrp_seq_gt(end, e->edge))
		sim_fail(e->sim, "%s sends %u beyond the window that it was offered",
			 e->passive ? "server" : "client", end - e->edge);
	if (fin && !e->shut)
		sim_fail(e->sim, "a FIN that nobody asked for");
	edge = tx->ack + ((uint32_t)tx->window << scale);
	if (e->promised_known && lrp_seq_lt(edge, e->promised) && e->promised - edge >= 1u << scale)
		sim_fail(e->sim, "%s takes back %u bytes of window",
			 e->passive ? "server" : "client", e->promised - edge);
	if (!e->promised_known || lrp_seq_gt(edge, e->promised))
		e->promised = edge;
	e->promised_known = true;
}

static void check_end(struct sim_end *e)
{
	const char *wrong = e->sim->unchecked ? NULL : lrp_tcp_check(&e->c);

	if (wrong)
		sim_fail(e->sim, "%s, state %u: %s", e->passive ? "server" : "client", e->c.state,
			 wrong);
}

static void output(struct sim_end *e)
{
	struct sim *s = e->sim;
	struct lrp_tcp_tx tx;
	uint32_t n = 0;

	while (lrp_tcp_output(&e->c, s->now, e->app.run_max, &tx)) {
		if (sim_chance(s, e->app.refuse)) {
			lrp_tcp_local_drop(&e->c, s->now);
			break;
		}
		check_tx(e, &tx);
		send_run(e, &tx);
		lrp_tcp_sent(&e->c, s->now, &tx);
		check_end(e);
		if (n++ > 5000)
			sim_fail(s, "output does not end");
	}
	/* TIME_WAIT is the table's (paper, 4.2) */
	if (e->c.state == LRP_TCP_TIME_WAIT && e->app.ends && e->shut && e->eof) {
		lrp_tcp_timewait_add(&e->timewaits, s->now, &e->flow, &e->c);
		e->closed = true;
		e->c.state = LRP_TCP_CLOSED;
		e->c.recovery.rto_at_ns = LRP_TCP_NEVER;
	}
}

static void reply(struct sim_end *e, const struct lrp_tcp_tx *tx)
{
	send_run(e, tx);
}

/* ---- the application ------------------------------------------------------------------- */

static void check_bytes(struct sim_end *e, const uint8_t *p, uint64_t offset, uint64_t len)
{
	if (offset + len > e->peer->written)
		sim_fail(e->sim, "%s reads more than was written",
			 e->passive ? "server" : "client");
	for (uint64_t i = 0; i < len; i++)
		if (p[i] != pattern(e->peer->stream, offset + i))
			sim_fail(e->sim, "%s: byte %" PRIu64 " of the stream is wrong",
				 e->passive ? "server" : "client", offset + i);
}

static uint8_t bytes[1 << 17];

/* In pieces as the seed has it, so that every border of buffers and iovecs is met. */
static void app_write(struct sim_end *e)
{
	struct sim *s = e->sim;

	while (e->written < e->app.send) {
		uint64_t left = e->app.send - e->written, n = 1 + below(s, sizeof(bytes));
		struct iovec iov[2];
		ssize_t taken;

		n = n < left ? n : left;
		for (uint64_t i = 0; i < n; i++)
			bytes[i] = pattern(e->stream, e->written + i);
		iov[0] = (struct iovec){bytes, below(s, n + 1)};
		iov[1] = (struct iovec){bytes + iov[0].iov_len, n - iov[0].iov_len};
		taken = lrp_tcp_write(&e->c, s->now, iov, 2, 0);
		check_end(e);
		if (taken < 0)
			break;
		e->written += (uint64_t)taken;
	}
	if (e->written == e->app.send && !e->shut) {
		lrp_tcp_shutdown(&e->c, s->now, false, true);
		e->shut = true;
	}
}

static void app_read(struct sim_end *e)
{
	struct sim *s = e->sim;

	if (e->read_ns > s->now)
		return;
	e->read_ns = 0;
	for (;;) {
		uint64_t most = e->app.read_most ? e->app.read_most : 1 + below(s, sizeof(bytes));
		struct iovec iov = {bytes, most};
		ssize_t n;

		if (below(s, 16) == 0) {
			n = lrp_tcp_read(&e->c, s->now, &iov, 1, LRP_TCP_PEEK);
			if (n > 0)
				check_bytes(e, bytes, e->read, (uint64_t)n);
		}
		n = lrp_tcp_read(&e->c, s->now, &iov, 1, 0);
		check_end(e);
		if (n == 0 && !e->eof) {
			e->eof = true;
			e->eof_ns = s->now;
		}
		if (n <= 0)
			break;
		check_bytes(e, bytes, e->read, (uint64_t)n);
		e->read += (uint64_t)n;
		if (e->app.pause_ns) {
			e->read_ns = s->now + e->app.pause_ns;
			break;
		}
	}
}

static void autotune(struct sim_end *e)
{
	uint32_t want[2];
	struct lrp_tcp_buffer *now[2] = {&e->c.snd, &e->c.rcv}, old;

	lrp_tcp_wanted(&e->c, &want[0], &want[1]);
	for (int i = 0; i < 2; i++) {
		struct lrp_tcp_buffer more = {calloc(1, want[i]), want[i]};

		old = *now[i];
		if (want[i] <= old.size) {
			free(more.base);
			continue;
		}
		if (lrp_tcp_resize(&e->c, i ? NULL : &more, i ? &more : NULL))
			sim_fail(e->sim, "a larger buffer was refused");
		free(old.base);
	}
	check_end(e);
}

/* What an application does whenever something has happened. */
static void act(struct sim_end *e)
{
	int error;

	if (!e->open || e->closed)
		return;
	error = lrp_tcp_error(&e->c);
	if (error)
		sim_fail(e->sim, "%s: %s", e->passive ? "server" : "client", strerror(error));
	if (e->c.state == LRP_TCP_SYN_SENT || e->c.state == LRP_TCP_SYN_RCVD)
		return;
	app_write(e);
	app_read(e);
	if (e->app.autotune)
		autotune(e);
	if (e->app.ends && e->shut && e->eof && !e->c.orphan)
		lrp_tcp_close(&e->c, e->sim->now);
	check_end(e);
}

/* ---- receiving -------------------------------------------------------------------------- */

/* It is found out while the payload is copied, and must leave no trace. */
static void deliver_corrupt(struct sim_end *e, const struct lrp_tcp_segment *seg,
			    struct lrp_tcp_into *into)
{
	static struct lrp_tcp before;

	before = e->c;
	e->corrupted++;
	if (lrp_tcp_input(&e->c, e->sim->now, seg, into) != LRP_DROPPED(LRP_DROP_CHECKSUM))
		sim_fail(e->sim, "what is corrupt was taken");
	if (memcmp(&before, &e->c, sizeof(before)) || (into && (into->done || into->count != 1)))
		sim_fail(e->sim, "what is corrupt has left a trace");
}

static void deliver_connection(struct sim_end *e, const struct lrp_tcp_segment *seg)
{
	struct sim *s = e->sim;
	struct lrp_tcp_into into = {0};
	struct iovec iov = {bytes, 1 + below(s, sizeof(bytes))};
	bool direct = !e->app.pause_ns && below(s, 2) && e->c.state != LRP_TCP_SYN_SENT && !e->eof;
	struct lrp_tcp_segment checked = *seg;

	into.iov = &iov;
	into.count = 1;
	if (lrp_tcp_segment_check(&checked)) {
		deliver_corrupt(e, seg, direct ? &into : NULL);
		return;
	}
	if (seg->flags & LRP_TCP_ACK && !(seg->flags & (LRP_TCP_RST | LRP_TCP_SYN))) {
		uint32_t edge = seg->ack + ((uint32_t)seg->window << e->c.snd_wscale);

		if (!e->edge_known || lrp_seq_gt(edge, e->edge))
			e->edge = edge;
		e->edge_known = e->c.state != LRP_TCP_SYN_SENT && e->c.state != LRP_TCP_SYN_RCVD;
	}
	lrp_tcp_input(&e->c, s->now, seg, direct ? &into : NULL);
	check_end(e);
	check_bytes(e, bytes, e->read, into.done);
	e->read += into.done;
}

static void deliver_listener(struct sim_end *e, const struct lrp_tcp_segment *seg, uint32_t iss)
{
	struct sim *s = e->sim;
	struct lrp_tcp_opened opened;
	struct lrp_tcp_tx tx;

	switch (lrp_tcp_listen_input(&e->listener, s->now, &e->flow, seg, iss, &tx, &opened)) {
	case LRP_TCP_LISTEN_REPLY:
		reply(e, &tx);
		break;
	case LRP_TCP_LISTEN_OPENED:
		lrp_tcp_accept(&e->c, s->now, e->flow.family, e->app.mtu, &opened);
		e->open = true;
		check_end(e);
		deliver_connection(e, seg);
		break;
	case LRP_TCP_LISTEN_DROP:
		break;
	}
}

static void deliver(struct sim_end *e, struct lrp_tcp_segment *seg)
{
	struct lrp_tcp_tx tx;
	uint32_t iss = 0;

	if (e->open && !e->closed && e->c.state != LRP_TCP_CLOSED) {
		deliver_connection(e, seg);
		return;
	}
	if (lrp_tcp_segment_check(seg)) {
		e->corrupted++;
		return;
	}
	switch (lrp_tcp_timewait_input(&e->timewaits, e->sim->now, &e->flow, seg, &tx, &iss)) {
	case LRP_TCP_TIMEWAIT_REPLY:
		reply(e, &tx);
		return;
	case LRP_TCP_TIMEWAIT_DROP:
		return;
	case LRP_TCP_TIMEWAIT_REUSE:
	case LRP_TCP_TIMEWAIT_NONE:
		break;
	}
	if (e->passive && !e->open)
		deliver_listener(e, seg, iss);
	else if (lrp_tcp_reset_for(seg, &tx))
		reply(e, &tx);
}

static void arrive(struct sim *s, const struct sim_event *ev)
{
	struct sim_end *e = ev->to;
	struct lrp_packet p = {.frame = ev->frame, .frame_len = ev->len};
	struct lrp_tcp_segment seg;
	uint32_t seq;

	if (ev->mtu) {
		lrp_tcp_too_big(&e->c, s->now, ev->seq, ev->mtu);
		check_end(e);
		return;
	}
	if (lrp_ip_input(&p) || p.proto != IPPROTO_TCP || p.fragment ||
	    lrp_tcp_segment_read(&p, ev->frame + p.l4_offset, false, &seg)) {
		e->corrupted++;
		return;
	}
	if (p.sport != e->flow.rport || p.dport != e->flow.lport) {
		/* the one bit of an IPv6 header that no checksum covers may send it astray */
		e->corrupted++;
		return;
	}
	memcpy(&seq, ev->frame + p.l4_offset + 4, 4);
	if (ntohl(seq) != seg.seq)
		sim_fail(s, "the parser's sequence number is wrong");
	deliver(e, &seg);
}

/* ---- time --------------------------------------------------------------------------------- */

static int64_t end_deadline(const struct sim_end *e)
{
	int64_t at = LRP_TCP_NEVER;

	if (e->start_ns < at)
		at = e->start_ns;
	if (e->passive && lrp_tcp_listen_deadline(&e->listener) < at)
		at = lrp_tcp_listen_deadline(&e->listener);
	if (!e->open || e->closed)
		return at;
	if (lrp_tcp_deadline(&e->c) < at)
		at = lrp_tcp_deadline(&e->c);
	if (e->read_ns && e->read_ns < at)
		at = e->read_ns;
	return at;
}

static void end_timer(struct sim_end *e)
{
	struct sim *s = e->sim;
	struct lrp_tcp_flow f;
	struct lrp_tcp_tx tx;

	if (e->start_ns <= s->now) {
		e->start_ns = LRP_TCP_NEVER;
		e->open = true;
		lrp_tcp_connect(&e->c, s->now, e->flow.family, e->app.mtu,
				(uint32_t)sim_random(s) | 0xfffc0000, (uint32_t)sim_random(s));
	}
	while (e->passive && lrp_tcp_listen_timer(&e->listener, s->now, &f, &tx))
		reply(e, &tx);
	if (e->open && !e->closed)
		lrp_tcp_timer(&e->c, s->now);
	check_end(e);
}

static void touch(struct sim_end *e)
{
	act(e);
	if (e->open && !e->closed)
		output(e);
}

/* The next event. False: nothing will happen before `until`. */
static bool step(struct sim *s, int64_t until)
{
	int64_t at = s->events ? s->event[0].at_ns : LRP_TCP_NEVER;
	struct sim_end *next = NULL;

	for (uint32_t i = 0; i < s->ends; i++) {
		int64_t d = end_deadline(&s->end[i]);

		if (d < at) {
			at = d;
			next = &s->end[i];
		}
	}
	if (at > until || at == LRP_TCP_NEVER)
		return false;
	if (at > s->now)
		s->now = at;
	if (next) {
		end_timer(next);
		touch(next);
		if (end_deadline(next) <= at)
			sim_fail(s, "the deadline of the %s stays in the past",
				 next->passive ? "server" : "client");
	} else {
		struct sim_event ev = pop(s);

		arrive(s, &ev);
		free(ev.frame);
		touch(ev.to);
	}
	return true;
}

void sim_run(struct sim *s, int64_t until_ns)
{
	while (step(s, SIM_T0 + until_ns))
		;
	s->now = SIM_T0 + until_ns;
}

static bool done(const struct sim_end *e)
{
	if (e->written != e->app.send || e->read != e->peer->app.send || !e->eof)
		return false;
	return !e->app.ends || e->closed || e->c.state == LRP_TCP_CLOSED;
}

static bool all_done(const struct sim *s)
{
	for (uint32_t i = 0; i < s->ends; i++)
		if (!done(&s->end[i]))
			return false;
	return true;
}

static void describe(uint32_t i, const struct sim_end *e)
{
	const struct lrp_tcp *c = &e->c;

	fprintf(stderr,
		"end %u: state %u%s, wrote %" PRIu64 " of %" PRIu64 ", read %" PRIu64 " of %" PRIu64
		"%s, unread %u, una %u nxt %u wnd %u cwnd %u flight %u, deadline %.6f, next read "
		"%.6f\n",
		i, c->state, e->closed ? " (left)" : "", e->written, e->app.send, e->read,
		e->peer->app.send, e->eof ? " (end)" : "", c->rcv_nxt - c->rcv_read,
		c->snd_una - c->iss, c->snd_nxt - c->iss, c->snd_wnd, c->cc.cwnd,
		lrp_tcp_recovery_in_flight(&c->recovery),
		(double)(lrp_tcp_deadline(c) - SIM_T0) / SECOND,
		(double)(e->read_ns - SIM_T0) / SECOND);
}

int64_t sim_finish(struct sim *s, int64_t limit_ns)
{
	while (!all_done(s)) {
		if (step(s, SIM_T0 + limit_ns))
			continue;
		for (uint32_t i = 0; i < s->ends; i++) {
			const struct sim_end *e = &s->end[i];

			describe(i, e);
		}
		sim_fail(s, "not finished after %.1f s", (double)limit_ns / SECOND);
	}
	return s->now - SIM_T0;
}
