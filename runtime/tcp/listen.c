/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "listen.h"

#include "cookie.h"
#include "isn.h"

/* Entries of one list wait equally long: by how often the SYN-ACK was sent again, up to where the
 * back-off ends; those that wait for data are on a list of their own. */
#define LIST_LONGEST  7
#define LIST_DEFERRED 8
#define LISTS	      9
_Static_assert(LISTS <= LRP_TCP_FLOW_LISTS, "lists");

void lrp_tcp_listen_init(struct lrp_tcp_listener *l, const struct lrp_tcp_options *o,
			 struct lrp_tcp_half *half, uint32_t halves, uint32_t max_used,
			 const uint8_t secret[32])
{
	uint64_t key[2];

	memset(l, 0, sizeof(*l));
	l->opt = *o;
	memcpy(key, secret, sizeof(key));
	memcpy(l->secret, secret + sizeof(key), sizeof(l->secret));
	lrp_tcp_flow_table_init(&l->table, half, sizeof(*half), halves, key);
	l->max_used = max_used;
	l->cookies = true;
	l->cookie_sent_ns = LRP_TCP_NEVER;
	l->synack_retries = LRP_TCP_SYNACK_RETRIES;
	l->rcv_window = UINT16_MAX;
	l->mtu = 1500;
}

/* What a SYN-ACK offers: SO_RCVBUF of the listener may be less. */
static uint16_t offered(const struct lrp_tcp_listener *l)
{
	return l->opt.rcv_max < l->rcv_window ? (uint16_t)l->opt.rcv_max : l->rcv_window;
}

/* ---- what is sent --------------------------------------------------------- */

/* After the n-th SYN-ACK: 1 s, doubled (RFC 6298 5.5). */
static int64_t backoff_ns(uint32_t tries)
{
	int64_t ns = LRP_TCP_RTO_INITIAL_NS << (tries < LIST_LONGEST ? tries : LIST_LONGEST);

	return ns < LRP_TCP_RTO_MAX_NS ? ns : LRP_TCP_RTO_MAX_NS;
}

static uint16_t own_mss(const struct lrp_tcp_listener *l, uint8_t family)
{
	uint32_t mss = l->mtu - (family == AF_INET6 ? 60 : 40);

	if (mss > UINT16_MAX)
		mss = UINT16_MAX;
	return l->opt.mss && l->opt.mss < mss ? l->opt.mss : (uint16_t)mss;
}

/* The SYN-ACK of `h`; `ts_val`: ours, offset included. */
static void syn_ack(const struct lrp_tcp_listener *l, const struct lrp_tcp_half *h, uint8_t family,
		    uint32_t ts_val, struct lrp_tcp_tx *tx)
{
	uint8_t *o = tx->options;

	memset(tx, 0, sizeof(*tx));
	tx->seq = h->iss;
	tx->ack = h->irs + 1;
	tx->flags = LRP_TCP_SYN | LRP_TCP_ACK | (h->ecn ? LRP_TCP_ECE : 0);
	tx->window = offered(l);
	tx->kind = LRP_TCP_TX_NEW;
	o += lrp_tcp_put_mss(o, own_mss(l, family));
	if (h->options & LRP_TCP_HAS_SACK_OK)
		o += lrp_tcp_put_sack_ok(o);
	if (h->options & LRP_TCP_HAS_TIMESTAMP)
		o += lrp_tcp_put_timestamp(o, ts_val, h->ts_recent);
	if (h->options & LRP_TCP_HAS_WSCALE)
		o += lrp_tcp_put_wscale(o, l->rcv_wscale);
	tx->options_len = (uint8_t)(o - tx->options);
}

static uint32_t ts_now(const struct lrp_tcp_listener *l, const struct lrp_tcp_flow *flow,
		       int64_t now)
{
	return lrp_tcp_ts_clock(now) + lrp_tcp_ts_offset(l->secret, flow);
}

