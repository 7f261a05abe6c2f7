/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tcp_model.h - a sender that is nothing but loss recovery and congestion
 * control, a network that loses, delays, reorders and duplicates, and a receiver
 * with SACK, D-SACK, timestamps and delayed acknowledgements; in virtual time. After each
 * step the invariants of recovery are checked.
 *
 *   sender ── rate, queue ── delay, jitter, loss ──► receiver
 *          ◄───────── delay, jitter, loss of ACKs ──
 */
#ifndef LRP_TEST_TCP_MODEL_H
#define LRP_TEST_TCP_MODEL_H

#include "packets.h"
#include "runtime/tcp/recovery.h"
#include "runtime/tcp/seq.h"

#define MODEL_MSS    1448u
#define MODEL_EVENTS 16384u
#define MODEL_RANGES 512u
#define MODEL_MS     1000000ll

struct model_config {
	uint32_t loss, ack_loss, reorder, duplicate; /* of 10,000 */
	int64_t delay_ns;			     /* one way */
	int64_t reorder_ns;			     /* how much later those come */
	int64_t ns_per_segment;			     /* bottleneck; 0: none */
	uint32_t queue;				     /* segments it holds */
	uint32_t window;			     /* the peer's; 0: 4 MB */
	uint32_t runs;				     /* records */
	uint32_t burst;				     /* segments in one run, at most; 0: 1 */
	uint32_t isn;
	uint64_t bytes; /* to be sent */
	bool no_sack, no_timestamps, no_dsack;
	bool bursty_app; /* writes now and then, odd sizes */
	bool quick;	 /* every segment is acknowledged at once */
	uint32_t renege; /* of 10,000 ACKs: throws away what it sacked */
	const struct lrp_tcp_cc_ops *cc;
};

enum model_kind { MODEL_DATA, MODEL_ACK, MODEL_DELACK };

struct model_event {
	int64_t at_ns;
	uint64_t order;
	uint32_t seq, len, ts;
	struct lrp_tcp_segment ack;
	enum model_kind kind;
};

struct model {
	struct model_config c;
	int64_t now;
	/* network */
	struct model_event *event; /* a heap */
	uint32_t events;
	uint64_t order;
	int64_t free_ns; /* when the bottleneck is idle */
	uint64_t lost, carried;
	/* sender */
	struct lrp_tcp_recovery r;
	struct lrp_tcp_cc cc;
	struct lrp_tcp_sent_run *run;
	uint32_t end; /* of what the application has written */
	uint64_t written;
	int64_t write_ns;
	bool probe;
	/* receiver */
	uint32_t rcv_nxt, ts_recent;
	struct lrp_tcp_sack range[MODEL_RANGES]; /* sorted */
	struct lrp_tcp_sack latest[LRP_TCP_SACKS_MAX];
	uint32_t ranges, unacked;
	bool delack;
	uint64_t received;
	/* what happened */
	uint64_t steps, timeouts;
};

static bool model_before(const struct model_event *x, const struct model_event *y)
{
	return x->at_ns < y->at_ns || (x->at_ns == y->at_ns && x->order < y->order);
}

static void model_push(struct model *m, struct model_event e)
{
	uint32_t i = m->events++;

	assert_true(i < MODEL_EVENTS);
	e.order = m->order++;
	for (; i && model_before(&e, &m->event[(i - 1) / 2]); i = (i - 1) / 2)
		m->event[i] = m->event[(i - 1) / 2];
	m->event[i] = e;
}

static struct model_event model_pop(struct model *m)
{
	struct model_event top = m->event[0], e = m->event[--m->events];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < m->events) {
		child += child + 1 < m->events &&
			 model_before(&m->event[child + 1], &m->event[child]);
		if (!model_before(&m->event[child], &e))
			break;
		m->event[i] = m->event[child];
		i = child;
	}
	m->event[i] = e;
	return top;
}

