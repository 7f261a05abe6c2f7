/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_broker.c - the broker against a small lrpd that this program plays, in a
 * user and network namespace of its own, over the real control address, with
 * AF_XDP sockets that are bound to nothing.
 *
 * The server lies in shared memory: each test tells it how to misbehave and
 * reads what it was asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_xdp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/base/rundir.h"
#include "runtime/broker/broker.h"
#include "runtime/ring/pool.h"

#define CLIENTS	      16
#define FRAMES	      64u
#define FRAME_SIZE    2048u
#define RING	      64u
#define REQUEST_TYPES (LRP_REQ_STOP + 1)
#define TOKEN_0	      0x8f3c61d2a97b04e5ull
#define TOKEN_1	      0x52e90b7dc618fa34ull

struct server {			     /* shared */
	struct lrp_status_page page; /* copied to the real one on each request */
	_Atomic uint32_t requests[REQUEST_TYPES];
	_Atomic uint32_t endpoints_out, released, last_released;
	_Atomic uint32_t silent;  /* so many requests are not answered */
	_Atomic uint32_t hang_up; /* so many are answered by closing the connection */
	_Atomic uint32_t late;	  /* so many are answered twice, the first with another's id */
	_Atomic uint32_t refuse;  /* ENDPOINTS: this error */
	_Atomic uint32_t forget;  /* HELLO with an identity is refused */
	_Atomic uint32_t next_owner;
	_Atomic uint32_t hello_owner; /* identity of the last HELLO */
	_Atomic uint32_t shadow_ok;   /* PUBLISH brought a datagram socket */
	_Atomic uint32_t memberships;
	_Atomic uint32_t members; /* connections that children handed in */
	_Atomic uint32_t again;	  /* requests that were sent once more */
};

static struct server *server;
static pid_t server_pid;

/* ---- the server ------------------------------------------------------------------ */

static int page_fd, umem_fd, user_fd;
static int handed_in = -1; /* LRP_REQ_MEMBER: another connection */
static struct lrp_status_page *page;
static uint32_t next_endpoint = 1, next_slot;

static int xsk_make(void)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0), size = RING, fill = FRAMES;

	if (fd < 0 || setsockopt(fd, SOL_XDP, XDP_RX_RING, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_FILL_RING, &fill, sizeof(fill)))
		_exit(3);
	return fd;
}

static int memfd_make(const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)size))
		_exit(3);
	return fd;
}

static uint32_t pools_on(uint32_t *index)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < LRP_MAX_POOLS; i++)
		if (server->page.pool[i].state)
			index[n++] = i;
	return n;
}

static void put_channel(struct lrp_reply *reply, int *fds, int *count, uint32_t pool,
			uint32_t endpoint)
{
	reply->endpoints.channel[*count] = (struct lrp_channel_info){
		.pool = pool,
		.channel = pool * 1000 + endpoint,
		.user_page = 3,
		.user_slot = next_slot++ % LRP_USER_PAGE_RECORDS,
	};
	fds[(*count)++] = xsk_make();
}

static int answer(const struct lrp_request *request, const int *in, int in_count,
		  struct lrp_reply *reply, int *fds, int *count)
{
	uint32_t pool[LRP_MAX_POOLS], pools = pools_on(pool);
	struct stat st;

