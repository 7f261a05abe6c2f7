/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * segment_cost - what a segment costs that a stranger may send, in cycles of the time
 * stamp counter: from the frame (IP and TCP input with checksums) to the headers of what
 * is sent in answer.
 *
 * Each kind is measured after the history that makes it dearest, one segment at a time; what is
 * done between segments (the application reads, data is sent again) is not counted. The last
 * column compares with the dearer of the two ordinary segments: data in order, and an
 * acknowledgement for two segments.
 *
 *   segment_cost [SEGMENTS]        how many of each kind; 20,000
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/ip/ip_input.h"
#include "runtime/tcp/isn.h"
#include "runtime/tcp/listen.h"
#include "runtime/tcp/tcp.h"
#include "runtime/tcp/timewait.h"

#define MSS    1448u
#define BUFFER (4u << 20)
#define RUNS   16384u
#define SLOTS  4096u
#define ISS    0xfff00000u
#define IRS    0xffe00000u
#define MS     1000000ll
#define SECOND 1000000000ll

static struct lrp_tcp c;
static struct lrp_tcp_sent_run *run;
static struct lrp_tcp_half half[SLOTS];
static struct lrp_tcp_timewait slot[SLOTS];
static struct lrp_tcp_listener listener;
static struct lrp_tcp_timewaits waits;
static uint8_t *snd, *rcv, bytes[65536];
static int64_t now;
static uint32_t turn;
static uint64_t *cycles, overhead;
static struct lrp_tcp_segment s;
static struct lrp_tcp_flow flow, theirs = {.family = AF_INET, .lport = 1, .rport = 2};
static uint8_t frame[2048] __attribute__((aligned(64)));

/* ---- the clock --------------------------------------------------------------- */

static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
#else
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint32_t rnd(uint32_t below)
{
	static uint64_t x = 0x1d872b41f5c3ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (uint32_t)(x >> 16) % below;
}

/* ---- a connection -------------------------------------------------------------- */

static void send_all(void)
{
	struct lrp_tcp_tx tx;

	while (lrp_tcp_output(&c, now, 44 * MSS, &tx))
		lrp_tcp_sent(&c, now, &tx);
}

static void opened(void)
{
	struct lrp_tcp_memory m = {{snd, BUFFER}, {rcv, BUFFER}, run, RUNS};
	struct lrp_tcp_opened o = {.iss = ISS,
				   .irs = IRS,
				   .peer_mss = 1460,
				   .snd_wscale = 7,
				   .rcv_wscale = 7,
				   .wscale = true,
				   .timestamps = true,
				   .sack = true,
				   .window = 65535,
				   .rcv_window = 65535,
				   .rtt_ns = 20 * MS};
	struct lrp_tcp_options opt;

	lrp_tcp_options_default(&opt);
	opt.nodelay = true;
	now += 100 * SECOND;
	o.ts_recent = (uint32_t)(now / MS) - 1000;
	lrp_tcp_init(&c, &opt, &m);
	lrp_tcp_accept(&c, now, AF_INET, 1500, &o);
	c.snd_wnd = c.max_wnd = BUFFER;
	c.cc.cwnd = BUFFER;
	turn = 0;
}

static void segment(uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	s = (struct lrp_tcp_segment){.seq = seq,
				     .ack = ack,
				     .len = len,
				     .payload = bytes,
				     .flags = flags,
				     .window = BUFFER >> 7,
				     .options = LRP_TCP_HAS_TIMESTAMP,
				     .ts_val = (uint32_t)(now / MS),
				     .ts_ecr = (uint32_t)(now / MS) - 20};
}

/* `s` as it comes from the wire. */
static uint32_t compose(void)
{
	static const uint8_t ip[] = {0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, IPPROTO_TCP};
	struct lrp_tcp_tx tx = {.seq = s.seq,
				.ack = s.ack,
				.payload_len = s.len,
				.payload = {{bytes, s.len}},
				.window = s.window,
				.urgent = s.urgent,
				.mss = MSS,
				.flags = s.flags};
	uint8_t *l3 = frame + 14, *header = l3 + 20;
	uint32_t len;
	uint16_t sum;

	if (s.options & LRP_TCP_HAS_TIMESTAMP)
		tx.options_len = (uint8_t)lrp_tcp_put_timestamp(tx.options, s.ts_val, s.ts_ecr);
	if (s.sacks)
		tx.options_len +=
			(uint8_t)lrp_tcp_put_sacks(tx.options + tx.options_len, s.sack, s.sacks);
	len = 20 + lrp_tcp_build(header, &theirs, &tx, 0, s.len, LRP_TCP_CHECKSUM_FULL);
	memcpy(l3 + len, bytes, s.len);
	len += s.len;
	frame[12] = 0x08;
	frame[13] = 0;
	memcpy(l3, ip, sizeof(ip));
	l3[2] = (uint8_t)(len >> 8);
	l3[3] = (uint8_t)len;
	l3[10] = l3[11] = 0;
	memcpy(l3 + 12, &theirs.laddr, 4);
	memcpy(l3 + 16, &theirs.raddr, 4);
	sum = (uint16_t)~lrp_checksum_fold(lrp_checksum_sum(l3, 20));
	memcpy(l3 + 10, &sum, sizeof(sum));
	return 14 + len;
}