static void half_syn_ack(const struct lrp_tcp_listener *l, const struct lrp_tcp_half *h,
			 int64_t now, struct lrp_tcp_tx *tx)
{
	syn_ack(l, h, h->head.flow.family, ts_now(l, &h->head.flow, now), tx);
}

/* <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>: what RFC 9293 3.10.7.4 and RFC 5961 answer with. */
static void plain_ack(const struct lrp_tcp_listener *l, const struct lrp_tcp_half *h, int64_t now,
		      struct lrp_tcp_tx *tx)
{
	memset(tx, 0, sizeof(*tx));
	tx->seq = h->iss + 1;
	tx->ack = h->irs + 1;
	tx->flags = LRP_TCP_ACK;
	tx->window = h->options & LRP_TCP_HAS_WSCALE ? (uint16_t)(offered(l) >> l->rcv_wscale)
						     : offered(l);
	tx->kind = LRP_TCP_TX_ACK;
	if (h->options & LRP_TCP_HAS_TIMESTAMP)
		tx->options_len = (uint8_t)lrp_tcp_put_timestamp(
			tx->options, ts_now(l, &h->head.flow, now), h->ts_recent);
}

static bool may_answer(struct lrp_tcp_half *h, int64_t now)
{
	if (h->answered_ns && now - h->answered_ns < LRP_TCP_HALF_ANSWER_NS)
		return false;
	h->answered_ns = now;
	return true;
}

static enum lrp_tcp_listen_result challenge(const struct lrp_tcp_listener *l,
					    struct lrp_tcp_half *h, int64_t now,
					    struct lrp_tcp_tx *reply)
{
	if (!may_answer(h, now))
		return LRP_TCP_LISTEN_DROP;
	plain_ack(l, h, now, reply);
	return LRP_TCP_LISTEN_REPLY;
}

static enum lrp_tcp_listen_result reset(const struct lrp_tcp_segment *s, struct lrp_tcp_tx *reply)
{
	return lrp_tcp_reset_for(s, reply) ? LRP_TCP_LISTEN_REPLY : LRP_TCP_LISTEN_DROP;
}

/* ---- a new SYN -------------------------------------------------------------- */

/* What the SYN offers and we do too. */
static void remember(const struct lrp_tcp_listener *l, const struct lrp_tcp_flow *flow,
		     const struct lrp_tcp_segment *s, struct lrp_tcp_half *h)
{
	uint8_t ours = (l->opt.timestamps ? LRP_TCP_HAS_TIMESTAMP : 0) |
		       (l->opt.sack ? LRP_TCP_HAS_SACK_OK : 0) |
		       (l->opt.wscale ? LRP_TCP_HAS_WSCALE : 0);

	h->irs = s->seq;
	h->window = s->window;
	h->options = s->options & ours;
	h->wscale = s->wscale > 14 ? 14 : s->wscale;
	h->ts_recent = s->ts_val;
	/* RFC 9293 3.7.1: what holds if the peer does not say */
	h->peer_mss = s->options & LRP_TCP_HAS_MSS ? s->mss : flow->family == AF_INET6 ? 1220 : 536;
	/* RFC 3168 6.1.1: an ECN-setup SYN is not ECN-capable itself */
	h->ecn = l->opt.ecn && (s->flags & LRP_TCP_ECE) && (s->flags & LRP_TCP_CWR) && !s->ecn;
}

static enum lrp_tcp_listen_result send_cookie(struct lrp_tcp_listener *l, int64_t now,
					      const struct lrp_tcp_flow *flow,
					      const struct lrp_tcp_segment *s,
					      struct lrp_tcp_tx *reply)
{
	struct lrp_tcp_half h = {0};
	uint32_t ts = 0;