	switch (request->type) {
	case LRP_REQ_HELLO:
		server->hello_owner = request->hello.owner;
		if (request->hello.owner && (server->forget || request->hello.token[0] != TOKEN_0 ||
					     request->hello.token[1] != TOKEN_1))
			return -ESRCH;
		reply->hello.owner =
			request->hello.owner ? request->hello.owner : server->next_owner++;
		reply->hello.token[0] = TOKEN_0;
		reply->hello.token[1] = TOKEN_1;
		fds[(*count)++] = dup(page_fd);
		return 0;
	case LRP_REQ_POOL:
		if (request->pool >= LRP_MAX_POOLS || !server->page.pool[request->pool].state)
			return -ENOENT;
		reply->pool.frames = FRAMES;
		reply->pool.frame_size = FRAME_SIZE;
		reply->pool.frame_payload = 1500;
		reply->pool.fill_size = FRAMES;
		reply->pool.umem_size = (FRAMES + 2) * FRAME_SIZE;
		reply->pool.ifindex = server->page.pool[request->pool].ifindex;
		fds[(*count)++] = dup(umem_fd);
		return 0;
	case LRP_REQ_USER_PAGE:
		if (request->pool != 3)
			return -ENOENT;
		reply->user_page.page = 3;
		fds[(*count)++] = dup(user_fd);
		return 0;
	case LRP_REQ_ENDPOINTS:
		if (server->refuse)
			return -(int)server->refuse;
		reply->endpoints.channels = pools;
		reply->endpoints.ring_size = RING;
		reply->endpoints.limit = 60;
		while (reply->count < request->count &&
		       reply->count < LRP_CONTROL_MAX_FDS / pools) {
			reply->endpoints.endpoint[reply->count++] = next_endpoint;
			for (uint32_t i = 0; i < pools; i++)
				put_channel(reply, fds, count, pool[i], next_endpoint);
			next_endpoint++;
		}
		server->endpoints_out += reply->count;
		return 0;
	case LRP_REQ_ADOPT:
		reply->count = 1;
		reply->endpoints.channels = 1;
		reply->endpoints.ring_size = RING;
		reply->endpoints.limit = 60;
		put_channel(reply, fds, count, request->adopt.pool, request->adopt.endpoint);
		return 0;
	case LRP_REQ_PUBLISH:
		server->shadow_ok = in_count == 1 && !fstat(in[0], &st) && S_ISSOCK(st.st_mode);
		server->memberships = request->count;
		return 0;
	case LRP_REQ_LIMIT:
		reply->limit.limit = request->limit.limit < 60 ? request->limit.limit : 60;
		return 0;
	case LRP_REQ_RELEASE:
		server->last_released = request->endpoint;
		server->released++;
		return 0;
	}
	return -ENOSYS;
}

static void reply_send(int client, const struct lrp_reply *reply, const int *fds, int count)
{
	char control[CMSG_SPACE(sizeof(int) * LRP_CONTROL_MAX_FDS)]
		__attribute__((aligned(8))) = {0};
	struct iovec iov = {.iov_base = (void *)reply, .iov_len = sizeof(*reply)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count) {
		struct cmsghdr *cmsg;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * (size_t)count);
	}
	sendmsg(client, &msg, MSG_NOSIGNAL);
}

/* Returns false when the client is gone. */
static bool serve(int client)
{
	char control[CMSG_SPACE(sizeof(int) * 4)] __attribute__((aligned(8)));
	int in[4], in_count = 0, fds[LRP_CONTROL_MAX_FDS], count = 0;
	struct lrp_request request;
	struct lrp_reply reply = {.magic = LRP_ABI_MAGIC};
	struct iovec iov = {.iov_base = &request, .iov_len = sizeof(request)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg;

	if (recvmsg(client, &msg, MSG_CMSG_CLOEXEC) != sizeof(request))
		return false;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg) {
		in_count = (int)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(in, CMSG_DATA(cmsg), sizeof(int) * (size_t)in_count);
	}
	*page = server->page;
	if (request.type == LRP_REQ_MEMBER && in_count == 1) {
		server->members++;
		handed_in = in[0];
		return true;
	}
	server->again += (request.type & LRP_REQ_AGAIN) != 0;
	request.type &= (__u16)~LRP_REQ_AGAIN;
	if (request.type < REQUEST_TYPES)
		server->requests[request.type]++;
	if (server->hang_up) {
		server->hang_up--;
		return false;
	}
	if (server->silent) {
		server->silent--;
		return true;
	}
	if (server->late) {
		server->late--;
		reply.id = request.id - 1;
		fds[0] = dup(page_fd);
		reply.fds = 1;
		reply_send(client, &reply, fds, 1);
		close(fds[0]);
	}
	reply.error = answer(&request, in, in_count, &reply, fds, &count);
	reply.id = request.id;
	reply.fds = (uint32_t)count;
	reply_send(client, &reply, fds, count);
	for (int i = 0; i < count; i++)
		close(fds[i]);
	for (int i = 0; i < in_count; i++)
		close(in[i]);
	return true;
}

