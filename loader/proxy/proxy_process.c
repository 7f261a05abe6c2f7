/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * proxy_process.c - the proxies' processes: started, watched, ended.
 *
 * A process is known by its pid and start time, so that a new lrpd goes on with those that an
 * earlier one has started. It is in a session of its own, so that a terminal's signals do not
 * reach it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "../pool/user_page.h"
#include "proxy_internal.h"

#define SECOND_NS 1000000000ull
#define DRAIN_NS  50000000ull	   /* for packets that passed XDP's test before it was told */
#define END_NS	  SECOND_NS	   /* for a process that was asked to end */
#define START_NS  (5 * SECOND_NS)  /* from its start until it serves */
#define SOON_NS	  (10 * SECOND_NS) /* a process that lives shorter has failed */
#define AGAIN_NS  (SECOND_NS / 10) /* doubles with each failure in a row */
#define AGAIN_MAX 6u		   /* doublings */

extern char **environ;

/* ---- /proc ------------------------------------------------------------------------------ */

static uint64_t run_time_ns(uint32_t pid)
{
	unsigned long long ns = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/schedstat", pid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%llu", &ns) != 1)
		ns = 0;
	if (f)
		fclose(f);
	return ns;
}

bool lrp_core_proxy_stat(uint32_t pid, struct lrp_proxy_stat *stat)
{
	unsigned long long user, system, start;
	char path[64], line[1024] = "", *end;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	(void)!fgets(line, sizeof(line), f);
	fclose(f);
	/* The name may have anything in it. */
	end = strrchr(line, ')');
	if (!end || sscanf(end + 1,
			   " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %d "
			   "%*d %*d %llu",
			   &stat->state, &user, &system, &stat->nice, &start) != 5)
		return false;
	stat->start_time = start;
	stat->cpu_ns = run_time_ns(pid);
	if (!stat->cpu_ns) /* a kernel without schedstats */
		stat->cpu_ns =
			(user + system) * (SECOND_NS / (unsigned long long)sysconf(_SC_CLK_TCK));
	return true;
}

/* Is it there, and the one that was started? */
static bool alive(const struct lrp_proxy_state *state, struct lrp_proxy_stat *stat)
{
	return lrp_core_proxy_stat(state->pid, stat) && stat->start_time == state->start_time &&
	       stat->state != 'Z' && stat->state != 'X';
}

/* ---- starting --------------------------------------------------------------------------- */

/* Beside lrpd. */
static bool program_path(char *path, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", path, size - 16);
	char *slash;

	if (n < 0)
		return false;
	path[n] = 0;
	slash = strrchr(path, '/');
	strcpy(slash ? slash + 1 : path, "lrp-proxy");
	return true;
}

static int spawn(const char *path, char *const argv[], pid_t *pid)
{
	posix_spawnattr_t attr;
	sigset_t none, all;
	int err;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETSID);
	err = posix_spawn(pid, path, NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	return -err;
}

static void again_later(struct lrp_core_proxy *proxy, uint64_t now)
{
	uint32_t n = proxy->failures < AGAIN_MAX ? proxy->failures : AGAIN_MAX;

	proxy->start_at_ns = now + (proxy->failures ? AGAIN_NS << n : 0);
}

static void start(struct lrp_core *core, uint32_t kind, uint64_t now)
{
	struct lrp_core_proxy *proxy = &core->proxies->proxy[kind];
	struct lrp_proxy_state *state = &core->state->proxy[kind];
	char path[512], ring[16], limit[16], cgroup[512];
	struct lrp_proxy_stat stat;
	uint32_t size = 64;
	pid_t pid;
	int err;

	/* Twice the limit, so that it can be raised without another process. */
	while (size < 2 * state->limit)
		size <<= 1;
	snprintf(ring, sizeof(ring), "%u", size);
	snprintf(limit, sizeof(limit), "%u", state->limit);
	lrp_core_proxy_cgroup_path(core, kind, cgroup, sizeof(cgroup));
	if (state->cgroup[0]) /* not its own: it is not to remove it */
		cgroup[0] = 0;
	char *argv[] = {path,  (char *)lrp_proxy_kind_name[kind], ring,
			limit, cgroup[0] ? cgroup : NULL,	  NULL};

	err = program_path(path, sizeof(path)) ? spawn(path, argv, &pid) : -ENOENT;
	if (err) {
		proxy->failures++;
		again_later(proxy, now);
		lrp_log_once(LRP_LOG_ERROR,
			     "lrpd: %s: %s: its packets go to the kernel directly; install it "
			     "beside lrpd",
			     path, strerror(-err));
		return;
	}
	state->start_time = lrp_core_proxy_stat((uint32_t)pid, &stat) ? stat.start_time : 0;
	state->pid = (uint32_t)pid;
	proxy->started_ns = now;
	proxy->term_at_ns = proxy->kill_at_ns = 0;
	lrp_core_proxy_cgroup_enter(core, kind);
	lrp_log(LRP_LOG_INFO, "lrpd: proxy %s started (pid %d)", lrp_proxy_kind_name[kind], pid);
}