	remember(l, flow, s, &h);
	if (!lrp_tcp_cookie(l->secret, flow, h.irs, h.peer_mss, now, &h.iss))
		return LRP_TCP_LISTEN_DROP;
	if (h.options & LRP_TCP_HAS_TIMESTAMP) {
		ts = lrp_tcp_cookie_timestamp(now, h.options, h.wscale, h.ecn) +
		     lrp_tcp_ts_offset(l->secret, flow);
	} else { /* there is nowhere to remember them */
		h.options = 0;
		h.ecn = false;
	}
	syn_ack(l, &h, flow->family, ts, reply);
	l->cookie_sent_ns = now;
	l->cookies_sent++;
	return LRP_TCP_LISTEN_REPLY;
}

static enum lrp_tcp_listen_result syn(struct lrp_tcp_listener *l, int64_t now,
				      const struct lrp_tcp_flow *flow,
				      const struct lrp_tcp_segment *s, uint32_t iss,
				      struct lrp_tcp_tx *reply)
{
	struct lrp_tcp_half *h;

	l->syns++;
	if (l->full || l->gated || l->table.used >= l->max_used) {
		l->overflows++;
		if (l->full || l->gated || !l->cookies)
			return LRP_TCP_LISTEN_DROP;
		return send_cookie(l, now, flow, s, reply);
	}
	h = lrp_tcp_flow_insert(&l->table, flow, 0);
	remember(l, flow, s, h);
	h->iss = iss ? iss : lrp_tcp_isn(l->secret, flow, now);
	h->deadline_ns = now + backoff_ns(0);
	half_syn_ack(l, h, now, reply);
	return LRP_TCP_LISTEN_REPLY;
}

/* ---- the third acknowledgement ------------------------------------------------ */

static void open_half(const struct lrp_tcp_listener *l, int64_t now, const struct lrp_tcp_half *h,
		      const struct lrp_tcp_segment *s, struct lrp_tcp_opened *o)
{
	bool timestamps = h->options & LRP_TCP_HAS_TIMESTAMP;

	memset(o, 0, sizeof(*o));
	o->iss = h->iss;
	o->irs = h->irs;
	o->peer_mss = h->peer_mss;
	o->wscale = h->options & LRP_TCP_HAS_WSCALE;
	o->snd_wscale = o->wscale ? h->wscale : 0;
	o->rcv_wscale = o->wscale ? l->rcv_wscale : 0;
	o->timestamps = timestamps;
	o->sack = h->options & LRP_TCP_HAS_SACK_OK;
	o->ecn = h->ecn;
	o->ts_offset = lrp_tcp_ts_offset(l->secret, &h->head.flow);
	o->ts_recent = timestamps ? h->ts_recent : 0;
	o->window = h->window;
	o->rcv_window = offered(l);
	/* Karn's rule: of a SYN-ACK that was sent more than once only the echo tells which was
	 * answered */
	o->rtt_ns = -1;
	if (h->deferred)
		return;
	if (!h->tries && !h->answered_ns) {
		o->rtt_ns = now - (h->deadline_ns - backoff_ns(0));
	} else if (timestamps && (s->options & LRP_TCP_HAS_TIMESTAMP)) {
		int64_t echo_ns = (ts_now(l, &h->head.flow, now) - s->ts_ecr) * 1000000ll;

		o->rtt_ns = echo_ns < LRP_TCP_RTO_MAX_NS ? echo_ns : -1;
	}
}

static enum lrp_tcp_listen_result third_ack(struct lrp_tcp_listener *l, int64_t now,
					    struct lrp_tcp_half *h, const struct lrp_tcp_segment *s,
					    struct lrp_tcp_opened *opened)
{
	if (l->full)
		return LRP_TCP_LISTEN_DROP;
	if (l->defer_ns && !h->deferred && !lrp_tcp_seg_len(s)) {
		/* wait for data; after that one more SYN-ACK asks for the acknowledgement that
		 * opens */
		h->deferred = true;
		h->deadline_ns = now + l->defer_ns;
		lrp_tcp_flow_requeue(&l->table, h, LIST_DEFERRED);
	}
	if (h->head.list == LIST_DEFERRED && !lrp_tcp_seg_len(s))
		return LRP_TCP_LISTEN_DROP;
	open_half(l, now, h, s, opened);
	lrp_tcp_flow_remove(&l->table, h);
	l->completed++;
	return LRP_TCP_LISTEN_OPENED;
}

