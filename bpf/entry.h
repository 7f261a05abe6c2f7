/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * entry.h - changing exact entries of TCP, for the families' program and lrpd's.
 *
 * An entry has two words: endpoint and owner, end and generation. Programs change them by
 * compare-and-swap only. A map element may become the entry of another four-tuple in the meantime.
 * Then its words differ, or it is an entry of the same end, and so of the same family. So a family
 * that races with itself can confuse its own entries only.
 *
 * Only the program that has put the tombstone into the second word deletes an entry. Otherwise a
 * program that looked at an old entry could delete the new entry that has its key by then.
 */
#ifndef LRP_BPF_ENTRY_H
#define LRP_BPF_ENTRY_H

#include <asm/errno.h>
#include <stdbool.h>

#include "maps.h"

#define LRP_FLOW_TOMBSTONE	0xffffffffu /* as a generation */
#define LRP_FLOW_TOMBSTONE_SEEN 0xfffffffeu /* lrpd has met it once [watch.bpf.c: lrp_purge] */

struct lrp_entry_key {
	bool v4;
	union {
		struct lrp_flow4 key4;
		struct lrp_flow6 key6;
	};
};

static __always_inline struct lrp_flow *lrp_entry_find(const struct lrp_entry_key *key)
{
	return key->v4 ? bpf_map_lookup_elem(&lrp_flows4, &key->key4)
		       : bpf_map_lookup_elem(&lrp_flows6, &key->key6);
}

static __always_inline __u64 lrp_entry_word(__u32 low, __u32 high)
{
	return (__u64)high << 32 | low;
}

static __always_inline __u64 *lrp_entry_first(struct lrp_flow *flow)
{
	return (__u64 *)flow; /* endpoint, owner */
}

static __always_inline __u64 *lrp_entry_second(struct lrp_flow *flow)
{
	return (__u64 *)flow + 1; /* end, generation */
}

static __always_inline bool lrp_entry_swap(__u64 *word, __u64 from, __u64 to)
{
	return __sync_val_compare_and_swap(word, from, to) == from;
}

/* True: the entry's end still has the generation under which the entry was made. */
static __always_inline bool lrp_entry_counts(__u64 second)
{
	__u32 index = (__u32)second;
	struct lrp_end *end = bpf_map_lookup_elem(&lrp_ends, &index);

	return end && *(volatile __u32 *)&end->generation == second >> 32;
}

static __always_inline void lrp_quota_give(__u32 index)
{
	__u32 sum = LRP_QUOTA_ALL;
	struct lrp_quota *quota = bpf_map_lookup_elem(&lrp_quotas, &index);
	struct lrp_quota *all = bpf_map_lookup_elem(&lrp_quotas, &sum);

	if (quota)
		__sync_fetch_and_add(&quota->flows, -1);
	if (all && index != LRP_QUOTA_ROOT)
		__sync_fetch_and_add(&all->flows, -1);
}

static __always_inline void lrp_end_count(__u32 index, __u32 by)
{
	struct lrp_end *end = bpf_map_lookup_elem(&lrp_ends, &index);

	if (end && index)
		__sync_fetch_and_add(&end->flows, by);
}

/* Deletes the entry. `second`: its second word as the caller has read it. False: the entry has
 * become another, or another program deletes it. */
static __always_inline bool lrp_entry_remove(const struct lrp_entry_key *key, struct lrp_flow *flow,
					     __u64 second)
{
	__u32 owner = *(volatile __u32 *)&flow->owner, end = (__u32)second;
	struct lrp_family *family = bpf_map_lookup_elem(&lrp_families, &owner);

	if (second >> 32 >= LRP_FLOW_TOMBSTONE_SEEN ||
	    !lrp_entry_swap(lrp_entry_second(flow), second,
			    lrp_entry_word(end, LRP_FLOW_TOMBSTONE)))
		return false;
	/* No other program deletes it from now on, so its key does not change. Is it `key`? */
	if (lrp_entry_find(key) != flow) {
		lrp_entry_swap(lrp_entry_second(flow), lrp_entry_word(end, LRP_FLOW_TOMBSTONE),
			       second);
		return false;
	}
	if (key->v4)
		bpf_map_delete_elem(&lrp_flows4, &key->key4);
	else
		bpf_map_delete_elem(&lrp_flows6, &key->key6);
	if (family)
		lrp_quota_give(family->quota);
	lrp_end_count(end, -1);
	return true;
}

#endif