static void server_run(int ready)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct pollfd pfd[1 + CLIENTS];
	int n = 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	page_fd = memfd_make("page", sizeof(*page));
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);
	umem_fd = memfd_make("umem", (FRAMES + 2) * FRAME_SIZE);
	user_fd = memfd_make("user", LRP_USER_PAGE_RECORDS * sizeof(struct lrp_user));
	pfd[0] = (struct pollfd){.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0),
				 .events = POLLIN};
	if (lrp_rundir_path(addr.sun_path, LRP_ADMIN_FILE))
		_exit(3);
	/* The one before may still be dying; its file stays. */
	unlink(addr.sun_path);
	if (bind(pfd[0].fd, (struct sockaddr *)&addr, sizeof(addr)))
		_exit(3);
	if (listen(pfd[0].fd, 8))
		_exit(3);
	close(ready);
	for (;;) {
		if (poll(pfd, (nfds_t)n, -1) < 0)
			_exit(3);
		for (int i = n - 1; i > 0; i--) {
			if (pfd[i].revents && !serve(pfd[i].fd)) {
				close(pfd[i].fd);
				pfd[i] = pfd[--n];
			}
			if (handed_in >= 0 && n <= CLIENTS)
				pfd[n++] = (struct pollfd){.fd = handed_in, .events = POLLIN};
			handed_in = -1;
		}
		if (pfd[0].revents && n <= CLIENTS)
			pfd[n++] =
				(struct pollfd){.fd = accept4(pfd[0].fd, NULL, NULL, SOCK_CLOEXEC),
						.events = POLLIN};
	}
}

static void server_start(void)
{
	int ready[2];
	char c;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	server_pid = fork();
	assert_true(server_pid >= 0);
	if (server_pid == 0) {
		close(ready[0]);
		server_run(ready[1]);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 0);
	close(ready[0]);
}

static void server_kill(void)
{
	kill(server_pid, SIGKILL);
	waitpid(server_pid, NULL, 0);
}

static void pool_on(uint32_t index, uint32_t generation)
{
	server->page.pool[index].state = generation;
	server->page.pool[index].ifindex = 100 + index;
	server->page.pools_epoch++;
}

/* ---- the tests ---------------------------------------------------------------------- */

static void *test_alloc_(size_t size)
{
	return calloc(1, size);
}

static void test_free_(void *p, size_t size)
{
	/* The size must be that of the allocation. */
	memset(p, 0xdb, size);
	free(p);
}

static const struct lrp_allocator heap = {.alloc = test_alloc_, .free = test_free_};

