/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* user.c - what the application and the host ask of a connection (RFC 9293 3.9.1). */
#include <errno.h>
#include <string.h>

#include "tcp_internal.h"

#define RUN_MAX 65536u

int lrp_tcp_error(struct lrp_tcp *c)
{
	int error = c->error;

	c->error = 0;
	return error;
}

/* ---- writing ------------------------------------------------------------- */

static uint32_t append(struct lrp_tcp *c, const struct iovec *iov, uint32_t count, uint32_t room)
{
	uint32_t done = 0;

	for (uint32_t i = 0; i < count && done < room; i++) {
		uint32_t n = iov[i].iov_len < room - done ? (uint32_t)iov[i].iov_len : room - done;

		if (n)
			lrp_tcp_ring_put(&c->snd, c->snd_end + done, iov[i].iov_base, n);
		done += n;
	}
	c->snd_end += done;
	c->push = false;
	return done;
}

/*
 * What a write may take. As in Linux, one that begins below its limits (SO_SNDBUF,
 * TCP_NOTSENT_LOWAT) may go beyond them by a run of segments: half of what the peer's window has
 * been, 64 KiB at most. A run that was begun and is not sent is filled up in any case.
 */
static uint32_t writable(const struct lrp_tcp *c)
{
	uint32_t run = lrp_tcp_max(lrp_tcp_min(c->max_wnd / 2, RUN_MAX) / c->mss, 1) * c->mss;
	uint32_t used = c->snd_end - c->snd_una, waiting = lrp_tcp_waiting(c);
	uint32_t low = c->opt.notsent_low ? c->opt.notsent_low : UINT32_MAX;
	uint32_t room = waiting < low ? lrp_tcp_min(lrp_tcp_space(c), low - waiting) : 0;

	if (used >= c->snd.size || c->records == LRP_TCP_RECORDS_MAX || (!room && !waiting))
		return 0;
	if (waiting < run)
		room = lrp_tcp_max(room, run - waiting);
	return lrp_tcp_min(room, c->snd.size - used);
}

static size_t total(const struct iovec *iov, uint32_t count)
{
	size_t len = 0;

	for (uint32_t i = 0; i < count; i++)
		len += iov[i].iov_len;
	return len;
}

ssize_t lrp_tcp_write(struct lrp_tcp *c, int64_t now, const struct iovec *iov, uint32_t count,
		      int io)
{
	size_t len = total(iov, count);
	uint32_t room, done;

	if (c->error)
		return -lrp_tcp_error(c);
	if (c->state == LRP_TCP_SYN_SENT || c->state == LRP_TCP_SYN_RCVD)
		return -EAGAIN;
	if (c->shut_write || (c->state != LRP_TCP_ESTABLISHED && c->state != LRP_TCP_CLOSE_WAIT))
		return -EPIPE;
	room = writable(c);
	c->snd_full = len > room;
	if (!room) {
		lrp_tcp_held(c, now);
		return len ? -EAGAIN : 0;
	}
	if (c->snd_una == c->snd_end) {
		/* After a pause the window may be out of date (RFC 2861, RFC 5681 4.1). */
		lrp_tcp_recovery_restart(&c->recovery, &c->cc, now);
		c->progress_ns = now;
	}
	if (!lrp_tcp_waiting(c))
		lrp_tcp_recovery_unlimited(&c->recovery, &c->cc);
	done = append(c, iov, count, room);
	c->more = io & LRP_TCP_MORE;
	if (io & LRP_TCP_EOR && done && done == len)
		c->record[c->records++] = c->snd_end;
	if (io & LRP_TCP_OOB && done == len) {
		c->snd_up = c->snd_end;
		c->snd_urgent = true;
	}
	if (c->snd_una == c->snd_nxt)
		lrp_tcp_persist(c, now);
	lrp_tcp_held(c, now);
	return done;
}

