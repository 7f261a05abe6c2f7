/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fragment.c - the service of the fragment endpoint. Fragments that came before
 * their first lie there until reassembly claims them. The core injects those
 * whose first fragment turned out to be the kernel's into the kernel's stack, and
 * gives up what nobody wanted for 30 s.
 *
 * The ring has many readers. A frame's holder says who may touch it: FREE until
 * somebody claims it by compare-and-swap, DONE when he has finished. Only who then swaps the
 * frame at the consumer from DONE to his claim moves the consumer, and only
 * after that the frame goes back.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_xdp.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../runtime/base/log.h"
#include "fragment.h"
#include "inject.skel.h"
#include "umem.h"

#define LIFETIME_NS  (30ull * 1000000000u)
#define YOUNG_NS     1000000000ull /* its first fragment can still be on the way */
#define CLAIM_NS     1000000000ull
#define YOUNG_MS     10
#define OLD_MS	     1000
#define FRAGMENT_MAX 3400u /* what BPF_PROG_RUN takes as a live frame in one page */

struct lrp_core_strays {
	struct inject_bpf *inject; /* loaded when first needed */
	struct lrp_core_stray_counts counts;
	struct {
		uint32_t at; /* consumer, where a claim was found */
		uint64_t since_ns;
	} stuck[LRP_MAX_POOLS_TOTAL];
};

int lrp_core_strays_open(struct lrp_core *core)
{
	core->strays = calloc(1, sizeof(*core->strays));
	return core->strays ? 0 : -ENOMEM;
}

void lrp_core_strays_close(struct lrp_core *core)
{
	if (!core->strays)
		return;
	inject_bpf__destroy(core->strays->inject);
	free(core->strays);
	core->strays = NULL;
}

void lrp_core_strays_counts(const struct lrp_core *core, struct lrp_core_stray_counts *counts)
{
	*counts = core->strays->counts;
}

void lrp_core_strays_watch(struct lrp_core *core, struct lrp_core_pool *pool)
{
	/* Edge-triggered: fragments that wait for their first must not keep us awake. */
	struct epoll_event event = {.events = EPOLLIN | EPOLLET,
				    .data.fd = pool->xsk[LRP_ENDPOINT_FRAGMENT]};

	epoll_ctl(core->epoll_fd, EPOLL_CTL_ADD, pool->xsk[LRP_ENDPOINT_FRAGMENT], &event);
}

/* ---- whose fragment is it ----------------------------------------------------------- */

static bool key4(const uint8_t *ip, size_t length, struct lrp_fragment_key *key)
{
	const struct iphdr *header = (const struct iphdr *)ip;

	if (length < sizeof(*header))
		return false;
	key->saddr.byte[10] = key->saddr.byte[11] = 0xff;
	key->daddr.byte[10] = key->daddr.byte[11] = 0xff;
	memcpy(&key->saddr.byte[12], &header->saddr, 4);
	memcpy(&key->daddr.byte[12], &header->daddr, 4);
	key->id = header->id;
	key->proto = header->protocol;
	key->family = 4;
	return true;
}

static bool key6(const uint8_t *ip, size_t length, struct lrp_fragment_key *key)
{
	const struct ip6_hdr *header = (const struct ip6_hdr *)ip;
	size_t at = sizeof(*header);
	uint8_t next;

	if (length < sizeof(*header))
		return false;
	next = header->ip6_nxt;
	for (int i = 0; i < 8 && at + 8 <= length; i++) {
		if (next == IPPROTO_FRAGMENT) {
			const struct ip6_frag *fragment = (const struct ip6_frag *)(ip + at);

			memcpy(&key->saddr, &header->ip6_src, 16);
			memcpy(&key->daddr, &header->ip6_dst, 16);
			memcpy(&key->id, &fragment->ip6f_ident, 4);
			key->proto = fragment->ip6f_nxt;
			key->family = 6;
			return true;
		}
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			return false;
		next = ip[at];
		at += ((size_t)ip[at + 1] + 1) * 8;
	}
	return false;
}

/* The key that the XDP program remembers the datagram by (bpf/fragment.h). */
static bool fragment_key(const uint8_t *packet, size_t length, struct lrp_fragment_key *key)
{
	size_t at = 12;
	uint16_t type;

	memset(key, 0, sizeof(*key));
	for (int tags = 0; at + 2 <= length; tags++, at += 4) {
		memcpy(&type, packet + at, 2);
		type = ntohs(type);
		if (type == ETH_P_IP)
			return key4(packet + at + 2, length - at - 2, key);
		if (type == ETH_P_IPV6)
			return key6(packet + at + 2, length - at - 2, key);
		if ((type != ETH_P_8021Q && type != ETH_P_8021AD) || tags == 2)
			return false;
	}
	return false;
}

