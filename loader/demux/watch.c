/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* watch.c - see watch.h. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "../base/reuse.h"
#include "end.h"
#include "shadow.h"
#include "watch.h"
#include "watch.skel.h"

#define SOCK_BINDPORT_LOCK 8 /* include/net/sock.h */

enum { LINK_RELEASE, LINK_STATE, LINK_BOUND4, LINK_BOUND6, LINKS };

static const char *const link_name[LINKS] = {"watch:release", "watch:state", "watch:bound4",
					     "watch:bound6"};

struct lrp_core_watch {
	int link[LINKS];	/* -1: none */
	int locks_fd, purge_fd; /* lrp_locks, lrp_purge */
};

static struct lrp_core_watch *watch_of(struct lrp_core *core)
{
	struct lrp_core_watch *watch = core->watch;

	if (watch)
		return watch;
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return NULL;
	for (int i = 0; i < LINKS; i++)
		watch->link[i] = -1;
	watch->locks_fd = watch->purge_fd = -1;
	return core->watch = watch;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- loading ------------------------------------------------------------------------- */

/* The root of the cgroup hierarchy, mounted nowhere: a descriptor or -errno. */
static int cgroup_root(void)
{
	int fs = (int)syscall(SYS_fsopen, "cgroup2", FSOPEN_CLOEXEC), root, err;

	if (fs < 0)
		return -errno;
	root = syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0)
		       ? -1
		       : (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	err = -errno;
	close(fs);
	return root < 0 ? err : root;
}

static int attach_cgroup(const struct bpf_program *program, enum bpf_attach_type type)
{
	int root = cgroup_root(), link;

	if (root < 0)
		return root;
	link = bpf_link_create(bpf_program__fd(program), root, type, NULL);
	if (link < 0)
		link = -errno;
	close(root);
	return link;
}

static int attach_state(const struct watch_bpf *skel)
{
	int link = bpf_raw_tracepoint_open(NULL, bpf_program__fd(skel->progs.lrp_state));

	return link < 0 ? -errno : link;
}

int lrp_core_watch_open(struct lrp_core *core, char *text)
{
	struct lrp_core_watch *watch = watch_of(core);
	struct watch_bpf *skel;
	int link[LINKS] = {-1, -1, -1, -1}, err;

	if (!watch)
		return lrp_core_error(text, -ENOMEM, "out of memory");
	if (watch->locks_fd >= 0)
		return 0;
	skel = watch_bpf__open();
	if (!skel)
		return lrp_core_error(text, -errno, "opening the watcher: %s", strerror(errno));
	skel->rodata->lrp_netns = core->netns_cookie;
	err = lrp_core_reuse_maps(core, skel->obj, NULL);
	if (!err)
		err = watch_bpf__load(skel);
	if (err) {
		lrp_core_error(text, err,
			       "loading the watcher of sockets: %s (BTF is needed: "
			       "/sys/kernel/btf/vmlinux)",
			       strerror(-err));
		goto out;
	}
	link[LINK_RELEASE] = attach_cgroup(skel->progs.lrp_release, BPF_CGROUP_INET_SOCK_RELEASE);
	link[LINK_BOUND4] = attach_cgroup(skel->progs.lrp_bound4, BPF_CGROUP_INET4_POST_BIND);
	link[LINK_BOUND6] = attach_cgroup(skel->progs.lrp_bound6, BPF_CGROUP_INET6_POST_BIND);
	for (int i = 0; i < LINKS && !err; i++)
		if (i != LINK_STATE && link[i] < 0)
			err = lrp_core_error(text, link[i], "attaching to the root cgroup: %s",
					     strerror(-link[i]));
	if (!err)
		link[LINK_STATE] = attach_state(skel);
	if (!err && link[LINK_STATE] < 0)
		err = lrp_core_error(text, link[LINK_STATE],
				     "attaching to the tracepoint inet_sock_set_state: %s",
				     strerror(-link[LINK_STATE]));
	if (!err) {
		watch->locks_fd = fcntl(bpf_program__fd(skel->progs.lrp_locks), F_DUPFD_CLOEXEC, 3);
		watch->purge_fd = fcntl(bpf_program__fd(skel->progs.lrp_purge), F_DUPFD_CLOEXEC, 3);
		if (watch->locks_fd < 0 || watch->purge_fd < 0)
			err = lrp_core_error(text, -errno, "watcher: %s", strerror(errno));
	}
	/* The programs of an lrpd before this one go only now, so no event is missed. */
	for (int i = 0; i < LINKS && !err; i++) {
		close_fd(&watch->link[i]);
		watch->link[i] = link[i];
		link[i] = -1;
	}
	lrp_core_watch_store(core);
out:
	for (int i = 0; i < LINKS; i++)
		if (link[i] >= 0)
			close(link[i]);
	watch_bpf__destroy(skel);
	return err;
}

void lrp_core_watch_close(struct lrp_core *core)
{
	struct lrp_core_watch *watch = core->watch;

	if (!watch)
		return;
	for (int i = 0; i < LINKS; i++) {
		lrp_core_drop(core, "%s", link_name[i]);
		close_fd(&watch->link[i]);
	}
	close_fd(&watch->locks_fd);
	close_fd(&watch->purge_fd);
	free(watch);
	core->watch = NULL;
}

bool lrp_core_watch_kept(struct lrp_core *core, const struct lrp_core_kept *kept)
{
	for (int i = 0; i < LINKS; i++)
		if (!strcmp(kept->name, link_name[i]) && watch_of(core)) {
			core->watch->link[i] = kept->fd;
			return true;
		}
	return false;
}

void lrp_core_watch_store(struct lrp_core *core)
{
	for (int i = 0; core->watch && i < LINKS; i++)
		lrp_core_put(core, core->watch->link[i], "%s", link_name[i]);
}

/* ---- one socket ------------------------------------------------------------------------ */

static bool works(const struct lrp_core *core)
{
	return core->watch && core->watch->locks_fd >= 0;
}

static bool port_locked(const struct lrp_core *core, int fd)
{
	uint32_t call = (uint32_t)fd;
	struct bpf_test_run_opts run = {
		.sz = sizeof(run), .ctx_in = &call, .ctx_size_in = sizeof(call)};

	return !bpf_prog_test_run_opts(core->watch->locks_fd, &run) &&
	       run.retval & SOCK_BINDPORT_LOCK;
}

static int shadow_get(struct lrp_core *core, uint64_t cookie, struct lrp_shadow *shadow)
{
	return bpf_map_lookup_elem(core->map_fd[LRP_MAP_SHADOWS], &cookie, shadow) ? -errno : 0;
}

static int shadow_put(struct lrp_core *core, uint64_t cookie, const struct lrp_shadow *shadow,
		      uint64_t how)
{
	return bpf_map_update_elem(core->map_fd[LRP_MAP_SHADOWS], &cookie, shadow, how) ? -errno
											: 0;
}

static bool same_place(const struct lrp_published *a, const struct lrp_published *b)
{
	return a->lport == b->lport && !memcmp(&a->laddr, &b->laddr, sizeof(a->laddr)) &&
	       a->v4 == b->v4 && a->v6 == b->v6;
}

/* The socket is watched already, for another reason. */
static int watch_more(struct lrp_core *core, uint32_t owner, struct lrp_published *pub,
		      struct lrp_shadow *shadow, enum lrp_shadow_reason reason)
{
	int err;

