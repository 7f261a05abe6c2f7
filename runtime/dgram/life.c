/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* life.c - the beginning and the end of a UDP socket [sock/life.c]. */
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../base/fd.h"
#include "../drive/drive.h"
#include "dgram.h"

void lrp_dgram_init(struct lrp_sock *s, int fd)
{
	s->dgram.ep.id = s->dgram.old.id = LRP_ENDPOINT_NONE;
	s->dgram.eventfd = -1;
	lrp_options_init(s, fd);
	if (lrp_eager()) {
		s->dgram.eventfd = lrp_fd_aside(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
		s->dgram.eager = true;
	}
}

void lrp_dgram_end(struct lrp_sock *s)
{
	struct lrp_endpoint ep, old;
	struct lrp_rxq *q, *old_q;
	bool out = !(atomic_load(&s->state) & LRP_SOCK_HELPER_IN);

	ep = s->dgram.ep;
	old = s->dgram.old;
	q = s->dgram.rxq;
	old_q = s->dgram.old_rxq;
	memset(&s->dgram.ep, 0, sizeof(s->dgram.ep));
	memset(&s->dgram.old, 0, sizeof(s->dgram.old));
	s->dgram.ep.id = s->dgram.old.id = LRP_ENDPOINT_NONE;
	s->dgram.rxq = s->dgram.old_rxq = NULL;
	lrp_unlock(&s->rx);

	lrp_inside++;
	lrp_endpoint_retire(&ep, q, out);
	lrp_endpoint_retire(&old, old_q, out);
	lrp_ready_free(s);
	lrp_fragment_free(s);
	lrp_error_free(s);
	if (s->dgram.eventfd >= 0)
		close(s->dgram.eventfd);
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

void lrp_dgram_leave(struct lrp_view *l)
{
	struct lrp_sock *s = l->sock;
	bool out = lrp_sched_forget(l);

	lrp_wait_close(l);
	if (atomic_fetch_sub(&s->procs, 1) == 1) {
		atomic_fetch_or(&s->state, LRP_SOCK_CLOSED | (out ? 0 : LRP_SOCK_HELPER_IN));
		lrp_sock_reap(s);
		return;
	}
	if (!out)
		return; /* mapped until the process ends */
	lrp_rx_lock(s);
	unmap_ours(l, &s->dgram.ep, s->dgram.rxq);
	unmap_ours(l, &s->dgram.old, s->dgram.old_rxq);
	lrp_rx_unlock(s);
	if (s->dgram.ep.id != LRP_ENDPOINT_NONE)
		lrp_endpoint_released(s->dgram.ep.id);
}