/* ---- into the kernel's stack ------------------------------------------------------------ */

static int inject(struct lrp_core *core, const struct lrp_core_pool *pool, const void *packet,
		  uint32_t length)
{
	struct xdp_md ctx = {
		.data_end = length,
		.ingress_ifindex = pool->device->state->ifindex,
		.rx_queue_index = pool->state->queue,
	};
	struct bpf_test_run_opts run = {.sz = sizeof(run),
					.data_in = packet,
					.data_size_in = length,
					.ctx_in = &ctx,
					.ctx_size_in = sizeof(ctx),
					.repeat = 1,
					.flags = BPF_F_TEST_XDP_LIVE_FRAMES};

	if (length > FRAGMENT_MAX)
		return -EMSGSIZE;
	if (!core->strays->inject) {
		core->strays->inject = inject_bpf__open_and_load();
		if (!core->strays->inject)
			return -errno;
	}
	return bpf_prog_test_run_opts(bpf_program__fd(core->strays->inject->progs.lrp_inject), &run)
		       ? -errno
		       : 0;
}

/* ---- one ring ----------------------------------------------------------------------------- */

static uint32_t *holder_of(const struct lrp_chan *chan, uint32_t at)
{
	uint64_t frame = chan->desc[at & chan->ring_mask].addr >> chan->pool->frame_shift;

	return frame < chan->pool->frames ? &chan->pool->frame[frame].holder : NULL;
}

