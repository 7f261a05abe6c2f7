/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * maps.h - the maps of abi.h, as the XDP program sees them.
 *
 * Per attached device: lrp_device, lrp_channels, lrp_xsks, lrp_pools,
 * lrp_reasons. The loader sets max_entries of lrp_channels and
 * lrp_xsks to queues * endpoints, and of lrp_pools to queues, before it loads.
 * Per network namespace: all others; the loader gives each further instance
 * the first one's maps.
 *
 * What user space writes at a high rate or as a whole is mmapable: that also
 * aligns the values to a page, so that a 128-byte record never straddles a
 * third cache line.
 */
#ifndef LRP_BPF_MAPS_H
#define LRP_BPF_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include <lrp/abi.h>

#include "authority.h"

/* ---- one set for each attached device ---------------------------------- */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lrp_device);
} lrp_device SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LRP_ENDPOINTS);
	__type(key, __u32);
	__type(value, struct lrp_channel);
} lrp_channels SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, LRP_ENDPOINTS);
	__type(key, __u32);
	__type(value, __u32);
} lrp_xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LRP_MAX_QUEUES);
	__type(key, __u32);
	__type(value, struct lrp_pool);
} lrp_pools SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LRP_XDP_REASON_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} lrp_reasons SEC(".maps");

/* ---- one set for a network namespace ----------------------------------- */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LRP_PORT_ENTRIES);
	__type(key, __u32);
	__type(value, struct lrp_port);
} lrp_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LRP_LOCALS);
	__type(key, __be32);
	__type(value, struct lrp_local);
} lrp_local4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LRP_LOCALS);
	__type(key, struct lrp_addr6);
	__type(value, struct lrp_local);
} lrp_local6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LRP_BINDS);
	__type(key, struct lrp_bind4);
	__type(value, __u32);
} lrp_binds4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LRP_BINDS);
	__type(key, struct lrp_bind6);
	__type(value, __u32);
} lrp_binds6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LRP_FLOWS);
	__type(key, struct lrp_flow4);
	__type(value, struct lrp_flow);
} lrp_flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LRP_FLOWS);
	__type(key, struct lrp_flow6);
	__type(value, struct lrp_flow);
} lrp_flows6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LRP_GROUPS);
	__type(key, __u32);
	__type(value, struct lrp_group);
} lrp_groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LRP_MEMBERSHIPS);
	__type(key, struct lrp_membership);
	__type(value, __u32);
} lrp_memberships SEC(".maps");

/* Fixed-size pages: the verifier then inlines both lookups (an inner array of
 * its own size, BPF_F_INNER_MAP, would cost a call). clang 14 emits no BTF for
 * a typed inner definition, hence the bare sizes. */
struct lrp_user_page {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LRP_USER_PAGE_RECORDS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct lrp_user));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, LRP_USER_PAGES);
	__uint(key_size, sizeof(__u32));
	__array(values, struct lrp_user_page);
} lrp_users SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LRP_OWNERS);
	__type(key, __u32);
	__type(value, struct lrp_owner);
} lrp_owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, LRP_EVENT_BYTES);
} lrp_events SEC(".maps");

/* For all devices: the fragments of one datagram may come in on several. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LRP_FRAGMENTS);
	__type(key, struct lrp_fragment_key);
	__type(value, struct lrp_fragment);
} lrp_fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lrp_orphans);
} lrp_orphans SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, LRP_STRAY_BYTES);
} lrp_strays SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lrp_proxies);
} lrp_proxies SEC(".maps");

/* ---- authority over local ends: see authority.h ------------------------- */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * LRP_ENDS);
	__type(key, struct lrp_end_key);
	__type(value, __u32);
} lrp_end_index SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LRP_ENDS);
	__type(key, __u32);
	__type(value, struct lrp_end);
} lrp_ends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LRP_PORTS);
	__type(key, __u32);
	__type(value, __u32);
} lrp_end_heads SEC(".maps");

/* The loader sets max_entries to the number of endpoints. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LRP_ENDPOINTS);
	__type(key, __u32);
	__type(value, __u32);
} lrp_endpoint_owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LRP_OWNERS);
	__type(key, __u32);
	__type(value, struct lrp_family);
} lrp_families SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LRP_QUOTAS);
	__type(key, __u32);
	__type(value, struct lrp_quota);
} lrp_quotas SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LRP_SHADOWS);
	__type(key, __u64);
	__type(value, struct lrp_shadow);
} lrp_shadows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, LRP_KERNELS);
	__type(key, struct lrp_flow4);
	__type(value, struct lrp_kernel);
} lrp_kernel4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, LRP_KERNELS);
	__type(key, struct lrp_flow6);
	__type(value, struct lrp_kernel);
} lrp_kernel6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LRP_LEFT_ENTRIES);
	__type(key, __u32);
	__type(value, __u32);
} lrp_left SEC(".maps");

#endif
