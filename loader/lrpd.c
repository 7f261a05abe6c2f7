/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * lrpd.c - the daemon: one per network namespace. It puts together the core, the
 * control socket and the keeper, and waits. Off the data path: packets flow while
 * it is dead.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../runtime/base/log.h"
#include "server.h"
#include "store.h"

#define GRACE_MS	   100u	 /* keeper: before it starts a new lrpd */
#define GRACE_SYSTEMD_MS   3000u /* systemd does so itself */
#define CLAIM_MS	   1000	 /* owners without a connection after a takeover */
#define KEEPER_RETRY_MS	   1000
#define KEEPER_PATIENCE_MS 200 /* for a keeper that does not read */

struct lrpd {
	struct lrp_core *core;
	struct lrp_server *server;
	int epoll_fd, signal_fd, keeper_fd;
	bool keeper_behind; /* it misses something: tell it all again */
	bool stopping;
	char self[512], keeper[512];
	char *argv[16];			    /* for the keeper to start us again */
	uint64_t keeper_at_ms, claim_at_ms; /* 0: nothing to do */
};

static struct option options[] = {
	{"foreground", no_argument, NULL, 'f'},	 {"endpoints", required_argument, NULL, 'e'},
	{"quota", required_argument, NULL, 'q'}, {"log", required_argument, NULL, 'l'},
	{"verbose", no_argument, NULL, 'v'},	 {"version", no_argument, NULL, 'V'},
	{"help", no_argument, NULL, 'h'},	 {0},
};

static const char usage[] =
	"Usage: lrpd [--foreground] [--endpoints N] [--quota N] [--log FILE] [--verbose]\n"
	"  --foreground   stay in the foreground (systemd)\n"
	"  --endpoints N  sockets in this network namespace at most (default 8192)\n"
	"  --quota N      sockets that one user other than root may have (default 1024)\n"
	"  --log FILE     append messages to FILE (background mode: none by default)\n"
	"  --verbose      say more\n";

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
	lrp_store_exec(d->keeper_fd, d->argv);
	return keeper_watch(d);
}

/* A new keeper, or one that lagged behind: all descriptors once more. */
static void keeper_run(struct lrpd *d)
{
	if (!d->keeper_at_ms || now_ms() < d->keeper_at_ms)
		return;
	d->keeper_at_ms = 0;
	if (d->keeper_fd < 0) {
		int err = keeper_start(d);

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

/* Finds the keeper that an earlier lrpd left behind, or starts one. */
static int find_keeper(struct lrpd *d, int *listen_fd, struct lrp_core_kept **kept, size_t *count)
{
	pid_t pid;
	int err;

	d->keeper_fd = lrp_store_connect(&pid);
	if (d->keeper_fd == -EBUSY)
		return refuse(pid);
	if (d->keeper_fd >= 0) {
		err = lrp_store_list(d->keeper_fd, kept, count);
		if (err) {
			lrp_log(LRP_LOG_ERROR, "lrpd: keeper: %s", strerror(-err));
			return err;
		}
		for (size_t i = 0; i < *count; i++)
			if (!strcmp((*kept)[i].name, "listen"))
				*listen_fd = (*kept)[i].fd;
	}
	if (*listen_fd >= 0) {
		listen(*listen_fd, 256); /* SO_PEERCRED of new connections names us now */
	} else {
		*listen_fd = lrp_server_listen(&pid);
		if (*listen_fd == -EADDRINUSE)
			return refuse(pid);
		if (*listen_fd < 0) {
			lrp_log(LRP_LOG_ERROR, "lrpd: control socket: %s", strerror(-*listen_fd));
			return *listen_fd;
		}
	}
	if (d->keeper_fd < 0)
		return 0; /* started when all else is there */
	lrp_store_exec(d->keeper_fd, d->argv);
	return keeper_watch(d);
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
		else if (strcmp(kept[i].name, "listen"))
			kept[n++] = kept[i];
	}
	return n;
}

static int start(struct lrpd *d, struct lrp_core_opts *opts)
{
	struct lrp_core_kept *kept = NULL, *conns = NULL;
	size_t count = 0, conn_count = 0;
	int listen_fd = -1, err;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &d->core};
	char error[512];

	err = find_keeper(d, &listen_fd, &kept, &count);
	if (err)
		return err;
	if (count) {
		conns = calloc(count, sizeof(*conns));
		if (!conns)
			return -ENOMEM;
		opts->kept = kept;
		opts->kept_count = core_part(kept, count, conns, &conn_count);
	}
	opts->store = (struct lrp_core_store){.arg = d, .put = put, .drop = drop};
	d->core = lrp_core_new(opts, error, sizeof(error));
	if (!d->core) {
		lrp_log(LRP_LOG_ERROR, "lrpd: %s", error);
		return -errno;
	}
	d->server = lrp_server_new(d->core, d->epoll_fd, listen_fd, &opts->store);
	if (!d->server)
		return -ENOMEM;
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
	free(kept);
	free(conns);
	opts->kept = NULL;
	if (epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, lrp_core_fd(d->core), &event))
		return -errno;
	return 0;
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
	if (d->keeper_fd >= 0) {
		lrp_store_send(d->keeper_fd, LRP_KEEPER_BYE, NULL, -1);
		close(d->keeper_fd);
		d->keeper_fd = -1;
	}
	if (d->core)
		lrp_core_free(d->core);
	if (d->server)
		lrp_server_free(d->server);
}

