/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "timewait.h"

#include "isn.h"
#include "tcp_internal.h"

#define REUSE_AFTER_NS 1000000000ll /* the timestamp clock has certainly ticked (RFC 6191 3) */
#define LIST	       0

void lrp_tcp_timewait_init(struct lrp_tcp_timewaits *t, struct lrp_tcp_timewait *slot,
			   uint32_t slots, const uint64_t key[2])
{
	memset(t, 0, sizeof(*t));
	lrp_tcp_flow_table_init(&t->table, slot, sizeof(*slot), slots, key);
}

/* The live entry of a flow; one that has expired goes. */
static struct lrp_tcp_timewait *find(struct lrp_tcp_timewaits *t, int64_t now,
				     const struct lrp_tcp_flow *flow)
{
	struct lrp_tcp_timewait *w = lrp_tcp_flow_find(&t->table, flow);

	if (w && w->expires_ns <= now) {
		lrp_tcp_flow_remove(&t->table, w);
		return NULL;
	}
	return w;
}

void lrp_tcp_timewait_add(struct lrp_tcp_timewaits *t, int64_t now, const struct lrp_tcp_flow *flow,
			  const struct lrp_tcp *c)
{
	struct lrp_tcp_timewait *w = lrp_tcp_flow_find(&t->table, flow);

	if (w)
		lrp_tcp_flow_remove(&t->table, w);
	if (t->table.used >= lrp_tcp_flow_table_most(&t->table)) {
		lrp_tcp_flow_remove(&t->table, lrp_tcp_flow_first(&t->table, LIST));
		t->evicted++;
	}
	w = lrp_tcp_flow_insert(&t->table, flow, LIST);
	w->snd_nxt = c->snd_nxt;
	w->rcv_nxt = c->rcv_nxt;
	w->timestamps = c->timestamps;
	w->ts_recent = c->ts_recent;
	w->ts_offset = c->ts_offset;
	w->window = (uint16_t)((c->rcv_adv - c->rcv_nxt) >> c->rcv_wscale);
	w->began_ns = now;
	w->expires_ns = now + LRP_TCP_TIMEWAIT_NS;
}

/* Linux's distance: beyond any window without scaling that the old incarnation may have used. */
static uint32_t next_iss(uint32_t snd_nxt)
{
	uint32_t iss = snd_nxt + 65535 + 2;

	return iss ? iss : 1;
}

/* RFC 6191 2, RFC 9293 3.6.1, as Linux: may this SYN open a new incarnation? */
static bool new_incarnation(bool timestamps, uint32_t ts_recent, uint32_t rcv_nxt,
			    const struct lrp_tcp_segment *s)
{
	bool later = lrp_seq_gt(s->seq, rcv_nxt);
	int32_t newer = (int32_t)(s->ts_val - ts_recent);

	if ((s->flags & (LRP_TCP_SYN | LRP_TCP_ACK | LRP_TCP_RST)) != LRP_TCP_SYN)
		return false;
	if (!timestamps || !(s->options & LRP_TCP_HAS_TIMESTAMP))
		return later;
	return newer > 0 || (newer == 0 && later);
}

bool lrp_tcp_reopens(const struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s,
		     uint32_t *iss)
{
	/* What is 24 days old says nothing (RFC 7323 5.5). */
	bool timestamps = c->timestamps && now - c->ts_recent_ns <= LRP_TCP_PAWS_AGE_NS;

	if (c->state == LRP_TCP_CLOSED) {
		*iss = 0;
		return (s->flags & (LRP_TCP_SYN | LRP_TCP_ACK | LRP_TCP_RST)) == LRP_TCP_SYN;
	}
	*iss = next_iss(c->snd_nxt);
	return c->state == LRP_TCP_TIME_WAIT &&
	       new_incarnation(timestamps, c->ts_recent, c->rcv_nxt, s);
}