void lrp_tcp_shutdown(struct lrp_tcp *c, int64_t now, bool read, bool write)
{
	if (read)
		c->shut_read = true;
	if (!write || c->shut_write)
		return;
	switch (c->state) {
	case LRP_TCP_SYN_SENT:
		lrp_tcp_done(c, 0);
		return;
	case LRP_TCP_SYN_RCVD:
	case LRP_TCP_ESTABLISHED:
		c->state = LRP_TCP_FIN_WAIT_1;
		break;
	case LRP_TCP_CLOSE_WAIT:
		c->state = LRP_TCP_LAST_ACK;
		break;
	default:
		return;
	}
	if (c->snd_una == c->snd_end)
		c->progress_ns = now;
	c->shut_write = true;
	c->more = false;
	lrp_tcp_persist(c, now);
}

void lrp_tcp_close(struct lrp_tcp *c, int64_t now)
{
	c->orphan = true;
	c->keep_ns = LRP_TCP_NEVER;
	/* What is left unread the peer must not believe to be read. */
	if (lrp_tcp_buffered(c) && (lrp_tcp_sends(c) || c->state == LRP_TCP_FIN_WAIT_2)) {
		lrp_tcp_reset(c, 0);
		return;
	}
	lrp_tcp_shutdown(c, now, true, true);
	if (c->state == LRP_TCP_FIN_WAIT_2)
		c->wait_ns = now + c->opt.linger2_s * 1000000000ll;
}

void lrp_tcp_abort(struct lrp_tcp *c, int64_t now)
{
	(void)now;
	c->orphan = true;
	switch (c->state) {
	case LRP_TCP_CLOSED:
		break;
	case LRP_TCP_LISTEN:
	case LRP_TCP_SYN_SENT:
	case LRP_TCP_TIME_WAIT:
		lrp_tcp_done(c, 0);
		break;
	default:
		lrp_tcp_reset(c, 0);
	}
}

/* ---- reading --------------------------------------------------------------- */

/* An urgent mark that the reader has not passed, with the byte not part of the stream? */
static bool mark_ahead(const struct lrp_tcp *c)
{
	return c->rcv_urgent && lrp_seq_geq(c->rcv_up, c->rcv_read);
}

/* Bytes up to the end or the mark. */
uint32_t lrp_tcp_readable(const struct lrp_tcp *c)
{
	if (c->state == LRP_TCP_SYN_SENT || c->state == LRP_TCP_SYN_RCVD)
		return 0;
	if (!c->opt.oob_inline && mark_ahead(c) && lrp_seq_lt(c->rcv_up, c->rcv_nxt))
		return c->rcv_up - c->rcv_read;
	return lrp_tcp_buffered(c);
}

uint32_t lrp_tcp_low_water(const struct lrp_tcp *c)
{
	/* More than half of what can be offered the window need not reach. */
	uint32_t most = lrp_tcp_min(lrp_tcp_rcv_limit(c), c->rcv_quota) / 2;

	return lrp_tcp_max(lrp_tcp_min(c->opt.rcv_low, most), 1);
}

bool lrp_tcp_at_mark(const struct lrp_tcp *c)
{
	return c->rcv_urgent && c->rcv_up == c->rcv_read;
}

static ssize_t read_urgent(struct lrp_tcp *c, const struct iovec *iov, uint32_t count, int io)
{
	if (c->opt.oob_inline || !c->rcv_urgent || c->rcv_urgent == LRP_TCP_URGENT_READ)
		return -EINVAL;
	if (c->rcv_urgent == LRP_TCP_URGENT_ANNOUNCED)
		return c->state == LRP_TCP_CLOSED || c->shut_read || c->fin_received ? 0 : -EAGAIN;
	if (!(io & LRP_TCP_PEEK))
		c->rcv_urgent = LRP_TCP_URGENT_READ;
	if (!total(iov, count))
		return 0;
	for (; !iov->iov_len; iov++)
		;
	if (!(io & LRP_TCP_TRUNC))
		*(uint8_t *)iov->iov_base = c->oob_byte;
	return 1;
}

