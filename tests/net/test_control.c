/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_control.c - lrpd against clients that are wrong, greedy, silent or hostile:
 * malformed requests, descriptors that nobody asked for, quotas, guarantees, endpoints of
 * others, a stolen token, sockets of other namespaces, replies that are not read.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <dirent.h>

#include <lrp/control.h>

#include "../lib/bed.h"
#include "../lib/check.h"
#include "control_client.h"

static int simple(int fd, unsigned int type)
{
	struct lrp_request request = {.type = (__u16)type, .count = 1};
	struct lrp_reply reply;

	return control_ask(fd, &request, NULL, 0, &reply);
}

static int bound_socket(__be16 port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = port};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		perror("bind");
		exit(1);
	}
	return fd;
}

static int descriptors_of(int pid)
{
	char path[64];
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static void malformed(void)
{
	struct lrp_request request = {0};
	struct lrp_reply reply;
	char large[8192];
	int fd, got, fds[40], before = descriptors_of(control_lrpd_pid());

	memset(large, 0x5a, sizeof(large));
	for (size_t size = 0; size < sizeof(large); size = size * 3 + 1) {
		fd = control_dial();
		control_send(fd, large, size, NULL, 0);
		CHECK(control_reply(fd, &reply, NULL, &got) == 1,
		      "%zu bytes of nonsense were answered", size);
		close(fd);
	}
	fd = control_dial();
	request.magic = LRP_ABI_MAGIC;
	request.version = LRP_ABI_VERSION + 1;
	request.type = LRP_REQ_HELLO;
	control_send(fd, &request, sizeof(request), NULL, 0);
	CHECK(control_reply(fd, &reply, NULL, &got) == -EPROTO, "another version: %d", reply.error);
	CHECK(simple(fd, 0) == -ENOSYS, "type 0");
	CHECK(simple(fd, 999) == -ENOSYS, "type 999");
	CHECK(simple(fd, LRP_REQ_ENDPOINTS) == -EACCES, "endpoints before hello");
	CHECK(simple(fd, LRP_REQ_POOL) == -EACCES, "pool before hello");
	request.type = LRP_REQ_HELLO;
	request.hello.owner = 5000;
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == -EACCES, "owner that does not exist");
	request.hello.owner = 0;
	for (int i = 0; i < 40; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK(control_ask(fd, &request, fds, 40, &reply) == -EBADMSG, "hello with 40 descriptors");
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == 0, "hello: %d", reply.error);
	request.type = LRP_REQ_ATTACH;
	memset(request.attach.ifname, 'x', sizeof(request.attach.ifname));
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == -EINVAL, "name without end");
	request.type = LRP_REQ_PUBLISH;
	request.count = 17;
	request.publish.flags = 0;
	CHECK(control_ask(fd, &request, fds, 1, &reply) == -EINVAL, "17 memberships");
	request.count = 0;
	request.publish.endpoint = 0xfffffff0;
	request.publish.flags = 0;
	CHECK(control_ask(fd, &request, fds, 1, &reply) == -ENOENT, "endpoint that does not exist");
	request.publish.endpoint = 0;
	CHECK(control_ask(fd, &request, fds, 1, &reply) == -ENOENT, "the fragment endpoint");
	request = (struct lrp_request){.type = LRP_REQ_ADOPT, .adopt = {1, 0xffffffff}};
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == -ENOENT, "adopt: %d", reply.error);
	request.adopt.endpoint = 0;
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == -ENOENT, "adopt of no pool: %d",
	      reply.error);
	request = (struct lrp_request){.type = LRP_REQ_USER_PAGE, .pool = 0x80000000};
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == -ENOENT, "user page: %d", reply.error);
	for (int i = 0; i < 40; i++)
		close(fds[i]);
	close(fd);
	usleep(200000);
	CHECK(descriptors_of(control_lrpd_pid()) == before, "lrpd kept descriptors: %d, %d before",
	      descriptors_of(control_lrpd_pid()), before);
}

