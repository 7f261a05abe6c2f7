/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "rack.h"

#include <string.h>

#include "seq.h"

#define PERSIST 16 /* recoveries (RFC 8985 6.2 step 4) */

void lrp_tcp_rack_init(struct lrp_tcp_rack *k)
{
	memset(k, 0, sizeof(*k));
	k->mult = 1;
}

static bool sent_after(int64_t ns1, uint32_t end1, int64_t ns2, uint32_t end2)
{
	return ns1 > ns2 || (ns1 == ns2 && lrp_seq_gt(end1, end2));
}

/* Each round trip with a D-SACK widens the window: the last retransmission was needless. */
static void adapt(struct lrp_tcp_rack *k, bool dsack, uint32_t una, uint32_t nxt)
{
	if (k->in_round && lrp_seq_geq(una, k->dsack_round))
		k->in_round = false;
	if (dsack && !k->in_round) {
		k->in_round = true;
		k->dsack_round = nxt;
		k->mult += k->mult < 0xff;
		k->persist = PERSIST;
	} else if (!k->persist) {
		k->mult = 1;
	}
}

bool lrp_tcp_rack_update(struct lrp_tcp_rack *k, const struct lrp_tcp_delivery *d, bool dsack,
			 uint32_t una, uint32_t nxt)
{
	k->reordering |= d->reordered;
	adapt(k, dsack, una, nxt);
	if (d->newest_ns < 0)
		return false;
	if (!sent_after(d->newest_ns, d->newest_end, k->sent_ns, k->end))
		return true;
	k->rtt_ns = d->now_ns - d->newest_ns;
	k->sent_ns = d->newest_ns;
	k->end = d->newest_end;
	return true;
}

void lrp_tcp_rack_recovered(struct lrp_tcp_rack *k)
{
	k->persist -= k->persist > 0;
}

int64_t lrp_tcp_rack_window(const struct lrp_tcp_rack *k, const struct lrp_tcp_rtt *t, bool eager)
{
	int64_t window = (t->min_ns / 4) * k->mult;

	if (!k->reordering && eager)
		return 0;
	return window < t->srtt_ns ? window : t->srtt_ns;
}

/* The latest that was sent before what RACK has seen delivered. That only moves on, so each run is
 * passed once per sending. */
static uint16_t overtaken(const struct lrp_tcp_rack *k, struct lrp_tcp_scoreboard *b)
{
	for (;;) {
		uint16_t i =
			b->overtaken == LRP_TCP_SENT_NONE ? b->oldest : b->run[b->overtaken].later;

		if (i == LRP_TCP_SENT_NONE ||
		    !sent_after(k->sent_ns, k->end, b->run[i].sent_ns, b->run[i].end))
			return b->overtaken;
		b->steps++;
		b->overtaken = i;
	}
}

/* Of what lies up to the mark, what was sent last; something does. */
static const struct lrp_tcp_sent_run *last_marked(const struct lrp_tcp_scoreboard *b)
{
	return &b->run[b->beyond == LRP_TCP_SENT_NONE ? b->newest : b->run[b->beyond].earlier];
}

struct lrp_tcp_rack_losses lrp_tcp_rack_detect(const struct lrp_tcp_rack *k,
					       struct lrp_tcp_scoreboard *b, int64_t now_ns,
					       int64_t window_ns)
{
	int64_t late_ns = now_ns - k->rtt_ns - window_ns; /* sent then or before: lost */
	struct lrp_tcp_rack_losses found = {0};
	uint16_t last = overtaken(k, b);

	if (last == LRP_TCP_SENT_NONE)
		return found;
	/* What was lost once and found again is lost all together: or the peer could have it
	 * counted again and again. It was overtaken already, so the timer below sees to it
	 * at the latest. */
	if (b->forgiven && !b->marked_bytes)
		lrp_tcp_scoreboard_lose_marked(b);
	if (b->forgiven && last_marked(b)->sent_ns <= late_ns) {
		found.bytes = b->marked_bytes;
		found.again = b->marked_again != 0;
		lrp_tcp_scoreboard_lose_marked(b);
	}
	while (!b->forgiven && b->beyond != LRP_TCP_SENT_NONE) {
		const struct lrp_tcp_sent_run *run = &b->run[b->beyond];

		if (run->sent_ns > late_ns ||
		    !sent_after(k->sent_ns, k->end, run->sent_ns, run->end))
			break;
		found.bytes += run->end - run->seq;
		found.again |= run->flags & LRP_TCP_SENT_AGAIN;
		lrp_tcp_scoreboard_lose(b);
	}
	/* They lie in the order of sending: the longest wait is that of the last. */
	if (b->run[last].sent_ns > late_ns)
		found.wait_ns = b->run[last].sent_ns - late_ns;
	return found;
}

void lrp_tcp_rack_timeout(const struct lrp_tcp_rack *k, struct lrp_tcp_scoreboard *b,
			  int64_t now_ns, int64_t window_ns)
{
	lrp_tcp_scoreboard_lose_sent(b, now_ns - k->rtt_ns - window_ns);
}
