/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * core.c - the core of loader/ in the application's process, for liblrp [broker/embedded.h].
 *
 * A service thread does what lrpd's loop does: addresses that come and go,
 * fragments, endpoints to be reclaimed. It sleeps in poll() until then, and enters the core
 * with the broker's mutex held, as every request does.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../loader/core/core.h"
#include "../base/fd.h"
#include "../base/log.h"
#include "../base/thread.h"
#include "../broker/embedded.h"

static const struct lrp_embedded_host *host;
static struct lrp_core *core;
static struct lrp_core_client client;
static pthread_t service;
static int wake_fd = -1;
static bool stopping;

static void close_fds(const int *fds, int count)
{
	for (int i = 0; i < count; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static int call(struct lrp_request *request, const int *in_fds, int in_count,
		struct lrp_reply *reply, int *fds, int *count)
{
	bool owned[LRP_CONTROL_MAX_FDS] = {false};
	uint64_t one = 1;
	int error = 0;

	*count = 0;
	lrp_core_request(core, &client, request, in_fds, in_count, reply, fds, owned, count);
	for (int i = 0; i < *count; i++) {
		if (owned[i])
			continue;
		fds[i] = lrp_fd_aside(fcntl(fds[i], F_DUPFD_CLOEXEC, 0));
		if (fds[i] < 0 && !error)
			error = -errno;
	}
	if (error) {
		close_fds(fds, *count);
		*count = 0;
	}
	/* What was asked may have set a deadline. */
	if (wake_fd >= 0 && write(wake_fd, &one, sizeof(one)) < 0)
		lrp_log_once(LRP_LOG_ERROR, "core thread: eventfd: %m");
	return error;
}

static void *rx_ring(uint32_t pool, uint32_t endpoint)
{
	size_t size;

	return lrp_core_rx_ring(core, pool, endpoint, &size);
}

static void *fill_ring(uint32_t pool)
{
	size_t size;

	return lrp_core_fill_ring(core, pool, &size);
}

static void *service_run(void *arg)
{
	struct pollfd pfd[2];

	(void)arg;
	host->lock();
	pfd[0] = (struct pollfd){.fd = lrp_core_fd(core), .events = POLLIN};
	pfd[1] = (struct pollfd){.fd = wake_fd, .events = POLLIN};
	while (!stopping) {
		int timeout_ms = lrp_core_run(core);
		uint64_t count;

		host->unlock();
		if (poll(pfd, 2, timeout_ms) > 0 && pfd[1].revents &&
		    read(wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
			lrp_log_once(LRP_LOG_ERROR, "core thread: eventfd: %m");
		host->lock();
	}
	host->unlock();
	return NULL;
}

static int service_start(void)
{
	int error;

	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (wake_fd < 0)
		return -errno;
	stopping = false;
	error = lrp_thread_start(service_run, NULL, 0, &service);
	if (error) {
		close(wake_fd);
		wake_fd = -1;
		return -error;
	}
	pthread_setname_np(service, "lrp-core");
	return 0;
}

static int core_start(char *error, size_t error_size)
{
	struct lrp_core_opts opts = {.embedded = true};
	struct lrp_request request = {
		.magic = LRP_ABI_MAGIC, .version = LRP_ABI_VERSION, .type = LRP_REQ_HELLO};
	int fds[LRP_CONTROL_MAX_FDS], count, result;
	struct lrp_reply reply;

	errno = 0;
	core = lrp_core_new(&opts, error, error_size);
	if (!core)
		return errno ? -errno : -EIO;
	client = (struct lrp_core_client){.pid = getpid(), .uid = 0, .admin = true};
	result = call(&request, NULL, 0, &reply, fds, &count);
	if (!result)
		result = reply.error;
	if (!result)
		result = count == 1 ? host->hello(&reply, fds[0], true) : -EPROTO;
	else
		close_fds(fds, count);
	if (result) {
		snprintf(error, error_size, "embedded core: %s", strerror(-result));
		lrp_core_free(core);
		core = NULL;
	}
	return result;
}

static bool running(void)
{
	return core != NULL;
}

static int embed_start(const struct lrp_embedded_host *for_host, const char *ifname, uint32_t mode,
		       uint32_t frames, uint32_t frame_size, char *error, size_t error_size)
{
	struct lrp_request request = {
		.magic = LRP_ABI_MAGIC, .version = LRP_ABI_VERSION, .type = LRP_REQ_ATTACH};
	int fds[LRP_CONTROL_MAX_FDS], count, result;
	bool first = core == NULL;
	struct lrp_reply reply;

	host = for_host;
	if (strlen(ifname) >= sizeof(request.attach.ifname)) {
		snprintf(error, error_size, "%s: no interface has so long a name", ifname);
		return -ENODEV;
	}
	if (first) {
		result = core_start(error, error_size);
		if (result)
			return result;
	}
	strcpy(request.attach.ifname, ifname);
	request.attach.mode = mode;
	request.attach.frames = frames;
	request.attach.frame_size = frame_size;
	result = call(&request, NULL, 0, &reply, fds, &count);
	if (!result) {
		close_fds(fds, count);
		result = reply.error;
		if (result) {
			reply.error_text[sizeof(reply.error_text) - 1] = 0;
			snprintf(error, error_size, "%s",
				 reply.error_text[0] ? reply.error_text : strerror(-result));
		}
	}
	if (!result && first) {
		result = service_start();
		if (result)
			snprintf(error, error_size, "%s: no thread to serve it: %s", ifname,
				 strerror(-result));
	}
	if (result && first) {
		lrp_core_free(core);
		core = NULL;
	}
	return result;
}

static void stop(void)
{
	uint64_t one = 1;

	stopping = true;
	if (write(wake_fd, &one, sizeof(one)) < 0)
		lrp_log(LRP_LOG_ERROR, "core thread: eventfd: %m");
	host->unlock();
	pthread_join(service, NULL);
	host->lock();
	close(wake_fd);
	wake_fd = -1;
	lrp_core_free(core);
	core = NULL;
}

const struct lrp_embedded lrp_embedded_core = {
	.size = sizeof(lrp_embedded_core),
	.version = LRP_VERSION,
	.source = {.call = call, .rx_ring = rx_ring, .fill_ring = fill_ring},
	.start = embed_start,
	.running = running,
	.stop = stop,
};
