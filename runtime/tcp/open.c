/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* open.c - how a connection begins, what the two ends agree on, and how it ends. */
#include <errno.h>
#include <string.h>

#include "tcp_internal.h"

#define MSS_UNKNOWN 536u /* RFC 9293 3.7.1 */

void lrp_tcp_options_default(struct lrp_tcp_options *o)
{
	*o = (struct lrp_tcp_options){
		.timestamps = true,
		.sack = true,
		.wscale = true,
		.keep_idle_s = 7200,
		.keep_interval_s = 75,
		.keep_count = 9,
		.syn_retries = 6,
		.retries = 15,
		.linger2_s = 60,
		.snd_max = 4 << 20,
		.rcv_max = 6 << 20,
		.cc = &lrp_tcp_cubic,
	};
}

static void timers_off(struct lrp_tcp *c)
{
	c->delack_ns = c->probe_ns = c->keep_ns = c->wait_ns = c->retry_ns = LRP_TCP_NEVER;
}

void lrp_tcp_init(struct lrp_tcp *c, const struct lrp_tcp_options *o,
		  const struct lrp_tcp_memory *m)
{
	memset(c, 0, sizeof(*c));
	c->state = LRP_TCP_CLOSED;
	if (o)
		c->opt = *o;
	else
		lrp_tcp_options_default(&c->opt);
	c->snd = m->snd;
	c->rcv = m->rcv;
	c->rcv_quota = UINT32_MAX;
	c->mss = c->rcv_mss = MSS_UNKNOWN;
	timers_off(c);
	lrp_tcp_recovery_init(&c->recovery, m->run, m->runs, 0);
	lrp_tcp_cc_init(&c->cc, c->opt.cc, c->mss);
}

static void begin(struct lrp_tcp *c, int64_t now, uint8_t family, uint32_t mtu, uint32_t ts_offset,
		  uint32_t first)
{
	c->ip_len = family == AF_INET ? 20 : 40;
	c->ts_offset = ts_offset;
	c->snd_una = c->snd_nxt = c->snd_sml = c->snd_up = first;
	c->heard_ns = c->progress_ns = c->sent_ns = now;
	lrp_tcp_path_mtu(c, mtu);
	lrp_tcp_recovery_init(&c->recovery, c->recovery.board.run, c->recovery.board.runs, first);
}

void lrp_tcp_connect(struct lrp_tcp *c, int64_t now, uint8_t family, uint32_t mtu, uint32_t iss,
		     uint32_t ts_offset)
{
	begin(c, now, family, mtu, ts_offset, iss);
	c->iss = iss;
	c->snd_end = iss + 1;
	c->opening = true;
	c->state = LRP_TCP_SYN_SENT;
	c->wscale_offer = c->opt.wscale ? lrp_tcp_wscale(c->opt.rcv_max) : 0;
	/* Counted from 0 until the peer says where it begins: what the SYN offers. */
	c->rcv_adv = lrp_tcp_min(lrp_tcp_min(lrp_tcp_rcv_limit(c), c->rcv_quota), 0xffff);
}

/* What both kinds of opening do once the options are known. */
static void agreed(struct lrp_tcp *c, int64_t now)
{
	c->recovery.sack = c->sack;
	c->recovery.timestamps = c->timestamps;
	c->ts_recent_ns = now;
	c->rcv_mss = (uint16_t)lrp_tcp_min(c->path_mss, MSS_UNKNOWN);
	c->quick = LRP_TCP_QUICK_ACKS;
	c->rcv_rtt_seq = c->rcv_nxt;
	lrp_tcp_mss_update(c);
}

