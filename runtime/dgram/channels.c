/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * channels.c - the channels under a datagram socket: taken, published, replaced by larger ones,
 * refreshed when interfaces come and go.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/log.h"
#include "../drive/drive.h"
#include "dgram.h"

/* A packet may be on its way to a replaced ring so long. */
#define OLD_RING_NS (200 * LRP_NS_PER_MS)

uint32_t lrp_cpus(void)
{
	static _Atomic uint32_t cpus; /* sysconf() reads a file */

	if (!atomic_load_explicit(&cpus, memory_order_relaxed))
		atomic_store(&cpus, (uint32_t)sysconf(_SC_NPROCESSORS_CONF));
	return atomic_load_explicit(&cpus, memory_order_relaxed);
}

static uint32_t ring_size_for(uint32_t limit)
{
	uint32_t slots = limit + lrp_cpus(), size = 64;

	while (size < slots && size < (1u << 15))
		size <<= 1;
	return size;
}

/* The record's statistics run on over owners; ours start here. */
static void rxq_start(struct lrp_rxq *q, const struct lrp_chan *chan, uint32_t serial)
{
	int i;

	memset(q, 0, sizeof(*q));
	q->known = q->scanned = chan->next;
	q->serial = serial;
	for (i = 0; i < LRP_CONTEXT_COUNT; i++)
		q->processed_base[i] = chan->user->processed[i];
	q->dropped_base = lrp_chan_dropped(chan);
	q->discarded_base = lrp_chan_discarded(chan);
}

static void rxq_free(struct lrp_rxq *q, uint32_t channels)
{
	uint32_t i;

	for (i = 0; q && i < channels; i++)
		lrp_arena_free((void *)atomic_load(&q[i].verdict),
			       q[i].verdicts * sizeof(uint64_t));
	lrp_arena_free(q, channels * sizeof(*q));
}

/* Makes the array beside ep->chan; entries of channels that stay are kept. */
static struct lrp_rxq *rxq_make(const struct lrp_endpoint *ep, const struct lrp_chan *was,
				const struct lrp_rxq *q, uint32_t channels, uint32_t serial)
{
	struct lrp_rxq *new = lrp_arena_alloc((ep->channels ? ep->channels : 1) * sizeof(*new));
	uint32_t i, j;

	for (i = 0; new &&i < ep->channels; i++) {
		for (j = 0; j < channels; j++)
			if (was[j].ring_map == ep->chan[i].ring_map && was[j].fd == ep->chan[i].fd)
				break;
		if (j < channels)
			new[i] = q[j];
		else
			rxq_start(&new[i], &ep->chan[i], serial);
	}
	return new;
}

static uint32_t pools_epoch(void)
{
	return lrp_broker_status()->pools_epoch;
}

void lrp_sock_user_flags(struct lrp_sock *s, uint32_t set, uint32_t clear)
{
	uint32_t i;

	for (i = 0; i < s->dgram.ep.channels; i++) {
		__atomic_fetch_or(&s->dgram.ep.chan[i].user->flags, set, __ATOMIC_RELEASE);
		__atomic_fetch_and(&s->dgram.ep.chan[i].user->flags, ~clear, __ATOMIC_RELEASE);
	}
}

void lrp_sock_flags_sync(struct lrp_sock *s)
{
	uint32_t flags = 0;

	if (atomic_load(&s->state) & LRP_SOCK_SHUT_RD)
		flags |= LRP_USER_CLOSED;
	if (s->dgram.connected)
		flags |= LRP_USER_CONNECTED;
	lrp_sock_user_flags(s, flags, ~flags & (LRP_USER_CLOSED | LRP_USER_CONNECTED));
}