	for (int i = 0; i < 2; i++)
		if (shadow->end[i] && core->state->end[shadow->end[i]].owner != owner)
			return -EACCES;
	shadow->reasons |= reason;
	if (reason == LRP_SHADOW_PUBLISHED)
		shadow->listens = pub->listens;
	memcpy(pub->end, shadow->end, sizeof(pub->end));
	err = shadow_put(core, pub->cookie, shadow, BPF_EXIST);
	return err == -ENOENT ? -EADDRNOTAVAIL : err;
}

int lrp_core_watch(struct lrp_core *core, int fd, uint32_t owner, struct lrp_published *pub,
		   enum lrp_shadow_reason reason)
{
	bool tcp = pub->proto == IPPROTO_TCP;
	struct lrp_published again;
	struct lrp_shadow shadow;
	int err;

	if (works(core) && !port_locked(core, fd))
		return -ENOLCK;
	if (!shadow_get(core, pub->cookie, &shadow))
		return watch_more(core, owner, pub, &shadow, reason);
	if (tcp) {
		err = lrp_core_ends_take(core, owner, pub);
		if (err)
			return err;
	}
	shadow = (struct lrp_shadow){.end = {pub->end[0], pub->end[1]},
				     .port = ntohs(pub->lport),
				     .tcp = tcp,
				     .listens = pub->listens,
				     .reasons = (uint8_t)reason};
	err = shadow_put(core, pub->cookie, &shadow, BPF_NOEXIST);
	if (err) {
		lrp_core_ends_give(core, pub->end);
		return err == -E2BIG ? -ENOSPC : err;
	}
	/* From now on the watcher sees it leave. Is it still where it was? */
	err = lrp_core_shadow_read(core, fd, &again);
	if (!err && same_place(pub, &again))
		return 0;
	lrp_core_unwatch(core, pub->cookie, reason);
	return -EADDRNOTAVAIL;
}

void lrp_core_unwatch(struct lrp_core *core, uint64_t cookie, enum lrp_shadow_reason reason)
{
	struct lrp_shadow shadow;

	if (core->map_fd[LRP_MAP_SHADOWS] < 0 || shadow_get(core, cookie, &shadow))
		return;
	shadow.reasons &= (uint8_t)~reason;
	if (reason == LRP_SHADOW_PUBLISHED)
		shadow.listens = 0;
	if (shadow.reasons)
		shadow_put(core, cookie, &shadow, BPF_EXIST);
	else if (!bpf_map_delete_elem(core->map_fd[LRP_MAP_SHADOWS], &cookie))
		lrp_core_ends_give(core, shadow.end);
}

bool lrp_core_watched(struct lrp_core *core, uint64_t cookie)
{
	struct lrp_shadow shadow;

	return shadow_get(core, cookie, &shadow) != -ENOENT;
}

/* ---- entries ---------------------------------------------------------------------------- */

bool lrp_core_purge(struct lrp_core *core, bool v4, const void *key)
{
	struct {
		uint32_t v4;
		struct lrp_flow6 key;
	} call = {.v4 = v4};
	struct bpf_test_run_opts run = {
		.sz = sizeof(run), .ctx_in = &call, .ctx_size_in = sizeof(call)};

	if (!works(core))
		return false;
	memcpy(&call.key, key, v4 ? sizeof(struct lrp_flow4) : sizeof(struct lrp_flow6));
	return !bpf_prog_test_run_opts(core->watch->purge_fd, &run) && run.retval == 1;
}