/* RFC 9293 3.10.7.4, first check; the window is not 0. */
static bool acceptable(uint32_t rcv_nxt, uint32_t window, const struct lrp_tcp_segment *s)
{
	uint32_t len = lrp_tcp_seg_len(s);

	return s->seq - rcv_nxt < window || (len && s->seq + len - 1 - rcv_nxt < window);
}

/* A segment of a half-open connection: RFC 9293 3.10.7.4 in SYN-RECEIVED, with RFC 5961. */
static enum lrp_tcp_listen_result
half_input(struct lrp_tcp_listener *l, int64_t now, struct lrp_tcp_half *h,
	   const struct lrp_tcp_segment *s, struct lrp_tcp_tx *reply, struct lrp_tcp_opened *opened)
{
	uint32_t rcv_nxt = h->irs + 1;
	bool timestamp = h->options & s->options & LRP_TCP_HAS_TIMESTAMP;
	bool old = timestamp && lrp_seq_lt(s->ts_val, h->ts_recent);

	if ((s->flags & (LRP_TCP_SYN | LRP_TCP_ACK | LRP_TCP_RST)) == LRP_TCP_SYN &&
	    s->seq == h->irs && !old) {
		/* the same SYN again: our answer was lost, or is on its way */
		if (l->full || !may_answer(h, now))
			return LRP_TCP_LISTEN_DROP;
		if (timestamp)
			h->ts_recent = s->ts_val;
		half_syn_ack(l, h, now, reply);
		return LRP_TCP_LISTEN_REPLY;
	}
	if (s->flags & LRP_TCP_RST) {
		if (s->seq == rcv_nxt)
			lrp_tcp_flow_remove(&l->table, h);
		else if (s->seq - rcv_nxt < offered(l))
			return challenge(l, h, now, reply);
		return LRP_TCP_LISTEN_DROP;
	}
	/* A new SYN gets a challenge too, in window or not: who has started afresh resets us
	 * exactly. */
	if (old || (s->flags & LRP_TCP_SYN) || !acceptable(rcv_nxt, offered(l), s))
		return challenge(l, h, now, reply);
	if (!(s->flags & LRP_TCP_ACK))
		return LRP_TCP_LISTEN_DROP;
	if (s->ack != h->iss + 1)
		return reset(s, reply);
	return third_ack(l, now, h, s, opened);
}

/* An ACK out of nowhere: the answer to a cookie? */
static bool cookie_ack(struct lrp_tcp_listener *l, int64_t now, const struct lrp_tcp_flow *flow,
		       const struct lrp_tcp_segment *s, struct lrp_tcp_opened *o)
{
	uint16_t mss;
	uint8_t options = 0;

	if (l->cookie_sent_ns == LRP_TCP_NEVER || now - l->cookie_sent_ns > LRP_TCP_COOKIE_NS)
		return false;
	if (!lrp_tcp_cookie_check(l->secret, flow, s->seq - 1, s->ack - 1, now, &mss))
		return false;
	memset(o, 0, sizeof(*o));
	o->iss = s->ack - 1;
	o->irs = s->seq - 1;
	o->peer_mss = mss;
	o->window = s->window;
	o->rcv_window = offered(l);
	o->rtt_ns = -1;
	o->ts_offset = lrp_tcp_ts_offset(l->secret, flow);
	if (s->options & LRP_TCP_HAS_TIMESTAMP) {
		options = lrp_tcp_cookie_options(s->ts_ecr - o->ts_offset, &o->snd_wscale, &o->ecn);
		o->timestamps = true;
		o->ts_recent = s->ts_val;
	}
	o->wscale = options & LRP_TCP_HAS_WSCALE;
	o->rcv_wscale = o->wscale ? l->rcv_wscale : 0;
	o->sack = options & LRP_TCP_HAS_SACK_OK;
	return true;
}

