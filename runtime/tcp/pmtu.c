/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * pmtu.c - how large segments may be: what the ends and the path allow. It falls by ICMP (RFC
 * 1191, RFC 8201) or when large segments vanish without a word (RFC 2923 2.1), and rises
 * again by trial (RFC 4821): one segment of new data is larger than the others; that it is
 * acknowledged shows that the path is wide enough, and that it alone is lost is no congestion.
 */
#include "tcp_internal.h"

#define TCP_LEN		    20u
#define MSS_DEFAULT4	    536u /* RFC 9293 3.7.1 */
#define MSS_DEFAULT6	    1220u
#define BLACK_HOLE_TIMEOUTS 2		   /* of large segments, until smaller ones are tried */
#define BLACK_HOLE_GIVE_UP  6		   /* it was none */
#define SEARCH_AGAIN_NS	    600000000000ll /* RFC 1191 6.3, PMTU_RAISE_TIMER of RFC 8899 5.1.1 */
#define SEARCH_RETRY_NS	    1000000000ll   /* after a loss that may be congestion */
#define SEARCH_TRIES	    3		   /* that size is to blame, not chance (MAX_PROBES) */
#define SEARCH_STEP	    16u		   /* worth no further trial */
#define SEARCH_AROUND	    4u /* full segments out or to follow: their ACKs tell of a loss */

/* Without options, whatever the path. */
static uint32_t ends_mss(const struct lrp_tcp *c)
{
	uint32_t mss = c->peer_mss ? c->peer_mss : c->ip_len == 20 ? MSS_DEFAULT4 : MSS_DEFAULT6;

	return c->opt.mss ? lrp_tcp_min(mss, c->opt.mss) : mss;
}

void lrp_tcp_mss_update(struct lrp_tcp *c)
{
	uint32_t mss = lrp_tcp_max(lrp_tcp_min(ends_mss(c), c->path_mss), LRP_TCP_MSS_MIN);

	if (c->timestamps)
		mss -= LRP_TCP_TS_LEN;
	if (mss == c->mss)
		return;
	c->mss = (uint16_t)mss;
	lrp_tcp_cc_mss(&c->cc, mss);
}

static uint16_t mss_of(const struct lrp_tcp *c, uint32_t mtu)
{
	uint32_t headers = c->ip_len + TCP_LEN;

	mtu = lrp_tcp_min(mtu, 0xffff);
	return (uint16_t)lrp_tcp_max(mtu > headers ? mtu - headers : 0, LRP_TCP_MSS_MIN);
}

void lrp_tcp_path_mtu(struct lrp_tcp *c, uint32_t mtu)
{
	c->path_mss = c->search.most = mss_of(c, mtu);
	c->search.failed = UINT16_MAX;
	c->search.next_ns = LRP_TCP_NEVER;
}

/* ---- down ------------------------------------------------------------------- */

/* To this size, whence larger ones are tried from `next_ns` on. */
static void fall(struct lrp_tcp *c, uint16_t mss, int64_t next_ns)
{
	c->path_mss = mss;
	c->search.size = 0;
	c->search.tries = 0;
	c->search.failed = UINT16_MAX;
	c->search.next_ns = next_ns;
	lrp_tcp_mss_update(c);
}

void lrp_tcp_too_big(struct lrp_tcp *c, int64_t now, uint32_t seq, uint32_t mtu)
{
	uint16_t before = c->mss, mss;

	if (!lrp_tcp_is_out(c, seq))
		return;
	/* Less than any path must carry is made up (RFC 5927 7, RFC 8201 4; Linux's min_pmtu). */
	mss = mss_of(c, lrp_tcp_max(mtu, c->ip_len == 20 ? 552 : 1280));
	/* Of the segment that tried a larger size: how large is too large. */
	if (c->search.size && seq == c->search.seq && mss >= c->path_mss && mss < c->search.size)
		c->search.failed = (uint16_t)(mss + 1);
	if (mss >= c->path_mss)
		return;
	fall(c, mss, now + SEARCH_AGAIN_NS);
	if (c->mss < before && !c->opening)
		lrp_tcp_recovery_resend(&c->recovery);
}

