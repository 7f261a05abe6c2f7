/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * holder.c - which processes have a TCP socket. Who lets go of it last has to say goodbye to the
 * peer; and a process that was killed, or called exec() or _exit(), lets go without a word.
 *
 * The process that made the socket is noted in it, each that inherits it in a list in the
 * arena. The list only grows, also over the socket's reuse, and is read without a lock. Beside
 * fork, close and the death of a process [family.h] nobody looks at it. A process is known by its
 * pid and the time at which it started, since pids are used again; a zombie has let go already,
 * unless it is the first thread of a process that goes on.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/self.h"
#include "socket.h"

#define BEING_MADE (-1)

static pid_t self; /* of `self_start` */
static uint64_t self_start;

uint64_t lrp_holder_started(pid_t pid)
{
	char path[64], line[512], *at, state = 0;
	unsigned long long ticks = 1;
	long threads = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return kill(pid, 0) && errno == ESRCH ? 0 : 1;
	/* Fields 3, 20, 22; the name in parentheses may hold anything. */
	if (fgets(line, sizeof(line), file) && (at = strrchr(line, ')')))
		(void)!sscanf(at + 1,
			      " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
			      "%*d %ld %*d %llu",
			      &state, &threads, &ticks);
	fclose(file);
	return (state == 'Z' || state == 'X') && threads <= 1 ? 0 : ticks;
}

uint64_t lrp_holder_start(void)
{
	pid_t pid = lrp_self();

	if (self != pid) {
		self_start = lrp_holder_started(pid);
		self = pid;
	}
	return self_start;
}

static void note_self(struct lrp_holder *h)
{
	h->start = lrp_holder_start();
	atomic_store(&h->pid, lrp_self());
}

void lrp_holder_first(struct lrp_sock *s)
{
	note_self(&s->holder);
}

void lrp_holder_inherited(struct lrp_sock *s)
{
	struct lrp_holder *h;
	pid_t nobody;

	for (h = atomic_load(&s->holder.next); h; h = h->next) {
		nobody = 0;
		if (atomic_compare_exchange_strong(&h->pid, &nobody, BEING_MADE)) {
			note_self(h);
			return;
		}
	}
	h = lrp_arena_alloc(sizeof(*h));
	if (!h)
		return; /* the last to close takes it for alive, and lrpd resets the peer */
	note_self(h);
	h->next = atomic_load(&s->holder.next);
	while (!atomic_compare_exchange_weak(&s->holder.next, &h->next, h))
		;
}

void lrp_holder_left(struct lrp_sock *s)
{
	struct lrp_holder *h;
	pid_t us;

	for (h = &s->holder; h; h = h->next) {
		us = lrp_self();
		if (atomic_compare_exchange_strong(&h->pid, &us, 0))
			return;
	}
}

static bool alive(const struct lrp_holder *h, pid_t pid)
{
	uint64_t start = pid == lrp_self() ? h->start : lrp_holder_started(pid);

	return start && (start == h->start || start == 1 || h->start == 1);
}

bool lrp_holder_last(struct lrp_sock *s)
{
	struct lrp_holder *h;
	pid_t pid;

	if (atomic_load(&s->procs) == 1)
		return true;
	for (h = &s->holder; h; h = h->next) {
		pid = atomic_load(&h->pid);
		if (pid > 0 && !alive(h, pid) && atomic_compare_exchange_strong(&h->pid, &pid, 0))
			atomic_fetch_sub(&s->procs, 1);
	}
	return atomic_load(&s->procs) == 1;
}

bool lrp_holder_drop(struct lrp_sock *s, pid_t pid, uint64_t start)
{
	struct lrp_holder *h;
	pid_t was;

	for (h = &s->holder; h; h = h->next) {
		was = pid;
		if (atomic_load(&h->pid) == pid && h->start == start &&
		    atomic_compare_exchange_strong(&h->pid, &was, 0))
			return true;
	}
	return false;
}

void lrp_holder_free(struct lrp_sock *s)
{
	struct lrp_holder *h;

	for (h = &s->holder; h; h = h->next)
		atomic_store(&h->pid, 0);
}