static void take(uint32_t len)
{
	struct lrp_packet p = {.frame = frame, .frame_len = len};

	if (lrp_ip_input(&p) || lrp_tcp_segment_read(&p, frame + p.l4_offset, true, &s)) {
		fprintf(stderr, "segment_cost: a frame of ours is no segment\n");
		exit(1);
	}
}

static void answer(const struct lrp_tcp_tx *tx)
{
	static uint8_t header[LRP_TCP_HEADER_MAX] __attribute__((aligned(4)));

	lrp_tcp_build(header, &theirs, tx, 0, tx->payload_len, LRP_TCP_CHECKSUM_PARTIAL);
}

/* `s` arrives, and is answered. */
static uint64_t arrive(void)
{
	uint32_t len = compose();
	uint64_t start = ticks();
	struct lrp_tcp_tx tx;

	take(len);
	lrp_tcp_input(&c, now, &s, NULL);
	while (lrp_tcp_output(&c, now, 44 * MSS, &tx)) {
		answer(&tx);
		lrp_tcp_sent(&c, now, &tx);
	}
	return ticks() - start;
}

static void read_all(void)
{
	struct iovec iov = {bytes, sizeof(bytes)};

	while (lrp_tcp_read(&c, now, &iov, 1, LRP_TCP_TRUNC) > 0)
		;
	send_all();
}

/* ---- ordinary ------------------------------------------------------------------- */

static uint64_t data(void)
{
	uint64_t cost;

	now += 10000;
	segment(LRP_TCP_ACK, c.rcv_nxt, c.snd_nxt, MSS);
	cost = arrive();
	if (turn++ % 16 == 15)
		read_all();
	return cost;
}

static void write_more(uint32_t segments)
{
	struct iovec iov = {bytes, MSS};

	while (segments--) {
		now += 1000;
		lrp_tcp_write(&c, now, &iov, 1, 0);
		send_all();
	}
}

static uint64_t ack(void)
{
	uint64_t cost;

	if (!turn++)
		write_more(64);
	c.cc.cwnd = BUFFER;
	now += 20000;
	segment(LRP_TCP_ACK, c.rcv_nxt, c.snd_una + 2 * MSS, 0);
	cost = arrive();
	write_more(2);
	return cost;
}

/* ---- acknowledgements ------------------------------------------------------------ */

/* 2,800 segments are out; the peer may sack what it likes. */
static void fill_window(bool single)
{
	struct iovec iov = {bytes, 40 * MSS};

	opened();
	for (int i = 0; i < 70; i++) {
		if (single) {
			write_more(40);
			continue;
		}
		now += 1000;
		lrp_tcp_write(&c, now, &iov, 1, 0);
		send_all();
	}
	turn = 1;
}

static uint64_t blocks(bool single, uint32_t len, uint32_t step)
{
	if (!turn || c.snd_nxt == c.snd_una || turn > 600)
		fill_window(single);
	turn++;
	now += 20000;
	c.cc.cwnd = MSS; /* nothing is sent again: it would be what is measured */
	segment(LRP_TCP_ACK, c.rcv_nxt, c.snd_una, 0);
	for (s.sacks = 0; s.sacks < 3; s.sacks++) {
		uint32_t at = c.snd_una + (1 + rnd(1390)) * step;

		s.sack[s.sacks] = (struct lrp_tcp_sack){at + (len == 1), at + (len == 1) + len};
	}
	return arrive();
}

/* Without timestamps a fourth block fits. */
static uint64_t sack_four(void)
{
	if (!turn || turn > 600)
		fill_window(false);
	turn++;
	c.timestamps = c.recovery.timestamps = false;
	now += 20000;
	c.cc.cwnd = MSS;
	segment(LRP_TCP_ACK, c.rcv_nxt, c.snd_una, 0);
	s.options = 0;
	for (s.sacks = 0; s.sacks < 4; s.sacks++) {
		uint32_t at = c.snd_una + (1 + rnd(1390)) * 2 * MSS;

		s.sack[s.sacks] = (struct lrp_tcp_sack){at, at + MSS};
	}
	return arrive();
}