void lrp_tcp_black_hole(struct lrp_tcp *c, int64_t now)
{
	static const uint16_t step[] = {1220, 536}; /* what IPv6 must carry; what IPv4 always did */
	uint32_t timeouts = c->recovery.backoff, i = c->path_mss > step[0] ? 0 : 1;

	if (timeouts < BLACK_HOLE_TIMEOUTS)
		return;
	if (timeouts == BLACK_HOLE_GIVE_UP && c->black_hole_mss) {
		c->path_mss = c->black_hole_mss;
		c->black_hole_mss = 0;
		lrp_tcp_mss_update(c);
		return;
	}
	if (timeouts >= BLACK_HOLE_GIVE_UP || timeouts % 2 || c->path_mss <= step[i] ||
	    (i && c->ip_len != 20))
		return;
	/* The peer's window may not have let them become full, but large enough. */
	if (c->snd_nxt - c->snd_una <= step[i])
		return;
	if (!c->black_hole_mss)
		c->black_hole_mss = c->path_mss;
	/* As soon as something gets through again: it may have been an outage, or the path allows
	 * something in between. */
	fall(c, step[i], now);
}

/* ---- up --------------------------------------------------------------------- */

/* The size to try next, without options; 0: none. All that the ends allow, then by halves. */
static uint16_t candidate(const struct lrp_tcp *c)
{
	uint32_t most = lrp_tcp_min(ends_mss(c), c->search.most);

	if (c->path_mss >= most)
		return 0;
	if (c->search.failed > most)
		return (uint16_t)most;
	return c->search.failed < c->path_mss + SEARCH_STEP
		       ? 0
		       : (uint16_t)((c->path_mss + c->search.failed) / 2);
}

uint32_t lrp_tcp_search(const struct lrp_tcp *c, int64_t now)
{
	uint32_t size, waiting, around = SEARCH_AROUND * c->mss;

	if (now < c->search.next_ns || c->search.size || c->black_hole_mss || c->snd_urgent ||
	    c->records || !c->sack || c->ranges || c->recovery.state != LRP_TCP_OPEN ||
	    c->recovery.tlp_out)
		return 0;
	size = candidate(c);
	if (!size)
		return 0;
	size -= c->timestamps ? LRP_TCP_TS_LEN : 0;
	waiting = lrp_tcp_waiting(c);
	if (waiting < size || c->snd_nxt - c->snd_una + waiting < size + around ||
	    lrp_tcp_peer_room(c) < size || lrp_tcp_recovery_room(&c->recovery, &c->cc) < size ||
	    c->cc.cwnd < 2 * around)
		return 0;
	return size;
}

void lrp_tcp_search_sent(struct lrp_tcp *c, uint32_t seq)
{
	c->search.size = candidate(c);
	c->search.seq = seq;
	c->search.end = c->snd_nxt;
}

/* The next size at once; or, when the search is over, all of it again later: paths change. */
static void search_on(struct lrp_tcp *c, int64_t now)
{
	c->search.size = 0;
	c->search.tries = 0;
	c->search.next_ns = now;
	if (candidate(c))
		return;
	c->search.failed = UINT16_MAX;
	c->search.next_ns = candidate(c) ? now + SEARCH_AGAIN_NS : LRP_TCP_NEVER;
}

void lrp_tcp_search_ack(struct lrp_tcp *c, int64_t now)
{
	if (lrp_seq_geq(c->snd_una, c->search.end)) {
		c->path_mss = c->search.size;
		lrp_tcp_mss_update(c);
		search_on(c, now);
	} else if (lrp_tcp_recovery_forgive(&c->recovery, &c->cc, c->search.seq, c->search.end)) {
		bool told = c->search.failed <= c->search.size; /* by ICMP */

		if (!told && ++c->search.tries == SEARCH_TRIES)
			c->search.failed = c->search.size;
		if (c->search.failed <= c->search.size)
			search_on(c, now);
		c->search.size = 0;
	}
}

void lrp_tcp_search_again(struct lrp_tcp *c, int64_t now)
{
	c->search.size = 0;
	c->search.next_ns = now + SEARCH_RETRY_NS;
}
