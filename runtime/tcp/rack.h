/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * rack.h - losses found by time: what was sent before something that has been
 * delivered, by more than a window for reordering, is lost (RFC 8985 6).
 *
 * Pure. Nanoseconds.
 */
#ifndef LRP_TCP_RACK_H
#define LRP_TCP_RACK_H

#include <stdbool.h>
#include <stdint.h>

#include "rtt.h"
#include "scoreboard.h"

struct lrp_tcp_rack {
	int64_t sent_ns; /* when what was sent last of all delivered was sent; 0: nothing yet */
	int64_t rtt_ns;	 /* how long it took */
	uint32_t end;	 /* its end */
	uint32_t dsack_round; /* one D-SACK in a round trip counts: until this is acknowledged */
	uint8_t mult;	      /* window in quarters of the least RTT */
	uint8_t persist;      /* recoveries until it falls back to one */
	bool in_round;	      /* dsack_round is valid */
	bool reordering;      /* was seen */
};

void lrp_tcp_rack_init(struct lrp_tcp_rack *k);
/* Takes in what an acknowledgement delivered, before una moves on. `dsack`: it reported a
 * duplicate that was no tail loss probe. True if losses may be found now that could not before. */
bool lrp_tcp_rack_update(struct lrp_tcp_rack *k, const struct lrp_tcp_delivery *d, bool dsack,
			 uint32_t una, uint32_t nxt);
/* A recovery has ended (RFC 8985 6.2 step 4: the window persists for 16 of them). */
void lrp_tcp_rack_recovered(struct lrp_tcp_rack *k);
/* `eager`: in recovery, or as much is sacked as starts one (RFC 8985 6.2 step 4). */
int64_t lrp_tcp_rack_window(const struct lrp_tcp_rack *k, const struct lrp_tcp_rtt *t, bool eager);

struct lrp_tcp_rack_losses {
	uint32_t bytes;	 /* found lost now */
	bool again;	 /* a retransmission among them */
	int64_t wait_ns; /* 0, or after which time to look again */
};
/* Marks what is lost (RFC 8985 6.2 step 5). O(records marked). */
struct lrp_tcp_rack_losses lrp_tcp_rack_detect(const struct lrp_tcp_rack *k,
					       struct lrp_tcp_scoreboard *b, int64_t now_ns,
					       int64_t window_ns);
/* After a timeout (RFC 8985 6.3): the first, and all that is out for longer than a round trip. */
void lrp_tcp_rack_timeout(const struct lrp_tcp_rack *k, struct lrp_tcp_scoreboard *b,
			  int64_t now_ns, int64_t window_ns);

#endif