static bool model_chance(uint32_t of_10000)
{
	return of_10000 && rnd_below(10000) < of_10000;
}

/* ---- network ---- */

static void model_carry(struct model *m, struct model_event e, uint32_t loss)
{
	int64_t at = m->now;

	if (e.kind == MODEL_DATA && m->c.ns_per_segment) {
		int64_t start = m->free_ns > m->now ? m->free_ns : m->now;

		if (start - m->now > m->c.ns_per_segment * m->c.queue) {
			m->lost++;
			return;
		}
		m->free_ns = at = start + m->c.ns_per_segment;
	}
	m->carried += e.kind == MODEL_DATA;
	if (model_chance(loss)) {
		m->lost += e.kind == MODEL_DATA;
		return;
	}
	e.at_ns = at + m->c.delay_ns;
	if (model_chance(m->c.reorder))
		e.at_ns += 1 + (int64_t)(rnd() % (uint64_t)m->c.reorder_ns);
	model_push(m, e);
	if (model_chance(m->c.duplicate)) {
		e.at_ns += 1 + rnd_below(1000000);
		model_push(m, e);
	}
}

/* ---- receiver ---- */

static void model_send_ack(struct model *m, const struct lrp_tcp_sack *dsack)
{
	struct model_event e = {.kind = MODEL_ACK};
	struct lrp_tcp_segment *s = &e.ack;

	if (m->ranges && model_chance(m->c.renege))
		m->ranges = 0;
	s->ack = m->rcv_nxt;
	s->flags = LRP_TCP_ACK;
	if (!m->c.no_timestamps) {
		s->options |= LRP_TCP_HAS_TIMESTAMP;
		s->ts_ecr = m->ts_recent;
	}
	if (!m->c.no_sack && !m->c.no_dsack && dsack)
		s->sack[s->sacks++] = *dsack;
	for (uint32_t i = 0; !m->c.no_sack && i < LRP_TCP_SACKS_MAX && s->sacks < 3; i++) {
		/* The range as it is now that holds what came lately. */
		for (uint32_t j = 0; j < m->ranges; j++) {
			bool told = false;

			if (m->latest[i].start == m->latest[i].end ||
			    lrp_seq_lt(m->latest[i].start, m->range[j].start) ||
			    lrp_seq_gt(m->latest[i].end, m->range[j].end))
				continue;
			for (uint32_t k = dsack != NULL; k < s->sacks; k++)
				told |= s->sack[k].start == m->range[j].start;
			if (!told)
				s->sack[s->sacks++] = m->range[j];
			break;
		}
	}
	m->unacked = 0;
	model_carry(m, e, m->c.ack_loss);
}

/* Puts [seq, end) where it belongs; false: all of it was there. */
static bool model_keep(struct model *m, uint32_t seq, uint32_t end)
{
	uint32_t i, j;

	for (i = 0; i < m->ranges && lrp_seq_lt(m->range[i].end, seq); i++)
		;
	for (j = i; j < m->ranges && lrp_seq_leq(m->range[j].start, end); j++) {
		if (lrp_seq_leq(m->range[j].start, seq) && lrp_seq_geq(m->range[j].end, end))
			return false;
		seq = lrp_seq_min(seq, m->range[j].start);
		end = lrp_seq_max(end, m->range[j].end);
	}
	if (i == j && m->ranges == MODEL_RANGES)
		return true; /* forgotten */
	memmove(&m->range[i + 1], &m->range[j], (m->ranges - j) * sizeof(m->range[0]));
	m->range[i] = (struct lrp_tcp_sack){seq, end};
	m->ranges += 1 - (j - i);
	return true;
}

