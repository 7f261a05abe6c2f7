/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fragment.c - the service of the fragment endpoint. Orphans lie there until reassembly claims
 * them. The core gives those whose first fragment turned out to be the kernel's to the kernel's
 * stack, and likewise those for which no first fragment came within a second. XDP says so in
 * lrp_strays; stray.c finds them.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_xdp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "../pool/umem.h"
#include "../pool/user_page.h"
#include "fragment.h"
#include "inject.skel.h"
#include "stray.h"

#define LOST_NS 100000000ull /* between two questions for what the kernel lost */

/* XDP says that an orphan is the kernel's before the orphan is on its ring, if both came in one
 * batch. */
#define BATCH_NS 20000000ull
#define BATCH_MS 1

struct pool_strays {
	struct lrp_stray_ring ring;
	struct lrp_core *core;
	struct lrp_core_pool *pool;
	uint64_t lost_ns;
	bool armed; /* the first orphan in an empty ring wakes us */
	bool said;  /* that the ring makes no sense */
};

struct lrp_core_strays {
	struct inject_bpf *inject; /* loaded when first needed */
	struct ring_buffer *events;
	struct lrp_orphans *orphans; /* mapped */
	uint64_t early_ns;	     /* when an event came whose orphan had not come */
	bool given;		     /* orphans were given to the kernel as soon as they came */
	uint32_t wanted[2];	     /* UDP sockets that receive IPv4, IPv6 */
	struct lrp_core_stray_counts counts;
	struct pool_strays *pool[LRP_MAX_POOLS_TOTAL];
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
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		lrp_core_strays_forget(core, &core->pool[i]);
	ring_buffer__free(core->strays->events);
	if (core->strays->orphans)
		munmap(core->strays->orphans, sizeof(*core->strays->orphans));
	inject_bpf__destroy(core->strays->inject);
	free(core->strays);
	core->strays = NULL;
}

void lrp_core_strays_counts(const struct lrp_core *core, struct lrp_core_stray_counts *counts)
{
	*counts = core->strays->counts;
}

/* ---- XDP's maps -------------------------------------------------------------------------- */

static int on_event(void *arg, void *data, size_t size)
{
	struct lrp_core *core = arg;
	bool found = core->strays->given;

	for (uint32_t i = 0; size >= sizeof(struct lrp_fragment_key) && i < LRP_MAX_POOLS_TOTAL;
	     i++)
		if (core->strays->pool[i])
			found |= lrp_stray_kernels(&core->strays->pool[i]->ring, data);
	if (!found)
		core->strays->early_ns = lrp_core_now_ns();
	return 0;
}

/* The maps are there when the first device is attached. */
static void open_maps(struct lrp_core *core)
{
	struct epoll_event wanted = {.events = EPOLLIN};
	struct lrp_core_strays *strays = core->strays;
	int fd = core->map_fd[LRP_MAP_STRAYS];
	void *map;

	if (!strays->orphans && core->map_fd[LRP_MAP_ORPHANS] >= 0) {
		map = mmap(NULL, sizeof(*strays->orphans), PROT_READ | PROT_WRITE, MAP_SHARED,
			   core->map_fd[LRP_MAP_ORPHANS], 0);
		if (map != MAP_FAILED)
			strays->orphans = map;
	}
	if (!strays->events && fd >= 0) {
		strays->events = ring_buffer__new(fd, on_event, core, NULL);
		if (strays->events)
			epoll_ctl(core->epoll_fd, EPOLL_CTL_ADD, fd, &wanted);
	}
}

static void write_wanted(struct lrp_core *core)
{
	for (int v6 = 0; core->strays->orphans && v6 < 2; v6++)
		__atomic_store_n(&core->strays->orphans->wanted[v6], core->strays->wanted[v6],
				 __ATOMIC_RELAXED);
}