/* Puts an endpoint under the socket. The one it had, if any, becomes s->dgram.old. */
static int install(struct lrp_view *l, const struct lrp_endpoint *ep)
{
	struct lrp_sock *s = l->sock;
	uint32_t serial = atomic_load(&s->serial) + 1, i;
	struct lrp_rxq *q = rxq_make(ep, NULL, NULL, 0, serial);

	if (!q)
		return -ENOMEM;
	lrp_rx_lock(s);
	s->dgram.old = s->dgram.ep;
	s->dgram.old_rxq = s->dgram.rxq;
	s->dgram.old_until_ns = lrp_now_ns() + OLD_RING_NS;
	s->dgram.ep = *ep;
	s->dgram.rxq = q;
	s->dgram.current = 0;
	s->dgram.burst = 0;
	s->dgram.eager = lrp_eager();
	l->serial = serial;
	s->dgram.opener = getpid();
	atomic_store(&s->serial, serial);
	lrp_rx_unlock(s);
	for (i = 0; i < ep->channels; i++)
		lrp_wait_add(l, ep->chan[i].fd);
	return 0;
}

static int take_endpoint(struct lrp_view *l)
{
	struct lrp_sock *s = l->sock;
	struct lrp_endpoint ep;
	int error;

	memset(&ep, 0, sizeof(ep));
	ep.id = LRP_ENDPOINT_NONE;
	s->dgram.ep.pools_epoch = pools_epoch();
	error = lrp_endpoint_open(&ep, ring_size_for(s->dgram.limit), s->dgram.limit,
				  &lrp_arena_allocator);
	if (error) {
		if (error != -ENETDOWN)
			lrp_log_once(LRP_LOG_WARN,
				     "no channel for a socket (%s): the kernel serves it",
				     strerror(-error));
		return error;
	}
	error = install(l, &ep);
	if (error)
		lrp_endpoint_close(&ep, &lrp_arena_allocator);
	return error;
}

/* Demultiplexing knows no devices: a socket that is bound to one is left to the kernel, and so is
 * a link-local address if other devices than its own are attached. */
static bool publishable(const struct lrp_sock *s)
{
	const volatile struct lrp_status_page *page = lrp_broker_status();
	uint32_t i;

	if (s->dgram.bound_ifindex)
		return false;
	if (!s->dgram.scope)
		return true;
	for (i = 0; i < LRP_MAX_POOLS; i++)
		if (page->pool[i].state && page->pool[i].ifindex != s->dgram.scope)
			return false;
	return true;
}

/* What the kernel has made of bind() and connect(). */
static void read_shadow(struct lrp_sock *s, int fd)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} local = {0}, peer = {0};
	socklen_t len = sizeof(local), plen = sizeof(peer);
	uint32_t match = 0;

	if (getsockname(fd, &local.sa, &len))
		return;
	s->dgram.connected = getpeername(fd, &peer.sa, &plen) == 0;
	lrp_rx_lock(s);
	s->dgram.scope = 0;
	if (s->domain == AF_INET) {
		s->dgram.lport = local.in.sin_port;
		s->dgram.laddr4 = local.in.sin_addr;
		s->dgram.rport = peer.in.sin_port;
		s->dgram.raddr4 = peer.in.sin_addr;
		match = LRP_MATCH_NO6;
		if (s->dgram.laddr4.s_addr != INADDR_ANY)
			match |= LRP_MATCH_LOCAL;
	} else {
		s->dgram.lport = local.in6.sin6_port;
		s->dgram.laddr6 = local.in6.sin6_addr;
		s->dgram.rport = peer.in6.sin6_port;
		s->dgram.raddr6 = peer.in6.sin6_addr;
		if (IN6_IS_ADDR_LINKLOCAL(&s->dgram.laddr6))
			s->dgram.scope = local.in6.sin6_scope_id;
		if (s->v6only)
			match |= LRP_MATCH_NO4;
		if (!IN6_IS_ADDR_UNSPECIFIED(&s->dgram.laddr6)) {
			match |= LRP_MATCH_LOCAL;
			if (IN6_IS_ADDR_V4MAPPED(&s->dgram.laddr6)) {
				match |= LRP_MATCH_NO6;
				memcpy(&s->dgram.laddr4, &s->dgram.laddr6.s6_addr[12], 4);
				memcpy(&s->dgram.raddr4, &s->dgram.raddr6.s6_addr[12], 4);
			} else {
				match |= LRP_MATCH_NO4;
			}
		}
	}
	if (s->dgram.connected)
		match |= LRP_MATCH_PEER;
	s->dgram.match = match;
	s->dgram.bound = s->dgram.lport != 0;
	/* The shadow may have got something meanwhile, and that came first. */
	s->dgram.drain_shadow = true;
	lrp_rx_unlock(s);
}

