/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * lrpd.c - the daemon: one per network namespace. It puts together the core, the
 * control socket and the keeper, and waits. Off the data path: packets flow while
 * it is dead.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "../proxy/proxy.h"
#include "daemon.h"
#include "options.h"
#include "place.h"
#include "server.h"
#include "store.h"

#define GRACE_MS	   100u	 /* keeper: before it starts a new lrpd */
#define GRACE_SYSTEMD_MS   3000u /* systemd does so itself */
#define CLAIM_MS	   1000	 /* owners without a connection after a takeover */
#define KEEPER_RETRY_MS	   1000
#define KEEPER_PATIENCE_MS 200 /* for a keeper that does not read */
#define KEEPER_END_MS	   500
#define LOCK_MS		   10000 /* for another lrpd that starts just now */
#define BACKLOG		   256
#define EXIT_STATE	   3 /* the state is of a lrpd that we do not understand */
#define BUSY_TRIES	   10
#define BUSY_MS		   20

struct lrpd {
	struct lrp_core *core;
	struct lrp_server *server;
	int epoll_fd, signal_fd, keeper_fd;
	bool keeper_behind; /* it misses something: tell it all again */
	bool stopping;
	char self[512], keeper[512];
	struct lrp_options options;
	struct lrp_admission admission;
	uint64_t keeper_at_ms, claim_at_ms; /* 0: nothing to do */
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* ---- keeper -------------------------------------------------------------------------- */

static void keeper_lost(struct lrpd *d)
{
	if (d->keeper_fd >= 0)
		close(d->keeper_fd);
	d->keeper_fd = -1;
	d->keeper_at_ms = now_ms();
}

static void keeper_send(struct lrpd *d, enum lrp_keeper_op op, const char *name, int fd)
{
	struct pollfd pfd = {.fd = d->keeper_fd, .events = POLLOUT};
	int err;

	if (d->keeper_fd < 0 || d->keeper_behind)
		return; /* gets all of it later */
	err = lrp_store_send(d->keeper_fd, op, name, fd);
	/* It only has to read. Stopped, it must not stop us. */
	if (err == -EAGAIN && poll(&pfd, 1, KEEPER_PATIENCE_MS) > 0)
		err = lrp_store_send(d->keeper_fd, op, name, fd);
	if (err == -EAGAIN || err == -ETOOMANYREFS) {
		d->keeper_behind = true;
		d->keeper_at_ms = now_ms() + KEEPER_RETRY_MS;
	} else if (err) {
		keeper_lost(d);
	}
}

static void put(void *arg, const char *name, int fd)
{
	keeper_send(arg, LRP_KEEPER_PUT, name, fd);
}

static void drop(void *arg, const char *name)
{
	keeper_send(arg, LRP_KEEPER_DROP, name, -1);
}

static int keeper_watch(struct lrpd *d)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &d->keeper_fd};
	int size = 8 << 20;

	setsockopt(d->keeper_fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	return epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, d->keeper_fd, &event) ? -errno : 0;
}

static int keeper_start(struct lrpd *d)
{
	d->keeper_fd =
		lrp_store_start(d->keeper, getenv("NOTIFY_SOCKET") ? GRACE_SYSTEMD_MS : GRACE_MS);
	if (d->keeper_fd < 0)
		return d->keeper_fd;
	lrp_store_exec(d->keeper_fd, d->options.argv);
	return keeper_watch(d);
}

/* A new keeper, or one that lagged behind: all descriptors once more. */
static void keeper_run(struct lrpd *d)
{
	if (!d->keeper_at_ms || now_ms() < d->keeper_at_ms)
		return;
	d->keeper_at_ms = 0;
	if (d->keeper_fd < 0) {
		int lock = lrp_place_lock(0);
		int err = lock < 0 ? lock : keeper_start(d);

		if (lock >= 0)
			close(lock);
		if (err) {
			lrp_log_once(LRP_LOG_ERROR,
				     "lrpd: no keeper (%s: %s): traffic will not "
				     "survive this lrpd",
				     d->keeper, strerror(-err));
			d->keeper_fd = -1;
			d->keeper_at_ms = now_ms() + KEEPER_RETRY_MS;
			return;
		}
		lrp_log(LRP_LOG_WARN, "lrpd: the keeper was gone, started a new one");
	}
	if (d->keeper_behind) {
		struct pollfd pfd = {.fd = d->keeper_fd, .events = POLLOUT};

		if (poll(&pfd, 1, 0) <= 0) { /* still does not read */
			d->keeper_at_ms = now_ms() + KEEPER_RETRY_MS;
			return;
		}
	}
	d->keeper_behind = false;
	keeper_send(d, LRP_KEEPER_CLEAR, NULL, -1);
	lrp_core_store_all(d->core);
	lrp_server_store_all(d->server);
	keeper_send(d, LRP_KEEPER_READY, NULL, -1);
}