/* Clients of other versions, whose requests are of other sizes, too, are told so. */
static void versions(void)
{
	static const size_t sizes[] = {
		12, 100, sizeof(struct lrp_request), sizeof(struct lrp_request) + 1, 1000, 6000};
	int before = descriptors_of(control_lrpd_pid()), got;
	char message[6000];

	memset(message, 0, sizeof(message));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct lrp_request head = {.magic = LRP_ABI_MAGIC,
					   .version = LRP_ABI_VERSION + 7,
					   .type = LRP_REQ_HELLO,
					   .id = 77};
		int fd = control_dial(), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
		struct lrp_reply reply = {0};
		char says[32];

		memcpy(message, &head, sizes[i] < sizeof(head) ? sizes[i] : sizeof(head));
		control_send(fd, message, sizes[i], &null, 1);
		CHECK(control_reply(fd, &reply, NULL, &got) == -EPROTO && reply.id == 77,
		      "%zu bytes: %d", sizes[i], reply.error);
		snprintf(says, sizeof(says), "version %u of", LRP_ABI_VERSION + 7);
		CHECK(strstr(reply.error_text, says), "%zu bytes: %s", sizes[i], reply.error_text);
		close(null);
		close(fd);
	}
	usleep(200000);
	CHECK(descriptors_of(control_lrpd_pid()) == before, "lrpd kept descriptors");
}

static void publishing(void)
{
	struct lrp_request request = {.type = LRP_REQ_ENDPOINTS, .count = 2};
	struct lrp_reply reply;
	int fd = control_dial(), other = control_dial(), shadow,
	    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	__u32 mine[2];
	pid_t child;

	CHECK(control_hello(fd, &reply) == 0, "hello");
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == 0, "endpoints: %d", reply.error);
	CHECK(reply.count == 2, "%u endpoints", reply.count);
	memcpy(mine, reply.endpoints.endpoint, sizeof(mine));
	request = (struct lrp_request){.type = LRP_REQ_PUBLISH, .publish.endpoint = mine[0]};
	CHECK(control_ask(fd, &request, &null, 1, &reply) == -ENOTSOCK, "a file: %d", reply.error);
	shadow = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(control_ask(fd, &request, &shadow, 1, &reply) == -EDESTADDRREQ, "not bound: %d",
	      reply.error);
	close(shadow);
	shadow = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(control_ask(fd, &request, &shadow, 1, &reply) == -EAFNOSUPPORT, "unix: %d",
	      reply.error);
	close(shadow);
	shadow = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(control_ask(fd, &request, &shadow, 1, &reply) == -EDESTADDRREQ, "tcp, not bound: %d",
	      reply.error);
	CHECK(!bind(shadow, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET},
		    sizeof(struct sockaddr_in)),
	      "bind");
	CHECK(control_ask(fd, &request, &shadow, 1, &reply) == -EDESTADDRREQ,
	      "tcp, does not listen: %d", reply.error);
	close(shadow);
	shadow = socket(AF_INET, SOCK_SEQPACKET | SOCK_CLOEXEC, IPPROTO_SCTP);
	if (shadow >= 0)
		CHECK(control_ask(fd, &request, &shadow, 1, &reply) == -EPROTONOSUPPORT, "sctp: %d",
		      reply.error);
	close(shadow);
	/* Of another network namespace: whoever has a socket there has no say here. */
	{
		int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

		if (unshare(CLONE_NEWNET))
			perror("unshare");
		shadow = bound_socket(htons(9999));
		if (setns(here, CLONE_NEWNET))
			exit(1);
		close(here);
		CHECK(control_ask(fd, &request, &shadow, 1, &reply) == -EXDEV, "foreign: %d",
		      reply.error);
		close(shadow);
	}
	shadow = bound_socket(htons(7001));
	CHECK(control_ask(fd, &request, &shadow, 1, &reply) == 0, "publish: %d", reply.error);
	CHECK(control_ask(fd, &request, &shadow, 1, &reply) == 0, "publish again: %d", reply.error);
	request.publish.endpoint = mine[1];
	CHECK(control_ask(fd, &request, &shadow, 1, &reply) == -EEXIST, "one socket twice: %d",
	      reply.error);
	/* Another family must not touch it. */
	CHECK(control_hello(other, &reply) == 0, "hello");
	request.publish.endpoint = mine[0];
	CHECK(control_ask(other, &request, &shadow, 1, &reply) == -EPERM, "other's: %d",
	      reply.error);
	request = (struct lrp_request){.type = LRP_REQ_LIMIT, .limit = {mine[0], 8}};
	CHECK(control_ask(other, &request, NULL, 0, &reply) == -EPERM, "other's limit: %d",
	      reply.error);
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == 0 && reply.limit.limit == 8,
	      "limit: %u", reply.limit.limit);
	request.limit.limit = 1u << 30;
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == 0 && reply.limit.limit <= 256,
	      "limit: %u", reply.limit.limit);
	request = (struct lrp_request){.type = LRP_REQ_RELEASE, .endpoint = mine[0]};
	CHECK(control_ask(other, &request, NULL, 0, &reply) == -EPERM, "other's release: %d",
	      reply.error);
	/* Released while the socket is open elsewhere: stays. */
	child = fork();
	if (!child) {
		pause();
		_exit(0);
	}
	close(shadow);
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == 0, "release: %d", reply.error);
	request = (struct lrp_request){.type = LRP_REQ_LIMIT, .limit = {mine[0], 8}};
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == 0,
	      "a child has the socket, but it went: %d", reply.error);
	/* That child dies without a word: nobody has it any more. */
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	usleep(950000);
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == -ENOENT,
	      "not reclaimed in a second: %d", reply.error);
	close(null);
	close(other);
	close(fd);
}

