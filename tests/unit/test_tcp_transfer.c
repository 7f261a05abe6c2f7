/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Two ends, a wire between them that loses and reorders, a pattern that must arrive. Invariants
 * after each call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "packets.h"
#include "runtime/tcp/tcp.h"

#define MS     1000000ll
#define BUFFER (64u << 10)
#define RUNS   512
#define WIRE   4096
#define LONG   70000

struct end {
	struct lrp_tcp c;
	uint8_t snd[BUFFER], rcv[BUFFER];
	struct lrp_tcp_sent_run run[RUNS];
	uint64_t written, read, to_write;
};

struct flying {
	int64_t at;
	uint64_t order; /* of what arrives at the same time */
	struct lrp_tcp_segment s;
	uint8_t bytes[1500];
	int to; /* -1: free */
};

static struct end end[2];
static struct flying wire[WIRE];
static struct lrp_tcp_flow flow[2];
static int64_t now;
static uint32_t loss, jitter_ms, delay_ms; /* loss in 1/1000 */
static uint64_t lost, sent;
static bool direct; /* receive into the reader's own memory */

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 9));
}

/* One segment of a run: built and parsed again. */
static void fly(int from, const struct lrp_tcp_tx *tx, uint32_t offset, uint32_t len)
{
	static uint8_t l4[LONG] __attribute__((aligned(4)));
	struct lrp_packet p = {.family = AF_INET, .proto = IPPROTO_TCP, .tos = tx->ecn};
	struct flying *f = wire;
	uint32_t header, first = (uint32_t)tx->payload[0].iov_len;

	if (rnd_below(1000) < loss) {
		lost++;
		return;
	}
	while (f->to >= 0) {
		f++;
		assert_true(f < wire + WIRE);
	}
	header = lrp_tcp_build(l4, &flow[from], tx, offset, len, LRP_TCP_CHECKSUM_FULL);
	for (uint32_t i = 0; i < len; i++)
		l4[header + i] = offset + i < first
					 ? ((uint8_t *)tx->payload[0].iov_base)[offset + i]
					 : ((uint8_t *)tx->payload[1].iov_base)[offset + i - first];
	p.src = flow[from].laddr;
	p.dst = flow[from].raddr;
	p.l4_len = header + len;
	assert_int_equal(lrp_tcp_segment_parse(&p, l4, false, &f->s), 0);
	assert_true(len <= sizeof(f->bytes));
	memcpy(f->bytes, f->s.payload, len);
	f->s.payload = f->bytes;
	f->at = now + (delay_ms + (jitter_ms ? rnd_below(jitter_ms) : 0)) * MS;
	f->order = sent++;
	f->to = !from;
}

static void check(int i)
{
	const char *wrong = lrp_tcp_check(&end[i].c);

	if (wrong)
		print_error("end %d: %s\n", i, wrong);
	assert_null(wrong);
}

static void send_all(int i)
{
	struct lrp_tcp_tx tx;

	while (lrp_tcp_output(&end[i].c, now, 65536, &tx)) {
		uint32_t at = 0;

		assert_true(tx.payload_len <= 65536);
		lrp_tcp_sent(&end[i].c, now, &tx);
		check(i);
		do {
			uint32_t len = tx.payload_len - at < tx.mss ? tx.payload_len - at : tx.mss;

			fly(i, &tx, at, len);
			at += len;
		} while (at < tx.payload_len);
	}
}

static void took(struct end *e, const uint8_t *from, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(from[i], pattern(e->read + i));
	e->read += len;
}

static void application(int i)
{
	static uint8_t bytes[BUFFER];
	struct end *e = &end[i];
	struct iovec iov = {bytes, 0};
	ssize_t n;

	while (e->written < e->to_write) {
		iov.iov_len = e->to_write - e->written < BUFFER ? e->to_write - e->written
								: 1 + rnd_below(BUFFER);
		for (uint32_t k = 0; k < iov.iov_len; k++)
			bytes[k] = pattern(e->written + k);
		n = lrp_tcp_write(&e->c, now, &iov, 1, 0);
		if (n < 0)
			break;
		e->written += (uint64_t)n;
	}
	if (e->to_write && e->written == e->to_write && !e->c.shut_write)
		lrp_tcp_shutdown(&e->c, now, false, true);
	iov.iov_len = BUFFER;
	while ((n = lrp_tcp_read(&e->c, now, &iov, 1, 0)) > 0)
		took(e, bytes, (uint32_t)n);
	check(i);
}