/* ---- start ------------------------------------------------------------------------------ */

static int refuse(pid_t pid)
{
	lrp_log(LRP_LOG_ERROR,
		"lrpd: another lrpd serves this network namespace already (pid %d): "
		"end it with `lrp stop`",
		pid);
	return -EALREADY;
}

/* The listening socket that the keeper had, or a new one. */
static int listening(const char *name, const char *file, mode_t mode, gid_t gid,
		     const struct lrp_core_kept *kept, size_t count)
{
	pid_t pid;
	int fd = -1, err;

	for (size_t i = 0; i < count; i++)
		if (!strcmp(kept[i].name, name))
			fd = kept[i].fd;
	/* Somebody may have tidied up. */
	if (fd >= 0 && lrp_place_has(file)) {
		listen(fd, BACKLOG); /* SO_PEERCRED of new connections names us now */
		err = lrp_place_allow(file, mode, gid);
		if (err)
			lrp_log(LRP_LOG_WARN, "lrpd: " LRP_RUN_DIR ": %s: %s", file,
				strerror(-err));
		return fd;
	}
	if (fd >= 0)
		close(fd);
	fd = lrp_place_listen(file, mode, gid, BACKLOG, &pid);
	if (fd == -EADDRINUSE)
		return refuse(pid);
	if (fd < 0)
		lrp_log(LRP_LOG_ERROR, "lrpd: " LRP_RUN_DIR ": %s: %s", file, strerror(-fd));
	return fd;
}

/* Finds the keeper that an earlier lrpd left behind, and what it has. */
static int find_keeper(struct lrpd *d, struct lrp_core_kept **kept, size_t *count)
{
	pid_t pid;
	int err;

	/* `lrp status` may be asking it just now. */
	for (int i = 0; i < BUSY_TRIES; i++) {
		d->keeper_fd = lrp_store_connect(&pid);
		if (d->keeper_fd != -EBUSY)
			break;
		poll(NULL, 0, BUSY_MS);
	}
	if (d->keeper_fd == -EBUSY)
		return refuse(pid);
	if (d->keeper_fd < 0)
		return 0; /* started when all else is there */
	err = lrp_store_list(d->keeper_fd, kept, count);
	if (err) {
		lrp_log(LRP_LOG_ERROR, "lrpd: keeper: %s", strerror(-err));
		return err;
	}
	return keeper_watch(d);
}

/* State that we do not understand stays as it is, for a lrpd that does. The keeper is told why, and
 * starts us no more. */
static int accept_state(struct lrpd *d, const struct lrp_core_kept *kept, size_t count)
{
	char error[512];
	int err = lrp_core_state_check(kept, count, error, sizeof(error));

	if (!err) {
		lrp_store_exec(d->keeper_fd, d->options.argv);
		return 0;
	}
	lrp_log(LRP_LOG_ERROR, "lrpd %s: %s", LRP_VERSION, error);
	lrp_store_failed(d->keeper_fd, error);
	return err;
}

static int find_place(void)
{
	int err = lrp_place_make(), lock;

	if (err) {
		lrp_log(LRP_LOG_ERROR, "lrpd: " LRP_RUN_DIR ": %s",
			err == -EPERM ? "must be root's, and nobody else may write there"
				      : strerror(-err));
		return err;
	}
	lock = lrp_place_lock(LOCK_MS);
	if (lock < 0)
		lrp_log(LRP_LOG_ERROR,
			"lrpd: another lrpd is starting in this network namespace: %s",
			strerror(-lock));
	return lock;
}

/* Separates what is the server's; the rest, in place, is the core's. */
static size_t core_part(struct lrp_core_kept *kept, size_t count, struct lrp_core_kept *others,
			size_t *other_count)
{
	size_t n = 0;

	*other_count = 0;
	for (size_t i = 0; i < count; i++) {
		if (!strncmp(kept[i].name, "conn:", 5))
			others[(*other_count)++] = kept[i];
		else if (strcmp(kept[i].name, "listen") && strcmp(kept[i].name, "listen-admin"))
			kept[n++] = kept[i];
	}
	return n;
}

