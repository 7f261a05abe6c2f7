/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * app.h - the APP thread [paper 3.4, design 5]: one per process with TCP sockets. It drains
 * the channels on which no thread is waiting and runs TCP's timers, at the priority of the
 * thread that made the process's first TCP connection. It sleeps until the next deadline.
 */
#ifndef LRP_APP_H
#define LRP_APP_H

#include <stdint.h>

struct lrp_hub;
struct lrp_view;

/* The view's hub is to be looked after in this process from now on; its lock is not held. */
void lrp_app_watch(struct lrp_view *l);
/* The same with the lock, of a hub that somebody watches in any case: another process of the
 * family, or this one for another socket. Never waits, since the thread waits for that lock with
 * its list locked; so it may be left for the next time (l->app). */
void lrp_app_watch_inherited(struct lrp_view *l);
/* It is closed in this process, its channels not yet; its lock is not held. */
void lrp_app_forget(struct lrp_hub *hub, uint32_t serial);
/* The application has made a wait set: it is woken before the APP thread from now on. */
void lrp_app_behind(struct lrp_view *l);
/* Something is due then: it must not sleep longer. */
void lrp_app_deadline(int64_t deadline_ns);

void lrp_app_fork_child(void);

#endif