/* Why there is nothing to read. */
static ssize_t nothing(struct lrp_tcp *c)
{
	if (c->fin_received)
		return 0;
	if (c->error)
		return -lrp_tcp_error(c);
	if (c->shut_read)
		return 0;
	return c->state == LRP_TCP_CLOSED ? -ENOTCONN : -EAGAIN;
}

/* At most `len` bytes from `at` on, into iov from byte *skip of it on. */
static void copy_out(const struct lrp_tcp *c, uint32_t at, uint32_t len, const struct iovec *iov,
		     uint32_t count, size_t skip)
{
	for (uint32_t i = 0; i < count && len; i++) {
		uint32_t n;

		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		n = iov[i].iov_len - skip < len ? (uint32_t)(iov[i].iov_len - skip) : len;
		lrp_tcp_ring_get(&c->rcv, at, (uint8_t *)iov[i].iov_base + skip, n);
		skip = 0;
		at += n;
		len -= n;
	}
}

ssize_t lrp_tcp_read(struct lrp_tcp *c, int64_t now, const struct iovec *iov, uint32_t count,
		     int io)
{
	uint32_t at = c->rcv_read, done = 0, end = c->rcv_nxt - c->fin_received;
	size_t len = total(iov, count);

	if (io & LRP_TCP_OOB)
		return read_urgent(c, iov, count, io);
	if (len > INT32_MAX)
		len = INT32_MAX;
	/* At the mark the byte is stepped over; before it, reading ends there. */
	if (c->rcv_urgent && at == c->rcv_up && at != end && !c->opt.oob_inline)
		at++;
	if (c->rcv_urgent && lrp_seq_lt(at, c->rcv_up) && lrp_seq_lt(c->rcv_up, end))
		end = c->rcv_up;
	if (at != end && len) {
		done = end - at < len ? end - at : (uint32_t)len;
		if (!(io & LRP_TCP_TRUNC))
			copy_out(c, at, done, iov, count, 0);
	}
	if (!done && len && !(io & LRP_TCP_PEEK) && at != c->rcv_read) {
		/* There was nothing but the urgent byte. */
		c->rcv_read = at;
		c->rcv_urgent = LRP_TCP_URGENT_NONE;
	}
	if (!done)
		return len ? nothing(c) : 0;
	if (io & LRP_TCP_PEEK)
		return done;
	c->rcv_read = at + done;
	if (c->rcv_urgent && lrp_seq_gt(c->rcv_read, c->rcv_up))
		c->rcv_urgent = LRP_TCP_URGENT_NONE;
	lrp_tcp_tune_read(c, now, done);
	/* All read, and an ACK waits for more that need not come: see receive.c. */
	if (c->delack_ns != LRP_TCP_NEVER && !c->pingpong && c->rcv_read == c->rcv_nxt &&
	    c->rcv_nxt - c->rcv_wup < c->rcv_mss) {
		if (lrp_tcp_reply_likely(c))
			c->owing = true;
		else
			c->due |= LRP_TCP_DUE_ACK;
	}
	lrp_tcp_window_update(c);
	return done;
}

/* ---- readiness -------------------------------------------------------------- */

/* Little waits to be sent, by TCP_NOTSENT_LOWAT. */
static bool sends_soon(const struct lrp_tcp *c)
{
	uint32_t low = c->opt.notsent_low ? c->opt.notsent_low : UINT32_MAX;

	return lrp_tcp_waiting(c) < low / 2 + (low & 1) && c->records != LRP_TCP_RECORDS_MAX;
}

