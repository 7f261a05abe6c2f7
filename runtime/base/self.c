/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * self.c - see self.h. Handlers of fork() run in the order of registration in the child: this one
 * must be the first of ours, since the others ask who they are.
 */
#include "self.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static _Atomic pid_t self;

static void forked(void)
{
	atomic_store_explicit(&self, getpid(), memory_order_relaxed);
}

static __attribute__((constructor)) void start(void)
{
	forked();
	pthread_atfork(NULL, NULL, forked);
}

pid_t lrp_self(void)
{
	pid_t pid = atomic_load_explicit(&self, memory_order_relaxed);

	return pid ? pid : getpid(); /* asked by a constructor that runs before ours */
}
