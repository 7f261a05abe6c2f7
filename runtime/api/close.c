/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * close.c - a socket's end: of a descriptor, of a process's part in it, of the socket.
 *
 * First the shadow goes, so that the port is nobody's, then the channels: lrpd must find the
 * shadow gone.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../drive/drive.h"
#include "../stream/stream.h"

/* Deferred by lrp_close() in a signal handler; a stack without a lock. */
static _Atomic(struct lrp_view *) deferred;

/* All descriptors of all processes are gone. Called by the closer, and by whoever was inside. */
void lrp_sock_reap(struct lrp_sock *s)
{
	struct lrp_endpoint ep, old;
	struct lrp_rxq *q, *old_q;
	bool out = !(atomic_load(&s->state) & LRP_SOCK_HELPER_IN);

	if (lrp_inside || lrp_lock_try(&s->rx) < 0)
		return;
	if ((atomic_load(&s->state) & (LRP_SOCK_CLOSED | LRP_SOCK_REAPED)) != LRP_SOCK_CLOSED) {
		lrp_unlock(&s->rx);
		return;
	}
	atomic_fetch_or(&s->state, LRP_SOCK_REAPED);
	ep = s->ep;
	old = s->old;
	q = s->rxq;
	old_q = s->old_rxq;
	memset(&s->ep, 0, sizeof(s->ep));
	memset(&s->old, 0, sizeof(s->old));
	s->ep.id = s->old.id = LRP_ENDPOINT_NONE;
	s->rxq = s->old_rxq = NULL;
	lrp_unlock(&s->rx);

	if (s->is_stream)
		lrp_stream_end(s);
	lrp_inside++;
	lrp_endpoint_retire(&ep, q, out);
	lrp_endpoint_retire(&old, old_q, out);
	lrp_ready_free(s);
	lrp_fragment_free(s);
	lrp_error_free(s);
	if (s->eventfd >= 0)
		close(s->eventfd);
	lrp_sock_free(s);
	lrp_inside--;
}

/*
 * The process lets go of a socket that others still have, or seem to have (a child that
 * called exec() took its count with it): unmaps what is ours and tells lrpd, which asks the
 * kernel whether the shadow is alive. Works on a copy: the others go on with theirs.
 */
static void unmap_ours(struct lrp_view *l, struct lrp_endpoint *shared, struct lrp_rxq *q)
{
	struct lrp_endpoint mine;
	uint32_t i, n = 0;

	mine = *shared;
	mine.chan = lrp_arena_alloc((shared->channels + 1) * sizeof(*mine.chan));
	if (!mine.chan)
		return;
	for (i = 0; i < shared->channels; i++) {
		if ((int32_t)(q[i].serial - l->serial) > 0)
			continue;
		/* Nothing between consumer and next, so the copy returns nothing of theirs. */
		lrp_chan_return(&shared->chan[i]);
		mine.chan[n++] = shared->chan[i];
	}
	mine.channels = n;
	for (i = 0; i < n; i++)
		lrp_chan_close(&mine.chan[i]);
	lrp_arena_free(mine.chan, (shared->channels + 1) * sizeof(*mine.chan));
}

void lrp_sock_leave(struct lrp_view *l)
{
	struct lrp_sock *s = l->sock;
	struct lrp_hub *hub = s->is_stream ? s->stream.hub : NULL;
	/* While we count, nobody closes it. */
	uint32_t serial = hub ? atomic_load(&hub->driven.serial) : 0;
	bool out = lrp_sched_forget(l);

	lrp_wait_close(l);
	if (s->is_stream)
		lrp_holder_left(s);
	if (atomic_fetch_sub(&s->procs, 1) == 1) {
		atomic_fetch_or(&s->state, LRP_SOCK_CLOSED | (out ? 0 : LRP_SOCK_HELPER_IN));
		lrp_sock_reap(s);
		return;
	}
	if (hub)
		lrp_hub_leave(hub, serial);
	if (!out)
		return; /* mapped until the process ends */
	lrp_rx_lock(s);
	unmap_ours(l, &s->ep, s->rxq);
	unmap_ours(l, &s->old, s->old_rxq);
	lrp_rx_unlock(s);
	if (s->ep.id != LRP_ENDPOINT_NONE)
		lrp_endpoint_released(s->ep.id);
}

void lrp_close_deferred(void)
{
	struct lrp_view *l = atomic_exchange(&deferred, NULL), *next;

	for (; l; l = next) {
		next = l->deferred;
		lrp_table_forget(l);
		lrp_sock_leave(l);
		lrp_view_free(l);
	}
}

LRP_API int lrp_close(int fd)
{
	LRP_CALL_POINT;
	struct lrp_view *l = lrp_view_of(fd);
	bool last, wake;

	if (!l)
		return lrp_fail(-EBADF);
	if (lrp_is_stream(l) && !lrp_inside && atomic_load(&l->refs) == 1 &&
	    lrp_holder_last(l->sock))
		lrp_stream_closing(l, fd);
	wake = atomic_load(&l->sleepers) > 0 && atomic_load(&l->refs) == 1 &&
	       atomic_load(&l->sock->procs) == 1;
	if (lrp_inside) {
		/* In a signal handler that interrupted one of our calls: only what is
		 * safe there. The next call does the rest. */
		l = atomic_exchange(&lrp_fd_table[fd], NULL);
		if (l && atomic_fetch_sub(&l->refs, 1) == 1) {
			struct lrp_view *head = atomic_load(&deferred);

			do
				l->deferred = head;
			while (!atomic_compare_exchange_weak(&deferred, &head, l));
		}
		if (l && wake)
			lrp_wait_ring(l);
		return close(fd);
	}
	lrp_inside++;
	last = lrp_table_remove(fd, &l);
	if (l && wake)
		lrp_wait_ring(l);
	/* First the port, then the channels: lrpd must find the shadow gone. */
	close(fd);
	lrp_inside--;
	if (last) {
		lrp_sock_leave(l);
		lrp_view_free(l);
	}
	return 0;
}