uint32_t lrp_tcp_ready(const struct lrp_tcp *c)
{
	bool open = c->state != LRP_TCP_SYN_SENT && c->state != LRP_TCP_SYN_RCVD;
	bool read_closed = c->shut_read || c->fin_received, closed = c->state == LRP_TCP_CLOSED;
	uint32_t ready = 0, space = lrp_tcp_space(c);

	if (c->error)
		ready |= LRP_TCP_ERROR | LRP_TCP_READABLE | LRP_TCP_WRITABLE;
	if (read_closed || closed)
		ready |= LRP_TCP_READABLE;
	if (read_closed)
		ready |= LRP_TCP_READ_CLOSED;
	if ((read_closed && c->shut_write) || closed)
		ready |= LRP_TCP_HUNG_UP | LRP_TCP_WRITABLE;
	if (!open)
		return ready;
	if (!closed)
		ready |= LRP_TCP_CONNECTED;
	if (lrp_tcp_buffered(c) >=
	    lrp_tcp_low_water(c) + (lrp_tcp_at_mark(c) && !c->opt.oob_inline))
		ready |= LRP_TCP_READABLE;
	if (c->rcv_urgent == LRP_TCP_URGENT_HERE)
		ready |= LRP_TCP_URGENT;
	if (c->shut_write || (space && space >= lrp_tcp_snd_limit(c) / 3 && sends_soon(c)))
		ready |= LRP_TCP_WRITABLE;
	return ready;
}

uint32_t lrp_tcp_unsent(const struct lrp_tcp *c)
{
	return lrp_tcp_fin_acked(c) || c->opening ? 0 : c->snd_end - c->snd_una;
}

/* ---- options ----------------------------------------------------------------- */

void lrp_tcp_options_set(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_options *o)
{
	bool keepalive =
		o->keepalive && (!c->opt.keepalive || o->keep_idle_s != c->opt.keep_idle_s);
	const struct lrp_tcp_cc_ops *before = c->opt.cc;
	bool nodelay = o->nodelay && !c->opt.nodelay;
	uint16_t mss = c->opt.mss;

	c->opt = *o;
	if (c->state != LRP_TCP_CLOSED)
		c->opt.mss = mss;
	if (o->cc != before)
		lrp_tcp_cc_change(&c->cc, o->cc);
	if (c->state == LRP_TCP_CLOSED || c->opening)
		return;
	if (!o->keepalive)
		c->keep_ns = LRP_TCP_NEVER;
	else if (keepalive && !c->orphan && c->state != LRP_TCP_TIME_WAIT)
		c->keep_ns = now + o->keep_idle_s * 1000000000ll;
	lrp_tcp_mss_update(c);
	if (nodelay)
		lrp_tcp_push(c, now);
	else
		lrp_tcp_persist(c, now);
}

void lrp_tcp_push(struct lrp_tcp *c, int64_t now)
{
	if (c->state == LRP_TCP_CLOSED || c->opening || !lrp_tcp_waiting(c))
		return;
	c->push = true;
	lrp_tcp_persist(c, now);
}

void lrp_tcp_unattended(struct lrp_tcp *c)
{
	c->attended = false;
	if (c->owing && c->delack_ns != LRP_TCP_NEVER)
		c->due |= LRP_TCP_DUE_ACK;
	c->owing = false;
}

void lrp_tcp_quickack(struct lrp_tcp *c, bool on)
{
	c->pingpong = !on;
	c->prompt = on;
	if (!on)
		return;
	c->quick = LRP_TCP_QUICK_ACKS;
	if (c->delack_ns != LRP_TCP_NEVER)
		c->due |= LRP_TCP_DUE_ACK;
}

/* ---- errors from the network ---------------------------------------------------- */

void lrp_tcp_unreachable(struct lrp_tcp *c, int64_t now, uint32_t seq, int error, bool hard)
{
	(void)now;
	if (!lrp_tcp_is_out(c, seq))
		return;
	/* As Linux: whatever the error, connect() tells it at once. */
	if (c->state == LRP_TCP_SYN_SENT || (hard && c->state == LRP_TCP_SYN_RCVD))
		lrp_tcp_done(c, error);
	else
		c->soft_error = error;
}
