/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* thread.c - see thread.h. */
#include "thread.h"

#include <signal.h>

int lrp_thread_start(void *(*run)(void *), void *arg, size_t stack, pthread_t *joinable)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int error = pthread_attr_init(&attr);

	if (error)
		return error;
	if (stack)
		pthread_attr_setstacksize(&attr, stack);
	if (!joinable)
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	/* It inherits the mask. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(joinable ? joinable : &thread, &attr, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return error;
}
