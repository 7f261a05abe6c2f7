/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A datagram's bytes lie in blocks of BLOCK_LEN, each with a bit per 8 bytes
 * that says what has come. So a fragment costs the same in any order, there are no
 * lists of holes that a hostile sender could make long, and whether a fragment is
 * new, a repetition or an overlap is a matter of counting bits. A whole
 * datagram is gathered once, into the area at the end of the memory, and then
 * read by lrp_ip_input() like any other packet.
 */
#include "reassembly.h"

#include <netinet/ip.h>
#include <string.h>

#include "../wire/bytes.h"
#include "../wire/checksum.h"
#include "ip_input.h"

#define UNIT		8u /* fragments begin at multiples of it */
#define BLOCK_LEN	2048u
#define BLOCK_UNITS	(BLOCK_LEN / UNIT)
#define DATAGRAM_MAX	65535u
#define DATAGRAM_BLOCKS 32u /* 65,536 bytes */
#define LINK_MAX	22u
#define HEADER_MAX	(LINK_MAX + 60u)
#define HEADER6_LEN	40u
#define WHOLE_HEADROOM	128u /* the payload of a whole datagram is aligned to a cache line */
#define NONE		0xffffu

struct block {
	uint64_t have[BLOCK_UNITS / 64];
	uint8_t bytes[BLOCK_LEN]; /* of a free block the first two: the next free one */
};

struct datagram {
	struct lrp_fragment_key key;
	uint64_t begun_ns;
	uint32_t hash;
	uint32_t total;	    /* bytes, known once the last fragment is here, else 0 */
	uint32_t have;	    /* bytes that are here */
	uint32_t high;	    /* end of the highest fragment */
	uint32_t fragments; /* stored */
	uint16_t older, newer;
	uint16_t next;	     /* in its bucket */
	uint16_t header_len; /* 0: the first fragment is not here */
	uint8_t l3_offset;
	uint8_t proto;
	uint8_t ecn; /* a bit for each codepoint seen */
	uint8_t header[HEADER_MAX];
	uint16_t block[DATAGRAM_BLOCKS];
};

struct lrp_reassembly {
	uint32_t capacity; /* of blocks and of datagrams: each has one block at least */
	uint32_t blocks_touched, datagrams_touched; /* below: used before; above: never */
	uint16_t block_free, datagram_free;
	uint16_t oldest, newest;
	uint32_t bucket_mask;			    /* there are as many buckets as datagrams */
	uint32_t datagrams_at, blocks_at, whole_at; /* offsets from here */
	uint32_t dropped_fragment, dropped_memory;
	uint64_t secret;
	uint64_t steps;
	uint16_t bucket[]; /* newest first */
};

static inline struct datagram *datagram_at(const struct lrp_reassembly *r, uint16_t i)
{
	return (struct datagram *)((uint8_t *)r + r->datagrams_at) + i;
}

static inline struct block *block_at(const struct lrp_reassembly *r, uint16_t i)
{
	return (struct block *)((uint8_t *)r + r->blocks_at) + i;
}

size_t lrp_reassembly_size(void)
{
	return LRP_REASSEMBLY_SIZE;
}

/* Of a datagram that has one block: these, and at most two buckets. */
#define DATAGRAM_COST (sizeof(struct block) + sizeof(struct datagram) + 2 * sizeof(uint16_t))

struct lrp_reassembly *lrp_reassembly_init(void *mem, size_t size, uint64_t secret)
{
	const size_t fixed = sizeof(struct lrp_reassembly) + 128 /* rounding */ + WHOLE_HEADROOM +
			     DATAGRAM_MAX + 1;
	struct lrp_reassembly *r = mem;
	size_t capacity, buckets = 1;

