/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * proxy_cgroup.c - a cgroup for each proxy, whose weight is that of the proxy's nice value.
 *
 * Where the kernel groups tasks by session (autogroups) or systemd by service, a nice value counts
 * within the group alone. A group of its own, directly below the root, makes the value count
 * against all else. cgroup v2 takes the nice value itself (cpu.weight.nice); v1 takes shares. Where
 * neither is to be had, the session's autogroup takes it (/proc/PID/autogroup).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "proxy_internal.h"

/* Of the scheduler, for nice -20 to 19: a nice value is a tenth of the CPU time. */
static const uint32_t weight[40] = {
	88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
	9548,  7620,  6100,  4904,  3906,  3121,  2501,	 1991,	1586,  1277,
	1024,  820,   655,   526,   423,   335,	  272,	 215,	172,   137,
	110,   87,    70,    56,    45,	   36,	  29,	 23,	18,    15,
};

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static bool file_has(const char *path, const char *word)
{
	char line[512] = "";
	FILE *f = fopen(path, "re");
	bool found = false;

	if (!f)
		return false;
	if (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		for (char *save, *token = strtok_r(line, " ", &save); token && !found;
		     token = strtok_r(NULL, " ", &save))
			found = !strcmp(token, word);
	}
	fclose(f);
	return found;
}

/* The mounted hierarchy that has the controller `cpu`. */
void lrp_core_proxy_cgroup_find(struct lrp_core_proxies *proxies)
{
	char line[1024], where[256], type[32], options[256], path[300];
	FILE *f = fopen("/proc/self/mountinfo", "re");

	while (f && fgets(line, sizeof(line), f)) {
		char *dash = strstr(line, " - ");

		if (!dash || sscanf(line, "%*s %*s %*s %*s %255s", where) != 1 ||
		    sscanf(dash, " - %31s %*s %255s", type, options) != 2)
			continue;
		/* Another mount may lie over it. */
		snprintf(path, sizeof(path), "%s/cgroup.procs", where);
		if (strncmp(type, "cgroup", 6) != 0 || access(path, W_OK))
			continue;
		snprintf(path, sizeof(path), "%s/cgroup.controllers", where);
		if (!strcmp(type, "cgroup2") && file_has(path, "cpu")) {
			proxies->cgroup_v2 = true;
		} else if (!strcmp(type, "cgroup")) {
			bool cpu = false;

			for (char *save, *token = strtok_r(options, ",", &save); token;
			     token = strtok_r(NULL, ",", &save))
				cpu |= !strcmp(token, "cpu");
			if (!cpu)
				continue;
			proxies->cgroup_v2 = false;
		} else {
			continue;
		}
		snprintf(proxies->cgroup_root, sizeof(proxies->cgroup_root), "%s", where);
		break;
	}
	if (f)
		fclose(f);
}

void lrp_core_proxy_cgroup_path(const struct lrp_core *core, uint32_t kind, char *path, size_t size)
{
	const struct lrp_proxy_state *state = &core->state->proxy[kind];
	const char *root = core->proxies->cgroup_root;

	path[0] = 0;
	if (!root[0])
		return;
	if (state->cgroup[0])
		snprintf(path, size, "%s/%s", root, state->cgroup);
	else /* other network namespaces have proxies, too */
		snprintf(path, size, "%s/lrp-%llu-%s", root, (unsigned long long)core->netns_cookie,
			 lrp_proxy_kind_name[kind]);
}

static int weigh(struct lrp_core *core, const char *path, int nice)
{
	char file[640], text[16];

	snprintf(file, sizeof(file), "%s/%s", path,
		 core->proxies->cgroup_v2 ? "cpu.weight.nice" : "cpu.shares");
	snprintf(text, sizeof(text), "%d",
		 core->proxies->cgroup_v2 ? nice : (int)weight[nice + 20]);
	return write_text(file, text);
}

/* In place of a cgroup. */
static void weigh_session(uint32_t pid, int nice)
{
	char file[64], text[16];

	snprintf(file, sizeof(file), "/proc/%u/autogroup", pid);
	snprintf(text, sizeof(text), "%d", nice);
	write_text(file, text);
}

void lrp_core_proxy_cgroup_weigh(struct lrp_core *core, uint32_t kind)
{
	const struct lrp_proxy_state *state = &core->state->proxy[kind];
	char path[600];

	/* The weight of one that an administrator has set up is the administrator's. */
	if (state->cgroup[0])
		return;
	lrp_core_proxy_cgroup_path(core, kind, path, sizeof(path));
	if (!path[0] || weigh(core, path, state->nice))
		weigh_session(state->pid, state->nice);
}

static int make_own(struct lrp_core *core, const char *path)
{
	char file[640];

	if (core->proxies->cgroup_v2) {
		snprintf(file, sizeof(file), "%s/cgroup.subtree_control",
			 core->proxies->cgroup_root);
		write_text(file, "+cpu");
	}
	return mkdir(path, 0755) && errno != EEXIST ? -errno : 0;
}

int lrp_core_proxy_cgroup_enter(struct lrp_core *core, uint32_t kind)
{
	const struct lrp_proxy_state *state = &core->state->proxy[kind];
	char path[600], file[640], pid[16];
	int err = -ENOENT;

	setpriority(PRIO_PROCESS, state->pid, state->nice);
	lrp_core_proxy_cgroup_path(core, kind, path, sizeof(path));
	if (path[0])
		err = state->cgroup[0] ? 0 : make_own(core, path);
	if (!err) {
		snprintf(file, sizeof(file), "%s/cgroup.procs", path);
		snprintf(pid, sizeof(pid), "%u", state->pid);
		err = write_text(file, pid);
	}
	if (err && !core->proxies->said_cgroup) {
		core->proxies->said_cgroup = true;
		lrp_log(LRP_LOG_WARN,
			"lrpd: no cgroup for proxies (%s: %s): their nice values count by session "
			"alone",
			path[0] ? path : "no mounted hierarchy has the controller cpu",
			strerror(-err));
	}
	lrp_core_proxy_cgroup_weigh(core, kind);
	return err;
}

void lrp_core_proxy_cgroup_remove(struct lrp_core *core, uint32_t kind)
{
	char path[600];

	/* Its own also if it was moved elsewhere since. */
	if (!core->proxies->cgroup_root[0])
		return;
	snprintf(path, sizeof(path), "%s/lrp-%llu-%s", core->proxies->cgroup_root,
		 (unsigned long long)core->netns_cookie, lrp_proxy_kind_name[kind]);
	rmdir(path);
}

int lrp_core_proxy_cgroup_check(const struct lrp_core *core, const char *cgroup, char *text)
{
	const char *root = core->proxies->cgroup_root;
	char path[600];

	if (!cgroup[0])
		return 0;
	if (!root[0])
		return lrp_core_error(text, -EOPNOTSUPP,
				      "--cgroup: no mounted cgroup hierarchy has the controller "
				      "cpu: mount one, or use --nice");
	if (cgroup[0] == '/' || strstr(cgroup, ".."))
		return lrp_core_error(text, -EINVAL,
				      "--cgroup %s: a path below %s is wanted, without .. in it",
				      cgroup, root);
	snprintf(path, sizeof(path), "%s/%s/cgroup.procs", root, cgroup);
	if (access(path, W_OK))
		return lrp_core_error(text, -errno, "--cgroup %s: %s/%s: %s", cgroup, root, cgroup,
				      strerror(errno));
	return 0;
}
