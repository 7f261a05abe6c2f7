/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* closer.c - see closer.h. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "closer.h"

#define CLOSERS 64u

/* ---- many at once ------------------------------------------------------------------------ */

struct closing {
	const int *fd;
	uint32_t count;
	atomic_uint next;
};

static void *close_some(void *data)
{
	struct closing *closing = data;
	uint32_t i;

	while ((i = atomic_fetch_add(&closing->next, 1)) < closing->count)
		if (closing->fd[i] >= 0)
			close(closing->fd[i]);
	return NULL;
}

void lrp_close_all(const int *fd, uint32_t count)
{
	struct closing closing = {.fd = fd, .count = count};
	pthread_t thread[CLOSERS];
	uint32_t n = 0, used = 0;

	for (uint32_t i = 0; i < count; i++)
		used += fd[i] >= 0;
	while (n < CLOSERS && n < used / 4 &&
	       !pthread_create(&thread[n], NULL, close_some, &closing))
		n++;
	close_some(&closing);
	while (n > 0)
		pthread_join(thread[--n], NULL);
}

/* ---- later --------------------------------------------------------------------------------- */

struct lrp_closer {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	bool stopping;
	int *fd;
	uint32_t count, room;
};

static void *closer_run(void *data)
{
	struct lrp_closer *closer = data;

	pthread_mutex_lock(&closer->lock);
	while (closer->count || !closer->stopping) {
		int *fd = closer->fd;
		uint32_t count = closer->count;

		if (!count) {
			pthread_cond_wait(&closer->more, &closer->lock);
			continue;
		}
		closer->fd = NULL;
		closer->count = closer->room = 0;
		pthread_mutex_unlock(&closer->lock);
		lrp_close_all(fd, count);
		free(fd);
		pthread_mutex_lock(&closer->lock);
	}
	pthread_mutex_unlock(&closer->lock);
	return NULL;
}

static struct lrp_closer *closer_new(void)
{
	struct lrp_closer *closer = calloc(1, sizeof(*closer));
	sigset_t all, before;
	int err;

	if (!closer)
		return NULL;
	pthread_mutex_init(&closer->lock, NULL);
	pthread_cond_init(&closer->more, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&closer->thread, NULL, closer_run, closer);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		free(closer);
		return NULL;
	}
	pthread_setname_np(closer->thread, "lrp-closer");
	return closer;
}

static bool queue(struct lrp_closer *closer, int fd)
{
	bool done = false;

	pthread_mutex_lock(&closer->lock);
	if (closer->count == closer->room) {
		uint32_t room = closer->room ? 2 * closer->room : 64;
		int *grown = realloc(closer->fd, room * sizeof(*grown));

		if (grown) {
			closer->fd = grown;
			closer->room = room;
		}
	}
	if (closer->count < closer->room) {
		closer->fd[closer->count++] = fd;
		done = true;
	}
	pthread_cond_signal(&closer->more);
	pthread_mutex_unlock(&closer->lock);
	return done;
}

void lrp_close_later(struct lrp_closer **closer, int fd)
{
	if (!*closer)
		*closer = closer_new();
	if (!*closer || !queue(*closer, fd))
		close(fd);
}

void lrp_closer_end(struct lrp_closer **at)
{
	struct lrp_closer *closer = *at;

	if (!closer)
		return;
	pthread_mutex_lock(&closer->lock);
	closer->stopping = true;
	pthread_cond_signal(&closer->more);
	pthread_mutex_unlock(&closer->lock);
	pthread_join(closer->thread, NULL);
	pthread_cond_destroy(&closer->more);
	pthread_mutex_destroy(&closer->lock);
	free(closer->fd);
	free(closer);
	*at = NULL;
}