/* ---- process -----------------------------------------------------------------------------------
 */

/* sd_notify(3) without its library. */
static void notify_systemd(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char text[64];
	int fd;

	if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(addr.sun_path))
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	memcpy(addr.sun_path, path, strlen(path));
	if (path[0] == '@')
		addr.sun_path[0] = 0;
	snprintf(text, sizeof(text), "READY=1\nMAINPID=%d", (int)getpid());
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&addr,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))) < 0)
		lrp_log(LRP_LOG_WARN, "lrpd: NOTIFY_SOCKET: %s", strerror(errno));
	close(fd);
}

static void log_to(const char *path)
{
	int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);

	if (file < 0)
		lrp_log(LRP_LOG_ERROR, "lrpd: %s: %s", path, strerror(errno));
	else
		dup2(file, 2);
}

/* In the background. The parent stays until the daemon is ready and exits as it says. */
static int daemonize(const char *log)
{
	unsigned char status = 1;
	int ready[2], null;
	pid_t child;

	if (pipe2(ready, O_CLOEXEC))
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (child) {
		close(ready[1]);
		if (read(ready[0], &status, 1) != 1)
			status = 1;
		exit(status);
	}
	close(ready[0]);
	setsid();
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
	}
	if (log)
		log_to(log);
	return ready[1];
}

static void report_ready(int ready_fd, bool keep_stderr, unsigned char status)
{
	int null;

	if (ready_fd < 0)
		return;
	if (!keep_stderr) {
		/* Only now: errors of the start go to whoever started us. */
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null >= 0)
			dup2(null, 2);
	}
	if (write(ready_fd, &status, 1) != 1)
		status = 1; /* nobody waits any more */
	close(ready_fd);
}

static int parse(int argc, char **argv, struct lrpd *d, struct lrp_core_opts *opts,
		 bool *foreground, const char **log)
{
	size_t n = 0;
	int c;

	d->argv[n++] = d->self;
	d->argv[n++] = (char *)"--foreground";
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			*foreground = true;
			break;
		case 'e':
			opts->endpoints = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'q':
			opts->max_channels_per_uid = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'l':
			*log = optarg;
			break;
		case 'v':
			lrp_log_set_level(LRP_LOG_DEBUG);
			d->argv[n++] = (char *)"--verbose";
			break;
		case 'V':
			printf("lrpd %s\n", LRP_VERSION);
			exit(0);
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "lrpd: unknown argument %s\n%s", argv[optind], usage);
		return 2;
	}
	if (*log) {
		d->argv[n++] = (char *)"--log";
		d->argv[n++] = (char *)*log;
	}
	d->argv[n] = NULL;
	return 0;
}

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
	bool foreground = false;
	const char *log = NULL;
	int ready_fd = -1, err;
	sigset_t signals;

	if (find_self(&d)) {
		fprintf(stderr, "lrpd: /proc is not mounted\n");
		return 1;
	}
	err = parse(argc, argv, &d, &opts, &foreground, &log);
	if (err)
		return err;
	if (geteuid()) {
		fprintf(stderr,
			"lrpd: must be started by root (CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW)\n");
		return 1;
	}
	if (!foreground)
		ready_fd = daemonize(log);
	else if (log)
		log_to(log);
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
		err = start(&d, &opts);
	}
	if (err) {
		report_ready(ready_fd, true, 1);
		return 1;
	}
	notify_systemd();
	report_ready(ready_fd, log != NULL, 0);
	run(&d);
	stop(&d);
	return 0;
}