static void model_receive(struct model *m, const struct model_event *e)
{
	struct lrp_tcp_sack got = {e->seq, e->seq + e->len};
	bool hole = m->ranges, again;

	if (lrp_seq_leq(e->seq, m->rcv_nxt) && lrp_seq_geq(e->ts, m->ts_recent))
		m->ts_recent = e->ts;
	again = lrp_seq_leq(got.end, m->rcv_nxt);
	if (lrp_seq_leq(got.start, m->rcv_nxt)) {
		m->rcv_nxt = lrp_seq_max(m->rcv_nxt, got.end);
		while (m->ranges && lrp_seq_leq(m->range[0].start, m->rcv_nxt)) {
			m->rcv_nxt = lrp_seq_max(m->rcv_nxt, m->range[0].end);
			memmove(m->range, m->range + 1, --m->ranges * sizeof(m->range[0]));
		}
	} else {
		hole = true;
		again = !model_keep(m, got.start, got.end);
		if (m->latest[0].start != got.start) {
			memmove(m->latest + 1, m->latest, 3 * sizeof(m->latest[0]));
			m->latest[0] = got;
		}
	}
	m->received += e->len;
	if (hole || again || m->c.quick || ++m->unacked >= 2) {
		model_send_ack(m, again ? &got : NULL);
	} else if (!m->delack) {
		model_push(m, (struct model_event){.kind = MODEL_DELACK,
						   .at_ns = m->now + 40 * MODEL_MS});
		m->delack = true;
	}
}

/* ---- sender ---- */

static uint32_t model_ts(const struct model *m)
{
	return (uint32_t)(m->now / MODEL_MS) + 0xfffff000u;
}

static void model_transmit(struct model *m, uint32_t seq, uint32_t len)
{
	lrp_tcp_recovery_sent(&m->r, &m->cc, m->now, seq, len, model_ts(m));
	for (uint32_t n; len; len -= n, seq += n) {
		struct model_event e = {.kind = MODEL_DATA, .seq = seq, .ts = model_ts(m)};

		n = e.len = len < MODEL_MSS ? len : MODEL_MSS;
		model_carry(m, e, m->c.loss);
	}
}

static uint32_t model_window(const struct model *m)
{
	uint32_t limit = m->r.board.una + (m->c.window ? m->c.window : 4u << 20);

	return lrp_seq_min(m->end, limit) - m->r.board.nxt;
}

static void model_output(struct model *m)
{
	uint32_t burst = (m->c.burst ? m->c.burst : 1) * MODEL_MSS, seq, len;

	if (m->probe) {
		uint32_t fresh = model_window(m);
		bool again = !fresh;

		len = fresh < MODEL_MSS ? fresh : MODEL_MSS;
		seq = m->r.board.nxt;
		if (again)
			lrp_tcp_recovery_probe(&m->r, MODEL_MSS, &seq, &len);
		model_transmit(m, seq, len);
		lrp_tcp_recovery_probed(&m->r, again);
		m->probe = false;
	}
	while (lrp_tcp_recovery_again(&m->r, &m->cc, burst, &seq, &len))
		model_transmit(m, seq, len);
	for (;;) {
		uint32_t room = lrp_tcp_recovery_room(&m->r, &m->cc);

		len = model_window(m);
		if (!len || (room < MODEL_MSS && room < len))
			break;
		len = len < burst ? len : burst;
		if (len > room)
			len = room - room % MODEL_MSS;
		if (len > MODEL_MSS && !m->c.bursty_app)
			len -= len % MODEL_MSS;
		model_transmit(m, m->r.board.nxt, len);
	}
	m->r.more = model_window(m);
}

static void model_write(struct model *m)
{
	uint64_t len = m->c.bytes - m->written;

	m->write_ns = INT64_MAX;
	if (m->c.bursty_app) {
		uint64_t odd = 1 + rnd_below(rnd() & 1 ? 100 : 200000);

		len = len < odd ? len : odd;
		if (m->written + len < m->c.bytes)
			m->write_ns = m->now + rnd_below(rnd() & 3 ? 3000000 : 400000000);
	} else if (len > 1u << 28) {
		len = 1u << 28;
		m->write_ns = m->now + 1000 * MODEL_MS;
	}
	lrp_tcp_recovery_restart(&m->r, &m->cc, m->now);
	m->written += len;
	m->end += (uint32_t)len;
}