enum lrp_tcp_listen_result lrp_tcp_listen_input(struct lrp_tcp_listener *l, int64_t now,
						const struct lrp_tcp_flow *flow,
						const struct lrp_tcp_segment *s, uint32_t iss,
						struct lrp_tcp_tx *reply,
						struct lrp_tcp_opened *opened)
{
	struct lrp_tcp_half *h = lrp_tcp_flow_find(&l->table, flow);

	if (h)
		return half_input(l, now, h, s, reply, opened);
	if (s->flags & LRP_TCP_RST)
		return LRP_TCP_LISTEN_DROP;
	if (s->flags & LRP_TCP_ACK) {
		if ((s->flags & LRP_TCP_SYN) || !cookie_ack(l, now, flow, s, opened))
			return reset(s, reply);
		if (l->full)
			return LRP_TCP_LISTEN_DROP;
		l->cookies_ok++;
		l->completed++;
		return LRP_TCP_LISTEN_OPENED;
	}
	/* SYN with FIN opens nothing anywhere; Linux drops it too */
	if ((s->flags & (LRP_TCP_SYN | LRP_TCP_FIN)) != LRP_TCP_SYN)
		return LRP_TCP_LISTEN_DROP;
	return syn(l, now, flow, s, iss, reply);
}

/* ---- time, errors, the end ----------------------------------------------------- */

/* The entry whose deadline is first. */
static struct lrp_tcp_half *earliest(const struct lrp_tcp_listener *l)
{
	struct lrp_tcp_half *best = NULL;

	for (uint32_t i = 0; i < LISTS; i++) {
		struct lrp_tcp_half *h = lrp_tcp_flow_first(&l->table, i);

		if (h && (!best || h->deadline_ns < best->deadline_ns))
			best = h;
	}
	return best;
}

bool lrp_tcp_listen_timer(struct lrp_tcp_listener *l, int64_t now, struct lrp_tcp_flow *flow,
			  struct lrp_tcp_tx *reply)
{
	struct lrp_tcp_half *h;

	while ((h = earliest(l)) && h->deadline_ns <= now) {
		if (h->tries >= l->synack_retries) {
			lrp_tcp_flow_remove(&l->table, h);
			l->timeouts++;
			continue;
		}
		h->tries++;
		h->deadline_ns = now + backoff_ns(h->tries);
		lrp_tcp_flow_requeue(&l->table, h,
				     h->tries < LIST_LONGEST ? h->tries : LIST_LONGEST);
		*flow = h->head.flow;
		half_syn_ack(l, h, now, reply);
		reply->kind = LRP_TCP_TX_AGAIN;
		return true;
	}
	return false;
}

int64_t lrp_tcp_listen_deadline(const struct lrp_tcp_listener *l)
{
	const struct lrp_tcp_half *h = earliest(l);

	return h ? h->deadline_ns : LRP_TCP_NEVER;
}

void lrp_tcp_listen_unreachable(struct lrp_tcp_listener *l, const struct lrp_tcp_flow *flow,
				uint32_t seq, bool hard)
{
	struct lrp_tcp_half *h = lrp_tcp_flow_find(&l->table, flow);

	if (h && hard && seq == h->iss)
		lrp_tcp_flow_remove(&l->table, h);
}

bool lrp_tcp_listen_close(struct lrp_tcp_listener *l, struct lrp_tcp_flow *flow,
			  struct lrp_tcp_tx *tx)
{
	struct lrp_tcp_half *h = earliest(l);

	if (!h)
		return false;
	*flow = h->head.flow;
	memset(tx, 0, sizeof(*tx));
	tx->seq = h->iss + 1;
	tx->ack = h->irs + 1;
	tx->flags = LRP_TCP_RST | LRP_TCP_ACK;
	tx->kind = LRP_TCP_TX_RESET;
	lrp_tcp_flow_remove(&l->table, h);
	return true;
}
