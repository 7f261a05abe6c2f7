/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * helper.c - an otherwise idle CPU processes ahead of the receive call [paper 3.3].
 *
 * A SCHED_IDLE thread. Having been preempted it may not run again for a long time,
 * so it holds nothing that anybody could wait for: it takes no lock,
 * consumes from no ring, and has none of the process's descriptors. It reads descriptors that no receiver has taken yet, verifies
 * their packets and leaves a word about each in the side table (verdict.h). What
 * becomes of the packet meanwhile does not matter: a word about a packet that was
 * taken is never looked at.
 *
 * It is woken only if no application thread waits on the channel. SCHED_IDLE has a
 * weight, if a small one, so on a busy CPU the helper would still take a little: when
 * it finds that it had to wait for its CPU it parks, and leaves it to receivers that pass by
 * to wake it later.
 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../ip/ip_input.h"
#include "../udp/udp_input.h"
#include "drive_internal.h"
#include "verdict.h"

#define BUSY_NS	    (LRP_NS_PER_MS / 2) /* waited so long for the CPU: it is busy */
#define PARK_MIN_NS (100 * LRP_NS_PER_MS)
#define PARK_MAX_NS (10 * LRP_NS_PER_S)
#define STEP	    64u /* packets between two looks at the run delay */

atomic_bool lrp_helper_parked;
static _Atomic uint64_t park_until_ns;
static _Atomic uint32_t park_word;
static uint64_t park_ns = PARK_MIN_NS;

static int schedstat = -1;

/* Time that this thread has waited for a CPU while it could run, ever. */
static uint64_t run_delay_ns(void)
{
	char text[96], *end;
	ssize_t n = schedstat < 0 ? -1 : pread(schedstat, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = 0;
	strtoull(text, &end, 10);
	return strtoull(end, NULL, 10);
}

void lrp_helper_unpark(void)
{
	if (lrp_now_ns() < atomic_load_explicit(&park_until_ns, memory_order_relaxed))
		return;
	if (!atomic_exchange(&lrp_helper_parked, false))
		return;
	atomic_fetch_add(&park_word, 1);
	syscall(SYS_futex, &park_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Sleeps without being woken by packets. Twice as long each time that the CPU is still busy. */
static void park(void)
{
	uint32_t word = atomic_load(&park_word);

	atomic_store(&park_until_ns, lrp_now_ns() + park_ns);
	park_ns = park_ns * 2 < PARK_MAX_NS ? park_ns * 2 : PARK_MAX_NS;
	atomic_store(&lrp_helper_parked, true);
	while (atomic_load(&lrp_helper_parked))
		syscall(SYS_futex, &park_word, FUTEX_WAIT_PRIVATE, word, NULL, NULL, 0);
}

/* Verifies one packet; leaves alone what changes state: fragments, ICMP errors. */
static void look_at(const struct lrp_chan *chan, uint32_t index, _Atomic uint64_t *table)
{
	const struct xdp_desc *desc = &chan->desc[index & chan->ring_mask];
	struct lrp_packet p;
	int dropped;

	if (desc->options & XDP_PKT_CONTD ||
	    (index && chan->desc[(index - 1) & chan->ring_mask].options & XDP_PKT_CONTD))
		return;
	p.frame = lrp_chan_data(chan, desc);
	p.frame_len = desc->len;
	/* A frame that was taken meanwhile may be anyone's: the bounds still hold. */
	if (desc->addr >= (uint64_t)chan->pool->frames << chan->pool->frame_shift ||
	    p.frame_len > chan->pool->frame_size)
		return;
	dropped = lrp_ip_input(&p);
	if (!dropped && (p.fragment || p.proto != IPPROTO_UDP))
		return;
	if (!dropped)
		dropped = lrp_udp_input(&p, p.frame + p.l4_offset, chan->pool->virtual_device);
	if ((dropped && dropped > 15) || p.l3_offset > 255)
		return;
	__atomic_fetch_add(&chan->user->processed[LRP_CONTEXT_HELPER], 1, __ATOMIC_RELAXED);
	atomic_store_explicit(&table[index & chan->ring_mask], lrp_verdict_make(index, dropped, &p),
			      memory_order_release);
}

/* Up to STEP packets of a channel; true if there may be more. */
static bool step(const struct lrp_chan *chan, struct lrp_rxq *q)
{
	_Atomic uint64_t *table = atomic_load_explicit(&q->verdict, memory_order_acquire);
	uint32_t end = atomic_load_explicit(chan->producer, memory_order_acquire), i;

	if (!table)
		return false;
	for (i = 0; i < STEP; i++) {
		uint32_t next = *(const volatile uint32_t *)&chan->next;

		/* Receivers go on meanwhile: never behind them. */
		if ((int32_t)(next - q->helped) > 0)
			q->helped = next;
		if ((int32_t)(end - q->helped) <= 0)
			return false;
		look_at(chan, q->helped, table);
		q->helped++;
	}
	return true;
}

/* Returns false if the CPU turned out to be busy. */
static bool help(struct lrp_view *l, uint64_t delay)
{
	struct lrp_sock *s = l->sock;
	bool more = true;
	uint32_t i;

	while (more) {
		more = false;
		if (!lrp_sched_enter(l))
			return true;
		for (i = 0; i < s->dgram.ep.channels; i++)
			more |= step(&s->dgram.ep.chan[i], &s->dgram.rxq[i]);
		lrp_sched_leave();
		if (run_delay_ns() - delay > BUSY_NS)
			return false;
	}
	return true;
}

/*
 * The helper gets a table of descriptors of its own, with nothing in it but its wait set. When the
 * process dies, its descriptors are closed by the last of its threads that gets to run; that would
 * be this one, at the priority of an idle CPU, and on a busy machine the ports of a killed
 * process would stay taken for seconds.
 */
static void own_descriptors(void)
{
	unsigned int keep = (unsigned int)lrp_sched_epfd;

	/* Refused (a sandbox): it does without. */
	if (close_range(keep + 1, ~0u, CLOSE_RANGE_UNSHARE))
		return;
	if (keep)
		close_range(0, keep - 1, 0);
}

static void become_idle(void)
{
	struct sched_param param = {0};
	char path[64];

	sched_setscheduler(0, SCHED_IDLE, &param);
	prctl(PR_SET_NAME, "lrp-helper");
	snprintf(path, sizeof(path), "/proc/self/task/%ld/schedstat", syscall(SYS_gettid));
	schedstat = open(path, O_RDONLY | O_CLOEXEC);
}

void *lrp_helper_main(void *ready)
{
	struct epoll_event ev[16];
	uint64_t delay;
	bool idle;
	int n, i;

	own_descriptors();
	sem_post(ready);
	delay = run_delay_ns();
	become_idle();
	/* The first thing that it sees of its CPU: how long it takes to get it back. */
	sched_yield();
	for (;;) {
		idle = run_delay_ns() - delay <= BUSY_NS;
		delay = run_delay_ns();
		if (!idle) {
			park();
			continue;
		}
		n = epoll_wait(lrp_sched_epfd, ev, 16, -1);
		for (i = 0; i < n && idle; i++)
			idle = run_delay_ns() - delay <= BUSY_NS && help(ev[i].data.ptr, delay);
		if (idle)
			park_ns = PARK_MIN_NS;
	}
	return NULL;
}
