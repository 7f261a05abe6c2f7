/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fork.h - what modules have to do around fork(). Each registers its handlers in a constructor, with
 * the phase in which they run; who is not linked into a program does not run there.
 *
 * Before fork() the phases run upwards, and take locks in that order; in the parent they run
 * downwards, in the child upwards. Within a phase the order is that of the linker: handlers of one
 * phase do not need each other.
 */
#ifndef LRP_FORK_H
#define LRP_FORK_H

enum lrp_fork_phase {
	LRP_FORK_SELF,	  /* who the process is: the others ask */
	LRP_FORK_SETTLE,  /* needs locks that the later phases hold */
	LRP_FORK_TABLE,	  /* from here on no socket comes, goes or is counted by another thread */
	LRP_FORK_SOCKETS, /* goes through the table */
	LRP_FORK_THREADS, /* threads of the runtime are not started */
	LRP_FORK_STORES,  /* locks that are held for moments, and under which no other is taken */
	LRP_FORK_BROKER,  /* no request to lrpd is under way */
};

struct lrp_fork_handler {
	enum lrp_fork_phase phase;
	void (*prepare)(void); /* each may be NULL */
	void (*parent)(void);
	void (*child)(void);
	struct lrp_fork_handler *next, *prev; /* the registry's */
};

/* In a constructor: while there is one thread. The handler stays for ever. */
void lrp_fork_register(struct lrp_fork_handler *handler);

#endif
