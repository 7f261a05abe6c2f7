/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* guard_owner.c - the sockets of this network namespace by cookie, and the processes that have them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guard_internal.h"
#include "../demux/shadow.h"

#define STATE_LISTEN 10

struct sockets {
	struct lrp_guard_owner *owner;
	size_t count, room;
};

static int on_socket(const struct nlmsghdr *nlh, void *data)
{
	const struct inet_diag_msg *msg = mnl_nlmsg_get_payload(nlh);
	struct sockets *sockets = data;
	struct lrp_guard_owner *owner;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*msg))
		return MNL_CB_OK;
	if (sockets->count == sockets->room) {
		size_t room = sockets->room ? 2 * sockets->room : 256;
		void *grown = realloc(sockets->owner, room * sizeof(*owner));

		if (!grown) {
			errno = ENOMEM;
			return MNL_CB_ERROR;
		}
		sockets->owner = grown;
		sockets->room = room;
	}
	owner = &sockets->owner[sockets->count++];
	memset(owner, 0, sizeof(*owner));
	owner->cookie = (uint64_t)msg->id.idiag_cookie[1] << 32 | msg->id.idiag_cookie[0];
	owner->inode = msg->idiag_inode;
	return MNL_CB_OK;
}

int lrp_guard_sockets(struct lrp_guard_owner **owners, size_t *count, bool listeners_only)
{
	struct sockets sockets = {0};
	int err = 0;

	for (int i = 0; i < (listeners_only ? 2 : 4) && !err; i++)
		err = lrp_core_diag_dump(i & 1 ? AF_INET6 : AF_INET,
					 i & 2 ? IPPROTO_UDP : IPPROTO_TCP,
					 i & 2 ? ~0u : 1u << STATE_LISTEN, 0, on_socket, &sockets);
	if (err)
		free(sockets.owner);
	*owners = err ? NULL : sockets.owner;
	*count = err ? 0 : sockets.count;
	return err;
}

/* ---- processes ------------------------------------------------------------------------------ */

static void read_line(const char *path, char *line, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, size - 1);

	if (fd >= 0)
		close(fd);
	line[n > 0 ? n : 0] = 0;
}

/* The last part of the path that is a unit of systemd. */
static void unit_of(const char *cgroup, char *unit, size_t size)
{
	static const char *const suffix[] = {".service", ".scope", ".slice"};

	unit[0] = 0;
	for (const char *part = cgroup; part && *part; part = strchr(part, '/')) {
		size_t length;

		part += *part == '/';
		length = strcspn(part, "/");
		for (size_t i = 0; i < sizeof(suffix) / sizeof(suffix[0]); i++) {
			size_t n = strlen(suffix[i]);

			if (length > n && length < size &&
			    !memcmp(part + length - n, suffix[i], n) && (i < 2 || !unit[0])) {
				memcpy(unit, part, length);
				unit[length] = 0;
			}
		}
	}
}

static void describe(struct lrp_guard_owner *owner, uint32_t pid)
{
	char path[64], text[1024], *line;

	owner->pid = pid;
	snprintf(path, sizeof(path), "/proc/%u/comm", pid);
	read_line(path, owner->comm, sizeof(owner->comm));
	owner->comm[strcspn(owner->comm, "\n")] = 0;
	snprintf(path, sizeof(path), "/proc/%u/cgroup", pid);
	read_line(path, text, sizeof(text));
	/* cgroup v2's line; else the first one */
	line = strstr(text, "0::/");
	line = line ? line + 3 : strchr(text, '/');
	if (!line)
		return;
	line[strcspn(line, "\n")] = 0;
	snprintf(owner->cgroup, sizeof(owner->cgroup), "%.255s", line);
	unit_of(owner->cgroup, owner->unit, sizeof(owner->unit));
}

static int by_inode(const void *a, const void *b)
{
	const struct lrp_guard_owner *x = a, *y = b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static void look_into(uint32_t pid, struct lrp_guard_owner *owners, size_t count)
{
	char path[64], target[64];
	struct lrp_guard_owner *owner;
	struct dirent *entry;
	unsigned int inode;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%u/fd", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

		if (n < 0)
			continue;
		target[n] = 0;
		if (sscanf(target, "socket:[%u]", &inode) != 1)
			continue;
		owner = bsearch(&(struct lrp_guard_owner){.inode = inode}, owners, count,
				sizeof(*owners), by_inode);
		if (owner && !owner->pid)
			describe(owner, pid);
	}
	if (dir)
		closedir(dir);
}

void lrp_guard_owners(struct lrp_guard_owner *owners, size_t count)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	if (count)
		qsort(owners, count, sizeof(*owners), by_inode);
	while (count && dir && (entry = readdir(dir))) {
		uint32_t pid = (uint32_t)strtoul(entry->d_name, NULL, 10);

		if (pid)
			look_into(pid, owners, count);
	}
	if (dir)
		closedir(dir);
}
