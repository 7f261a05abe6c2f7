/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * secret.c - keys of what a peer sees and must not foresee.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "../tcp/isn.h"
#include "socket.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static uint64_t secret[2], of_host[2];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void secret_make(void)
{
	char id[36] = "";
	int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, id, sizeof(id)) : -1;

	if (fd >= 0)
		close(fd);
	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		abort();
	memcpy(of_host, secret, sizeof(of_host));
	if (n != sizeof(id))
		return;
	of_host[0] = lrp_siphash((const uint64_t[2]){0, 0}, id, sizeof(id));
	of_host[1] = lrp_siphash((const uint64_t[2]){0, 1}, id, sizeof(id));
}

const uint64_t *lrp_secret(void)
{
	pthread_once(&once, secret_make);
	return secret;
}

const uint64_t *lrp_secret_of_host(void)
{
	pthread_once(&once, secret_make);
	return of_host;
}