/* Before the core is made: that takes over, or cleans up, what another lrpd may be using. */
static int listen_all(struct lrpd *d, struct lrp_server_opts *opts,
		      const struct lrp_core_kept *kept, size_t count)
{
	*opts = (struct lrp_server_opts){
		.admission = &d->admission,
		.connections = d->options.conf.connections,
		.cpu_ms = d->options.conf.cpu_ms,
		.epoll_fd = d->epoll_fd,
		.store = {.arg = d, .put = put, .drop = drop},
	};
	opts->admin_fd = listening("listen-admin", LRP_ADMIN_FILE, 0600, 0, kept, count);
	if (opts->admin_fd < 0)
		return opts->admin_fd;
	opts->listen_fd = listening("listen", LRP_CONTROL_FILE, lrp_admission_mode(&d->admission),
				    d->admission.gid, kept, count);
	return opts->listen_fd < 0 ? opts->listen_fd : 0;
}

static int start_locked(struct lrpd *d, struct lrp_core_opts *opts)
{
	struct lrp_core_kept *kept = NULL, *conns = NULL;
	struct lrp_server_opts server_opts;
	size_t count = 0, conn_count = 0;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &d->core};
	char error[512];
	int err;

	err = find_keeper(d, &kept, &count);
	if (!err && count)
		err = accept_state(d, kept, count);
	else if (!err && d->keeper_fd >= 0)
		lrp_store_exec(d->keeper_fd, d->options.argv);
	if (!err)
		err = listen_all(d, &server_opts, kept, count);
	if (err)
		return err;
	if (count) {
		conns = calloc(count, sizeof(*conns));
		if (!conns)
			return -ENOMEM;
		opts->kept = kept;
		opts->kept_count = core_part(kept, count, conns, &conn_count);
	}
	opts->store = server_opts.store;
	d->core = lrp_core_new(opts, error, sizeof(error));
	if (!d->core) {
		lrp_log(LRP_LOG_ERROR, "lrpd: %s", error);
		return -errno;
	}
	d->server = lrp_server_new(d->core, &server_opts);
	if (!d->server)
		return -ENOMEM;
	err = lrp_place_write(LRP_POLICY_FILE, d->admission.text);
	if (err)
		lrp_log(LRP_LOG_WARN, "lrpd: " LRP_RUN_DIR ": %s", strerror(-err));
	for (size_t i = 0; i < conn_count; i++)
		lrp_server_adopt(d->server, &conns[i]);
	if (opts->kept_count) {
		d->claim_at_ms = now_ms() + CLAIM_MS;
		lrp_log(LRP_LOG_WARN, "lrpd: took over from an earlier lrpd, %zu connections",
			conn_count);
	}
	if (d->keeper_fd < 0) {
		err = keeper_start(d);
		if (err) {
			lrp_log(LRP_LOG_ERROR,
				"lrpd: keeper %s: %s: traffic will not survive this "
				"lrpd",
				d->keeper, strerror(-err));
			d->keeper_fd = -1;
			d->keeper_at_ms = now_ms() + KEEPER_RETRY_MS;
		} else {
			lrp_core_store_all(d->core);
			lrp_server_store_all(d->server);
		}
	}
	if (d->keeper_fd >= 0)
		lrp_store_send(d->keeper_fd, LRP_KEEPER_READY, NULL, -1);
	free(kept);
	free(conns);
	opts->kept = NULL;
	if (epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, lrp_core_fd(d->core), &event))
		return -errno;
	return 0;
}

static int start(struct lrpd *d, struct lrp_core_opts *opts)
{
	int lock = find_place(), err;

	if (lock < 0)
		return lock;
	err = start_locked(d, opts);
	close(lock);
	return err;
}

/* ---- run ----------------------------------------------------------------------------------- */

static void claim_run(struct lrpd *d)
{
	static bool claimed[LRP_OWNERS];

	if (!d->claim_at_ms || now_ms() < d->claim_at_ms)
		return;
	d->claim_at_ms = 0;
	lrp_server_claimed(d->server, claimed);
	lrp_core_reclaim_unclaimed(d->core, claimed);
}

static int sooner(int timeout, uint64_t at_ms)
{
	uint64_t now = now_ms();
	int ms = at_ms > now ? (int)(at_ms - now) : 0;

	return at_ms && (timeout < 0 || ms < timeout) ? ms : timeout;
}

static void keeper_event(struct lrpd *d)
{
	char byte;

	/* It says nothing unasked; what can be read is its end. */
	if (d->keeper_fd >= 0 && recv(d->keeper_fd, &byte, 1, MSG_DONTWAIT) == 0)
		keeper_lost(d);
}