static void arrive(struct flying *f)
{
	static uint8_t bytes[3000];
	struct end *e = &end[f->to];
	struct iovec iov[2] = {{bytes, 700}, {bytes + 700, 800}};
	struct lrp_tcp_into into = {iov, 2, 0};
	int to = f->to;

	f->to = -1;
	lrp_tcp_input(&e->c, now, &f->s, direct ? &into : NULL);
	took(e, bytes, into.done);
	check(to);
}

/* The next thing that happens; false: nothing will. */
static bool step(void)
{
	struct flying *next = NULL;
	int64_t at = LRP_TCP_NEVER;

	for (int i = 0; i < 2; i++) {
		application(i);
		send_all(i);
	}
	for (struct flying *f = wire; f < wire + WIRE; f++)
		if (f->to >= 0 && (f->at < at || (next && f->at == at && f->order < next->order))) {
			at = f->at;
			next = f;
		}
	for (int i = 0; i < 2; i++)
		if (lrp_tcp_deadline(&end[i].c) < at) {
			at = lrp_tcp_deadline(&end[i].c);
			next = NULL;
		}
	if (at == LRP_TCP_NEVER)
		return false;
	now = at > now ? at : now;
	if (next) {
		arrive(next);
	} else {
		for (int i = 0; i < 2; i++) {
			lrp_tcp_timer(&end[i].c, now);
			check(i);
		}
	}
	return true;
}

static void open_both(const struct lrp_tcp_options *o)
{
	for (struct flying *f = wire; f < wire + WIRE; f++)
		f->to = -1;
	now = 1000 * MS;
	lost = 0;
	for (int i = 0; i < 2; i++) {
		struct lrp_tcp_memory m = {
			{end[i].snd, BUFFER}, {end[i].rcv, BUFFER}, end[i].run, RUNS};

		end[i].written = end[i].read = end[i].to_write = 0;
		flow[i] = (struct lrp_tcp_flow){.family = AF_INET,
						.lport = htons((uint16_t)(1 + i)),
						.rport = htons((uint16_t)(2 - i))};
		memcpy(&flow[i].laddr, addr4[i], 4);
		memcpy(&flow[i].raddr, addr4[!i], 4);
		lrp_tcp_init(&end[i].c, o, &m);
		/* Both at once: no listener is needed. */
		lrp_tcp_connect(&end[i].c, now, AF_INET, 1500, 0xffff0000u + rnd(), rnd());
	}
}

static void transfer(const struct lrp_tcp_options *o, uint64_t there, uint64_t back)
{
	uint64_t steps = 0;

	open_both(o);
	end[0].to_write = there;
	end[1].to_write = back;
	while (step())
		assert_true(steps++ < 400000);
	assert_int_equal(end[1].read, there);
	assert_int_equal(end[0].read, back);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(end[i].c.state, LRP_TCP_CLOSED);
		assert_int_equal(end[i].c.error, 0);
	}
}

static void every_option(uint64_t bytes)
{
	for (int form = 0; form < 16; form++) {
		struct lrp_tcp_options o;

		lrp_tcp_options_default(&o);
		o.sack = form & 1;
		o.timestamps = form & 2;
		o.ecn = form & 4;
		o.wscale = form & 8;
		direct = form & 1;
		o.cc = form & 2 ? &lrp_tcp_cubic : &lrp_tcp_newreno;
		transfer(&o, bytes, form & 1 ? bytes : 1);
	}
}

static void clean(void **state)
{
	(void)state;
	loss = jitter_ms = 0;
	delay_ms = 5;
	every_option(1000000);
}

static void lossy(void **state)
{
	(void)state;
	loss = 20;
	jitter_ms = 0;
	delay_ms = 2;
	every_option(500000);
	assert_true(lost > 0);
	loss = 200;
	every_option(50000);
}

static void reordered(void **state)
{
	(void)state;
	loss = 5;
	delay_ms = 5;
	jitter_ms = 8;
	every_option(500000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(clean), cmocka_unit_test(lossy),
					   cmocka_unit_test(reordered)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