/* ---- watching ----------------------------------------------------------------------------- */

/* The channels of its endpoint that have a record; `beat`: all get this sign of life, unless 0. The
 * youngest sign that there was. */
static uint64_t beats(struct lrp_core *core, uint32_t kind, uint64_t beat)
{
	struct lrp_proxies *shared = lrp_core_proxies_shared(core);
	uint64_t youngest = 0;

	for (int c = 0; shared && c < LRP_PROXY_CLASSES; c++) {
		uint32_t e = shared->endpoint[kind][c];

		for (uint32_t i = 0; e && i < LRP_MAX_POOLS_TOTAL; i++) {
			struct lrp_user *user;
			uint64_t at;

			if (!lrp_core_pool_live(&core->pool[i]))
				continue;
			user = lrp_core_user(core, lrp_core_channel(core, &core->pool[i], e));
			if (!user)
				continue;
			at = __atomic_load_n(&user->beat_ns, __ATOMIC_ACQUIRE);
			youngest = at > youngest ? at : youngest;
			if (beat)
				__atomic_store_n(&user->beat_ns, beat, __ATOMIC_RELEASE);
		}
	}
	return youngest;
}

static void ended(struct lrp_core *core, uint32_t kind, uint64_t now, const char *how)
{
	struct lrp_core_proxy *proxy = &core->proxies->proxy[kind];
	struct lrp_proxy_state *state = &core->state->proxy[kind];
	bool asked = proxy->term_at_ns || proxy->kill_at_ns;

	lrp_core_proxy_forget(core, kind);
	if (!asked && state->on) {
		proxy->failures = now - proxy->started_ns < SOON_NS && proxy->started_ns
					  ? proxy->failures + 1
					  : 0;
		/* Once is an accident: at once. */
		proxy->start_at_ns = now;
		if (proxy->failures > 1)
			again_later(proxy, now);
		state->restarts++;
		lrp_log(LRP_LOG_WARN,
			"lrpd: proxy %s (pid %u) %s: its packets go to the kernel directly until "
			"another one serves",
			lrp_proxy_kind_name[kind], state->pid, how);
	}
	proxy->term_at_ns = proxy->kill_at_ns = 0;
	state->pid = 0;
	if (!state->on)
		lrp_core_proxy_cgroup_remove(core, kind);
}

/* True: it is there no more. how[]: what became of it. */
static bool reaped(const struct lrp_proxy_state *state, char *how, size_t size)
{
	int status;
	pid_t pid = waitpid((pid_t)state->pid, &status, WNOHANG);

	snprintf(how, size, "has ended");
	if (pid != (pid_t)state->pid)
		return false; /* lives, or an earlier lrpd has started it */
	if (WIFSIGNALED(status))
		snprintf(how, size, "was killed by signal %d", WTERMSIG(status));
	else if (WIFEXITED(status) && WEXITSTATUS(status))
		snprintf(how, size, "has failed (exit %d)", WEXITSTATUS(status));
	return true;
}

/* `renice` changes the weight of its cgroup, too. */
static void follow_nice(struct lrp_core *core, uint32_t kind, int nice)
{
	struct lrp_proxy_state *state = &core->state->proxy[kind];

	if (nice == state->nice)
		return;
	state->nice = nice;
	lrp_core_proxy_cgroup_weigh(core, kind);
}