void lrp_sock_publish(struct lrp_view *l, int fd)
{
	struct lrp_membership_request requests[LRP_MEMBERS_MAX];
	struct lrp_sock *s = l->sock;
	int error;

	read_shadow(s, fd);
	if (!s->dgram.bound || !lrp_broker_ready() || !publishable(s)) {
		if (s->dgram.published)
			lrp_endpoint_withdraw(&s->dgram.ep);
		s->dgram.published = false;
		if (s->dgram.bound)
			lrp_broker_ready_or_say();
		return;
	}
	if (s->dgram.ep.id == LRP_ENDPOINT_NONE && take_endpoint(l))
		return;
	lrp_sock_flags_sync(s);
	error = lrp_endpoint_publish(&s->dgram.ep, fd, requests,
				     lrp_multicast_requests(s, requests));
	s->dgram.published = error == 0;
	/* Another lrpd, which does not know us: the next tick makes a new endpoint. */
	if (error == -ESTALE)
		s->dgram.ep.pools_epoch = pools_epoch() - 1;
	else if (error)
		lrp_log_once(LRP_LOG_WARN,
			     "lrpd does not demultiplex to a socket (%s): the kernel serves it",
			     strerror(-error));
	lrp_sched_watch(l);
}

void lrp_endpoint_discard(struct lrp_endpoint *ep, struct lrp_rxq *q)
{
	uint32_t channels = ep->channels;

	if (ep->id != LRP_ENDPOINT_NONE)
		lrp_endpoint_close(ep, &lrp_arena_allocator);
	rxq_free(q, channels);
}

void lrp_endpoint_retire(struct lrp_endpoint *ep, struct lrp_rxq *q, bool helper_is_out)
{
	if (helper_is_out)
		lrp_endpoint_discard(ep, q);
	else
		lrp_sched_bury(ep, q);
}

static void account(struct lrp_sock *s, const struct lrp_endpoint *ep, const struct lrp_rxq *q)
{
	uint32_t i, r;

	for (i = 0; i < ep->channels; i++) {
		const struct lrp_user *user = ep->chan[i].user;

		for (r = 0; r < LRP_CONTEXT_COUNT; r++)
			s->dgram.processed_before[r] += user->processed[r] - q[i].processed_base[r];
		s->dgram.dropped_before += lrp_chan_dropped(&ep->chan[i]) - q[i].dropped_base;
		s->dgram.discarded_before += lrp_chan_discarded(&ep->chan[i]) - q[i].discarded_base;
	}
}

/* Packets of the replaced ring that were not received go to the ready queue, then it is closed.
 * Setup lock held. */
