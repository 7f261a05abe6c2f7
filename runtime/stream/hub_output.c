/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hub_output.c - what has become due is sent, and who waits is woken.
 */
#include <sys/eventfd.h>

#include "../base/clock.h"
#include "../drive/app.h"
#include "../tx/tcp_send.h"
#include "family.h"
#include "hub_internal.h"
#include "memory.h"

void lrp_hub_touch(struct lrp_conn *c)
{
	if (c->touched)
		return;
	c->touched = true;
	c->next_touched = c->hub->touched;
	c->hub->touched = c;
}

static void hub_earlier(struct lrp_hub *hub, int64_t deadline)
{
	if (deadline < atomic_load_explicit(&hub->driven.deadline_ns, memory_order_relaxed))
		atomic_store(&hub->driven.deadline_ns, deadline);
}

/* Buffers as auto-tuning asks for, records when they run short. What cannot be had is done without.
 */
static void conn_grow(struct lrp_conn *c)
{
	struct lrp_tcp_scoreboard *board = &c->tcp.recovery.board;
	struct lrp_tcp_buffer snd = c->tcp.snd, rcv = c->tcp.rcv, old;

	lrp_tcp_wanted(&c->tcp, &snd.size, &rcv.size);
	if (snd.size > c->tcp.snd.size && (snd.base = lrp_memory_grown(snd.size))) {
		old = c->tcp.snd;
		if (lrp_tcp_resize(&c->tcp, &snd, NULL))
			old = snd;
		lrp_arena_free(old.base, old.size);
	}
	if (rcv.size > c->tcp.rcv.size && (rcv.base = lrp_memory_grown(rcv.size))) {
		old = c->tcp.rcv;
		if (lrp_tcp_resize(&c->tcp, NULL, &rcv))
			old = rcv;
		lrp_arena_free(old.base, old.size);
	}
	if (lrp_tcp_scoreboard_crowded(board) && board->runs <= 16384) {
		struct lrp_tcp_sent_run *run = board->run, *more;
		uint16_t runs = board->runs;

		more = lrp_arena_alloc(runs * 2u * sizeof(*more));
		if (!more)
			return;
		lrp_tcp_scoreboard_grow(board, more, (uint16_t)(runs * 2));
		lrp_arena_free(run, runs * sizeof(*run));
	}
}

static void conn_output(struct lrp_conn *c, int64_t now)
{
	struct lrp_tx_tcp how = lrp_stream_how(&c->flow, &c->tcp.opt);
	/* Whom we heard in the last second is there [RFC 4861 7.3.1]. */
	bool heard = c->tcp.heard_ns && now - c->tcp.heard_ns < (int64_t)LRP_NS_PER_S;
	int flags = MSG_DONTWAIT | (heard && !c->tcp.opening ? MSG_CONFIRM : 0), n;
	struct lrp_tcp_tx tx;

	while (lrp_tcp_output(&c->tcp, now, LRP_TX_RUN_MAX, &tx)) {
		n = lrp_tx_send_tcp(&c->dest, &how, &tx, 1, flags);
		if (n == -EAGAIN || n == -ENOBUFS || n == -ENOMEM) {
			lrp_tcp_local_drop(&c->tcp, now);
			break;
		}
		if (n == -EMSGSIZE)
			lrp_tcp_too_big(&c->tcp, now, tx.seq, c->dest.mtu);
		/* No way there at the moment: as if the network had lost it. */
		lrp_tcp_sent(&c->tcp, now, &tx);
	}
}

/* It leaves the hub; what is left of one with a hub of its own goes when that is closed. */
void lrp_hub_conn_ended(struct lrp_hub *hub, struct lrp_conn *c, int64_t now)
{
	lrp_conn_unlink(c);
	if (lrp_hub_is(hub, LRP_HUB_LISTENER))
		hub->listen.lingers |= lrp_conn_end(hub, c, now);
	else
		hub->own.ended = c;
}

/*
 * A socket has the connection still, but it has ended: later segments of the same ends, and
 * connections between them, are not its own [RFC 9293 3.10.7.1]. In the table of the listener's hub
 * it stays until a segment meets it there, whose finder has the lock [conn_yield()].
 */
static void conn_give_up(struct lrp_hub *hub, struct lrp_conn *c)
{
	c->over = true;
	if (c->exact)
		lrp_flow_hide(&c->flow);
	c->exact = false;
	if (lrp_hub_is(hub, LRP_HUB_LISTENER))
		lrp_conn_unindex(hub, c);
}

/* Is there news for anyone but the caller? */
static bool conn_take_news(struct lrp_conn *c, const struct lrp_conn *mine)
{
	bool news = c->news && c->held;

	c->news = false;
	return news && (c != mine || atomic_load(&c->hub->waiters) > lrp_sleep_counted);
}

/* `ours`: sleepers and the APP thread that this hub's owner has are in this process. */
void lrp_hub_flush_as(struct lrp_hub *hub, int64_t now, const struct lrp_conn *mine, bool ours)
{
	const struct lrp_hub_ops *ops = lrp_hub_ops_of(hub);
	struct lrp_conn *c, *writer = NULL;
	bool news = false;

	while ((c = hub->touched)) {
		hub->touched = c->next_touched;
		if (c == hub->writer) {
			writer = c;
			continue;
		}
		c->touched = false;
		conn_grow(c);
		conn_output(c, now);
		news |= conn_take_news(c, mine);
		if (!c->held &&
		    (c->tcp.state == LRP_TCP_CLOSED || c->tcp.state == LRP_TCP_TIME_WAIT)) {
			lrp_hub_conn_ended(hub, c, now);
			continue;
		}
		if (lrp_unlikely(c->tcp.state == LRP_TCP_CLOSED && !c->over))
			conn_give_up(hub, c);
		hub_earlier(hub, lrp_tcp_deadline(&c->tcp));
	}
	hub->touched = writer;
	if (writer)
		writer->next_touched = NULL;
	if (ops->deadline)
		hub_earlier(hub, ops->deadline(hub));
	if (!ours) {
		if (news || hub->own.ended ||
		    atomic_load(&hub->driven.deadline_ns) < hub->driven.armed_ns)
			lrp_family_post(hub);
		return;
	}
	lrp_app_deadline(&hub->driven);
	if (news && atomic_load(&hub->sleepers) > lrp_sleep_counted)
		eventfd_write(hub->bell, 1);
}

void lrp_hub_flush(struct lrp_hub *hub, int64_t now, const struct lrp_conn *mine)
{
	lrp_hub_flush_as(hub, now, mine, true);
}

void lrp_hub_mail(struct lrp_hub *hub)
{
	uint32_t serial = atomic_load(&hub->driven.serial);

	if (!lrp_app_watches(&hub->driven) || !lrp_hub_lock_if(hub, serial))
		return;
	if (hub->own.ended)
		atomic_store(&hub->driven.deadline_ns, (int64_t)lrp_now_ns());
	lrp_app_deadline(&hub->driven);
	if (atomic_load(&hub->sleepers))
		eventfd_write(hub->bell, 1);
	lrp_hub_unlock(hub);
}
