/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * self.c - see self.h. In a forked child this handler runs before the others, which ask who they are.
 */
#include "self.h"

#include <stdatomic.h>
#include <unistd.h>

#include "fork.h"

static _Atomic pid_t self;

static void forked(void)
{
	atomic_store_explicit(&self, getpid(), memory_order_relaxed);
}

static __attribute__((constructor)) void self_start(void)
{
	static struct lrp_fork_handler handler = {.phase = LRP_FORK_SELF, .child = forked};

	forked();
	lrp_fork_register(&handler);
}

pid_t lrp_self(void)
{
	pid_t pid = atomic_load_explicit(&self, memory_order_relaxed);

	return pid ? pid : getpid(); /* asked by a constructor that runs before ours */
}