void lrp_tcp_negotiate(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s)
{
	c->irs = s->seq;
	c->rcv_adv += s->seq + 1;
	c->rcv_nxt = c->rcv_wup = c->rcv_read = s->seq + 1;
	c->timestamps = c->opt.timestamps && s->options & LRP_TCP_HAS_TIMESTAMP;
	c->sack = c->opt.sack && s->options & LRP_TCP_HAS_SACK_OK;
	if (c->opt.wscale && s->options & LRP_TCP_HAS_WSCALE) {
		c->snd_wscale = s->wscale;
		c->rcv_wscale = c->wscale_offer;
		c->wscale_ok = true;
	}
	if (s->options & LRP_TCP_HAS_MSS)
		c->peer_mss = s->mss;
	if (c->timestamps)
		c->ts_recent = s->ts_val;
	c->ecn = c->opt.ecn &&
		 (s->flags & (LRP_TCP_ECE | LRP_TCP_CWR)) ==
			 (s->flags & LRP_TCP_ACK ? LRP_TCP_ECE : LRP_TCP_ECE | LRP_TCP_CWR);
	c->snd_wnd = c->max_wnd = s->window; /* a SYN's is never scaled (RFC 7323 2.2) */
	c->snd_wl1 = s->seq;
	agreed(c, now);
}

void lrp_tcp_established(struct lrp_tcp *c, int64_t now)
{
	uint64_t again = c->recovery.segs_again;

	c->state = LRP_TCP_ESTABLISHED;
	lrp_tcp_cc_init(&c->cc, c->opt.cc, c->mss);
	/* A SYN that had to be sent more than once more: RFC 5681 3.1, as Linux reads it. */
	if (again > 1)
		c->cc.cwnd = c->mss;
	if (c->opt.keepalive)
		c->keep_ns = now + c->opt.keep_idle_s * 1000000000ll;
}

void lrp_tcp_accept(struct lrp_tcp *c, int64_t now, uint8_t family, uint32_t mtu,
		    const struct lrp_tcp_opened *o)
{
	begin(c, now, family, mtu, o->ts_offset, o->iss + 1);
	c->iss = o->iss;
	c->irs = o->irs;
	c->snd_end = o->iss + 1;
	c->rcv_nxt = c->rcv_wup = c->rcv_read = o->irs + 1;
	c->rcv_adv = c->rcv_nxt + o->rcv_window;
	c->peer_mss = o->peer_mss;
	c->timestamps = o->timestamps;
	c->sack = o->sack;
	c->ecn = o->ecn;
	if (o->wscale) {
		c->snd_wscale = o->snd_wscale;
		c->rcv_wscale = o->rcv_wscale;
		c->wscale_ok = true;
	}
	c->ts_recent = o->ts_recent;
	c->snd_wnd = c->max_wnd = o->window;
	c->snd_wl1 = o->irs;
	agreed(c, now);
	if (o->rtt_ns >= 0)
		lrp_tcp_recovery_rtt(&c->recovery, now, o->rtt_ns);
	lrp_tcp_established(c, now);
}

void lrp_tcp_done(struct lrp_tcp *c, int error)
{
	if (error && !c->error)
		c->error = error;
	c->state = LRP_TCP_CLOSED;
	c->shut_read = c->shut_write = true;
	c->opening = false;
	c->due &= LRP_TCP_DUE_RESET;
	c->duplicates = 0;
	c->held = LRP_TCP_HELD_APP;
	timers_off(c);
}

void lrp_tcp_reset(struct lrp_tcp *c, int error)
{
	/* In the peer's window even if it has shrunk. */
	uint32_t edge = c->snd_una + c->snd_wnd;

	c->reset_seq = lrp_seq_lt(edge, c->snd_nxt) ? edge : c->snd_nxt;
	c->reset_ack = c->rcv_nxt;
	c->reset_bare = c->reset_answer = false;
	c->due |= LRP_TCP_DUE_RESET;
	lrp_tcp_done(c, error);
}

void lrp_tcp_refuse(struct lrp_tcp *c, const struct lrp_tcp_segment *s)
{
	c->reset_bare = s->flags & LRP_TCP_ACK;
	c->reset_seq = c->reset_bare ? s->ack : 0;
	c->reset_ack = s->seq + lrp_tcp_seg_len(s);
	c->reset_answer = true;
	c->due |= LRP_TCP_DUE_RESET;
}

void lrp_tcp_time_wait(struct lrp_tcp *c, int64_t now)
{
	timers_off(c);
	c->state = LRP_TCP_TIME_WAIT;
	c->wait_ns = now + 2 * LRP_TCP_MSL_NS;
}
