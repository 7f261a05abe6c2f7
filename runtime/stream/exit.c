/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * exit.c - a process ends in order: its connections are closed, and what was written is delivered
 * as if the kernel had it.
 *
 * Usually that takes a round trip, and the process waits for it. If it takes longer the process
 * ends and leaves a lingering helper: a child that has nothing but the connections and drives them
 * until the peers have acknowledged all, or TCP gives them up. Handing them to the kernel
 * (TCP_REPAIR) would need CAP_NET_ADMIN or lrpd, which has not the arena, and the embedded mode would be
 * left out; a child has all that is needed, whoever it is.
 *
 * The helper is a session of its own, is not disturbed by signals but SIGKILL, and
 * keeps no file open that somebody could wait for: neither the standard streams nor
 * sockets of others. Process 1 of a pid namespace takes all others with it: it waits itself.
 */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../broker/broker.h"
#include "stream.h"
#include "../tx/hold.h"
#include "../drive/app.h"

#define GRACE_NS (60 * LRP_NS_PER_MS) /* more than an ACK is delayed */
#define ALONE_NS (5 * LRP_NS_PER_S)   /* of process 1, or if there can be no child */

/* Descriptors whose ports belong to connections that are ending. */
static int *ports;
static uint32_t port_count, port_room;

static void keep_port(int fd)
{
	uint32_t room = port_room ? 2 * port_room : 64;
	int *more = port_count < port_room ? ports : realloc(ports, room * sizeof(*more));

	if (!more)
		return;
	if (more != ports)
		port_room = room;
	ports = more;
	ports[port_count++] = fd;
}

/* As close() would, if no other process has it. */
static void close_view(struct lrp_view *l, void *arg)
{
	struct lrp_stream *stream = &l->sock->stream;
	int64_t now = (int64_t)lrp_now_ns();
	struct linger linger = {0};
	struct lrp_hub *hub;
	socklen_t len = sizeof(linger);

	(void)arg;
	if (!lrp_is_stream(l) || atomic_load(&stream->mode) == LRP_STREAM_KERNEL ||
	    !lrp_holder_last(l->sock))
		return;
	getsockopt(l->fd, SOL_SOCKET, SO_LINGER, &linger, &len);
	if (lrp_hub_lock(l, l->fd, LRP_STREAM_CONNECTION)) {
		hub = stream->hub;
		lrp_hub_input(hub, now, stream->conn, LRP_CONTEXT_CALL);
		lrp_conn_release(stream->conn, now, linger.l_onoff && !linger.l_linger);
	} else if (lrp_hub_lock(l, l->fd, LRP_STREAM_LISTENER)) {
		hub = stream->hub;
		lrp_listen_stop(hub, now);
	} else {
		return;
	}
	keep_port(l->fd);
	stream->hub = NULL;
	stream->conn = NULL;
	atomic_store(&stream->mode, LRP_STREAM_KERNEL);
	lrp_hub_unlock(hub);
}

/* Bytes or a FIN that the peer has not acknowledged. */
static bool unfinished(const struct lrp_app_driven *list, uint32_t n)
{
	const struct lrp_conn *c;
	bool any = false;
	uint32_t i;

	for (i = 0; i < n && !any; i++) {
		if (!lrp_hub_lock_if(lrp_hub_driven(list[i].driven), list[i].serial))
			continue;
		for (c = lrp_hub_driven(list[i].driven)->conns; c && !any; c = c->next)
			any = !c->held && c->tcp.state != LRP_TCP_CLOSED &&
			      c->tcp.state != LRP_TCP_FIN_WAIT_2 &&
			      c->tcp.state != LRP_TCP_TIME_WAIT;
		lrp_hub_unlock(lrp_hub_driven(list[i].driven));
	}
	return any;
}

/* Those that have ended but for a wait: nothing is to be said to their peers any more. */
static void leave(const struct lrp_app_driven *list, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		if (lrp_hub_lock_if(lrp_hub_driven(list[i].driven), list[i].serial)) {
			lrp_hub_forget(lrp_hub_driven(list[i].driven), (int64_t)lrp_now_ns());
			lrp_hub_unlock(lrp_hub_driven(list[i].driven));
		}
}

