/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * app.h - the APP thread [paper 3.4, design 5]: one per process with TCP sockets. It drains
 * the channels on which no thread is waiting and runs TCP's timers, at the priority of the
 * thread that made the process's first TCP connection, and out of its share of a busy CPU
 * (share.h). It sleeps until the next deadline.
 */
#ifndef LRP_APP_H
#define LRP_APP_H

#include <stdbool.h>
#include <stdint.h>

struct lrp_hub;
struct lrp_view;

/* Starts it, if that has not been done: it follows the calling thread. */
void lrp_app_start(void);
/* The view's hub is to be looked after in this process from now on; with its lock or without. */
void lrp_app_watch(struct lrp_view *l);
/* The same of a hub that no socket has. False: there is no APP thread. */
bool lrp_app_watch_hub(struct lrp_hub *hub);
/* It is closed in this process, its channels not yet; its lock is not held. */
void lrp_app_forget(struct lrp_hub *hub, uint32_t serial);
/* It is looked after here: then its channels are mapped in this process. */
bool lrp_app_watches(const struct lrp_hub *hub);
/* It is closed, but used again in this process: watched on. */
void lrp_app_renew(struct lrp_hub *hub, uint32_t serial);
/* The application has made a wait set: it is woken before the APP thread from now on. */
void lrp_app_behind(struct lrp_view *l);
/* Hub locked. hub->deadline_ns has changed: the thread must not sleep longer. */
void lrp_app_deadline(struct lrp_hub *hub);

/* ---- for exit.c ------------------------------------------------------------- */

struct lrp_app_hub {
	struct lrp_hub *hub;
	uint32_t serial;
};

/* All that are watched; the caller frees the list. Their locks are not held. */
uint32_t lrp_app_hubs(struct lrp_app_hub **list);
/* The thread holds no lock and takes none, until it is told to go on. */
void lrp_app_park(bool on);
/* In a child: the calling thread is APP for these hubs, by lrp_app_turn(): what is due now or comes
 * within most_ns (0: no limit). */
void lrp_app_take_over(const struct lrp_app_hub *list, uint32_t n);
void lrp_app_turn(int64_t most_ns);

/* ---- exit.c ------------------------------------------------------------------- */

/* What is to be done when the process ends is done: see there. Once per program is enough. */
void lrp_exit_register(void);

#endif