static uint64_t sack_bytes(void)
{
	return blocks(false, 1, 2 * MSS);
}

static uint64_t sack_runs(void)
{
	return blocks(false, MSS, 2 * MSS);
}

static uint64_t sack_singles(void)
{
	return blocks(true, MSS, 2 * MSS);
}

/* Below SND.UNA, with blocks. */
static uint64_t sack_late(void)
{
	if (!turn || turn > 600) {
		fill_window(false);
		segment(LRP_TCP_ACK, c.rcv_nxt, c.snd_una + MSS, 0);
		arrive();
	}
	turn++;
	now += 20000;
	c.cc.cwnd = MSS;
	segment(LRP_TCP_ACK, c.rcv_nxt, c.snd_una - MSS, 0);
	for (s.sacks = 0; s.sacks < 3; s.sacks++) {
		uint32_t at = c.snd_una + (1 + rnd(1390)) * 2 * MSS;

		s.sack[s.sacks] = (struct lrp_tcp_sack){at, at + MSS};
	}
	return arrive();
}

static uint64_t never_sent(void)
{
	now += SECOND; /* each is challenged */
	segment(LRP_TCP_ACK, c.rcv_nxt, c.snd_nxt + 1000, 0);
	return arrive();
}

/* ---- data ------------------------------------------------------------------------- */

/* Between `ranges` ranges of `len` bytes there is a hole of `len` bytes each. */
static void ranges(uint32_t n, uint32_t len)
{
	opened();
	read_all();
	for (uint32_t i = 0; i < n; i++) {
		segment(LRP_TCP_ACK, IRS + 1 + (2 * i + 1) * len, c.snd_nxt, len);
		arrive();
	}
}

/* Apart from all others, while as many as possible are there. */
static uint64_t apart(uint32_t len)
{
	ranges(LRP_TCP_RANGES_MAX - 1, len);
	now += 10000;
	segment(LRP_TCP_ACK, IRS + 1 + (2 * LRP_TCP_RANGES_MAX + 5) * len, c.snd_nxt, len);
	return arrive();
}

/* Fills a hole between two. */
static uint64_t between(uint32_t len)
{
	ranges(LRP_TCP_RANGES_MAX, len);
	now += 10000;
	segment(LRP_TCP_ACK, IRS + 1 + (2 * rnd(31) + 2) * len, c.snd_nxt, len);
	return arrive();
}

static uint64_t apart_full(void)
{
	return apart(MSS);
}

static uint64_t apart_tiny(void)
{
	return apart(1);
}

static uint64_t between_full(void)
{
	return between(MSS);
}

static uint64_t between_tiny(void)
{
	return between(1);
}

/* Covers all ranges: out of order, and in order. */
static uint64_t cover(void)
{
	ranges(LRP_TCP_RANGES_MAX, 1);
	segment(LRP_TCP_ACK, IRS + 2, c.snd_nxt, MSS);
	return arrive();
}

static uint64_t cover_all(void)
{
	ranges(LRP_TCP_RANGES_MAX, 1);
	segment(LRP_TCP_ACK, IRS + 1, c.snd_nxt, MSS);
	return arrive();
}

static uint64_t too_many(void)
{
	ranges(LRP_TCP_RANGES_MAX, 1);
	segment(LRP_TCP_ACK, IRS + 1 + 1000, c.snd_nxt, 1);
	return arrive();
}

static uint64_t tiny(void)
{
	uint64_t cost;

	now += 10000;
	segment(LRP_TCP_ACK, c.rcv_nxt, c.snd_nxt, 1);
	cost = arrive();
	if (turn++ % 16 == 15)
		read_all();
	return cost;
}

static uint64_t duplicate(void)
{
	if (!turn++)
		data();
	now += 10000;
	segment(LRP_TCP_ACK, c.rcv_nxt - MSS, c.snd_nxt, MSS);
	return arrive();
}

static uint64_t beyond(void)
{
	now += SECOND;
	segment(LRP_TCP_ACK, c.rcv_adv + 1000, c.snd_nxt, MSS);
	return arrive();
}

static uint64_t urgent(void)
{
	uint64_t cost;

	now += 10000;
	segment(LRP_TCP_ACK | LRP_TCP_URG, c.rcv_nxt, c.snd_nxt, MSS);
	s.urgent = (uint16_t)(1 + rnd(MSS));
	cost = arrive();
	if (turn++ % 16 == 15)
		read_all();
	return cost;
}