/* ---- the lingering helper ----------------------------------------------------------------- */

/* Of the runtime, or of no interest to anybody: eventfds, maps, AF_XDP. */
static bool stays(int fd, const uint8_t *wanted)
{
	int domain = 0, type = 0;
	socklen_t len = sizeof(int);
	struct stat st;

	if (wanted[fd])
		return true;
	if (fstat(fd, &st))
		return true;
	if (!S_ISSOCK(st.st_mode))
		return !(st.st_mode & S_IFMT);
	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	len = sizeof(int);
	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
	if (domain == AF_UNIX)
		return lrp_broker_has_fd(fd);
	return type == SOCK_RAW;
}

/* All open ones are less than this. */
static int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	int end = 0;

	if (!dir)
		return 4096;
	while ((entry = readdir(dir)))
		if (atoi(entry->d_name) >= end)
			end = atoi(entry->d_name) + 1;
	closedir(dir);
	return end;
}

static void close_others(const struct lrp_app_driven *list, uint32_t n)
{
	int fd, end = descriptors();
	uint8_t *wanted;
	uint32_t i;

	wanted = calloc((size_t)end, 1);
	if (!wanted)
		return;
	for (i = 0; i < port_count; i++)
		if (ports[i] < end)
			wanted[ports[i]] = 1;
	for (i = 0; i < n; i++)
		if (lrp_hub_driven(list[i].driven)->hold >= 0 &&
		    lrp_hub_driven(list[i].driven)->hold < end)
			wanted[lrp_hub_driven(list[i].driven)->hold] = 1;
	for (fd = 0; fd < end; fd++)
		if (!stays(fd, wanted))
			close(fd);
	free(wanted);
}

static _Noreturn void linger(const struct lrp_app_driven *list, uint32_t n)
{
	uint64_t turn_ns;

	setsid();
	prctl(PR_SET_NAME, "lrp-linger");
	(void)!chdir("/");
	close_others(list, n);
	lrp_app_take_over(list, n);
	/* Other processes may see to a hub as well: it looks now and then. */
	for (turn_ns = 10 * LRP_NS_PER_MS; unfinished(list, n);) {
		lrp_app_turn((int64_t)turn_ns);
		turn_ns = turn_ns * 2 < LRP_NS_PER_S ? turn_ns * 2 : LRP_NS_PER_S;
	}
	leave(list, n);
	_exit(0);
}

/* The helper's are not those of a process that is dead [family.h]. */
static void hand_over(const struct lrp_app_driven *list, uint32_t n, pid_t helper)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		if (lrp_hub_lock_if(lrp_hub_driven(list[i].driven), list[i].serial)) {
			if (lrp_hub_driven(list[i].driven)->pid == getpid())
				lrp_hub_driven(list[i].driven)->pid = helper;
			lrp_hub_unlock(lrp_hub_driven(list[i].driven));
		}
}

/* ---- the end -------------------------------------------------------------------------------- */

static bool wait_for(const struct lrp_app_driven *list, uint32_t n, uint64_t ns)
{
	uint64_t end = lrp_now_ns() + ns;

	while (unfinished(list, n)) {
		if (lrp_now_ns() >= end)
			return false;
		usleep(200);
	}
	return true;
}

static void at_exit(void)
{
	struct lrp_app_driven *list;
	sigset_t all, before;
	uint32_t n;
	pid_t pid;

	lrp_tx_hold_never();
	lrp_table_each(close_view, NULL);
	lrp_tx_hold_release_all();
	n = lrp_app_list(&list);
	if (!wait_for(list, n, GRACE_NS) && getpid() != 1) {
		/* Who dies with a hub's lock breaks it. */
		lrp_app_park(true);
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		pid = fork();
		if (!pid)
			linger(list, n);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		if (pid > 0) {
			hand_over(list, n, pid);
			return;
		}
		lrp_app_park(false);
	}
	wait_for(list, n, ALONE_NS);
	leave(list, n);
	free(list);
}

void lrp_exit_register(void)
{
	static bool registered;

	if (!registered)
		registered = atexit(at_exit) == 0;
}
