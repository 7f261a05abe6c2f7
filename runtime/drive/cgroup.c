/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* cgroup.c - see cgroup.h. */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/log.h"
#include "share.h"

#define TEXT 4096

static int ours = -1, owners = -1; /* /proc/self/task/<tid>/cgroup */

/* Is `name` one of the list, with commas, that ends at `end`? */
static bool has(const char *list, const char *end, const char *name)
{
	size_t len = strlen(name);
	const char *next;

	for (; list < end; list = next + 1) {
		next = memchr(list, ',', (size_t)(end - list));
		next = next ? next : end;
		if ((size_t)(next - list) == len && !memcmp(list, name, len))
			return true;
	}
	return false;
}

bool lrp_cgroup_parse(const char *text, char path[LRP_CGROUP_PATH])
{
	const char *line, *end, *list, *where;
	int n = -1;

	/* Lines are HIERARCHY:CONTROLLERS:PATH; version 2 has hierarchy 0 and no controllers. */
	for (line = text; *line; line = *end ? end + 1 : end) {
		end = strchrnul(line, '\n');
		list = memchr(line, ':', (size_t)(end - line));
		where = list ? memchr(list + 1, ':', (size_t)(end - list - 1)) : NULL;
		if (!where)
			continue;
		if (has(list + 1, where, "cpu"))
			return (n = snprintf(path, LRP_CGROUP_PATH, "/sys/fs/cgroup/%.*s%.*s/tasks",
					     (int)(where - list - 1), list + 1,
					     (int)(end - where - 1), where + 1)) > 0 &&
			       n < LRP_CGROUP_PATH;
		if (list == line + 1 && *line == '0' && where == list + 1)
			n = snprintf(path, LRP_CGROUP_PATH, "/sys/fs/cgroup%.*s/cgroup.threads",
				     (int)(end - where - 1), where + 1);
	}
	return n > 0 && n < LRP_CGROUP_PATH;
}

void lrp_cgroup_open(pid_t owner)
{
	lrp_share_file(&ours, (pid_t)syscall(SYS_gettid), "cgroup");
	lrp_share_file(&owners, owner, "cgroup");
}

static bool get(int fd, char text[TEXT])
{
	ssize_t n = fd < 0 ? -1 : pread(fd, text, TEXT - 1, 0);

	if (n <= 0)
		return false;
	text[n] = 0;
	return true;
}

static void join(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	char tid[16];
	int len = snprintf(tid, sizeof(tid), "%ld\n", (long)syscall(SYS_gettid));

	if (fd < 0 || write(fd, tid, (size_t)len) != len)
		lrp_log_once(LRP_LOG_INFO,
			     "the APP thread does not follow its owner's cgroup: %s: %m", path);
	if (fd >= 0)
		close(fd);
}

void lrp_cgroup_follow(void)
{
	char mine[TEXT], theirs[TEXT], to[LRP_CGROUP_PATH], in[LRP_CGROUP_PATH];

	if (!get(ours, mine) || !get(owners, theirs) || !strcmp(mine, theirs) ||
	    !lrp_cgroup_parse(theirs, to) || (lrp_cgroup_parse(mine, in) && !strcmp(in, to)))
		return;
	join(to);
}