static bool swap(uint32_t *holder, uint32_t from, uint32_t to)
{
	return __atomic_compare_exchange_n(holder, &from, to, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

/* All frames of the packet that begins at `at`, of which we have claimed the first. */
static void finish(const struct lrp_chan *chan, uint32_t at, uint32_t end)
{
	for (; at != end; at++) {
		uint32_t *holder = holder_of(chan, at);

		if (holder)
			__atomic_store_n(holder, LRP_FRAME_DONE, __ATOMIC_RELEASE);
		if (!(chan->desc[at & chan->ring_mask].options & XDP_PKT_CONTD))
			break;
	}
}

/* What came after `now` was read is new, not 600 years old. */
static uint64_t age_ns(const struct lrp_fragment_meta *meta, uint64_t now)
{
	return now > meta->arrival_ns ? now - meta->arrival_ns : 0;
}

/* Decides about a fragment. Returns when it wants to be looked at again, in ms. */
static int look_at(struct lrp_core *core, struct lrp_core_pool *pool, const struct lrp_chan *chan,
		   uint32_t at, uint32_t end, uint64_t now)
{
	/* Read once: any client can write the ring. */
	const struct xdp_desc copy =
		*(const volatile struct xdp_desc *)&chan->desc[at & chan->ring_mask];
	const struct xdp_desc *desc = &copy;
	const uint8_t *packet;
	uint64_t offset = desc->addr & (pool->view.frame_size - 1);
	const uint32_t mine = LRP_FRAME_CLAIM(LRP_OWNER_LRPD);
	struct lrp_fragment_meta meta;
	struct lrp_fragment_key key;
	struct lrp_fragment where;
	uint32_t *holder = holder_of(chan, at);
	bool kernels;

	if (!holder || __atomic_load_n(holder, __ATOMIC_ACQUIRE) != LRP_FRAME_FREE)
		return OLD_MS;
	if (desc->addr >> pool->view.frame_shift >= pool->view.frames || offset < sizeof(meta) ||
	    desc->len > pool->view.frame_size - offset) {
		finish(chan, at, end);
		return OLD_MS;
	}
	packet = pool->view.umem + desc->addr;
	memcpy(&meta, packet - sizeof(meta), sizeof(meta));
	kernels = fragment_key(packet, desc->len, &key) &&
		  !bpf_map_lookup_elem(pool->device->map_fd[LRP_MAP_FRAGMENTS], &key, &where) &&
		  where.endpoint == LRP_FRAGMENT_KERNEL;
	if (!kernels && age_ns(&meta, now) < LIFETIME_NS)
		return age_ns(&meta, now) < YOUNG_NS ? YOUNG_MS : OLD_MS;
	if (!swap(holder, LRP_FRAME_FREE, mine))
		return OLD_MS; /* reassembly was faster */
	if (!kernels) {
		core->strays->counts.expired++;
	} else if (desc->options & XDP_PKT_CONTD || inject(core, pool, packet, desc->len)) {
		core->strays->counts.failed++;
		lrp_log_once(LRP_LOG_WARN,
			     "lrpd: a fragment of %u bytes cannot be given to the kernel",
			     desc->len);
	} else {
		core->strays->counts.injected++;
	}
	finish(chan, at, end);
	return OLD_MS;
}

/*
 * A claim is held for as long as it takes to copy a fragment. One that stands at
 * the head for a second is a dead process's.
 */
static void break_claim(struct lrp_core *core, struct lrp_core_pool *pool,
			const struct lrp_chan *chan, uint64_t now)
{
	uint32_t i = lrp_core_pool_index(core, pool);
	uint32_t at = atomic_load_explicit(chan->consumer, memory_order_acquire);
	uint32_t *word = holder_of(chan, at);
	uint32_t holder = word ? __atomic_load_n(word, __ATOMIC_ACQUIRE) : 0;

	if (at == atomic_load_explicit(chan->producer, memory_order_acquire) ||
	    !(holder & 0x80000000u) || holder == LRP_FRAME_DONE) {
		core->strays->stuck[i].since_ns = 0;
	} else if (!core->strays->stuck[i].since_ns || core->strays->stuck[i].at != at) {
		core->strays->stuck[i].at = at;
		core->strays->stuck[i].since_ns = now;
	} else if (now - core->strays->stuck[i].since_ns > CLAIM_NS) {
		swap(word, holder, LRP_FRAME_DONE);
	}
}

/* Moves the consumer past what is done. */
static void advance(struct lrp_core *core, struct lrp_core_pool *pool, const struct lrp_chan *chan)
{
	struct lrp_user *user =
		lrp_core_user(core, lrp_core_channel(core, pool, LRP_ENDPOINT_FRAGMENT));
	const uint32_t mine = LRP_FRAME_CLAIM(LRP_OWNER_LRPD);

	for (uint32_t steps = 0; steps <= chan->ring_mask; steps++) {
		uint32_t at = atomic_load_explicit(chan->consumer, memory_order_acquire);
		uint64_t addr = chan->desc[at & chan->ring_mask].addr;
		uint32_t *holder = holder_of(chan, at);

		if (at == atomic_load_explicit(chan->producer, memory_order_acquire))
			return;
		if (!holder || !swap(holder, LRP_FRAME_DONE, mine))
			return;
		/* The frame may have gone round and be done again at another place. */
		if (atomic_load_explicit(chan->consumer, memory_order_acquire) != at) {
			__atomic_store_n(holder, LRP_FRAME_DONE, __ATOMIC_RELEASE);
			continue;
		}
		atomic_store_explicit(chan->consumer, at + 1, memory_order_release);
		__atomic_store_n(holder, LRP_FRAME_FREE, __ATOMIC_RELEASE);
		lrp_fill_push(&pool->view, addr);
		if (user)
			__atomic_fetch_add(&user->returned, 1, __ATOMIC_RELEASE);
	}
}

static void count_lost(struct lrp_core *core, struct lrp_core_pool *pool)
{
	struct lrp_user *user =
		lrp_core_user(core, lrp_core_channel(core, pool, LRP_ENDPOINT_FRAGMENT));
	struct xdp_statistics stats;
	socklen_t length = sizeof(stats);

	if (user &&
	    !getsockopt(pool->xsk[LRP_ENDPOINT_FRAGMENT], SOL_XDP, XDP_STATISTICS, &stats, &length))
		__atomic_store_n(&user->lost, stats.rx_dropped + stats.rx_ring_full,
				 __ATOMIC_RELEASE);
}

static int serve(struct lrp_core *core, struct lrp_core_pool *pool)
{
	uint64_t now = lrp_core_now_ns();
	struct lrp_chan chan;
	uint32_t at, end;
	bool first = true;
	int again = -1;

	if (lrp_core_ring_open(core, pool, LRP_ENDPOINT_FRAGMENT, &chan))
		return OLD_MS;
	at = lrp_core_ring_bounds(&chan, &end);
	if (at != end)
		count_lost(core, pool);
	for (; at != end; at++) {
		bool more = chan.desc[at & chan.ring_mask].options & XDP_PKT_CONTD;

		if (first) {
			int ms = look_at(core, pool, &chan, at, end, now);

			if (again < 0 || ms < again)
				again = ms;
		}
		first = !more;
	}
	break_claim(core, pool, &chan, now);
	advance(core, pool, &chan);
	if (atomic_load_explicit(chan.consumer, memory_order_acquire) ==
	    atomic_load_explicit(chan.producer, memory_order_acquire))
		again = -1;
	lrp_core_ring_close(&chan);
	return again;
}

int lrp_core_strays_run(struct lrp_core *core)
{
	int again = -1;

	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++) {
		int ms = lrp_core_pool_on(&core->pool[i]) ? serve(core, &core->pool[i]) : -1;

		if (ms >= 0 && (again < 0 || ms < again))
			again = ms;
	}
	return again;
}