static uint64_t early_fin(void)
{
	ranges(LRP_TCP_RANGES_MAX - 1, MSS);
	segment(LRP_TCP_ACK | LRP_TCP_FIN, IRS + 1 + 200 * MSS, c.snd_nxt, 0);
	return arrive();
}

/* ---- what is challenged, or ends -------------------------------------------------------- */

static uint64_t syn_in_window(void)
{
	now += SECOND;
	segment(LRP_TCP_SYN, c.rcv_nxt + 10, 0, 0);
	return arrive();
}

static uint64_t rst_in_window(void)
{
	now += SECOND;
	segment(LRP_TCP_RST, c.rcv_nxt + 10, 0, 0);
	return arrive();
}

static uint64_t rst_outside(void)
{
	segment(LRP_TCP_RST, c.rcv_adv + 100000, 0, 0);
	return arrive();
}

static uint64_t closed(void)
{
	if (!turn++)
		lrp_tcp_abort(&c, now);
	segment(LRP_TCP_ACK, c.rcv_nxt, c.snd_nxt, MSS);
	return arrive();
}

/* ---- before a connection, and after it ---------------------------------------------------- */

static void flow_of(uint32_t n)
{
	memset(&flow, 0, sizeof(flow));
	flow.family = AF_INET;
	flow.lport = 80;
	flow.rport = (uint16_t)n;
	memcpy(&flow.raddr, &n, sizeof(n));
}

static uint64_t at_listener(void)
{
	struct lrp_tcp_opened o;
	struct lrp_tcp_tx reply;
	uint32_t len = compose();
	uint64_t start = ticks();

	take(len);
	if (lrp_tcp_listen_input(&listener, now, &flow, &s, 0, &reply, &o) == LRP_TCP_LISTEN_REPLY)
		answer(&reply);
	return ticks() - start;
}

static void listening(uint32_t entries)
{
	struct lrp_tcp_options opt;
	uint8_t secret[32];

	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)rnd(256);
	lrp_tcp_options_default(&opt);
	memset(half, 0, sizeof(half));
	lrp_tcp_listen_init(&listener, &opt, half, SLOTS, SLOTS / 4 * 3, secret);
	for (uint32_t i = 0; i < entries; i++) {
		flow_of(i);
		segment(LRP_TCP_SYN, i, 0, 0);
		at_listener();
	}
}

static uint64_t syn_to_full(void)
{
	if (!turn++)
		listening(SLOTS);
	now += 10000;
	flow_of(SLOTS + turn);
	segment(LRP_TCP_SYN, turn, 0, 0);
	return at_listener();
}

static uint64_t syn_new(void)
{
	if (turn++ % 1000 == 0)
		listening(SLOTS / 4 * 3 - 1000);
	now += 10000;
	flow_of(SLOTS + turn);
	segment(LRP_TCP_SYN, turn, 0, 0);
	return at_listener();
}

static uint64_t ack_of_no_cookie(void)
{
	if (!turn++)
		listening(SLOTS);
	now += 10000;
	flow_of(SLOTS + turn);
	segment(LRP_TCP_ACK, turn, turn * 7, 0);
	return at_listener();
}

static uint64_t at_timewait(void)
{
	struct lrp_tcp_tx reply;
	uint32_t len = compose(), iss;
	uint64_t start = ticks();

	take(len);
	if (lrp_tcp_timewait_input(&waits, now, &flow, &s, &reply, &iss) == LRP_TCP_TIMEWAIT_REPLY)
		answer(&reply);
	return ticks() - start;
}

/* The table is full; each answer is due. */
static void waiting(void)
{
	uint64_t key[2] = {rnd(1u << 31), rnd(1u << 31)};

	if (turn++)
		return;
	memset(slot, 0, sizeof(slot));
	lrp_tcp_timewait_init(&waits, slot, SLOTS, key);
	for (uint32_t i = 0; i < SLOTS / 4 * 3; i++) {
		flow_of(i);
		lrp_tcp_timewait_add(&waits, now, &flow, &c);
	}
}

static uint64_t wait_ack(void)
{
	waiting();
	now += 100000;
	flow_of(rnd(SLOTS / 4 * 3));
	segment(LRP_TCP_ACK, c.rcv_nxt, c.snd_nxt + 5, 0);
	return at_timewait();
}

static uint64_t wait_fin(void)
{
	waiting();
	now += 100000;
	flow_of(rnd(SLOTS / 4 * 3));
	segment(LRP_TCP_ACK | LRP_TCP_FIN, c.rcv_nxt - 1, c.snd_nxt, 0);
	return at_timewait();
}