void lrp_core_strays_wanted(struct lrp_core *core, const struct lrp_published *pub, bool more)
{
	struct lrp_core_strays *strays = core->strays;

	/* TCP takes no segment in fragments. */
	if (pub->proto != IPPROTO_UDP)
		return;
	open_maps(core);
	strays->wanted[0] += pub->v4 ? (more ? 1 : -1u) : 0;
	strays->wanted[1] += pub->v6 ? (more ? 1 : -1u) : 0;
	write_wanted(core);
}

static uint32_t way(void *arg, const struct lrp_fragment_key *key)
{
	struct pool_strays *p = arg;
	struct lrp_fragment mark;
	uint32_t now = (uint32_t)(lrp_core_now_ns() >> LRP_FRAGMENT_TICK_SHIFT);

	if (bpf_map_lookup_elem(p->core->map_fd[LRP_MAP_FRAGMENTS], key, &mark) ||
	    now - mark.since > LRP_FRAGMENT_TICKS)
		return LRP_FRAGMENT_STORED;
	return mark.endpoint == LRP_FRAGMENT_PASSED ? LRP_FRAGMENT_KERNEL : mark.endpoint;
}

static void mark(void *arg, const struct lrp_fragment_key *key)
{
	struct pool_strays *p = arg;
	struct lrp_fragment passed = {
		.endpoint = LRP_FRAGMENT_PASSED,
		.since = (uint32_t)(lrp_core_now_ns() >> LRP_FRAGMENT_TICK_SHIFT),
	};

	bpf_map_update_elem(p->core->map_fd[LRP_MAP_FRAGMENTS], key, &passed, BPF_ANY);
}

/* ---- into the kernel's stack ------------------------------------------------------------ */

static int inject(void *arg, const void *packet, uint32_t length)
{
	struct pool_strays *p = arg;
	struct lrp_core_strays *strays = p->core->strays;
	struct xdp_md ctx = {
		.data_end = length,
		.ingress_ifindex = p->pool->device->state->ifindex,
		.rx_queue_index = p->pool->state->queue,
	};
	struct bpf_test_run_opts run = {.sz = sizeof(run),
					.data_in = packet,
					.data_size_in = length,
					.ctx_in = &ctx,
					.ctx_size_in = sizeof(ctx),
					.repeat = 1,
					.batch_size = 1,
					.flags = BPF_F_TEST_XDP_LIVE_FRAMES};
	int err;

	if (!strays->inject) {
		strays->inject = inject_bpf__open_and_load();
		if (!strays->inject)
			return -errno;
	}
	if (!bpf_prog_test_run_opts(bpf_program__fd(strays->inject->progs.lrp_inject), &run))
		return 0;
	err = -errno;
	lrp_log_once(LRP_LOG_WARN, "lrpd: a fragment of %u bytes cannot be given to the kernel: %s",
		     length, strerror(-err));
	return err;
}

/* ---- one ring ----------------------------------------------------------------------------- */

static const struct lrp_stray_ops ops = {.way = way, .mark = mark, .inject = inject};

static void count_lost(struct pool_strays *p, uint64_t now)
{
	struct xdp_statistics stats;
	socklen_t length = sizeof(stats);

	if (now - p->lost_ns < LOST_NS || getsockopt(p->pool->xsk[LRP_ENDPOINT_FRAGMENT], SOL_XDP,
						     XDP_STATISTICS, &stats, &length))
		return;
	p->lost_ns = now;
	p->ring.lost = stats.rx_dropped + stats.rx_ring_full;
	if (p->ring.user)
		__atomic_store_n(&p->ring.user->lost, p->ring.lost, __ATOMIC_RELEASE);
}

