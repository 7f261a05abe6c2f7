/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_control_fuzz.c - the control protocol through its handlers: processes of several users send
 * lrpd requests that are nearly right, with any descriptors, on connections that come and go, while
 * another socket receives. LRP_FUZZ_SECONDS; LRP_SEED repeats a run's requests. lrpd answers root
 * all the time, stays the same process, and in the end has every frame, endpoint and descriptor.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "../../runtime/base/rundir.h"
#include "../lib/bed.h"
#include "../lib/check.h"
#include "control_client.h"

#define LRP	    "build/bin/lrp "
#define FUZZERS	    4u
#define CONNECTIONS 6u
#define FDS	    24u
#define KNOWN	    64u

static uint64_t random_state;

static uint32_t any(uint32_t below)
{
	/* xorshift64* */
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return below ? (uint32_t)((random_state * 2685821657736338717ull) >> 32) % below : 0;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* ---- one fuzzer ------------------------------------------------------------------------ */

static struct {
	int fd;
	unsigned int asked; /* type of the last request */
	__u32 owner;
	__u64 token[2];
} connection[CONNECTIONS];
static int fds[FDS];
static _Atomic uint32_t *granted; /* shared: by type of request */
static __u32 known[KNOWN];	  /* endpoints that somebody here got */

static int inet_socket(int family, int type, bool bound, bool listens)
{
	struct sockaddr_in6 addr = {.sin6_family = (sa_family_t)family};
	int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (bound)
		bind(fd, (struct sockaddr *)&addr,
		     family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(addr));
	if (listens)
		listen(fd, 1);
	return fd;
}

static int make_fd(void)
{
	int pair[2];

	switch (any(14)) {
	case 0:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case 1:
		return epoll_create1(EPOLL_CLOEXEC);
	case 2:
		return eventfd(0, EFD_CLOEXEC);
	case 3:
		return memfd_create("fuzz", MFD_CLOEXEC);
	case 4:
		if (pipe2(pair, O_CLOEXEC))
			return -1;
		close(pair[0]);
		return pair[1];
	case 5:
		if (socketpair(AF_UNIX, any(2) ? SOCK_SEQPACKET : SOCK_STREAM, 0, pair))
			return -1;
		close(pair[0]);
		return pair[1];
	case 6:
		return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	case 7: /* lrpd's own */
		return lrp_rundir_connect(LRP_CONTROL_FILE, SOCK_NONBLOCK);
	default:
		return inet_socket(any(2) ? AF_INET : AF_INET6, any(3) ? SOCK_DGRAM : SOCK_STREAM,
				   any(4), any(2));
	}
}

static __u32 endpoint(void)
{
	static const __u32 odd[] = {0, 1, 2, 8191, 8192, 0x7fffffff, 0x80000000, 0xffffffff};

	return any(4) ? known[any(KNOWN)] : any(2) ? odd[any(8)] : any(9000);
}

static __u32 number(void)
{
	static const __u32 odd[] = {0,		1,	    2,	       4,     15,    16,
				    17,		64,	    65,	       255,   256,   257,
				    32767,	32768,	    32769,     65535, 65536, 1u << 20,
				    0x7fffffff, 0x80000000, 0xffffffff};

	return any(3) ? odd[any(sizeof(odd) / sizeof(odd[0]))] : any(0xffffffff);
}

static void fill(struct lrp_request *request, unsigned int c, bool root)
{
	static const __u16 types[] = {
		LRP_REQ_HELLO,	   LRP_REQ_HELLO,     LRP_REQ_POOL,	   LRP_REQ_USER_PAGE,
		LRP_REQ_ENDPOINTS, LRP_REQ_ENDPOINTS, LRP_REQ_ADOPT,	   LRP_REQ_PUBLISH,
		LRP_REQ_PUBLISH,   LRP_REQ_PUBLISH,   LRP_REQ_LIMIT,	   LRP_REQ_RELEASE,
		LRP_REQ_RELEASE,   LRP_REQ_STATUS,    LRP_REQ_CHANNELS,	   LRP_REQ_TX,
		LRP_REQ_FLOWS,	   LRP_REQ_CLAIM,     LRP_REQ_MEMBER,	   LRP_REQ_ATTACH,
		LRP_REQ_DETACH,	   LRP_REQ_AUDIT,     LRP_REQ_STOP,	   LRP_REQ_PROVE,
		LRP_REQ_PROXIES,   LRP_REQ_PROXY_SET, LRP_REQ_PROXY_SERVE,
	};

	memset(request, 0, sizeof(*request));
	if (!any(8))
		for (size_t i = 0; i < sizeof(request->raw) / sizeof(request->raw[0]); i++)
			request->raw[i] = any(0xffffffff);
	request->magic = any(200) ? LRP_ABI_MAGIC : number();
	request->version = (__u16)(any(200) ? LRP_ABI_VERSION : number());
	request->type = types[any(sizeof(types) / sizeof(types[0]))];
	if (!any(100))
		request->type = (__u16)number();
	if (root && (request->type & 0x7fff) == LRP_REQ_STOP)
		request->type = LRP_REQ_AUDIT;
	if (!any(20))
		request->type |= LRP_REQ_AGAIN;
	request->id = any(50) ? any(1000) + 1 : number();
	switch (request->type & 0x7fff) {
	case LRP_REQ_HELLO:
		request->hello.owner = any(2)	? connection[any(CONNECTIONS)].owner
				       : any(3) ? 0
						: number();
		memcpy(request->hello.token, connection[any(CONNECTIONS)].token,
		       sizeof(request->hello.token));
		if (!any(4))
			request->hello.token[any(2)] = number();
		break;
	case LRP_REQ_POOL:
	case LRP_REQ_USER_PAGE:
		request->pool = any(3) ? any(8) : number();
		break;
	case LRP_REQ_ENDPOINTS:
		request->count = any(3) ? 1 + any(4) : number();
		request->endpoints.ring_size = any(2) ? 0 : number();
		request->endpoints.limit = any(2) ? 0 : number();
		request->endpoints.guarantee = any(2) ? 0 : number();
		break;
	case LRP_REQ_ADOPT:
		request->adopt.endpoint = endpoint();
		request->adopt.pool = any(3) ? any(4) : number();
		break;
	case LRP_REQ_PUBLISH:
		request->count = any(3) ? any(18) : number();
		request->publish.endpoint = endpoint();
		request->publish.flags = any(3) ? any(2) : number();
		for (unsigned int i = 0; i < 16; i++) {
			request->publish.membership[i].ifindex = any(3) ? any(6) : number();
			memset(&request->publish.membership[i].group, any(2) ? 0xff : (int)any(256),
			       16);
		}
		break;
	case LRP_REQ_LIMIT:
		request->limit.endpoint = endpoint();
		request->limit.limit = number();
		break;
	case LRP_REQ_RELEASE:
		request->endpoint = endpoint();
		break;
	case LRP_REQ_TX:
		request->tx.ifindex = any(3) ? any(6) : number();
		break;
	case LRP_REQ_PROXY_SET: /* none on: their processes would be counted as left behind */
		request->proxy.kinds = any(5) ? any(16) : number();
		request->proxy.changes =
			(any(5) ? any(64) : number()) & ~(unsigned int)LRP_PROXY_CHANGE_ON;
		request->proxy.nice = (int)any(41) - 20;
		request->proxy.limit = any(3) ? 32 + any(1000) : number();
		request->proxy.ports = any(3) ? any(18) : number();
		if (!any(10))
			memset(request->proxy.cgroup, 'x', sizeof(request->proxy.cgroup));
		break;
	case LRP_REQ_PROXY_SERVE:
		request->serve.kind = any(3) ? any(4) : number();
		request->serve.endpoint[0] = endpoint();
		request->serve.endpoint[1] = endpoint();
		break;
	case LRP_REQ_ATTACH:
	case LRP_REQ_DETACH: /* s0 stays */
		snprintf(request->attach.ifname, sizeof(request->attach.ifname), "%s",
			 any(2)	  ? "s1"
			 : any(2) ? "lo"
				  : "s2");
		request->attach.mode = any(5);
		request->attach.frames = any(3) ? 1024 : number() & 0xffff;
		request->attach.frame_size = any(3) ? 0 : number();
		if (!any(20))
			memset(request->attach.ifname, 'x', sizeof(request->attach.ifname));
		break;
	}
	(void)c;
}

/* How many descriptors the type wants, mostly. */
static int fd_count(const struct lrp_request *request)
{
	unsigned int type = request->type & 0x7fffu;

	if (!any(10))
		return (int)any(20);
	if (type == LRP_REQ_PUBLISH)
		return !(request->publish.flags & LRP_PUBLISH_WITHDRAW);
	if (type == LRP_REQ_MEMBER || type == LRP_REQ_PROVE)
		return 1;
	/* With a proof, mostly none. */
	if (type == LRP_REQ_ATTACH || type == LRP_REQ_DETACH || type == LRP_REQ_AUDIT ||
	    type == LRP_REQ_STOP || type == LRP_REQ_PROXY_SET)
		return (int)any(2);
	return type == LRP_REQ_CLAIM ? 1 + (int)any(8) : 0;
}

static void listen_to(unsigned int c)
{
	struct pollfd pfd = {.fd = connection[c].fd, .events = POLLIN};
	struct lrp_reply reply;
	int got[LRP_CONTROL_MAX_FDS], count, err;

	if (poll(&pfd, 1, any(4) ? 0 : 20) <= 0)
		return;
	memset(&reply, 0, sizeof(reply));
	err = control_reply(connection[c].fd, &reply, got, &count);
	if (err == 1) {
		close(connection[c].fd);
		connection[c].fd = -1;
		return;
	}
	if (!err)
		granted[connection[c].asked]++;
	/* It may be the answer to an earlier request: no matter. */
	if (!err && count == 1 && reply.hello.owner && reply.hello.owner < LRP_OWNERS) {
		connection[c].owner = reply.hello.owner;
		memcpy(connection[c].token, reply.hello.token, sizeof(reply.hello.token));
	}
	if (!err && reply.count && reply.count <= LRP_CONTROL_MAX_BATCH)
		for (__u32 i = 0; i < reply.count; i++)
			known[any(KNOWN)] = reply.endpoints.endpoint[i];
	for (int i = 0; i < count; i++) {
		unsigned int at = any(FDS);

		if (any(8)) {
			close(got[i]);
			continue;
		}
		close(fds[at]);
		fds[at] = got[i];
	}
}

static _Noreturn void fuzz(uid_t uid, uint64_t seed, uint64_t until_ms)
{
	struct rlimit limit = {1024, 1024};

	random_state = seed | 1;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (uid)
		must(!setgroups(0, NULL) && !setgid(uid) && !setuid(uid), "setuid");
	for (unsigned int c = 0; c < CONNECTIONS; c++)
		connection[c].fd = -1;
	for (unsigned int i = 0; i < FDS; i++)
		fds[i] = make_fd();
	for (unsigned int n = 0; now_ms() < until_ms; n++) {
		unsigned int c = any(CONNECTIONS);
		struct lrp_request request;
		int pass[20], count;
		size_t size;

		if (connection[c].fd < 0)
			connection[c].fd = lrp_rundir_connect(
				uid || any(2) ? LRP_CONTROL_FILE : LRP_ADMIN_FILE, SOCK_NONBLOCK);
		if (connection[c].fd < 0) {
			usleep(1000);
			continue;
		}
		fill(&request, c, uid == 0);
		count = fd_count(&request);
		for (int i = 0; i < count; i++)
			pass[i] = fds[any(FDS)];
		size = any(300) ? sizeof(request) : any(sizeof(request));
		for (int i = 0; i < count; i++)
			if (pass[i] < 0)
				count = 0;
		control_send(connection[c].fd, &request, size, pass, count);
		connection[c].asked = request.type & 0x3fu;
		if (any(5))
			listen_to(c);
		if (!any(50)) {
			close(connection[c].fd);
			connection[c].fd = -1;
		}
		if (!any(4)) {
			unsigned int at = any(FDS);

			close(fds[at]);
			fds[at] = make_fd();
		}
		/* Dies with all that it has, another comes. */
		if (!any(3000))
			_exit(0);
		if (uid)
			usleep(any(2000)); /* within its share of lrpd's time */
	}
	_exit(0);
}

/* ---- the bed ------------------------------------------------------------------------------ */

static unsigned int descriptors_of(pid_t pid)
{
	char path[64];
	unsigned int n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static bool all_back(void)
{
	return !system("test \"$(build/bin/lrp status --json | jq .endpoints_used)\" = 0 && "
		       "build/bin/lrp status --audit >/dev/null");
}

int main(int argc, char **argv)
{
	static const uid_t uids[FUZZERS] = {65534, 65534, 20001, 0};
	const char *given = getenv("LRP_SEED"), *length = getenv("LRP_FUZZ_SECONDS");
	uint64_t seed, until, longest = 0, asked = 0;
	pid_t child[FUZZERS], lrpd;
	unsigned int before, after = 0;

	(void)argc;
	bed_enter(argv);
	bed_needs_lrpd();
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	seed = given ? strtoull(given, NULL, 0) : now_ms();
	printf("LRP_SEED=%llu\n", (unsigned long long)seed);
	bed_sh(BED_NET);
	bed_sh("echo 'allow-uid = 20001' >>/etc/lrp/lrpd.conf");
	bed_sh(LRP "attach s0 --frames 4096 >/dev/null");
	lrpd = control_lrpd_pid();
	before = descriptors_of(lrpd);
	granted = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(granted != MAP_FAILED, "mmap");
	until = now_ms() + (length ? strtoull(length, NULL, 10) : 10) * 1000;
	for (unsigned int i = 0; i < FUZZERS; i++) {
		child[i] = fork();
		if (!child[i])
			fuzz(uids[i], seed + i, until);
	}
	for (uint64_t round = FUZZERS; now_ms() < until;) {
		uint64_t start = now_ms(), took;

		CHECK(!system("timeout 5 " LRP "status >/dev/null"), "root is not answered");
		took = now_ms() - start;
		longest = took > longest ? took : longest;
		asked++;
		for (unsigned int i = 0; i < FUZZERS; i++) {
			if (waitpid(child[i], NULL, WNOHANG) != child[i])
				continue;
			child[i] = fork();
			if (!child[i])
				fuzz(uids[i], seed + round, until);
			round++;
		}
		if (check_failures)
			break;
		usleep(50000);
	}
	for (unsigned int i = 0; i < FUZZERS; i++) {
		kill(child[i], SIGKILL);
		waitpid(child[i], NULL, 0);
	}
	printf("root asked %llu times, waited %llu ms at most\n", (unsigned long long)asked,
	       (unsigned long long)longest);
	CHECK(control_lrpd_pid() == lrpd, "lrpd has died");
	/* Else it is the validator alone that was tested. */
	for (unsigned int type = LRP_REQ_HELLO; type <= LRP_REQ_PROXY_SET; type++) {
		printf("%u ", granted[type]);
		CHECK(granted[type] || type == LRP_REQ_STOP, "no request of type %u was granted",
		      type);
	}
	printf("granted, by type\n");
	bed_sh(LRP "detach s1 >/dev/null 2>&1; " LRP "detach lo >/dev/null 2>&1; true");
	for (int i = 0; i < 100 && !all_back(); i++)
		usleep(50000);
	CHECK(all_back(), "endpoints or frames are missing");
	/* Sockets of root's family are kept for the next. */
	after = descriptors_of(lrpd);
	CHECK(after < before + 8192, "lrpd has %u descriptors, %u before", after, before);
	bed_sh(LRP "stop");
	return check_failures != 0;
}