/* It serves, or is about to: does it live? */
static void watch(struct lrp_core *core, uint32_t kind, const struct lrp_proxy_stat *stat,
		  uint64_t now)
{
	struct lrp_core_proxy *proxy = &core->proxies->proxy[kind];
	const struct lrp_proxies *shared = lrp_core_proxies_shared(core);
	const struct lrp_proxy_state *state = &core->state->proxy[kind];
	/* An earlier lrpd has started it. */
	bool serving = proxy->serving || (shared && shared->endpoint[kind][0]);
	uint64_t youngest;

	proxy->serving = serving;
	if (serving) {
		youngest = beats(core, kind, 0);
		if (youngest > proxy->beat_ns)
			proxy->beat_ns = youngest;
		/* It waits for the CPU. */
		if (stat->state == 'R') {
			beats(core, kind, now);
			proxy->beat_ns = now;
		}
	}
	if (!proxy->started_ns)
		proxy->started_ns = now;
	follow_nice(core, kind, stat->nice);
	if (serving ? now - proxy->beat_ns < LRP_PROXY_PATIENCE_NS || proxy->beat_ns > now
		    : now - proxy->started_ns < START_NS)
		return;
	lrp_core_proxy_forget(core, kind);
	kill((pid_t)state->pid, SIGKILL);
	lrp_log(LRP_LOG_WARN,
		"lrpd: proxy %s (pid %u) gives no sign of life (%s): its packets go to the "
		"kernel directly; it is killed, and another one started",
		lrp_proxy_kind_name[kind], state->pid,
		stat->state == 'T' || stat->state == 't' ? "stopped" : "hangs");
	core->state->proxy[kind].restarts++;
	proxy->kill_at_ns = now;
}

void lrp_core_proxy_restart(struct lrp_core *core, uint32_t kind)
{
	struct lrp_core_proxy *proxy = &core->proxies->proxy[kind];

	lrp_core_proxy_forget(core, kind);
	if (core->state->proxy[kind].pid && !proxy->term_at_ns)
		proxy->term_at_ns = lrp_core_now_ns() + DRAIN_NS;
	core->proxies->next_ns = 0;
}

void lrp_core_proxy_run(struct lrp_core *core, uint32_t kind, bool wanted, uint64_t now)
{
	struct lrp_core_proxy *proxy = &core->proxies->proxy[kind];
	struct lrp_proxy_state *state = &core->state->proxy[kind];
	struct lrp_proxy_stat stat;
	char how[64];

	if (state->pid && (reaped(state, how, sizeof(how)) || !alive(state, &stat)))
		ended(core, kind, now, how);
	if (!state->pid) {
		if (wanted && now >= proxy->start_at_ns)
			start(core, kind, now);
		return;
	}
	if (!wanted && !proxy->term_at_ns && !proxy->kill_at_ns)
		lrp_core_proxy_restart(core, kind);
	if (proxy->kill_at_ns) {
		if (now >= proxy->kill_at_ns)
			kill((pid_t)state->pid, SIGKILL);
	} else if (proxy->term_at_ns) {
		if (now < proxy->term_at_ns)
			return;
		kill((pid_t)state->pid, SIGTERM);
		kill((pid_t)state->pid, SIGCONT);
		proxy->term_at_ns = 0;
		proxy->kill_at_ns = now + END_NS;
	} else {
		watch(core, kind, &stat, now);
	}
}

void lrp_core_proxy_end(struct lrp_core *core, uint32_t kind)
{
	struct lrp_proxy_state *state = &core->state->proxy[kind];
	uint64_t start = lrp_core_now_ns(), now = start;
	struct lrp_proxy_stat stat;
	char how[64];

	/* The number may be another process's by now: only the one that was started is ended. */
	if (state->pid && !reaped(state, how, sizeof(how)) && alive(state, &stat)) {
		kill((pid_t)state->pid, SIGTERM);
		kill((pid_t)state->pid, SIGCONT);
		while (now - start < 2 * END_NS && !reaped(state, how, sizeof(how)) &&
		       alive(state, &stat)) {
			if (now - start > END_NS)
				kill((pid_t)state->pid, SIGKILL);
			poll(NULL, 0, 5);
			now = lrp_core_now_ns();
		}
	}
	state->pid = 0;
}
