/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* rundir.c - see rundir.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <lrp/control.h>

#include "rundir.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define OVERFLOW_UID 65534u
#define CONNECT_S    2

int lrp_rundir_cookie(int fd, uint64_t *cookie)
{
	socklen_t length = sizeof(*cookie);
	int probe = fd, err = 0;

	if (fd < 0)
		probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return -errno;
	if (getsockopt(probe, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &length))
		err = -errno;
	if (fd < 0)
		close(probe);
	return err;
}

int lrp_rundir_path(char path[LRP_RUNDIR_PATH], const char *file)
{
	uint64_t cookie;
	int err = lrp_rundir_cookie(-1, &cookie);

	if (err)
		return err;
	snprintf(path, LRP_RUNDIR_PATH, LRP_RUN_DIR "/%llu%s%s", (unsigned long long)cookie,
		 file ? "/" : "", file ? file : "");
	return 0;
}

bool lrp_rundir_in_userns(void)
{
	char map[128];
	unsigned int inside, outside, count;
	int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, map, sizeof(map) - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return false;
	map[n] = 0;
	return sscanf(map, "%u %u %u", &inside, &outside, &count) != 3 || inside || outside ||
	       count != 0xffffffffu;
}

static bool root_uid(uid_t uid)
{
	return uid == 0 || (uid == OVERFLOW_UID && lrp_rundir_in_userns());
}

/* The directory `name` in `at`, if root has it for himself. A descriptor or -errno. */
static int step(int at, const char *name)
{
	int fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int err = 0;

	if (fd < 0)
		return errno == ENOENT || errno == EACCES ? -errno : -EPERM;
	if (fstat(fd, &st))
		err = -errno;
	else if (!root_uid(st.st_uid) || st.st_mode & (S_IWGRP | S_IWOTH))
		err = -EPERM;
	if (!err)
		return fd;
	close(fd);
	return err;
}

int lrp_rundir_trusted(void)
{
	char path[LRP_RUNDIR_PATH], *name, *rest;
	int at, err = lrp_rundir_path(path, NULL);

	if (err)
		return err;
	at = step(AT_FDCWD, "/");
	rest = path;
	while (at >= 0 && (name = strtok_r(rest, "/", &rest))) {
		int next = step(at, name);

		close(at);
		at = next;
	}
	if (at < 0)
		return at;
	close(at);
	return 0;
}

int lrp_rundir_connect(const char *file, int flags)
{
	int fd, err = lrp_rundir_trusted();
	struct timeval patience = {.tv_sec = CONNECT_S};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct ucred cred;
	socklen_t length = sizeof(cred);

	if (!err)
		err = lrp_rundir_path(addr.sun_path, file);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length))
		err = errno == ETIMEDOUT ? -EAGAIN : -errno;
	else if (!root_uid(cred.uid))
		err = -EPERM;
	if (!err)
		return fd;
	close(fd);
	return err;
}

void lrp_rundir_policy(char *text, size_t size)
{
	char path[LRP_RUNDIR_PATH];
	ssize_t n = -1;
	int fd = -1;

	if (!lrp_rundir_trusted() && !lrp_rundir_path(path, LRP_POLICY_FILE))
		fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, size - 1);
		close(fd);
	}
	text[n < 0 ? 0 : n] = 0;
	text[strcspn(text, "\n")] = 0;
}