	_Static_assert(LRP_REASSEMBLY_SIZE_MIN > sizeof(*r) + 128 + WHOLE_HEADROOM + DATAGRAM_MAX +
							 1 + (DATAGRAM_BLOCKS + 1) * DATAGRAM_COST,
		       "the least size holds a datagram of the largest size and another's block");
	if (size < LRP_REASSEMBLY_SIZE_MIN)
		return NULL;
	capacity = (size - fixed) / DATAGRAM_COST;
	if (capacity > NONE)
		capacity = NONE;
	while (buckets < capacity)
		buckets <<= 1;
	memset(r, 0, sizeof(*r));
	memset(r->bucket, 0xff, buckets * sizeof(*r->bucket));
	r->secret = secret;
	r->bucket_mask = (uint32_t)buckets - 1;
	r->capacity = (uint32_t)capacity;
	r->block_free = r->datagram_free = r->oldest = r->newest = NONE;
	r->datagrams_at = (uint32_t)(sizeof(*r) + buckets * sizeof(*r->bucket) + 7) & ~7u;
	r->blocks_at = (uint32_t)(r->datagrams_at + capacity * sizeof(struct datagram));
	r->whole_at = (uint32_t)(r->blocks_at + capacity * sizeof(struct block) + 63) & ~63u;
	return r;
}

void lrp_fragment_key_of(const struct lrp_packet *p, struct lrp_fragment_key *key)
{
	memset(key, 0, sizeof(*key));
	key->id = p->fragment_id;
	if (p->family == AF_INET) {
		key->saddr.byte[10] = key->saddr.byte[11] = 0xff;
		key->daddr.byte[10] = key->daddr.byte[11] = 0xff;
		memcpy(key->saddr.byte + 12, &p->src.v4, 4);
		memcpy(key->daddr.byte + 12, &p->dst.v4, 4);
		key->family = 4;
	} else {
		memcpy(&key->saddr, &p->src.v6, 16);
		memcpy(&key->daddr, &p->dst.v6, 16);
		key->family = 6;
	}
	key->proto = p->proto;
}

/* RFC 8200 4.5: the next header may differ between fragments of one IPv6 datagram. */
static bool same_datagram(const struct lrp_fragment_key *a, const struct lrp_fragment_key *b)
{
	return !memcmp(&a->saddr, &b->saddr, sizeof(a->saddr)) &&
	       !memcmp(&a->daddr, &b->daddr, sizeof(a->daddr)) && a->id == b->id &&
	       a->family == b->family && (a->family == 6 || a->proto == b->proto);
}