/* Descriptors that are open here, to find leaks. */
static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void in_child(void (*run)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(20);
		run();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define CHECK(what)                                                                                \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			print_message("%s:%d: %s\n", __FILE__, __LINE__, #what);                   \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/* Each test runs in a child, so the broker starts from nothing. */
static int setup(void **state)
{
	(void)state;
	server = mmap(NULL, sizeof(*server), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	assert_true(server != MAP_FAILED);
	server->page.magic = LRP_ABI_MAGIC;
	server->page.version = LRP_ABI_VERSION;
	server->page.lrpd_pid = 1;
	server->next_owner = 5;
	pool_on(1, 10);
	server_start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	server_kill();
	munmap(server, sizeof(*server));
	return 0;
}

static void run_open_use_close(void)
{
	struct lrp_membership_request membership[2] = {0};
	struct lrp_endpoint ep, ep2;
	int udp = socket(AF_INET, SOCK_DGRAM, 0), before;

	CHECK(lrp_broker_ready());
	CHECK(lrp_broker_status()->magic == LRP_ABI_MAGIC);
	CHECK(lrp_endpoint_open(&ep, 50, 0, &heap) == 0);
	CHECK(ep.channels == 1 && ep.ring_size == RING && ep.limit == 60);
	CHECK(ep.chan[0].id == 1000 + ep.id && ep.chan[0].endpoint == ep.id);
	CHECK(ep.chan[0].batch == 15);
	CHECK(ep.chan[0].pool->frames == FRAMES && ep.chan[0].pool->ifindex == 101);
	CHECK(ep.chan[0].pool->frame == (void *)(ep.chan[0].pool->umem + FRAMES * FRAME_SIZE));
	CHECK(*ep.chan[0].pool->fill_producer == 0);
	CHECK(lrp_endpoint_publish(&ep, udp, membership, 2) == 0);
	CHECK(server->shadow_ok && server->memberships == 2);
	CHECK(lrp_endpoint_publish(&ep, udp, membership, 17) == -E2BIG);
	CHECK(lrp_endpoint_limit(&ep, 20) == 20 && ep.chan[0].batch == 5);
	CHECK(lrp_endpoint_withdraw(&ep) == 0);
	before = open_fds();
	CHECK(lrp_endpoint_open(&ep2, 50, 0, &heap) == 0);
	/* One UMEM and one page of records, however many sockets. */
	CHECK(ep2.chan[0].pool == ep.chan[0].pool);
	CHECK(ep2.chan[0].user == ep.chan[0].user + 1);
	CHECK(server->requests[LRP_REQ_POOL] == 1 && server->requests[LRP_REQ_USER_PAGE] == 1);
	ep2.chan[0].user->returned = 4711;
	lrp_endpoint_close(&ep2, &heap);
	CHECK(ep2.id == LRP_ENDPOINT_NONE && ep2.chan == NULL);
	CHECK(server->released == 1 && server->last_released == 2);
	/* What is open beyond is the stock's. */
	CHECK(open_fds() - before <= 2);
	lrp_endpoint_close(&ep, &heap);
	CHECK(server->released == 2 && server->last_released == 1);
	lrp_endpoint_close(&ep, &heap); /* nothing */
	CHECK(server->released == 2);
	CHECK(lrp_endpoint_publish(&ep, udp, NULL, 0) == -EINVAL);
}

static void test_open_use_close(void **state)
{
	(void)state;
	in_child(run_open_use_close);
}

static void run_thousands(void)
{
	static struct lrp_endpoint ep[1000];

	for (int i = 0; i < 1000; i++)
		CHECK(lrp_endpoint_open(&ep[i], 64, 0, &heap) == 0);
	print_message("1000 endpoints in %u requests\n", server->requests[LRP_REQ_ENDPOINTS]);
	CHECK(server->requests[LRP_REQ_ENDPOINTS] < 30);
	CHECK(server->endpoints_out < 1000 + LRP_CONTROL_MAX_BATCH);
	for (int i = 0; i < 1000; i++)
		for (int k = 0; k < i; k++)
			CHECK(ep[i].id != ep[k].id && ep[i].chan[0].fd != ep[k].chan[0].fd);
	/* Another size does not take from the stock, but gives it back. */
	CHECK(lrp_endpoint_open(&ep[0], 32, 0, &heap) == 0);
	CHECK(server->endpoints_out - server->released == 1001);
}

static void test_thousands(void **state)
{
	(void)state;
	in_child(run_thousands);
}

static void run_descriptors_run_out(void)
{
	struct rlimit limit = {.rlim_cur = 100, .rlim_max = 100};
	struct lrp_endpoint ep[100];
	int opened = 0, error = 0;

	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	while (opened < 100 && !(error = lrp_endpoint_open(&ep[opened], 64, 0, &heap)))
		opened++;
	print_message("%d endpoints within 100 descriptors\n", opened);
	CHECK(error == -EMFILE);
	CHECK(opened > 80);
	/* None is lost on the way. */
	CHECK(server->endpoints_out - server->released == (uint32_t)opened);
	lrp_endpoint_close(&ep[--opened], &heap);
	lrp_endpoint_close(&ep[--opened], &heap);
	CHECK(lrp_endpoint_open(&ep[opened], 64, 0, &heap) == 0);
}

static void test_descriptors_run_out(void **state)
{
	(void)state;
	in_child(run_descriptors_run_out);
}

static void run_errors(void)
{
	struct lrp_endpoint ep;
	int before;

	CHECK(lrp_endpoint_open(&ep, 64, 0, &heap) == 0);
	before = open_fds();
	server->refuse = ENOBUFS;
	/* A size of its own, so that the stock does not serve it. */
	CHECK(lrp_endpoint_open(&ep, 16, 0, &heap) == -ENOBUFS && ep.id == LRP_ENDPOINT_NONE);
	server->refuse = EDQUOT;
	CHECK(lrp_endpoint_open(&ep, 16, 0, &heap) == -EDQUOT);
	CHECK(open_fds() == before);
	server->refuse = 0;
	CHECK(lrp_endpoint_open(&ep, 1u << 31, 0, &heap) == -EINVAL);
}

static void test_errors(void **state)
{
	(void)state;
	in_child(run_errors);
}

static void run_lost_replies(void)
{
	struct lrp_endpoint ep;
	uint64_t start;

	CHECK(lrp_endpoint_open(&ep, 64, 0, &heap) == 0);
	/* An answer that comes too late is not taken for the next one's. */
	server->late = 1;
	CHECK(lrp_endpoint_limit(&ep, 30) == 30);
	/* The connection breaks: a new one with the same identity, and once more. */
	server->hang_up = 1;
	CHECK(lrp_endpoint_limit(&ep, 31) == 31);
	CHECK(server->hello_owner == 5);
	/* No answer: the same. */
	server->silent = 1;
	start = lrp_now_ns();
	CHECK(lrp_endpoint_limit(&ep, 32) == 32);
	CHECK(lrp_now_ns() - start < 1500 * LRP_NS_PER_MS);
	CHECK(server->requests[LRP_REQ_LIMIT] == 5);
	/* On the same connection, and marked. */
	CHECK(server->again == 1);
	CHECK(server->requests[LRP_REQ_HELLO] == 2);
	/* Never: an error after the timeout, and no waiting at all after that. */
	server->silent = 1000;
	start = lrp_now_ns();
	CHECK(lrp_endpoint_limit(&ep, 33) < 0);
	CHECK(lrp_now_ns() - start < 3 * LRP_NS_PER_S);
	start = lrp_now_ns();
	CHECK(lrp_endpoint_limit(&ep, 33) == -ENETDOWN);
	CHECK(lrp_now_ns() - start < 100 * LRP_NS_PER_MS);
	server->silent = 0;
	usleep(1100000);
	CHECK(lrp_endpoint_limit(&ep, 34) == 34);
}

static void test_lost_replies(void **state)
{
	(void)state;
	in_child(run_lost_replies);
}

static void run_descriptor_stolen(void)
{
	struct lrp_endpoint ep;
	int pipefd[2], copy[4096], n = 0;
	char c;

	CHECK(lrp_endpoint_open(&ep, 64, 0, &heap) == 0);
	/* As a daemon does: closes what it does not know, and the numbers are taken by others. */
	CHECK(pipe(pipefd) == 0);
	for (int fd = 3; fd < 4096; fd++) {
		struct stat st;

		if (fd != pipefd[0] && fd != pipefd[1] && fstat(fd, &st) == 0) {
			CHECK(dup2(pipefd[1], fd) == fd);
			copy[n++] = fd;
		}
	}
	CHECK(n > 0);
	CHECK(lrp_endpoint_limit(&ep, 30) == 30);
	/* Nothing was written to the file that has the number now, and it is still open. */
	CHECK(fcntl(pipefd[0], F_SETFL, O_NONBLOCK) == 0);
	CHECK(read(pipefd[0], &c, 1) < 0 && errno == EAGAIN);
	for (int i = 0; i < n; i++)
		CHECK(fcntl(copy[i], F_GETFD) >= 0);
}

static void test_descriptor_stolen(void **state)
{
	(void)state;
	in_child(run_descriptor_stolen);
}

static struct lrp_endpoint inherited;
static uint32_t stock_before;

static void run_forked(void)
{
	struct lrp_endpoint ep;

	/* What was inherited is at the same place. */
	CHECK(*inherited.chan[0].producer == 0);
	CHECK(inherited.chan[0].user->returned == 99);
	inherited.chan[0].user->returned = 100;
	/* A connection of its own, as a member of the family. */
	CHECK(lrp_endpoint_limit(&inherited, 40) == 40);
	CHECK(server->hello_owner == 5);
	CHECK(server->members == 1);
	/* The stock is the parent's. */
	CHECK(lrp_endpoint_open(&ep, 64, 0, &heap) == 0);
	CHECK(ep.id > stock_before);
	CHECK(ep.chan[0].pool == inherited.chan[0].pool);
}

static void run_fork(void)
{
	struct lrp_endpoint ep[4], more;

	/* Batches of 1, 2 and 4: three are in the stock. */
	for (int i = 0; i < 4; i++)
		CHECK(lrp_endpoint_open(&ep[i], 64, 0, &heap) == 0);
	stock_before = server->endpoints_out;
	CHECK(stock_before == 7);
	inherited = ep[0];
	ep[0].chan[0].user->returned = 99;
	in_child(run_forked);
	CHECK(server->requests[LRP_REQ_HELLO] == 2);
	CHECK(ep[0].chan[0].user->returned == 100);
	/* The parent goes on with its connection and its stock. */
	CHECK(lrp_endpoint_open(&more, 64, 0, &heap) == 0);
	CHECK(server->requests[LRP_REQ_HELLO] == 2);
	CHECK(more.id == 5);
	CHECK(fcntl(more.chan[0].fd, F_GETFD) >= 0);
}

static void test_fork(void **state)
{
	(void)state;
	in_child(run_fork);
}

static void run_refresh(void)
{
	struct lrp_pool_view *first;
	struct lrp_endpoint ep, *fragments;

	CHECK(lrp_endpoint_open(&ep, 64, 0, &heap) == 0);
	fragments = lrp_broker_fragments();
	CHECK(fragments && fragments->channels == 1 && fragments->chan[0].endpoint == 0);
	CHECK(lrp_broker_fragments() == fragments);
	first = ep.chan[0].pool;
	pool_on(7, 11);
	CHECK(lrp_endpoint_limit(&ep, 30) == 30); /* the page is brought up to date */
	CHECK(lrp_broker_status()->pools_epoch != ep.pools_epoch);
	CHECK(lrp_endpoint_refresh(&ep, &heap) == 0);
	CHECK(ep.channels == 2 && ep.chan[0].pool == first && ep.chan[1].pool->index == 7);
	CHECK(lrp_broker_status()->pools_epoch == ep.pools_epoch);
	CHECK(lrp_broker_fragments()->channels == 2);
	/* The first goes and another comes in its place. */
	pool_on(1, 12);
	lrp_endpoint_limit(&ep, 30);
	CHECK(lrp_endpoint_refresh(&ep, &heap) == 0);
	CHECK(ep.channels == 2 && ep.chan[0].pool->index == 7 && ep.chan[1].pool->index == 1);
	/* All go. */
	pool_on(1, 0);
	pool_on(7, 0);
	lrp_endpoint_limit(&ep, 30);
	CHECK(lrp_endpoint_refresh(&ep, &heap) == 0);
	CHECK(ep.channels == 0);
	CHECK(lrp_broker_fragments() == NULL);
	lrp_endpoint_close(&ep, &heap);
	CHECK(lrp_endpoint_open(&ep, 64, 0, &heap) == -ENETDOWN);
	pool_on(2, 13);
	lrp_endpoint_released(1); /* any request */
	CHECK(lrp_endpoint_open(&ep, 64, 0, &heap) == 0);
	CHECK(ep.channels == 1 && ep.chan[0].pool->index == 2);
	lrp_endpoint_close(&ep, &heap);
}

static void test_refresh(void **state)
{
	(void)state;
	in_child(run_refresh);
}

static void run_held_frames_stay_mapped(void)
{
	struct lrp_endpoint ep;
	uint8_t *umem;

	CHECK(lrp_endpoint_open(&ep, 64, 0, &heap) == 0);
	umem = ep.chan[0].pool->umem;
	ep.chan[0].held = 1;
	pool_on(1, 0);
	lrp_endpoint_limit(&ep, 30);
	CHECK(lrp_endpoint_refresh(&ep, &heap) == 0);
	CHECK(ep.channels == 0);
	*umem = 1; /* the application still has a frame there */
}

static void test_held_frames_stay_mapped(void **state)
{
	(void)state;
	in_child(run_held_frames_stay_mapped);
}

static void run_replaced(void)
{
	struct lrp_endpoint ep, other;
	uint32_t id;

	CHECK(lrp_endpoint_open(&ep, 64, 0, &heap) == 0);
	CHECK(lrp_endpoint_open(&other, 64, 0, &heap) == 0);
	id = ep.id;
	server_kill();
	server->forget = 1; /* no keeper: the new one knows nobody */
	server_start();
	CHECK(lrp_endpoint_limit(&ep, 30) == -ESTALE);
	CHECK(lrp_endpoint_limit(&ep, 30) == -ESTALE);
	CHECK(lrp_endpoint_limit(&other, 30) == -ESTALE);
	CHECK(server->requests[LRP_REQ_LIMIT] == 0);
	CHECK(lrp_endpoint_refresh(&ep, &heap) == 0);
	CHECK(ep.channels == 1);
	CHECK(lrp_endpoint_limit(&ep, 30) == 30);
	(void)id;
	/* The other's number may be somebody's by now: not released. */
	server->released = 0;
	lrp_endpoint_close(&other, &heap);
	CHECK(server->released == 0);
	lrp_endpoint_close(&ep, &heap);
	CHECK(server->released == 1);
	server_kill();
}

static void test_replaced(void **state)
{
	(void)state;
	in_child(run_replaced);
}

static void run_restarted(void)
{
	struct lrp_endpoint ep;

	CHECK(lrp_endpoint_open(&ep, 64, 0, &heap) == 0);
	server_kill();
	server_start(); /* has what the old one had */
	CHECK(lrp_endpoint_limit(&ep, 30) == 30);
	CHECK(server->hello_owner == 5);
	lrp_endpoint_close(&ep, &heap);
	server_kill();
}

static void run_stopped(void)
{
	struct lrp_endpoint ep;
	uint64_t start;

	CHECK(lrp_endpoint_open(&ep, 64, 0, &heap) == 0);
	/* It says so on the status page, and nobody waits for it. */
	server->page.lrpd_pid = 0;
	CHECK(lrp_endpoint_limit(&ep, 30) == 30);
	server_kill();
	start = lrp_now_ns();
	for (int i = 0; i < 100; i++)
		CHECK(lrp_endpoint_limit(&ep, 30) == -ENETDOWN);
	lrp_endpoint_close(&ep, &heap);
	CHECK(lrp_now_ns() - start < 200 * LRP_NS_PER_MS);
}

static void test_stopped(void **state)
{
	(void)state;
	in_child(run_stopped);
}

static void test_restarted(void **state)
{
	(void)state;
	in_child(run_restarted);
}

/* Half tokens in the process's memory from start to end, as /proc/self/mem says;
 * -1: not readable. */
static int tokens_in(uintptr_t start, uintptr_t end)
{
	static uint64_t words[512];
	/* Not the token itself, lest the search find what it looks for. */
	static const volatile uint64_t mask = 0x5555555555555555ull;
	int found = 0;

	for (; start < end; start += sizeof(words)) {
		struct iovec local = {words, sizeof(words)};
		struct iovec remote = {(void *)start, sizeof(words)};

		if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != sizeof(words))
			return -1;
		for (int i = 0; i < 512; i++)
			found += (words[i] ^ mask) == (TOKEN_0 ^ 0x5555555555555555ull) ||
				 (words[i] ^ mask) == (TOKEN_1 ^ 0x5555555555555555ull);
		explicit_bzero(words, sizeof(words));
	}
	return found;
}

/* Counts the half tokens that a core dump would contain, and those that it would not. */
static void find_tokens(int *dumped, int *kept)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	unsigned long long start = 0, end = 0, from, to;
	char line[512], rights[8] = "";

	*dumped = *kept = 0;
	CHECK(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		int n;

		if (sscanf(line, "%llx-%llx %7s", &from, &to, rights) == 3) {
			start = from;
			end = to;
			continue;
		}
		/* The last line of a mapping. What is only read holds nothing that we received. */
		if (strncmp(line, "VmFlags:", 8) || !strstr(line, " wr "))
			continue;
		n = tokens_in((uintptr_t)start, (uintptr_t)end);
		if (n > 0)
			*(strstr(line, " dd ") ? kept : dumped) += n;
	}
	fclose(smaps);
}

static void check_tokens(void)
{
	int dumped, kept;

	find_tokens(&dumped, &kept);

	CHECK(kept >= 2);
	CHECK(dumped == 0);
}

/* No core dump holds what proves the family: not after it came, was sent, or was inherited. */
static void run_secret(void)
{
	struct lrp_endpoint ep;
	int status;
	pid_t pid;

	CHECK(lrp_broker_ready());
	check_tokens();
	/* Said again on a new connection. */
	server->hang_up = 1;
	CHECK(lrp_endpoint_open(&ep, 0, 0, &heap) == 0);
	CHECK(server->requests[LRP_REQ_HELLO] == 2 && server->hello_owner == 5);
	check_tokens();
	lrp_endpoint_close(&ep, &heap);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_tokens();
		CHECK(lrp_endpoint_open(&ep, 0, 0, &heap) == 0);
		CHECK(server->hello_owner == 5);
		check_tokens();
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_secret(void **state)
{
	(void)state;
	in_child(run_secret);
}

static void run_nobody(void)
{
	struct lrp_endpoint ep;
	uint64_t start = lrp_now_ns();

	for (int i = 0; i < 1000; i++)
		CHECK(!lrp_broker_ready());
	CHECK(lrp_now_ns() - start < LRP_NS_PER_S);
	CHECK(lrp_broker_status()->pools_epoch == 0 && lrp_broker_status()->magic == 0);
	CHECK(lrp_endpoint_open(&ep, 64, 0, &heap) == -ENETDOWN);
	CHECK(lrp_broker_fragments() == NULL);
	lrp_endpoint_released(4);
	/* It comes later. */
	server_start();
	usleep(1100000);
	CHECK(lrp_broker_ready());
	CHECK(lrp_endpoint_open(&ep, 64, 0, &heap) == 0);
	server_kill();
}

static void test_nobody(void **state)
{
	(void)state;
	server_kill();
	in_child(run_nobody);
}

/* lrpd's directory for this network namespace, in a mount namespace of our own. */
static int make_place(void)
{
	char path[LRP_RUNDIR_PATH];

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", "/run", "tmpfs", 0, "mode=0755") || mkdir(LRP_RUN_DIR, 0755) ||
	    lrp_rundir_path(path, NULL) || mkdir(path, 0755))
		return -errno;
	return 0;
}

/* In namespaces of our own: the control address is free there, and AF_XDP needs no root. */
static int isolate(void)
{
	const int flags = CLONE_NEWNET | CLONE_NEWNS;
	uid_t uid = getuid();
	char map[32];
	int fd, n;

	if (unshare(uid ? CLONE_NEWUSER | flags : flags))
		return -errno;
	if (uid == 0)
		return make_place();
	n = snprintf(map, sizeof(map), "0 %u 1", (unsigned int)uid);
	fd = open("/proc/self/uid_map", O_WRONLY);
	if (fd < 0 || write(fd, map, (size_t)n) != n)
		return -EPERM;
	close(fd);
	return make_place();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_open_use_close, setup, teardown),
		cmocka_unit_test_setup_teardown(test_thousands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptors_run_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_replies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptor_stolen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fork, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refresh, setup, teardown),
		cmocka_unit_test_setup_teardown(test_held_frames_stay_mapped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restarted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_secret, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody, setup, teardown),
	};
	int error = isolate();

	setvbuf(stdout, NULL, _IONBF, 0);
	if (error || socket(AF_XDP, SOCK_RAW, 0) < 0) {
		printf("skipped: needs CAP_NET_RAW and CAP_SYS_ADMIN, or user namespaces: %s\n",
		       strerror(error ? -error : errno));
		return 77;
	}
	lrp_log_set_level((enum lrp_log_level)0);
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
