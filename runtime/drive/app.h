/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * app.h - the APP thread [paper 3.4, design 5]: one per process with TCP sockets. It drains
 * the channels on which no thread is waiting and runs TCP's timers, at the priority of the
 * thread that made the process's first TCP connection, and out of its share of a busy CPU
 * (share.h). It sleeps until the next deadline.
 */
#ifndef LRP_APP_H
#define LRP_APP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct lrp_endpoint;

/* Channels and deadlines that APP looks after: a part of the owner's object, in the arena. */
struct lrp_driven {
	_Atomic uint32_t serial;     /* changes when the object is closed */
	_Atomic int64_t deadline_ns; /* when there is something to do, or earlier */
	_Atomic bool called;	     /* drained in a call since the APP thread looked last */
	int64_t armed_ns;	     /* the deadline that an APP thread knows; */
	pid_t armed_by;		     /* of this process */
};

/* What the owner of such objects does; registered in a constructor. */
struct lrp_app_ops {
	/*
	 * Takes all that has come, or runs what is due only (`timers_only`): then the deadline that
	 * APP knows is void, and lrp_app_deadline() is called again. False: the object has been
	 * closed since `serial`, or its lock is not to be had; it is forgotten.
	 */
	bool (*run)(struct lrp_driven *d, uint32_t serial, bool timers_only);
	/* The thread is about to be started: the first time in this process. */
	void (*starts)(void);
	/* The thread sleeps on this set from now on. Events whose data are odd are event()'s. */
	void (*attach)(int epfd);
	void (*event)(uint64_t data);
};

void lrp_app_register(const struct lrp_app_ops *ops);

/* Starts it, if that has not been done: it follows the calling thread. */
void lrp_app_start(void);
/* It is to be looked after in this process from now on; with its lock or without. False: there is
 * no APP thread. */
bool lrp_app_watch(struct lrp_driven *d, const struct lrp_endpoint *ep);
/* It is closed in this process, its channels not yet; its lock is not held. */
void lrp_app_forget(struct lrp_driven *d, uint32_t serial);
/* It is looked after here: then its channels are mapped in this process. */
bool lrp_app_watches(const struct lrp_driven *d);
/* It is closed, but used again in this process: watched on. */
void lrp_app_renew(struct lrp_driven *d, uint32_t serial);
/* The application has made a wait set: it is woken before the APP thread from now on. */
void lrp_app_behind(const struct lrp_driven *d);
/* Its lock held. deadline_ns has changed: the thread must not sleep longer. */
void lrp_app_deadline(struct lrp_driven *d);

/* ---- for the end of a process ------------------------------------------------- */

struct lrp_app_driven {
	struct lrp_driven *driven;
	const struct lrp_endpoint *ep;
	uint32_t serial;
};

/* All that are watched; the caller frees the list. Their locks are not held. */
uint32_t lrp_app_list(struct lrp_app_driven **list);
/* The thread holds no lock and takes none, until it is told to go on. */
void lrp_app_park(bool on);
/* In a child: the calling thread is APP for these, by lrp_app_turn(): what is due now or comes
 * within most_ns (0: no limit). */
void lrp_app_take_over(const struct lrp_app_driven *list, uint32_t n);
void lrp_app_turn(int64_t most_ns);

#endif
