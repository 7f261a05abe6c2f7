/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hold.h - small frames of a busy thread wait for company, and leave in one system call: each
 * that leaves alone interrupts the CPU that its receiver runs on, and on virtual machines that costs more than
 * all the rest of sending.
 *
 * Held is what a thread sends after its first frame since it slept, and that one, too, if there
 * were several the last time. It leaves as soon as the thread is about to sleep in a call of the
 * runtime; when LRP_TX_HOLD_FRAMES are together; in the thread's first call after LRP_TX_HOLD_NS;
 * before anything that is not held; or, if the thread makes no more calls, after
 * LRP_TX_HOLD_MOST_NS, by the guard: the APP thread. A thread whose frames stay alone, or have to
 * be seen to by the guard, holds none for a while.
 *
 * A child of fork() holds none in its first second: it may have been made for one connection, and
 * leave by _exit(), which sends nothing.
 *
 * TCP takes a held frame for sent. What the device does not take stays held; when no more fits,
 * senders are told that it is full.
 *
 * Threads: each holds its own; only the guard touches those of others.
 */
#ifndef LRP_TX_HOLD_H
#define LRP_TX_HOLD_H

#include "device.h"
#include "tcp_frame.h"

#define LRP_TX_HOLD_FRAMES  64u
#define LRP_TX_HOLD_NS	    100000
#define LRP_TX_HOLD_MOST_NS 1000000

/* Payload of a frame that can be held. */
#define LRP_TX_HOLD_PAYLOAD 128u

/* Until there is a guard nothing is held. `wake`: it must call lrp_tx_hold_guard() soon. */
void lrp_tx_hold_guarded(void (*wake)(void));
/* The calling thread never holds: the guard itself, or who sends for others. */
void lrp_tx_hold_never(void);
/* Sends what has waited too long; when to come again, INT64_MAX: when woken. CLOCK_MONOTONIC. */
int64_t lrp_tx_hold_guard(int64_t now_ns);

/* Room of LRP_TCP_FRAME_MAX + LRP_TX_HOLD_PAYLOAD bytes, 8-byte aligned, for a frame to `device`
 * without a virtio_net_hdr; it begins LRP_TCP_FRAME_VNET from the start. NULL: it is to be sent at
 * once; what was held has left then, but for what the device still refuses. */
uint8_t *lrp_tx_hold_room(const struct lrp_tx_device *device);
/* The frame is there. Only after lrp_tx_hold_room(). */
void lrp_tx_hold_done(uint32_t len);
/* A FIN joins the data before it, if that is the last that the thread holds. False: it has to be sent. */
bool lrp_tx_hold_fin(const struct lrp_tx_device *device, const struct lrp_tcp_flow *flow,
		     const struct lrp_tcp_tx *tx);

/* What the thread holds leaves now: something else is to follow. */
void lrp_tx_hold_release(void);
/* The same; the thread is about to sleep. */
void lrp_tx_hold_sleep(void);
/* A call of the thread: if it has waited long enough. */
void lrp_tx_hold_call(int64_t now_ns);
/* Of all threads: the process ends. */
void lrp_tx_hold_release_all(void);

#endif
