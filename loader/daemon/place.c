/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* place.c - see place.h. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <lrp/control.h>

#include "../../runtime/base/rundir.h"
#include "place.h"

#define LOCK_FILE "lock"
#define RETRY_MS  20

static const char *const files[] = {
	LRP_CONTROL_FILE,
	LRP_ADMIN_FILE,
	LRP_KEEPER_FILE,
	LRP_POLICY_FILE,
};

static int make_dir(const char *path)
{
	if (mkdir(path, 0755))
		return errno == EEXIST ? 0 : -errno;
	/* Whatever the umask. */
	return chmod(path, 0755) ? -errno : 0;
}

/* What connecting to it says: 0 somebody listens there, -ECONNREFUSED nobody any more. */
static int probe(const char *path, pid_t *pid)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct ucred cred;
	socklen_t length = sizeof(cred);
	int err = 0;

	if (fd < 0)
		return -errno;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		err = errno == EAGAIN ? 0 : -errno; /* its queue is full: it is there */
	else if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length))
		*pid = cred.pid;
	close(fd);
	return err;
}

/* ---- the directory ------------------------------------------------------------------ */

static void remove_files(const char *dir, bool all)
{
	char path[LRP_RUNDIR_PATH + 32];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	if (!all)
		return;
	snprintf(path, sizeof(path), "%s/" LOCK_FILE, dir);
	unlink(path);
	rmdir(dir);
}

/* The lock of a directory; -EBUSY, or -ESTALE if the directory has been removed meanwhile. */
static int lock_dir(const char *dir)
{
	char path[LRP_RUNDIR_PATH + 32];
	struct stat st;
	int fd, err = 0;

	snprintf(path, sizeof(path), "%s/" LOCK_FILE, dir);
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB))
		err = errno == EWOULDBLOCK ? -EBUSY : -errno;
	else if (fstat(fd, &st) || !st.st_nlink)
		err = -ESTALE;
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* Directories of other network namespaces in which neither lrpd nor keeper listens. */
static void remove_stale(const char *own)
{
	DIR *all = opendir(LRP_RUN_DIR);
	const struct dirent *entry;

	while (all && (entry = readdir(all))) {
		char dir[LRP_RUNDIR_PATH], path[LRP_RUNDIR_PATH + 32];
		pid_t pid;
		int lock;

		if (!isdigit((unsigned char)entry->d_name[0]) || strlen(entry->d_name) > 20)
			continue;
		snprintf(dir, sizeof(dir), LRP_RUN_DIR "/%.20s", entry->d_name);
		if (!strcmp(dir, own))
			continue;
		lock = lock_dir(dir);
		if (lock < 0)
			continue;
		snprintf(path, sizeof(path), "%s/" LRP_CONTROL_FILE, dir);
		if (probe(path, &pid)) {
			snprintf(path, sizeof(path), "%s/" LRP_KEEPER_FILE, dir);
			if (probe(path, &pid))
				remove_files(dir, true);
		}
		close(lock);
	}
	if (all)
		closedir(all);
}

int lrp_place_make(void)
{
	char dir[LRP_RUNDIR_PATH];
	int err = lrp_rundir_path(dir, NULL);

	if (!err)
		err = make_dir(LRP_RUN_DIR);
	if (!err)
		err = make_dir(dir);
	if (!err)
		err = lrp_rundir_trusted();
	if (!err)
		remove_stale(dir);
	return err;
}

void lrp_place_remove(bool all)
{
	char dir[LRP_RUNDIR_PATH];

	if (!lrp_rundir_path(dir, NULL))
		remove_files(dir, all);
}

int lrp_place_lock(unsigned int patience_ms)
{
	char dir[LRP_RUNDIR_PATH];
	int err = lrp_rundir_path(dir, NULL);

	if (err)
		return err;
	for (;;) {
		int fd = lock_dir(dir);

		if (fd >= 0)
			return fd;
		if (fd == -ENOENT || fd == -ESTALE) {
			err = lrp_place_make();
			if (err)
				return err;
		} else if (fd != -EBUSY) {
			return fd;
		}
		if (patience_ms < RETRY_MS)
			return -EBUSY;
		patience_ms -= RETRY_MS;
		poll(NULL, 0, RETRY_MS);
	}
}

/* ---- what is in it ------------------------------------------------------------------------- */

int lrp_place_listen(const char *file, mode_t mode, gid_t gid, int backlog, pid_t *pid)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, err = lrp_rundir_path(addr.sun_path, file);

	*pid = 0;
	if (err)
		return err;
	err = probe(addr.sun_path, pid);
	if (!err)
		return -EADDRINUSE;
	if (err != -ENOENT && unlink(addr.sun_path) && errno != ENOENT)
		return -errno;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Nobody can connect before it listens. */
	err = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
	if (!err)
		err = lrp_place_allow(file, mode, gid);
	if (!err && listen(fd, backlog))
		err = -errno;
	if (!err)
		return fd;
	close(fd);
	return err;
}

bool lrp_place_has(const char *file)
{
	char path[LRP_RUNDIR_PATH];
	struct stat st;

	return !lrp_rundir_path(path, file) && !lstat(path, &st);
}

int lrp_place_allow(const char *file, mode_t mode, gid_t gid)
{
	char path[LRP_RUNDIR_PATH];
	int err = lrp_rundir_path(path, file);

	if (err)
		return err;
	return lchown(path, 0, gid) || chmod(path, mode) ? -errno : 0;
}

int lrp_place_write(const char *file, const char *line)
{
	char path[LRP_RUNDIR_PATH], fresh[LRP_RUNDIR_PATH + 8];
	int fd, err = lrp_rundir_path(path, file);

	if (err)
		return err;
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	unlink(fresh);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0644) || dprintf(fd, "%s\n", line) < 0 || rename(fresh, path))
		err = -errno;
	close(fd);
	return err;
}