static void run(struct lrpd *d)
{
	struct epoll_event event[64];

	while (!d->stopping && !lrp_server_stopped(d->server)) {
		int timeout = lrp_core_run(d->core), n;

		claim_run(d);
		keeper_run(d);
		timeout = sooner(sooner(timeout, d->claim_at_ms), d->keeper_at_ms);
		timeout = sooner(timeout, lrp_server_run(d->server));
		n = epoll_wait(d->epoll_fd, event, 64, timeout);
		for (int i = 0; i < n; i++) {
			void *data = event[i].data.ptr;
			struct signalfd_siginfo info;

			if (data == &d->core)
				continue; /* lrp_core_run() looks */
			if (data == &d->keeper_fd)
				keeper_event(d);
			else if (data != &d->signal_fd)
				lrp_server_event(d->server, data);
			else if (read(d->signal_fd, &info, sizeof(info)) == sizeof(info))
				d->stopping = true;
		}
	}
}

static void stop(struct lrpd *d)
{
	/* Whoever starts another lrpd waits for the end of this one. */
	int lock = lrp_place_lock(LOCK_MS);

	if (d->keeper_fd >= 0) {
		struct pollfd pfd = {.fd = d->keeper_fd, .events = POLLIN};

		lrp_store_send(d->keeper_fd, LRP_KEEPER_BYE, NULL, -1);
		/* The last close of an AF_XDP socket waits. We have threads for
		 * that, it has not. */
		poll(&pfd, 1, KEEPER_END_MS);
		close(d->keeper_fd);
		d->keeper_fd = -1;
	}
	lrp_core_silence(d->core);
	/* Whoever asked us to stop finds nothing left of them. */
	lrp_core_proxies_close(d->core);
	/* Nobody finds us any more; who asked us to stop learns by the end of his connection. */
	lrp_place_remove(false);
	lrp_server_free(d->server);
	lrp_core_free(d->core);
	lrp_place_remove(true);
	close(lock);
}

/* ---- process ------------------------------------------------------------------------------ */

static int find_self(struct lrpd *d)
{
	ssize_t n = readlink("/proc/self/exe", d->self, sizeof(d->self) - 1);
	char *slash;

	if (n < 0)
		return -errno;
	d->self[n] = 0;
	/* Replaced on disk while we run: an upgrade starts the new one. */
	if (n > 10 && !strcmp(d->self + n - 10, " (deleted)"))
		d->self[n - 10] = 0;
	snprintf(d->keeper, sizeof(d->keeper), "%s", d->self);
	slash = strrchr(d->keeper, '/');
	snprintf(slash ? slash + 1 : d->keeper, 16, "lrp-keeper");
	return 0;
}

int main(int argc, char **argv)
{
	static struct lrpd d = {.epoll_fd = -1, .signal_fd = -1, .keeper_fd = -1};
	struct lrp_core_opts opts = {.pin = true};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &d.signal_fd};
	int ready_fd = -1, err;
	sigset_t signals;

	if (find_self(&d)) {
		fprintf(stderr, "lrpd: /proc is not mounted\n");
		return 1;
	}
	err = lrp_options_parse(argc, argv, d.self, &d.options);
	if (err)
		return err;
	opts.endpoints = d.options.conf.endpoints;
	opts.max_channels_per_uid = d.options.conf.quota;
	opts.max_ring_mib_per_uid = d.options.conf.ring_mib;
	opts.max_frames_per_uid = d.options.conf.frames;
	if (geteuid()) {
		fprintf(stderr,
			"lrpd: must be started by root (CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW)\n");
		return 1;
	}
	if (!d.options.foreground)
		ready_fd = lrp_daemon_start(d.options.log);
	else if (d.options.log)
		lrp_daemon_log_to(d.options.log);
	lrp_daemon_descriptors();
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	d.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	d.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d.epoll_fd < 0 || d.signal_fd < 0 ||
	    epoll_ctl(d.epoll_fd, EPOLL_CTL_ADD, d.signal_fd, &event)) {
		lrp_log(LRP_LOG_ERROR, "lrpd: %s", strerror(errno));
		err = -errno;
	} else {
		err = lrp_admission_init(&d.admission, &d.options.conf);
		if (err)
			lrp_log(LRP_LOG_ERROR, "lrpd: SO_NETNS_COOKIE: %s", strerror(-err));
		else
			err = start(&d, &opts);
	}
	if (err) {
		lrp_daemon_ready(ready_fd, true, 1);
		return err == -EPROTO ? EXIT_STATE : 1;
	}
	lrp_daemon_notify();
	lrp_daemon_ready(ready_fd, d.options.log != NULL, 0);
	run(&d);
	stop(&d);
	return 0;
}