static uint64_t fold(uint64_t a, uint64_t b)
{
	__uint128_t product = (__uint128_t)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Of what same_datagram() compares in both families. */
static uint32_t key_hash(const struct lrp_reassembly *r, const struct lrp_fragment_key *key)
{
	uint64_t word[4], hash = r->secret ^ key->id;

	memcpy(word, key, sizeof(word));
	hash = fold(hash, r->secret | 1);
	for (int i = 0; i < 4; i++)
		hash = fold(hash ^ word[i], r->secret | 1);
	return (uint32_t)(hash >> 32);
}

uint32_t lrp_reassembly_hash(const struct lrp_reassembly *r, const struct lrp_packet *fragment)
{
	struct lrp_fragment_key key;

	lrp_fragment_key_of(fragment, &key);
	return key_hash(r, &key);
}

uint64_t lrp_reassembly_steps(const struct lrp_reassembly *r)
{
	return r->steps;
}

static uint16_t reassembly_find(struct lrp_reassembly *r, const struct lrp_fragment_key *key,
				uint32_t hash)
{
	uint16_t i;

	for (i = r->bucket[hash & r->bucket_mask]; i != NONE; i = datagram_at(r, i)->next) {
		const struct datagram *d = datagram_at(r, i);

		r->steps++;
		if (d->hash == hash && same_datagram(&d->key, key))
			break;
	}
	return i;
}

static void unlink_from_bucket(struct lrp_reassembly *r, uint16_t i)
{
	const struct datagram *d = datagram_at(r, i);
	uint16_t *at = &r->bucket[d->hash & r->bucket_mask];

	for (; *at != i; at = &datagram_at(r, *at)->next)
		r->steps++;
	*at = d->next;
}

static void release(struct lrp_reassembly *r, uint16_t i)
{
	struct datagram *d = datagram_at(r, i);

	for (unsigned int b = 0; b * BLOCK_LEN < d->high; b++) {
		if (d->block[b] == NONE)
			continue;
		memcpy(block_at(r, d->block[b])->bytes, &r->block_free, 2);
		r->block_free = d->block[b];
	}
	unlink_from_bucket(r, i);
	if (d->older == NONE)
		r->oldest = d->newer;
	else
		datagram_at(r, d->older)->newer = d->newer;
	if (d->newer == NONE)
		r->newest = d->older;
	else
		datagram_at(r, d->newer)->older = d->older;
	d->newer = r->datagram_free;
	r->datagram_free = i;
}

static int give_up(struct lrp_reassembly *r, uint16_t i)
{
	r->dropped_fragment += datagram_at(r, i)->fragments;
	release(r, i);
	return -LRP_DROPPED(LRP_DROP_FRAGMENT);
}

/* Makes room at the expense of the datagram that was begun first, but not of `keep`: what is just
 * being completed is worth more than what waits. */
static void push_out(struct lrp_reassembly *r, uint16_t keep)
{
	uint16_t i = r->oldest == keep ? datagram_at(r, keep)->newer : r->oldest;

	r->dropped_memory += datagram_at(r, i)->fragments;
	release(r, i);
}

static uint16_t take_block(struct lrp_reassembly *r, uint16_t keep)
{
	struct block *b;
	uint16_t i;

	/* There is always another to push out: the memory holds more than one datagram's blocks. */
	if (r->block_free == NONE && r->blocks_touched == r->capacity)
		push_out(r, keep);
	if (r->block_free != NONE) {
		i = r->block_free;
		memcpy(&r->block_free, block_at(r, i)->bytes, 2);
	} else {
		i = (uint16_t)r->blocks_touched++;
	}
	b = block_at(r, i);
	memset(b->have, 0, sizeof(b->have));
	return i;
}

static uint16_t take_datagram(struct lrp_reassembly *r, uint64_t now_ns,
			      const struct lrp_fragment_key *key, uint32_t hash)
{
	struct datagram *d;
	uint16_t i, *bucket = &r->bucket[hash & r->bucket_mask];

	if (r->datagram_free == NONE && r->datagrams_touched == r->capacity)
		push_out(r, NONE);
	if (r->datagram_free != NONE) {
		i = r->datagram_free;
		r->datagram_free = datagram_at(r, i)->newer;
	} else {
		i = (uint16_t)r->datagrams_touched++;
	}
	d = datagram_at(r, i);
	memset(d, 0, sizeof(*d));
	d->key = *key;
	d->hash = hash;
	d->begun_ns = now_ns;
	memset(d->block, 0xff, sizeof(d->block));
	d->next = *bucket;
	*bucket = i;
	d->older = r->newest;
	d->newer = NONE;
	if (r->newest == NONE)
		r->oldest = i;
	else
		datagram_at(r, r->newest)->newer = i;
	r->newest = i;
	return i;
}

/* The bits of word `w` of a bitmap that stand for units [from, to). */
static inline uint64_t bits(uint32_t w, uint32_t from, uint32_t to)
{
	uint32_t low = w * 64, high = low + 64;

	from = from > low ? from : low;
	to = to < high ? to : high;
	if (from >= to)
		return 0;
	return (to - from == 64 ? ~0ull : (1ull << (to - from)) - 1) << (from - low);
}

/* A part of a fragment, within one block. */
struct piece {
	uint32_t block;	  /* of the datagram */
	uint32_t at, len; /* bytes in the block */
	uint32_t skip;	  /* bytes of the fragment before it */
};

static bool next_piece(struct piece *s, uint32_t offset, uint32_t len)
{
	uint32_t at;

	s->skip += s->len;
	if (s->skip == len)
		return false;
	at = offset + s->skip;
	s->block = at / BLOCK_LEN;
	s->at = at % BLOCK_LEN;
	s->len = BLOCK_LEN - s->at;
	if (s->len > len - s->skip)
		s->len = len - s->skip;
	return true;
}

#define for_each_piece(s, offset, len) for (struct piece s = {0}; next_piece(&s, offset, len);)

enum fresh { NEW, REPEATED, OVERLAPS };

/* Is any of it here already, all of it, and the same? */
static enum fresh compare(const struct lrp_reassembly *r, const struct datagram *d, uint32_t offset,
			  const uint8_t *bytes, uint32_t len)
{
	uint32_t here = 0, units = (len + UNIT - 1) / UNIT;
	bool same = true;

	for_each_piece (s, offset, len) {
		const struct block *b;
		uint32_t from = s.at / UNIT, to = (s.at + s.len + UNIT - 1) / UNIT;

		if (d->block[s.block] == NONE)
			continue;
		b = block_at(r, d->block[s.block]);
		for (uint32_t w = 0; w < BLOCK_UNITS / 64; w++)
			here += (uint32_t)__builtin_popcountll(b->have[w] & bits(w, from, to));
		if (here)
			same = same && !memcmp(b->bytes + s.at, bytes + s.skip, s.len);
	}
	if (!here)
		return NEW;
	return here == units && same ? REPEATED : OVERLAPS;
}

static void store(struct lrp_reassembly *r, uint16_t i, uint32_t offset, const uint8_t *bytes,
		  uint32_t len)
{
	struct datagram *d = datagram_at(r, i);

	for_each_piece (s, offset, len) {
		uint32_t from = s.at / UNIT, to = (s.at + s.len + UNIT - 1) / UNIT;
		struct block *b;

		if (d->block[s.block] == NONE)
			d->block[s.block] = take_block(r, i);
		b = block_at(r, d->block[s.block]);
		for (uint32_t w = 0; w < BLOCK_UNITS / 64; w++)
			b->have[w] |= bits(w, from, to);
		memcpy(b->bytes + s.at, bytes + s.skip, s.len);
	}
	d->have += len;
	d->fragments++;
}

static uint32_t header_len_of(const struct lrp_packet *p)
{
	return p->l3_offset + (p->family == AF_INET ? 20u + p->options_len : HEADER6_LEN);
}

/*
 * Holds after lrp_ip_input(), unless somebody who shares the frame changed it meanwhile. What is
 * copied depends on these numbers alone.
 */
static bool in_bounds(const struct lrp_packet *p)
{
	uint32_t header_len = header_len_of(p);

	return p->l4_offset <= p->frame_len && p->l4_len <= p->frame_len - p->l4_offset &&
	       header_len <= HEADER_MAX && header_len <= p->l4_offset &&
	       !(p->fragment_offset % UNIT);
}

/* The headers of the first fragment are the datagram's [RFC 791 3.2, RFC 8200 4.5]. Of IPv6 only
 * the fixed one is kept: what stood between it and the fragment header has had its effect. */
static void keep_header(struct datagram *d, const struct lrp_packet *p)
{
	d->header_len = (uint16_t)header_len_of(p);
	d->l3_offset = (uint8_t)p->l3_offset;
	d->proto = p->proto;
	memcpy(d->header, p->frame, d->header_len);
}

/* RFC 3168 5.3: congestion experienced by one is experienced by all, unless one was sent without
 * ECN: then the combination cannot be. -1: drop. */
static int ecn_of(uint8_t seen)
{
	const uint8_t not_ect = 1 << IPTOS_ECN_NOT_ECT, ce = 1 << IPTOS_ECN_CE;

	if (seen & not_ect)
		return seen == not_ect ? 0 : -1;
	return seen & ce && seen != ce ? IPTOS_ECN_CE : 0;
}

static void rewrite_header4(uint8_t *ip, uint32_t header_len, uint32_t total, uint8_t ecn)
{
	uint16_t check;

	ip[1] |= ecn;
	lrp_put16(ip + 2, header_len + total);
	lrp_put16(ip + 6, 0);
	lrp_put16(ip + 10, 0);
	check = (uint16_t)~lrp_checksum_fold(lrp_checksum_header4(ip, header_len / 4));
	memcpy(ip + 10, &check, 2);
}

static void rewrite_header6(uint8_t *ip, uint8_t proto, uint32_t total, uint8_t ecn)
{
	ip[1] |= (uint8_t)(ecn << 4);
	lrp_put16(ip + 4, total);
	ip[6] = proto;
}

/* Gathers the datagram, which is complete, and parses it. */
static int finish(struct lrp_reassembly *r, uint16_t i, struct lrp_packet *whole)
{
	struct datagram *d = datagram_at(r, i);
	uint8_t *payload = (uint8_t *)r + r->whole_at + WHOLE_HEADROOM;
	uint8_t *frame = payload - d->header_len;
	uint32_t ip_len = d->header_len - d->l3_offset;
	int ecn = ecn_of(d->ecn);

	if (ecn < 0)
		return give_up(r, i);
	memcpy(frame, d->header, d->header_len);
	if (d->key.family == 4) {
		if (ip_len + d->total > DATAGRAM_MAX)
			return give_up(r, i);
		rewrite_header4(frame + d->l3_offset, ip_len, d->total, (uint8_t)ecn);
	} else {
		/* It belongs before a fragment header, never behind one [RFC 8200 4.1];
		 * lrp_ip_input() would now see it directly behind the fixed header. */
		if (d->proto == IPPROTO_HOPOPTS)
			return give_up(r, i);
		rewrite_header6(frame + d->l3_offset, d->proto, d->total, (uint8_t)ecn);
	}
	for_each_piece (s, 0, d->total)
		memcpy(payload + s.skip, block_at(r, d->block[s.block])->bytes, s.len);
	whole->frame = frame;
	whole->frame_len = d->header_len + d->total;
	if (lrp_ip_input(whole) || whole->fragment)
		return give_up(r, i);
	release(r, i);
	return 1;
}

/* What a fragment says must agree with what is known of the length. (Once the last is here `high`
 * is the total.) */
static bool length_agrees(struct datagram *d, const struct lrp_packet *p)
{
	uint32_t end = p->fragment_offset + p->l4_len;

	if (d->total && end > d->total)
		return false;
	if (!p->more_fragments) {
		if (end < d->high)
			return false;
		d->total = end;
	}
	if (end > d->high)
		d->high = end;
	return true;
}

int lrp_reassembly_input(struct lrp_reassembly *r, uint64_t now_ns, const struct lrp_packet *p,
			 struct lrp_packet *whole)
{
	struct lrp_fragment_key key;
	struct datagram *d;
	uint32_t hash;
	uint16_t i;
	int result;
	const uint8_t *bytes = p->frame + p->l4_offset;

	lrp_reassembly_expire(r, now_ns);
	/* The last may have any length, the others only what can be continued. */
	if (!p->fragment || !p->l4_len || (p->more_fragments && p->l4_len % UNIT) ||
	    p->fragment_offset + p->l4_len > DATAGRAM_MAX || !in_bounds(p))
		return -LRP_DROPPED(LRP_DROP_FRAGMENT);
	lrp_fragment_key_of(p, &key);
	hash = key_hash(r, &key);
	i = reassembly_find(r, &key, hash);
	if (i == NONE)
		i = take_datagram(r, now_ns, &key, hash);
	d = datagram_at(r, i);

	if (!length_agrees(d, p))
		return give_up(r, i);
	switch (compare(r, d, p->fragment_offset, bytes, p->l4_len)) {
	case OVERLAPS:
		return give_up(r, i);
	case REPEATED:
		r->dropped_fragment++;
		break;
	case NEW:
		if (p->fragment_offset == 0)
			keep_header(d, p);
		d->ecn |= (uint8_t)(1 << (p->tos & IPTOS_ECN_MASK));
		store(r, i, p->fragment_offset, bytes, p->l4_len);
		break;
	}
	if (!d->total || d->have != d->total)
		return 0;
	result = finish(r, i, whole);
	/* This fragment is accounted for by what is returned, not twice. */
	if (result < 0)
		r->dropped_fragment--;
	return result;
}

uint64_t lrp_reassembly_expire(struct lrp_reassembly *r, uint64_t now_ns)
{
	while (r->oldest != NONE) {
		uint64_t due = datagram_at(r, r->oldest)->begun_ns + LRP_REASSEMBLY_TIMEOUT_NS;

		if (now_ns < due)
			return due;
		give_up(r, r->oldest);
	}
	return UINT64_MAX;
}

bool lrp_reassembly_missing(const struct lrp_reassembly *r, uint32_t *cursor,
			    struct lrp_fragment_key *key)
{
	uint16_t i = *cursor ? datagram_at(r, (uint16_t)(*cursor - 1))->newer : r->oldest;

	if (i == NONE)
		return false;
	*key = datagram_at(r, i)->key;
	*cursor = i + 1u;
	return true;
}

bool lrp_reassembly_wants(struct lrp_reassembly *r, const struct lrp_packet *fragment)
{
	struct lrp_fragment_key key;

	lrp_fragment_key_of(fragment, &key);
	return reassembly_find(r, &key, key_hash(r, &key)) != NONE;
}

void lrp_reassembly_take_dropped(struct lrp_reassembly *r, uint32_t dropped[LRP_DROP_REASON_COUNT])
{
	dropped[LRP_DROP_FRAGMENT] += r->dropped_fragment;
	dropped[LRP_DROP_MEMORY] += r->dropped_memory;
	r->dropped_fragment = r->dropped_memory = 0;
}
