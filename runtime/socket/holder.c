/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * holder.c - which processes have a TCP socket. Who lets go of it last has to say goodbye to the
 * peer; and a process that was killed, or called exec() or _exit(), lets go without a word.
 *
 * The process that made the socket is noted in it, each that inherits it in a list in the
 * arena, which only grows while the socket lives: it is read without a lock. Beside fork and close
 * nobody looks at it. A process is known by its pid and the time at which it started, since pids
 * are used again; a zombie has let go already.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/self.h"
#include "socket.h"

static pid_t self; /* of `self_start` */
static uint64_t self_start;

/* When it started, in ticks since boot; 0: it is dead, 1: nobody can tell (no /proc). */
static uint64_t started(pid_t pid)
{
	char path[64], line[512], *at, state = 0;
	unsigned long long ticks = 1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return kill(pid, 0) && errno == ESRCH ? 0 : 1;
	/* Field 22; the name in parentheses may hold anything. */
	if (fgets(line, sizeof(line), file) && (at = strrchr(line, ')')))
		(void)!sscanf(at + 1,
			      " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
			      "%*d %*d %*d %llu",
			      &state, &ticks);
	fclose(file);
	return state == 'Z' || state == 'X' ? 0 : ticks;
}

static void note_self(struct lrp_holder *h)
{
	pid_t pid = lrp_self();

	if (self != pid) {
		self_start = started(pid);
		self = pid;
	}
	h->start = self_start;
	atomic_store(&h->pid, pid);
}

void lrp_holder_first(struct lrp_sock *s)
{
	note_self(&s->holder);
}

void lrp_holder_inherited(struct lrp_sock *s)
{
	struct lrp_holder *h = lrp_arena_alloc(sizeof(*h));

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
	uint64_t start = pid == lrp_self() ? h->start : started(pid);

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
		if (pid && !alive(h, pid) && atomic_compare_exchange_strong(&h->pid, &pid, 0))
			atomic_fetch_sub(&s->procs, 1);
	}
	return atomic_load(&s->procs) == 1;
}

void lrp_holder_free(struct lrp_sock *s)
{
	struct lrp_holder *h = s->holder.next, *next;

	s->holder.next = NULL;
	for (; h; h = next) {
		next = h->next;
		lrp_arena_free(h, sizeof(*h));
	}
}