/* As nobody: what this user may have, and how little it can do to others. */
static void as_nobody(void)
{
	struct lrp_request request = {.type = LRP_REQ_ENDPOINTS, .count = 64};
	struct lrp_reply reply, family;
	int fd = control_dial(), thief, n = 0, err = 0;

	CHECK(simple(fd, LRP_REQ_STOP) == -EPERM, "stop");
	CHECK(simple(fd, LRP_REQ_AUDIT) == -EPERM, "audit");
	CHECK(simple(fd, LRP_REQ_ATTACH) == -EPERM, "attach");
	CHECK(simple(fd, LRP_REQ_STATUS) == 0, "status");
	CHECK(control_hello(fd, &family) == 0, "hello: %d", family.error);
	request.endpoints.guarantee = 1000;
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == -EPERM, "a large guarantee: %d",
	      reply.error);
	request.endpoints.guarantee = 0;
	request.endpoints.ring_size = 1u << 31;
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == -EINVAL, "a huge ring: %d",
	      reply.error);
	request.endpoints.ring_size = 16;
	while (n < 2000 && !(err = control_ask(fd, &request, NULL, 0, &reply)))
		n += (int)reply.count;
	CHECK(err == -EDQUOT && n == 100, "%d endpoints until %d; --quota is 100", n, err);
	thief = control_dial();
	request =
		(struct lrp_request){.type = LRP_REQ_HELLO, .hello = {.owner = family.hello.owner}};
	CHECK(control_ask(thief, &request, NULL, 0, &reply) == -EACCES, "no token: %d",
	      reply.error);
	/* Any bit of the 128 counts. */
	for (int bit = 0; bit < 128; bit++) {
		memcpy(request.hello.token, family.hello.token, sizeof(request.hello.token));
		request.hello.token[bit / 64] ^= 1ull << bit % 64;
		CHECK(control_ask(thief, &request, NULL, 0, &reply) == -EACCES,
		      "a token with bit %d wrong: %d", bit, reply.error);
	}
	memcpy(request.hello.token, family.hello.token, sizeof(request.hello.token));
	CHECK(control_ask(thief, &request, NULL, 0, &reply) == 0, "a child's hello: %d",
	      reply.error);
	close(thief);
	close(fd);
}

