/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* fd.c - see fd.h. */
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#define FLOOR_MOST 4096u /* the kernel's table of descriptors is as long as the highest number */
#define STEP	   1024u

static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned int lowest; /* number that we take; 0: none above the limit */

static void fd_start(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit))
		lowest = limit.rlim_cur < FLOOR_MOST ? (unsigned int)limit.rlim_cur : FLOOR_MOST;
}

/* Two threads at once raise it once: that will do. */
static bool raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= limit.rlim_max)
		return false;
	limit.rlim_cur += STEP;
	if (limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	return !setrlimit(RLIMIT_NOFILE, &limit);
}

int lrp_fd_aside_of(int fd)
{
	int before = errno, high;

	pthread_once(&once, fd_start);
	high = fcntl(fd, F_DUPFD_CLOEXEC, (int)lowest);
	if (high < 0 && (errno == EINVAL || errno == EMFILE) && raise_limit())
		high = fcntl(fd, F_DUPFD_CLOEXEC, (int)lowest);
	errno = before;
	return high;
}

int lrp_fd_aside(int fd)
{
	int high = fd < 0 ? -1 : lrp_fd_aside_of(fd);

	if (high < 0)
		return fd;
	close(fd);
	return high;
}

bool lrp_fd_scarce(uint32_t count)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) || count > limit.rlim_max / 4;
}