static uint64_t wait_syn(void)
{
	waiting();
	now += 100000;
	flow_of(rnd(SLOTS / 4 * 3));
	segment(LRP_TCP_SYN, c.rcv_nxt - 100, 0, 0);
	s.options = 0;
	return at_timewait();
}

/* ---- the table ---------------------------------------------------------------------------- */

static const struct {
	const char *name;
	uint64_t (*one)(void);
	uint32_t part; /* so many times fewer: each makes its own history */
} kind[] = {
	{"data in order, 1,448 bytes", data, 1},
	{"acknowledgement of two segments", ack, 1},
	{"SACK: three blocks of one byte, 2,800 segments out", sack_bytes, 1},
	{"SACK: three segments of long runs", sack_runs, 1},
	{"SACK: three segments, each sent by itself", sack_singles, 1},
	{"SACK: four segments of long runs, no timestamps", sack_four, 1},
	{"SACK below SND.UNA", sack_late, 1},
	{"acknowledgement of what was never sent (challenge)", never_sent, 1},
	{"out of order, 31 ranges are there", apart_full, 10},
	{"between two of 32 ranges", between_full, 10},
	{"one byte, in order", tiny, 1},
	{"one byte, out of order, 31 ranges are there", apart_tiny, 10},
	{"one byte, between two of 32 ranges", between_tiny, 10},
	{"one byte more than there are ranges for", too_many, 10},
	{"covers 32 ranges, out of order", cover, 10},
	{"covers 32 ranges, in order", cover_all, 10},
	{"FIN out of order, 31 ranges are there", early_fin, 10},
	{"duplicate of 1,448 bytes (D-SACK)", duplicate, 1},
	{"data beyond the window (challenge)", beyond, 1},
	{"urgent pointer in each segment", urgent, 1},
	{"SYN in the window (challenge)", syn_in_window, 1},
	{"RST in the window, not exact (challenge)", rst_in_window, 1},
	{"RST out of the window", rst_outside, 1},
	{"data for a connection that has ended (RST)", closed, 1},
	{"SYN, the table of half-open connections is nearly full", syn_new, 1},
	{"SYN, that table is full (cookie)", syn_to_full, 1},
	{"ACK to a listener that is no cookie's (RST)", ack_of_no_cookie, 1},
	{"ACK to TIME_WAIT, that table is full", wait_ack, 1},
	{"FIN to TIME_WAIT", wait_fin, 1},
	{"old SYN to TIME_WAIT", wait_syn, 1},
};

#define KINDS  (sizeof(kind) / sizeof(kind[0]))
#define ROUNDS 9

/* The least median of all rounds: other programs on the machine make them only larger. */
static uint64_t least[KINDS], most[KINDS];

static void measure(size_t k, uint64_t n)
{
	opened();
	for (uint64_t i = 0; i < n; i++) {
		uint64_t cost = kind[k].one();

		cycles[i] = cost > overhead ? cost - overhead : 0;
	}
	qsort(cycles, n, sizeof(cycles[0]), compare);
	if (!least[k] || cycles[n / 2] < least[k]) {
		least[k] = cycles[n / 2];
		most[k] = cycles[n * 99 / 100];
	}
}

int main(int argc, char **argv)
{
	uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 0) : 20000, ordinary;

	if (n < 1000 || n > 10000000) {
		fprintf(stderr, "usage: segment_cost [SEGMENTS]   (1,000 to 10,000,000)\n");
		return 2;
	}
	snd = calloc(1, BUFFER);
	rcv = calloc(1, BUFFER);
	run = calloc(RUNS, sizeof(*run));
	cycles = calloc(n, sizeof(*cycles));
	if (!snd || !rcv || !run || !cycles)
		return 1;
	overhead = UINT64_MAX;
	for (int i = 0; i < 1000; i++) {
		uint64_t start = ticks(), cost = ticks() - start;

		overhead = cost < overhead ? cost : overhead;
	}
	now = SECOND;
	for (int round = 0; round < ROUNDS; round++)
		for (size_t k = 0; k < KINDS; k++)
			measure(k, n / kind[k].part);
	ordinary = least[0] > least[1] ? least[0] : least[1];
	printf("%-58s %8s %8s %8s\n", "cycles a segment", "median", "99 %", "ratio");
	for (size_t k = 0; k < KINDS; k++)
		printf("%-58s %8lu %8lu %8.2f\n", kind[k].name, (unsigned long)least[k],
		       (unsigned long)most[k], (double)least[k] / (double)ordinary);
	return 0;
}
