/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * reassembly.h - putting fragments together, bounded in memory and in time
 * (RFC 791, RFC 815, RFC 5722, RFC 8200 4.5, RFC 3168 5.3).
 *
 * All state is in one block of memory that the caller hands in; fragments are
 * copied into it, so that their frames can go back at once. Every socket has
 * its own block: what one receives cannot push out what another waits for.
 *
 * A fragment costs the same whatever is stored: datagrams are found by a keyed hash.
 *
 * Overlapping fragments drop the datagram, in IPv4 too; an exact repetition of
 * bytes already there is ignored. When memory is short the datagram that was
 * begun first goes.
 *
 * Pure; the caller serialises calls for one block. No pointers are kept in the
 * block: it may lie at different addresses in different processes.
 */
#ifndef LRP_REASSEMBLY_H
#define LRP_REASSEMBLY_H

#include <stddef.h>

#include "packet.h"

#define LRP_REASSEMBLY_TIMEOUT_NS (30ull * 1000000000ull)
#define LRP_REASSEMBLY_SIZE	  (256u * 1024u) /* the usual bound per socket */
#define LRP_REASSEMBLY_SIZE_MIN	  (160u * 1024u) /* one of the largest datagrams, and more */

struct lrp_reassembly;

/* The usual size of the block, to be allocated when the first fragment comes. */
size_t lrp_reassembly_size(void);

/*
 * Makes an empty state in `mem` (8-byte aligned, `size` bytes). Contents do not
 * matter; only the head of the block is written, so fresh pages stay untouched until they are
 * needed. `secret` is random: senders must not foresee the hash. Returns NULL if
 * size < LRP_REASSEMBLY_SIZE_MIN.
 */
struct lrp_reassembly *lrp_reassembly_init(void *mem, size_t size, uint64_t secret);

/*
 * Takes a packet that lrp_ip_input() found to be a fragment. Its bytes may change while it is
 * copied: that changes what is in the datagram, and nothing else.
 * 1: *whole is the datagram, as lrp_ip_input() would give it: whole->frame is a complete packet
 *    in r's memory with the first fragment's headers, valid until the next call with r.
 * 0: stored (or a repetition, ignored).
 * < 0: -LRP_DROPPED(reason); the fragment is not stored, and if it overlapped or did not agree with
 *    others, these are given up too.
 */
int lrp_reassembly_input(struct lrp_reassembly *r, uint64_t now_ns,
			 const struct lrp_packet *fragment, struct lrp_packet *whole);

/* Gives up datagrams begun more than LRP_REASSEMBLY_TIMEOUT_NS ago (input does so too). Returns
 * when the next one is due, UINT64_MAX if none is waiting. */
uint64_t lrp_reassembly_expire(struct lrp_reassembly *r, uint64_t now_ns);

/*
 * Datagrams that are waiting for fragments, one key per call, oldest first:
 *   uint32_t cursor = 0;
 *   while (lrp_reassembly_missing(r, &cursor, &key)) ...
 * The caller looks for these on the fragment channel (see lrp_reassembly_wants()). The iteration
 * is over once anything else was called with r.
 */
bool lrp_reassembly_missing(const struct lrp_reassembly *r, uint32_t *cursor,
			    struct lrp_fragment_key *key);

/* True if fragments of the same datagram as `fragment` are waiting. */
bool lrp_reassembly_wants(struct lrp_reassembly *r, const struct lrp_packet *fragment);

/* The hash of a fragment's datagram, as r has it. */
uint32_t lrp_reassembly_hash(const struct lrp_reassembly *r, const struct lrp_packet *fragment);

/* Datagrams compared in all look-ups so far; for tests. */
uint64_t lrp_reassembly_steps(const struct lrp_reassembly *r);

/*
 * The key of a fragment, as the XDP program has it in lrp_fragments. RFC 8200 4.5 lets the next
 * header, and so key->proto, differ between fragments of one IPv6 datagram: where that matters
 * ask lrp_reassembly_wants().
 */
void lrp_fragment_key_of(const struct lrp_packet *fragment, struct lrp_fragment_key *key);

/*
 * Fragments that had been stored and were given up since the last call, added to dropped[reason]:
 * FRAGMENT (late, overlapped, repeated), MEMORY (pushed out). Fragments of datagrams
 * that became whole are not in it.
 */
void lrp_reassembly_take_dropped(struct lrp_reassembly *r, uint32_t dropped[LRP_DROP_REASON_COUNT]);

#endif