static void model_acked(struct model *m, const struct lrp_tcp_segment *s)
{
	struct lrp_tcp_acked acked;

	if (lrp_seq_lt(s->ack, m->r.board.una))
		return;
	assert_true(lrp_seq_leq(s->ack, m->r.board.nxt));
	lrp_tcp_recovery_ack(&m->r, &m->cc, m->now, s, false, false, &acked);
}

static void model_timer(struct model *m)
{
	for (;;) {
		switch (lrp_tcp_recovery_timer(&m->r, &m->cc, m->now)) {
		case LRP_TCP_TIMER_NONE:
			return;
		case LRP_TCP_TIMER_PROBE:
			m->probe = true;
			return;
		case LRP_TCP_TIMER_TIMEOUT:
			m->timeouts++;
			break;
		case LRP_TCP_TIMER_LOST:
			break;
		}
	}
}

static void model_init(struct model *m, const struct model_config *c)
{
	memset(m, 0, sizeof(*m));
	m->c = *c;
	m->now = 1;
	m->event = malloc(MODEL_EVENTS * sizeof(*m->event));
	m->run = malloc((c->runs ? c->runs : 1024) * sizeof(*m->run));
	m->end = m->rcv_nxt = c->isn;
	m->ts_recent = model_ts(m);
	lrp_tcp_recovery_init(&m->r, m->run, (uint16_t)(c->runs ? c->runs : 1024), c->isn);
	m->r.sack = !c->no_sack;
	m->r.timestamps = !c->no_timestamps;
	lrp_tcp_cc_init(&m->cc, c->cc ? c->cc : &lrp_tcp_cubic, MODEL_MSS);
	model_write(m);
	model_output(m);
}

static void model_free(struct model *m)
{
	free(m->event);
	free(m->run);
}

static void model_check(const struct model *m)
{
	const char *broken = lrp_tcp_recovery_check(&m->r);

	if (broken)
		fail_msg("step %llu: %s", (unsigned long long)m->steps, broken);
	assert_true(m->cc.cwnd > 0 && m->cc.cwnd <= 1u << 30);
	assert_true(m->r.rtt.rto_ns >= LRP_TCP_RTO_MIN_NS);
}

/* One event: false when all has arrived and is acknowledged. */
static bool model_step(struct model *m)
{
	int64_t deadline = lrp_tcp_recovery_deadline(&m->r);
	int64_t next = m->events ? m->event[0].at_ns : INT64_MAX;

	if (m->written == m->c.bytes && m->r.board.una == m->end)
		return false;
	m->steps++;
	if (m->write_ns <= next && m->write_ns <= deadline) {
		m->now = m->write_ns;
		model_write(m);
	} else if (deadline < next) {
		m->now = deadline > m->now ? deadline : m->now;
		model_timer(m);
	} else {
		struct model_event e;

		assert_true(m->events);
		e = model_pop(m);
		m->now = e.at_ns;
		if (e.kind == MODEL_DATA) {
			model_receive(m, &e);
		} else if (e.kind == MODEL_DELACK) {
			m->delack = false;
			if (m->unacked)
				model_send_ack(m, NULL);
		} else {
			model_acked(m, &e.ack);
			model_check(m);
		}
	}
	model_output(m);
	model_check(m);
	return true;
}

/* Bytes delivered in a second. */
static uint64_t model_run(struct model *m)
{
	while (model_step(m))
		;
	assert_int_equal(m->rcv_nxt, m->c.isn + (uint32_t)m->c.bytes);
	return m->c.bytes * 1000 / (uint64_t)(m->now / MODEL_MS + 1);
}

#endif
