/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * broker.c - see broker.h.
 *
 * After fork the child has all mappings at the same addresses and all
 * descriptors. The connection and the stock stay the parent's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fork.h"
#include "../base/log.h"
#include "embedded.h"

#define CONNECT_EVERY_NS LRP_NS_PER_S /* while no lrpd answers */
#define SILENCE_NS	 LRP_NS_PER_S /* every socket call would wait for the timeout else */

static const struct lrp_status_page no_status;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t next_connect_ns;
static uint64_t silent_until_ns; /* lrpd did not answer: not asked again before */
static const volatile struct lrp_status_page *status = &no_status;

enum lrp_broker_mode lrp_broker_mode;
const struct lrp_broker_source *lrp_broker_source;
uint32_t lrp_broker_owner;
uint32_t lrp_broker_incarnation;
void (*lrp_broker_closing)(void);

void lrp_broker_close_fds(int *fds, int count)
{
	for (int i = 0; i < count; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* ---- fork ----------------------------------------------------------------- */

static void before_fork(void)
{
	pthread_mutex_lock(&mutex);
}

static void after_fork_parent(void)
{
	pthread_mutex_unlock(&mutex);
}

static void after_fork_child(void)
{
	lrp_stock_forked();
	if (lrp_broker_mode == BROKER_REMOTE)
		lrp_broker_remote_forked();
	else if (lrp_broker_mode == BROKER_EMBEDDED)
		lrp_broker_mode = BROKER_ORPHAN;
	pthread_mutex_unlock(&mutex);
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_BROKER,
		.prepare = before_fork,
		.parent = after_fork_parent,
		.child = after_fork_child,
	};

	lrp_fork_register(&handler);
}

void lrp_broker_lock(void)
{
	pthread_mutex_lock(&mutex);
}

void lrp_broker_unlock(void)
{
	pthread_mutex_unlock(&mutex);
}

/* ---- who we are ------------------------------------------------------------ */

const volatile struct lrp_status_page *lrp_broker_status(void)
{
	return __atomic_load_n(&status, __ATOMIC_ACQUIRE);
}

int lrp_broker_hello(const struct lrp_reply *reply, int page_fd, bool fresh)
{
	struct lrp_status_page *page;
	struct stat st;
	int error = 0;

	if (fstat(page_fd, &st) || (size_t)st.st_size < sizeof(*page)) {
		close(page_fd);
		return -EPROTO;
	}
	page = mmap(NULL, sizeof(*page), PROT_READ, MAP_SHARED, page_fd, 0);
	if (page == MAP_FAILED)
		error = -errno;
	close(page_fd);
	if (error)
		return error;
	if (page->magic != LRP_ABI_MAGIC || page->version != LRP_ABI_VERSION) {
		munmap(page, sizeof(*page));
		return -EPROTO;
	}
	/* An earlier page stays mapped: other threads may be reading it. */
	__atomic_store_n(&status, page, __ATOMIC_RELEASE);
	lrp_broker_owner = reply->hello.owner;
	if (fresh) {
		lrp_broker_incarnation++;
		/* Records of the owner that we were stay mapped under the channels that use them. */
		lrp_mapping_forget_users();
	}
	return 0;
}

bool lrp_broker_connected(void)
{
	uint64_t now;

	if (lrp_broker_mode == BROKER_EMBEDDED || lrp_broker_mode == BROKER_ORPHAN)
		return true;
	/* Pid 0: it was stopped on purpose; another may have been started since. */
	if (lrp_broker_mode == BROKER_REMOTE && lrp_broker_status()->lrpd_pid)
		return true;
	now = lrp_now_ns();
	if (now < next_connect_ns)
		return lrp_broker_mode == BROKER_REMOTE;
	next_connect_ns = now + CONNECT_EVERY_NS;
	if (lrp_broker_remote_connect())
		return lrp_broker_mode == BROKER_REMOTE;
	lrp_broker_mode = BROKER_REMOTE;
	lrp_broker_source = &lrp_broker_remote;
	return true;
}

bool lrp_broker_ready(void)
{
	enum lrp_broker_mode mode = __atomic_load_n(&lrp_broker_mode, __ATOMIC_ACQUIRE);
	bool ready;

	/* Whoever has the mutex may be waiting for an lrpd that does not answer. */
	if (mode == BROKER_EMBEDDED || mode == BROKER_ORPHAN ||
	    (mode == BROKER_REMOTE && lrp_broker_status()->lrpd_pid))
		return true;
	lrp_broker_lock();
	ready = lrp_broker_connected();
	lrp_broker_unlock();
	return ready;
}

bool lrp_broker_ready_or_say(void)
{
	if (lrp_broker_ready())
		return true;
	lrp_log_once(LRP_LOG_WARN, "no lrpd answers and no interface is embedded: sockets work "
				   "through the kernel alone (start it with: lrp attach IFACE)");
	return false;
}

/* 0, or -errno of transport or answer. */
int lrp_broker_call(struct lrp_request *request, const int *in_fds, int in_count,
		    struct lrp_reply *reply, int *fds, int *count)
{
	int error;

	*count = 0;
	if (!lrp_broker_connected())
		return -ENETDOWN;
	if (lrp_broker_mode == BROKER_ORPHAN)
		return -EOPNOTSUPP;
	/* Stopped on purpose, or it left the last request unanswered: nothing to wait for. */
	if (lrp_broker_mode == BROKER_REMOTE &&
	    (!lrp_broker_status()->lrpd_pid || lrp_now_ns() < silent_until_ns))
		return -ENETDOWN;
	request->magic = LRP_ABI_MAGIC;
	request->version = LRP_ABI_VERSION;
	error = lrp_broker_source->call(request, in_fds, in_count, reply, fds, count);
	if (error == -ETIMEDOUT) {
		silent_until_ns = lrp_now_ns() + SILENCE_NS;
		lrp_log_once(LRP_LOG_WARN,
			     "lrpd does not answer: new sockets are served by the kernel "
			     "until it does");
	}
	if (!error && reply->error) {
		error = reply->error < 0 ? reply->error : -EPROTO;
		lrp_broker_close_fds(fds, *count);
		*count = 0;
	}
	return error;
}

/* A request that has no descriptor in its answer. */
int lrp_broker_call_plain(struct lrp_request *request, const int *in_fds, int in_count,
			  struct lrp_reply *reply)
{
	int fds[LRP_CONTROL_MAX_FDS], count;
	int error = lrp_broker_call(request, in_fds, in_count, reply, fds, &count);

	lrp_broker_close_fds(fds, count);
	return error;
}

int lrp_broker_tx(uint32_t ifindex)
{
	struct lrp_request request = {.type = LRP_REQ_TX, .tx.ifindex = ifindex};
	int fds[LRP_CONTROL_MAX_FDS], count, error;
	struct lrp_reply reply;

	lrp_broker_lock();
	error = lrp_broker_call(&request, NULL, 0, &reply, fds, &count);
	lrp_broker_unlock();
	if (!error && count == 1)
		return fds[0];
	lrp_broker_close_fds(fds, count);
	return error ? error : -EPROTO;
}

/* ---- embedding -------------------------------------------------------------------------- */

static const struct lrp_embedded_host host = {
	.lock = lrp_broker_lock,
	.unlock = lrp_broker_unlock,
	.hello = lrp_broker_hello,
};
static const struct lrp_embedded *core; /* once it was found */

int lrp_broker_embed(const char *ifname, uint32_t attach_mode, uint32_t frames, uint32_t frame_size,
		     char *error, size_t error_size)
{
	/* Before the lock: it may load a library. */
	const struct lrp_embedded *found = lrp_embedded_find(error, error_size);
	int result;

	if (!found)
		return -ENOENT;
	lrp_broker_lock();
	core = found;
	if (lrp_broker_mode == BROKER_REMOTE || lrp_broker_mode == BROKER_ORPHAN) {
		lrp_broker_unlock();
		snprintf(error, error_size, "%s: this process %s; embed before the first socket",
			 ifname,
			 lrp_broker_mode == BROKER_REMOTE ? "uses lrpd already"
							  : "was forked by one that embeds");
		return -EBUSY;
	}
	result = core->start(&host, ifname, attach_mode, frames, frame_size, error, error_size);
	if (core->running()) {
		lrp_broker_mode = BROKER_EMBEDDED;
		lrp_broker_source = &core->source;
	}
	lrp_broker_unlock();
	return result;
}

void lrp_broker_embed_close(void)
{
	uint32_t n;

	if (lrp_broker_closing)
		lrp_broker_closing();
	lrp_broker_lock();
	if (lrp_broker_mode != BROKER_EMBEDDED) {
		lrp_broker_unlock();
		return;
	}
	lrp_stock_drop();
	lrp_fragments_close();
	n = lrp_mapping_borrowed();
	if (n) {
		lrp_broker_unlock();
		lrp_log(LRP_LOG_WARN,
			"%u channels are still open: the interface stays attached until the "
			"process "
			"ends (close the sockets before lrp_embed_close())",
			n);
		return;
	}
	/* First, since the mutex is free while the service thread ends. */
	lrp_broker_mode = BROKER_NONE;
	lrp_broker_source = NULL;
	core->stop();
	lrp_broker_owner = 0;
	lrp_broker_incarnation++;
	lrp_mapping_forget_users();
	lrp_mapping_sweep();
	__atomic_store_n(&status, &no_status, __ATOMIC_RELEASE);
	lrp_broker_unlock();
}
