/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* admission.c - see admission.h. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../runtime/base/rundir.h"
#include "admission.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif
#define GROUPS_MAX 65536 /* the kernel's NGROUPS_MAX */

/* ---- who may use it ------------------------------------------------------------------ */

int lrp_admission_init(struct lrp_admission *admission, const struct lrp_conf *conf)
{
	const struct group *group = conf->group[0] ? getgrnam(conf->group) : NULL;
	char others[64] = "";
	int err;

	memset(admission, 0, sizeof(*admission));
	err = lrp_rundir_cookie(-1, &admission->netns_cookie);
	if (err)
		return err;
	memcpy(admission->uid, conf->uid, sizeof(admission->uid));
	admission->uids = conf->uids;
	if (conf->uids)
		snprintf(others, sizeof(others), ", %u user%s by allow-uid", conf->uids,
			 conf->uids == 1 ? "" : "s");
	if (group) {
		admission->has_gid = true;
		admission->gid = group->gr_gid;
		snprintf(admission->text, sizeof(admission->text),
			 "admitted are root%s and members of the group %s: usermod -aG %s USER, "
			 "and log in again",
			 others, conf->group, conf->group);
	} else if (conf->group[0]) {
		snprintf(admission->text, sizeof(admission->text),
			 "admitted is root%s: there is no group %s: groupadd -r %s, usermod -aG %s "
			 "USER, and start lrpd again; or lrpd --allow-uid UID",
			 others, conf->group, conf->group, conf->group);
	} else {
		snprintf(admission->text, sizeof(admission->text),
			 "admitted is root%s: lrpd --group NAME or --allow-uid UID admits others",
			 others);
	}
	return 0;
}

/* Without single users the kernel keeps everybody else from connecting at all. */
mode_t lrp_admission_mode(const struct lrp_admission *admission)
{
	if (admission->uids)
		return 0666;
	return admission->has_gid ? 0660 : 0600;
}

static bool in_group(int fd, gid_t gid)
{
	socklen_t length = 64 * sizeof(gid_t);
	gid_t *groups = malloc(length);
	bool found = false;
	int err = -1;

	if (groups)
		err = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length);
	/* Too little room: the length says how much it takes. */
	if (err && groups && errno == ERANGE && length <= GROUPS_MAX * sizeof(gid_t)) {
		free(groups);
		groups = malloc(length);
		if (groups)
			err = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length);
	}
	for (size_t i = 0; !err && i < length / sizeof(gid_t) && !found; i++)
		found = groups[i] == gid;
	free(groups);
	return found;
}

bool lrp_admission_may_use(const struct lrp_admission *admission, int fd, const struct ucred *cred)
{
	if (cred->uid == 0)
		return true;
	for (uint32_t i = 0; i < admission->uids; i++)
		if (admission->uid[i] == cred->uid)
			return true;
	return admission->has_gid && (cred->gid == admission->gid || in_group(fd, admission->gid));
}

/* ---- who may change it ------------------------------------------------------------------ */

int lrp_admission_pidfd(int fd, const struct ucred *cred)
{
	socklen_t length = sizeof(int);
	int pidfd;

	if (!getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length)) {
		fcntl(pidfd, F_SETFD, FD_CLOEXEC);
		return pidfd;
	}
	if (errno != ENOPROTOOPT)
		return -errno;
	/* Before Linux 6.5. The pid may be another process's by now; its uid has to fit. */
	if (cred->pid <= 0)
		return -ESRCH;
	pidfd = (int)syscall(SYS_pidfd_open, cred->pid, 0);
	if (pidfd >= 0) {
		char path[32];
		struct stat st;

		snprintf(path, sizeof(path), "/proc/%d", (int)cred->pid);
		if (stat(path, &st) || st.st_uid != cred->uid) {
			close(pidfd);
			return -ESRCH;
		}
	}
	return pidfd < 0 ? -errno : pidfd;
}

/* The process's number as our /proc has it; 0: it is not there. */
static pid_t number_of(int pidfd)
{
	char path[64], line[128];
	int pid = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Pid: %d", &pid) == 1)
			break;
	if (file)
		fclose(file);
	return pid > 0 ? pid : 0;
}

static bool has_net_admin(pid_t pid)
{
	unsigned long long effective = 0;
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	if (file)
		fclose(file);
	return effective >> CAP_NET_ADMIN & 1;
}

static int same_file(int a, const struct stat *b)
{
	struct stat st;

	return !fstat(a, &st) && st.st_dev == b->st_dev && st.st_ino == b->st_ino;
}

/* Is `user` the user namespace that owns our network namespace, or one above that? */
static bool owns_netns(const struct stat *user)
{
	int net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int at = net < 0 ? -1 : ioctl(net, NS_GET_USERNS);
	bool owns = false;

	if (net >= 0)
		close(net);
	while (at >= 0 && !(owns = same_file(at, user))) {
		int above = ioctl(at, NS_GET_PARENT);

		close(at);
		at = above;
	}
	if (at >= 0)
		close(at);
	return owns;
}

/* In this order: who enters a user namespace of his own in between has the few
 * capabilities of before. */
const char *lrp_admission_refuses(int pidfd)
{
	pid_t pid = pidfd < 0 ? 0 : number_of(pidfd);
	struct stat user;
	char path[64];
	bool capable;

	if (!pid)
		return "the process that connected is gone, or in a pid namespace that lrpd does "
		       "not see";
	capable = has_net_admin(pid);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	if (stat(path, &user))
		return "lrpd cannot see the process's user namespace: lrpd needs CAP_SYS_PTRACE";
	/* All of this was the same process's only if that is still there. */
	if (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0))
		return "the process that connected is gone";
	if (!owns_netns(&user))
		return "this process is in a user namespace (a rootless container, unshare -U) "
		       "that does not own this network namespace: run it outside";
	if (!capable)
		return LRP_ADMISSION_NEEDS;
	return NULL;
}

/* ---- who could change it when he asked ---------------------------------------------------- */

/*
 * The kernel lets TCP_REPAIR be set or cleared by CAP_NET_ADMIN in the user namespace that owns the
 * socket's network namespace. SO_RCVBUFFORCE would want the capability in the first user namespace.
 */
static bool option_is(int fd, int level, int option, int is)
{
	socklen_t length = sizeof(int);
	int value;

	return !getsockopt(fd, level, option, &value, &length) && length == sizeof(value) &&
	       value == is;
}

/* The cookie of a TCP socket of this network namespace in that mode, else 0. No two sockets have
 * the same before the next boot. */
static uint64_t socket_in_mode(int fd, int repair)
{
	uint64_t here, there, cookie;
	socklen_t length = sizeof(cookie);

	if (!option_is(fd, SOL_SOCKET, SO_DOMAIN, AF_INET) &&
	    !option_is(fd, SOL_SOCKET, SO_DOMAIN, AF_INET6))
		return 0;
	if (!option_is(fd, SOL_SOCKET, SO_PROTOCOL, IPPROTO_TCP) ||
	    !option_is(fd, IPPROTO_TCP, TCP_REPAIR, repair))
		return 0;
	if (lrp_rundir_cookie(-1, &here) || lrp_rundir_cookie(fd, &there) || here != there)
		return 0;
	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) ? 0 : cookie;
}

uint64_t lrp_admission_unproven(int fd)
{
	return socket_in_mode(fd, 0);
}

bool lrp_admission_proves(int fd, uint64_t cookie)
{
	return cookie && socket_in_mode(fd, 1) == cookie;
}