static void finish_old(struct lrp_view *l)
{
	struct lrp_sock *s = l->sock;
	struct lrp_endpoint old;
	struct lrp_packet p;
	struct lrp_from from;
	struct lrp_rxq *q;
	uint32_t i;
	bool out;

	if (!s->dgram.old.channels || !lrp_view_mapped(l))
		return;
	out = lrp_sched_forget(l);
	for (i = 0; i < s->dgram.old.channels; i++)
		lrp_wait_remove(l, s->dgram.old.chan[i].fd);
	lrp_rx_lock(s);
	while (s->dgram.old.channels && lrp_input_next(l, &p, &from, LRP_CONTEXT_CALL) &&
	       from.chan && from.chan >= s->dgram.old.chan &&
	       from.chan < s->dgram.old.chan + s->dgram.old.channels) {
		lrp_ready_push(s, &p, from.ifindex, 0);
		lrp_chan_take(from.chan, from.descs);
	}
	account(s, &s->dgram.old, s->dgram.old_rxq);
	old = s->dgram.old;
	q = s->dgram.old_rxq;
	memset(&s->dgram.old, 0, sizeof(s->dgram.old));
	s->dgram.old.id = LRP_ENDPOINT_NONE;
	s->dgram.old_rxq = NULL;
	lrp_rx_unlock(s);
	lrp_endpoint_retire(&old, q, out);
	lrp_sched_watch(l);
}

void lrp_sock_resize(struct lrp_view *l, int fd)
{
	struct lrp_sock *s = l->sock;
	struct lrp_membership_request requests[LRP_MEMBERS_MAX];
	struct lrp_endpoint ep;
	int got;

	if (s->dgram.ep.id == LRP_ENDPOINT_NONE || !lrp_view_mapped(l))
		return;
	if (ring_size_for(s->dgram.limit) <= s->dgram.ep.ring_size) {
		got = lrp_endpoint_limit(&s->dgram.ep, s->dgram.limit);
		/* What is taken and not returned counts: it may fill all of a small limit. */
		lrp_input_return(l);
		if (got > 0 && (uint32_t)got >= s->dgram.limit)
			return;
	}
	finish_old(l);
	memset(&ep, 0, sizeof(ep));
	ep.id = LRP_ENDPOINT_NONE;
	lrp_inside++;
	if (lrp_endpoint_open(&ep, ring_size_for(s->dgram.limit), s->dgram.limit,
			      &lrp_arena_allocator) == 0) {
		if (ep.ring_size <= s->dgram.ep.ring_size || install(l, &ep)) {
			lrp_endpoint_close(&ep, &lrp_arena_allocator);
		} else {
			lrp_sock_flags_sync(s);
			/* One socket, one endpoint: what comes between the two goes to the shadow,
			 * which is read out after the old ring and before the new one. */
			lrp_endpoint_withdraw(&s->dgram.old);
			s->dgram.drain_shadow = true;
			if (s->dgram.published &&
			    lrp_endpoint_publish(&s->dgram.ep, fd, requests,
						 lrp_multicast_requests(s, requests)))
				s->dgram.published = false;
			lrp_sched_watch(l);
		}
	}
	lrp_inside--;
}