static enum lrp_tcp_timewait_result answer(struct lrp_tcp_timewait *w, int64_t now,
					   struct lrp_tcp_tx *reply)
{
	if (w->answered_ns && now - w->answered_ns < LRP_TCP_TIMEWAIT_ANSWER_NS)
		return LRP_TCP_TIMEWAIT_DROP;
	w->answered_ns = now;
	memset(reply, 0, sizeof(*reply));
	reply->seq = w->snd_nxt;
	reply->ack = w->rcv_nxt;
	reply->flags = LRP_TCP_ACK;
	reply->window = w->window;
	reply->kind = LRP_TCP_TX_ACK;
	if (w->timestamps)
		reply->options_len = (uint8_t)lrp_tcp_put_timestamp(
			reply->options, lrp_tcp_ts_clock(now) + w->ts_offset, w->ts_recent);
	return LRP_TCP_TIMEWAIT_REPLY;
}

enum lrp_tcp_timewait_result lrp_tcp_timewait_input(struct lrp_tcp_timewaits *t, int64_t now,
						    const struct lrp_tcp_flow *flow,
						    const struct lrp_tcp_segment *s,
						    struct lrp_tcp_tx *reply, uint32_t *iss)
{
	struct lrp_tcp_timewait *w = find(t, now, flow);
	bool old;

	if (!w)
		return LRP_TCP_TIMEWAIT_NONE;
	if (s->flags & LRP_TCP_RST) /* assassination hazards: RFC 1337 3, fix (F1) */
		return LRP_TCP_TIMEWAIT_DROP;
	if (new_incarnation(w->timestamps, w->ts_recent, w->rcv_nxt, s)) {
		*iss = next_iss(w->snd_nxt);
		lrp_tcp_flow_remove(&t->table, w);
		t->reused++;
		return LRP_TCP_TIMEWAIT_REUSE;
	}
	if (!(s->flags & (LRP_TCP_SYN | LRP_TCP_ACK)))
		return LRP_TCP_TIMEWAIT_DROP;
	old = w->timestamps && (s->options & LRP_TCP_HAS_TIMESTAMP) &&
	      lrp_seq_lt(s->ts_val, w->ts_recent);
	if (!old && s->seq == w->rcv_nxt && lrp_tcp_seg_len(s) == 0 &&
	    lrp_seq_leq(s->ack, w->snd_nxt)) {
		/* an acknowledgement that says nothing new: no answer, or two such tables would
		 * talk for ever */
		if (w->timestamps && (s->options & LRP_TCP_HAS_TIMESTAMP))
			w->ts_recent = s->ts_val;
		return LRP_TCP_TIMEWAIT_DROP;
	}
	if (s->flags & LRP_TCP_FIN) { /* ours was lost: 2 MSL again (RFC 9293 3.10.7.4) */
		w->expires_ns = now + LRP_TCP_TIMEWAIT_NS;
		lrp_tcp_flow_requeue(&t->table, w, LIST);
	}
	return answer(w, now, reply);
}

bool lrp_tcp_timewait_reuse(struct lrp_tcp_timewaits *t, int64_t now,
			    const struct lrp_tcp_flow *flow, uint32_t *iss)
{
	struct lrp_tcp_timewait *w = find(t, now, flow);

	if (!w || !w->timestamps || now - w->began_ns < REUSE_AFTER_NS)
		return false;
	*iss = next_iss(w->snd_nxt);
	lrp_tcp_flow_remove(&t->table, w);
	t->reused++;
	return true;
}

int64_t lrp_tcp_timewait_timer(struct lrp_tcp_timewaits *t, int64_t now)
{
	struct lrp_tcp_timewait *w;

	while ((w = lrp_tcp_flow_first(&t->table, LIST)) && w->expires_ns <= now)
		lrp_tcp_flow_remove(&t->table, w);
	return w ? w->expires_ns : LRP_TCP_NEVER;
}
