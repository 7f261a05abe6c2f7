/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* info.c - TCP_INFO, as Linux fills it; counts of segments are bytes divided by the MSS, rounded
 * up. */
#include <string.h>

#include "tcp_internal.h"

static uint32_t us(int64_t ns)
{
	return (uint32_t)(ns / 1000);
}

static uint32_t ms_since(int64_t now, int64_t then)
{
	return then ? (uint32_t)((now - then) / 1000000) : 0;
}

static uint32_t segments(const struct lrp_tcp *c, uint64_t bytes)
{
	return (uint32_t)((bytes + c->mss - 1) / c->mss);
}

static enum lrp_tcp_held held(const struct lrp_tcp *c)
{
	uint32_t waiting = lrp_tcp_waiting(c);

	if (c->state == LRP_TCP_CLOSED || c->opening || !lrp_tcp_pending(c))
		return LRP_TCP_HELD_APP;
	if (waiting && lrp_tcp_peer_room(c) < lrp_tcp_min(waiting, c->mss))
		return LRP_TCP_HELD_PEER;
	return !waiting && c->snd_full ? LRP_TCP_HELD_BUFFER : LRP_TCP_HELD_NET;
}

void lrp_tcp_held(struct lrp_tcp *c, int64_t now)
{
	enum lrp_tcp_held now_held;

	if (c->snd_full && lrp_tcp_space(c) >= lrp_tcp_snd_limit(c) / 3)
		c->snd_full = false;
	now_held = held(c);
	if (now_held == c->held)
		return;
	c->held_ns[c->held] += now - c->since_ns;
	c->held = (uint8_t)now_held;
	c->since_ns = now;
}

/* In microseconds, with what has not ended. */
static uint64_t held_us(const struct lrp_tcp *c, int64_t now, enum lrp_tcp_held why)
{
	return (uint64_t)(c->held_ns[why] + (c->held == why ? now - c->since_ns : 0)) / 1000;
}

void lrp_tcp_info(const struct lrp_tcp *c, int64_t now, struct tcp_info *info)
{
	const struct lrp_tcp_recovery *r = &c->recovery;
	uint32_t headers = c->ip_len + 20u;

	memset(info, 0, sizeof(*info));
	info->tcpi_state = c->state;
	info->tcpi_ca_state = r->state;
	info->tcpi_retransmits = r->backoff;
	info->tcpi_probes = c->unanswered < 255 ? (uint8_t)c->unanswered : 255;
	info->tcpi_backoff = r->backoff ? r->backoff : c->probes < 255 ? (uint8_t)c->probes : 255;
	if (c->timestamps)
		info->tcpi_options |= TCPI_OPT_TIMESTAMPS;
	if (c->sack)
		info->tcpi_options |= TCPI_OPT_SACK;
	if (c->wscale_ok) {
		info->tcpi_options |= TCPI_OPT_WSCALE;
		info->tcpi_snd_wscale = c->snd_wscale & 15;
		info->tcpi_rcv_wscale = c->rcv_wscale & 15;
	}
	if (c->ecn)
		info->tcpi_options |= TCPI_OPT_ECN;
	info->tcpi_rto = us(lrp_tcp_rtt_backed_off(&r->rtt, r->rto_shift));
	info->tcpi_ato = us(c->ack_delay_ns);
	info->tcpi_snd_mss = c->mss;
	info->tcpi_rcv_mss = c->rcv_mss;
	info->tcpi_advmss = c->opt.mss ? lrp_tcp_min(c->search.most, c->opt.mss) : c->search.most;
	info->tcpi_advmss -= c->timestamps ? LRP_TCP_TS_LEN : 0;
	info->tcpi_unacked = segments(c, c->snd_nxt - c->snd_una);
	info->tcpi_sacked = segments(c, r->board.sacked_bytes);
	info->tcpi_lost = segments(c, r->board.lost_bytes);
	info->tcpi_retrans = segments(c, r->board.again_bytes);
	info->tcpi_last_data_sent = ms_since(now, c->sent_ns);
	info->tcpi_last_data_recv = ms_since(now, c->data_ns ? c->data_ns : c->heard_ns);
	info->tcpi_last_ack_recv = ms_since(now, c->heard_ns);
	info->tcpi_pmtu = c->path_mss + headers;
	info->tcpi_rcv_ssthresh = lrp_tcp_window_left(c);
	info->tcpi_rtt = us(r->rtt.srtt_ns);
	info->tcpi_rttvar = us(r->rtt.rttvar_ns);
	info->tcpi_min_rtt = us(r->rtt.min_ns);
	info->tcpi_snd_ssthresh =
		c->cc.ssthresh == LRP_TCP_CC_UNKNOWN ? 0x7fffffff : c->cc.ssthresh / c->mss;
	info->tcpi_snd_cwnd = c->cc.cwnd / c->mss;
	info->tcpi_reordering = r->reordering;
	info->tcpi_rcv_rtt = us(c->rcv_rtt_ns);
	info->tcpi_rcv_space = c->rcv_wanted ? c->rcv_wanted : c->rcv.size;
	info->tcpi_total_retrans = (uint32_t)r->segs_again;
	info->tcpi_pacing_rate = info->tcpi_max_pacing_rate = ~0ull;
	info->tcpi_bytes_acked = c->bytes_acked;
	info->tcpi_bytes_received = c->bytes_received;
	info->tcpi_bytes_sent = c->bytes_sent;
	info->tcpi_bytes_retrans = r->bytes_again;
	info->tcpi_segs_in = c->segs_in;
	info->tcpi_segs_out = c->segs_out;
	info->tcpi_data_segs_in = c->data_segs_in;
	info->tcpi_data_segs_out = c->data_segs_out;
	info->tcpi_notsent_bytes = c->opening ? 0 : lrp_tcp_waiting(c);
	info->tcpi_delivered = segments(c, r->delivered);
	info->tcpi_delivered_ce = segments(c, r->delivered_ce);
	info->tcpi_dsack_dups = r->dsacks;
	info->tcpi_reord_seen = r->reordered;
	info->tcpi_rcv_ooopack = c->disordered;
	info->tcpi_rwnd_limited = held_us(c, now, LRP_TCP_HELD_PEER);
	info->tcpi_sndbuf_limited = held_us(c, now, LRP_TCP_HELD_BUFFER);
	info->tcpi_busy_time = info->tcpi_rwnd_limited + info->tcpi_sndbuf_limited +
			       held_us(c, now, LRP_TCP_HELD_NET);
	info->tcpi_delivery_rate_app_limited = r->rate_limited;
	if (r->rate_ns > 0)
		info->tcpi_delivery_rate = r->rate_bytes * 1000000000ull / (uint64_t)r->rate_ns;
	info->tcpi_snd_wnd = c->snd_wnd;
}
