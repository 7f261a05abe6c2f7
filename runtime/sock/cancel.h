/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * cancel.h - pthread_cancel() acts where a thread sleeps and nowhere else in the library.
 *
 * System calls that the library makes under a lock are cancellation points of the C library. A
 * thread that ended there would keep the lock, and a listener's lock guards the connections of
 * others. So each call disables cancellation when it begins, and a sleep, which holds no lock,
 * enables it again. A call that is a cancellation point in POSIX also looks for a request when it
 * begins, since it may never sleep.
 *
 * Threads: any; the state is the calling thread's.
 */
#ifndef LRP_CANCEL_H
#define LRP_CANCEL_H

#include <pthread.h>
#include <stdbool.h>

/* The thread is in a call, and could be cancelled when it made it. */
extern __thread bool lrp_cancelable;

static inline int lrp_cancel_disable(bool point)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	if (before != PTHREAD_CANCEL_ENABLE)
		return before;
	if (point) {
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
		pthread_testcancel();
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	}
	lrp_cancelable = true;
	return before;
}

static inline void lrp_cancel_restore(const int *before)
{
	if (*before != PTHREAD_CANCEL_ENABLE)
		return;
	lrp_cancelable = false;
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
}

/* First in a call of the API. Calls may nest. */
#define LRP_CALL                                                                                   \
	int lrp_cancel_before __attribute__((cleanup(lrp_cancel_restore), unused)) =               \
		lrp_cancel_disable(false)
/* The same in a call that is a cancellation point. */
#define LRP_CALL_POINT                                                                             \
	int lrp_cancel_before __attribute__((cleanup(lrp_cancel_restore), unused)) =               \
		lrp_cancel_disable(true)

/* The value of `call`, a cancellation point of the C library, made without a lock.
 * errno is kept. */
#define LRP_SLEEP(call)                                                                            \
	({                                                                                         \
		bool lrp_on_ = lrp_cancelable;                                                     \
		__typeof__(call) lrp_value_;                                                       \
		if (lrp_on_)                                                                       \
			pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);                       \
		lrp_value_ = (call);                                                               \
		if (lrp_on_)                                                                       \
			pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);                      \
		lrp_value_;                                                                        \
	})

#endif