static void refresh(struct lrp_view *l, int fd)
{
	struct lrp_sock *s = l->sock;
	struct lrp_endpoint was;
	struct lrp_chan *before;
	struct lrp_rxq *q;
	uint32_t i, epoch = pools_epoch();
	bool out;

	if (s->dgram.ep.id == LRP_ENDPOINT_NONE) {
		s->dgram.ep.pools_epoch = epoch;
		if (s->dgram.bound)
			lrp_sock_publish(l, fd);
		return;
	}
	out = lrp_sched_forget(l);
	if (!out || !lrp_view_mapped(l) || lrp_endpoint_leftover(&s->dgram.ep)) {
		/* Later: the helper is just reading, or another process opened the channels, or what
		 * a detached device has brought is to be received first. */
		lrp_sched_watch(l);
		return;
	}
	was = s->dgram.ep;
	before = lrp_arena_alloc((was.channels + 1) * sizeof(*before));
	if (!before)
		return;
	memcpy(before, was.chan, was.channels * sizeof(*before));
	/* The array may be replaced and rings unmapped: nobody may receive meanwhile. */
	lrp_rx_lock(s);
	account(s, &s->dgram.ep, s->dgram.rxq);
	lrp_endpoint_refresh(&s->dgram.ep, &lrp_arena_allocator);
	s->dgram.ep.pools_epoch = epoch;
	q = rxq_make(&s->dgram.ep, before, s->dgram.rxq, was.channels, atomic_load(&s->serial) + 1);
	if (!q) {
		s->dgram.ep.channels = 0;
	} else {
		lrp_arena_free(s->dgram.rxq, was.channels * sizeof(*q));
		s->dgram.rxq = q;
		for (i = 0; i < s->dgram.ep.channels; i++) {
			uint32_t r;

			/* Counted by account(); so start again. */
			q[i].dropped_base = lrp_chan_dropped(&s->dgram.ep.chan[i]);
			q[i].discarded_base = lrp_chan_discarded(&s->dgram.ep.chan[i]);
			for (r = 0; r < LRP_CONTEXT_COUNT; r++)
				q[i].processed_base[r] = s->dgram.ep.chan[i].user->processed[r];
		}
	}
	s->dgram.current = 0;
	s->dgram.burst = 0;
	l->serial = atomic_fetch_add(&s->serial, 1) + 1;
	s->dgram.opener = getpid();
	lrp_rx_unlock(s);
	for (i = 0; i < s->dgram.ep.channels; i++)
		lrp_wait_add(l, s->dgram.ep.chan[i].fd); /* those that it has already say EEXIST */
	lrp_arena_free(before, (was.channels + 1) * sizeof(*before));
	lrp_sock_publish(l, fd);
}

/* The process that opened the channels is gone, and we have no mapping of them: new ones. */
static void take_over(struct lrp_view *l, int fd)
{
	struct lrp_sock *s = l->sock;

	if (s->dgram.opener == getpid() || kill(s->dgram.opener, 0) == 0 || errno != ESRCH)
		return;
	lrp_rx_lock(s);
	memset(&s->dgram.old, 0, sizeof(s->dgram.old));
	memset(&s->dgram.ep, 0, sizeof(s->dgram.ep));
	s->dgram.ep.id = s->dgram.old.id = LRP_ENDPOINT_NONE;
	s->dgram.rxq = s->dgram.old_rxq = NULL;
	l->serial = atomic_load(&s->serial);
	lrp_rx_unlock(s);
	lrp_sock_publish(l, fd);
}

void lrp_sock_tick(struct lrp_view *l, int fd)
{
	struct lrp_sock *s = l->sock;
	/* lrpd may have been started after the socket was bound; asked for once a second. */
	bool stale = (lrp_broker_status()->magic || !s->dgram.bound || lrp_broker_ready()) &&
		     s->dgram.ep.pools_epoch != pools_epoch();
	bool old = s->dgram.old.channels && lrp_now_ns() > s->dgram.old_until_ns;

	if (lrp_likely(!stale && !old && lrp_view_mapped(l)))
		return;
	if (lrp_lock_try(&s->setup) < 0)
		return;
	lrp_inside++;
	if (!lrp_view_mapped(l))
		take_over(l, fd);
	else if (stale)
		refresh(l, fd);
	else
		finish_old(l);
	lrp_inside--;
	lrp_unlock(&s->setup);
}

/* The holder of rx was killed while he held it. */
void lrp_dgram_recover(struct lrp_sock *s)
{
	uint32_t i;

	for (i = 0; i < s->dgram.ep.channels; i++)
		lrp_chan_recover(&s->dgram.ep.chan[i]);
	for (i = 0; i < s->dgram.old.channels; i++)
		lrp_chan_recover(&s->dgram.old.chan[i]);
	for (i = 0; s->dgram.rxq && i < s->dgram.ep.channels; i++)
		s->dgram.rxq[i].known = s->dgram.ep.chan[i].next;
	/* Fragments may be half stored. What they take is not given back: it may be in two minds. */
	s->dgram.reassembly = NULL;
	s->dgram.burst = 0;
	s->dgram.peeked = LRP_PEEKED_NONE;
}