static int open_ring(struct lrp_core *core, struct lrp_core_pool *pool)
{
	const struct lrp_channel *channel = lrp_core_channel(core, pool, LRP_ENDPOINT_FRAGMENT);
	uint64_t secret, sent = __atomic_load_n(&channel->enqueued, __ATOMIC_ACQUIRE);
	struct pool_strays *p = calloc(1, sizeof(*p));
	int err = p ? 0 : -ENOMEM;

	if (!err && getrandom(&secret, sizeof(secret), 0) != sizeof(secret))
		err = -EIO;
	if (!err)
		err = lrp_core_ring_open(core, pool, LRP_ENDPOINT_FRAGMENT, &p->ring.chan);
	if (err) {
		free(p);
		return err;
	}
	p->core = core;
	p->pool = pool;
	p->ring.ops = &ops;
	p->ring.arg = p;
	p->ring.counts = &core->strays->counts;
	p->ring.channel = channel;
	p->ring.user = lrp_core_user(core, channel);
	count_lost(p, lrp_core_now_ns());
	/* What XDP had counted and not yet sent: of an lrpd before us, a batch for each CPU. */
	lrp_stray_start(&p->ring, sent, sent ? 64 * core->cpus : 0, secret);
	core->strays->pool[lrp_core_pool_index(core, pool)] = p;
	return 0;
}

/*
 * The first orphan in an empty ring wakes us, no other: while there are any the timer does. So
 * a flood of them costs a few looks a second.
 */
static void arm(struct pool_strays *p, int how)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET | EPOLLONESHOT,
				    .data.fd = p->pool->xsk[LRP_ENDPOINT_FRAGMENT]};

	p->armed = !epoll_ctl(p->core->epoll_fd, how, event.data.fd, &event);
}

void lrp_core_strays_watch(struct lrp_core *core, struct lrp_core_pool *pool)
{
	int err = open_ring(core, pool);

	if (err)
		lrp_log(LRP_LOG_ERROR, "lrpd: %s: the fragment channel is not served: %s",
			pool->device->state->ifname, strerror(-err));
	else
		arm(core->strays->pool[lrp_core_pool_index(core, pool)], EPOLL_CTL_ADD);
}

/* Before the pool is closed: a mapped ring keeps its socket. */
void lrp_core_strays_forget(struct lrp_core *core, struct lrp_core_pool *pool)
{
	uint32_t i = lrp_core_pool_index(core, pool);
	struct pool_strays *p = core->strays->pool[i];

	if (!p)
		return;
	core->strays->pool[i] = NULL;
	lrp_core_ring_close(&p->ring.chan);
	free(p);
}

static int serve(struct lrp_core *core, struct pool_strays *p)
{
	const struct lrp_channel *channel = lrp_core_channel(core, p->pool, LRP_ENDPOINT_FRAGMENT);
	uint64_t now = lrp_core_now_ns();
	uint32_t before = p->ring.tail;
	int again;

	p->ring.user = lrp_core_user(core, channel);
	again = lrp_stray_run(&p->ring, now);
	if (p->ring.tail != before)
		count_lost(p, now);
	if (p->ring.nonsense && !p->said) {
		p->said = true;
		lrp_log(LRP_LOG_WARN,
			"lrpd: %s queue %u: the fragment channel's ring makes no sense: a process "
			"that has a channel there has written it",
			p->pool->device->state->ifname, p->pool->state->queue);
	}
	if (again >= 0)
		p->armed = false;
	else if (!p->armed)
		arm(p, EPOLL_CTL_MOD);
	return again;
}

int lrp_core_strays_run(struct lrp_core *core)
{
	struct lrp_core_strays *strays = core->strays;
	uint64_t before = strays->counts.injected + strays->counts.failed;
	int again = -1;

	if (!strays->events || !strays->orphans) {
		open_maps(core);
		write_wanted(core);
	}
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++) {
		int ms = strays->pool[i] ? serve(core, strays->pool[i]) : -1;

		if (ms >= 0 && (again < 0 || ms < again))
			again = ms;
	}
	strays->given = strays->counts.injected + strays->counts.failed != before;
	/* After the rings: what an event is about has come before. */
	if (strays->events)
		ring_buffer__consume(strays->events);
	if (strays->early_ns && lrp_core_now_ns() - strays->early_ns < BATCH_NS)
		return BATCH_MS;
	strays->early_ns = 0;
	return again;
}