static void greedy(void)
{
	pid_t child = fork();
	int status;

	if (!child) {
		if (setgid(65534) || setuid(65534))
			_exit(1);
		check_failures = 0;
		as_nobody();
		fflush(stdout);
		_exit(check_failures != 0);
	}
	waitpid(child, &status, 0);
	CHECK(status == 0, "as nobody");
	/* All of it is back when the process is gone. */
	usleep(800000);
	CHECK(system("test \"$($LRP_BUILD/bin/lrp status --json | jq .endpoints_used)\" = 0") == 0,
	      "endpoints of a dead process are in use");
	CHECK(system("$LRP_BUILD/bin/lrp status --audit >/dev/null") == 0, "audit");
}

/* Guarantees never exceed the UMEM: the rest is refused, and nobody loses his. */
static void guarantees(void)
{
	struct lrp_request request = {.type = LRP_REQ_ENDPOINTS, .count = 1};
	struct lrp_reply reply;
	int fd = control_dial(), n = 0, err = 0;

	CHECK(control_hello(fd, &reply) == 0, "hello");
	request.endpoints.guarantee = 100;
	while (n < 1000 && !(err = control_ask(fd, &request, NULL, 0, &reply)))
		n++;
	/* 1024 frames, 64 for fragments, 64 in reserve. */
	CHECK(err == -ENOBUFS && n == 8, "%d endpoints of 100 guaranteed frames until %d", n, err);
	close(fd);
	usleep(300000);
}

/* Asks without end and reads nothing: dropped, and nobody waits for it. */
static void silent(void)
{
	struct lrp_request request = {
		.magic = LRP_ABI_MAGIC, .version = LRP_ABI_VERSION, .type = LRP_REQ_STATUS};
	struct lrp_reply reply;
	int fd = control_dial(), other = control_dial(), n;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (n = 0; n < 100000; n++) {
		ssize_t sent = control_send(fd, &request, sizeof(request), NULL, 0);

		if (sent < 0 && errno == EPIPE)
			break;
		if (sent < 0)
			usleep(1000);
	}
	CHECK(n < 100000, "a client that reads nothing is kept");
	CHECK(control_hello(other, &reply) == 0, "another client after it: %d", reply.error);
	close(fd);
	close(other);
}

/* The state has the families' tokens: no core file of lrpd has it. */
static void tokens_not_dumped(void)
{
	unsigned int mapped = 0, dumped = 0;
	char path[64], line[512];
	bool state = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)control_lrpd_pid());
	file = fopen(path, "re");
	must(file != NULL, path);
	while (fgets(line, sizeof(line), file)) {
		state |= strstr(line, "/memfd:lrp-state") != NULL;
		if (strncmp(line, "VmFlags:", 8))
			continue;
		mapped += state;
		dumped += state && !strstr(line, " dd");
		state = false;
	}
	fclose(file);
	CHECK(mapped && !dumped, "of %u mappings of the state %u are in a core file", mapped,
	      dumped);
}

int main(int argc, char **argv)
{
	(void)argc;
	bed_enter(argv);
	bed_needs_lrpd();
	setenv("LRP_BUILD", "build", 0);
	bed_sh(BED_NET);
	bed_sh("$LRP_BUILD/bin/lrpd --quota 100 && $LRP_BUILD/bin/lrp attach s0 --frames 1024 "
	       ">/dev/null");
	tokens_not_dumped();
	malformed();
	versions();
	publishing();
	greedy();
	guarantees();
	silent();
	CHECK(system("$LRP_BUILD/bin/lrp status --audit >/dev/null") == 0, "audit at the end");
	bed_sh("$LRP_BUILD/bin/lrp stop");
	return check_failures != 0;
}
