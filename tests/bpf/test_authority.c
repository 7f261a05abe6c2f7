/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_authority.c - the program by which a family changes its exact entries [bpf/authority.bpf.c]:
 * what it refuses, to whom, and what is left when it is preempted between its check and its change.
 *
 * The maps are the program's own; this test plays lrpd.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h wants those first */
#include <cmocka.h>

#include <lrp/abi.h>

#include "../../bpf/authority.h"
#include "../lib/bed.h"
#include "authority.skel.h"

#define OWNER	   7u
#define GENERATION 42u
#define OTHER	   8u
#define ENDPOINT   5u
#define PORT	   5000
#define LADDR	   "198.18.1.1"
#define RADDR	   "198.18.1.2"
#define END	   3u

static struct authority_bpf *skel;

/* ---- lrpd's part ---------------------------------------------------------------- */

static void put(const struct bpf_map *map, const void *key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY), 0);
}

static struct lrp_addr6 mapped(const char *addr)
{
	struct lrp_addr6 a = {.byte = {[10] = 0xff, [11] = 0xff}};

	if (inet_pton(AF_INET, addr, &a.byte[12]) != 1)
		assert_int_equal(inet_pton(AF_INET6, addr, &a), 1);
	return a;
}

static void local_is(const char *addr)
{
	struct lrp_local local = {.kind = LRP_LOCAL_UNICAST};
	struct lrp_addr6 a = mapped(addr);

	if (strchr(addr, ':'))
		put(skel->maps.lrp_local6, &a, &local);
	else
		put(skel->maps.lrp_local4, &a.byte[12], &local);
}

static void family_is(uint64_t generation)
{
	struct lrp_family family = {.generation = generation, .quota = 2};
	uint32_t owner = OWNER;

	put(skel->maps.lrp_families, &owner, &family);
}

static void quota_is(uint32_t limit)
{
	struct lrp_quota quota = {.limit = limit};
	uint32_t index = 2, all = LRP_QUOTA_ALL;

	put(skel->maps.lrp_quotas, &index, &quota);
	quota.limit = 1000;
	put(skel->maps.lrp_quotas, &all, &quota);
}

static void endpoint_is(uint32_t owner)
{
	uint32_t endpoint = ENDPOINT;

	put(skel->maps.lrp_endpoint_owners, &endpoint, &owner);
}

static struct lrp_end end_get(uint32_t index)
{
	struct lrp_end end;

	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(skel->maps.lrp_ends), &index, &end), 0);
	return end;
}

/* addr NULL: the wildcard. Added to the port's list. */
static void end_is(uint32_t index, uint32_t owner, const char *addr, uint32_t sockets)
{
	struct lrp_end end = {.owner = owner, .generation = 9, .sockets = sockets};
	struct lrp_end_key key = {.port = htons(PORT), .family = 4, .owner = owner};
	uint32_t port = PORT, head = 0;
	int heads = bpf_map__fd(skel->maps.lrp_end_heads);

	if (addr) {
		key.addr = end.addr = mapped(addr);
		key.family = strchr(addr, ':') ? 6 : 4;
		end.v6 = key.family == 6;
	}
	assert_int_equal(bpf_map_lookup_elem(heads, &port, &head), 0);
	if (head != index)
		end.next = head;
	put(skel->maps.lrp_ends, &index, &end);
	put(skel->maps.lrp_end_index, &key, &index);
	put(skel->maps.lrp_end_heads, &port, &index);
}

static uint64_t netns_cookie(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	uint64_t cookie;
	socklen_t len = sizeof(cookie);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len), 0);
	close(fd);
	return cookie;
}

static int set_up_with(uint32_t step, uint32_t rounds)
{
	skel = authority_bpf__open();
	assert_non_null(skel);
	skel->rodata->lrp_owner = OWNER;
	skel->rodata->lrp_generation = GENERATION;
	skel->rodata->lrp_stall_step = step;
	skel->rodata->lrp_stall = rounds;
	skel->rodata->lrp_netns = netns_cookie();
	assert_int_equal(authority_bpf__load(skel), 0);
	family_is(GENERATION);
	quota_is(100);
	endpoint_is(OWNER);
	local_is(LADDR);
	local_is("127.0.0.1");
	end_is(END, OWNER, LADDR, 1);
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	return set_up_with(0, 0);
}

static int tear_down(void **state)
{
	(void)state;
	authority_bpf__destroy(skel);
	return 0;
}

/* ---- the client's part -------------------------------------------------------------- */

static struct lrp_flow_call call_of(enum lrp_flow_op op, const char *laddr, const char *raddr,
				    uint16_t rport)
{
	struct lrp_flow_call call = {.op = op,
				     .endpoint = ENDPOINT,
				     .lport = htons(PORT),
				     .rport = htons(rport),
				     .fd = -1};
	struct lrp_addr6 l = mapped(laddr), r = mapped(raddr);

	memcpy(call.laddr, &l, sizeof(l));
	memcpy(call.raddr, &r, sizeof(r));
	return call;
}

static int run(const struct lrp_flow_call *call)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = call, .ctx_size_in = sizeof(*call));
	int err = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.lrp_authority), &opts);

	return err ? -errno : (int)opts.retval;
}

static int flow(enum lrp_flow_op op, uint16_t rport)
{
	struct lrp_flow_call call = call_of(op, LADDR, RADDR, rport);

	return run(&call);
}

static bool flow_get(uint16_t rport, struct lrp_flow *value)
{
	struct lrp_addr6 l = mapped(LADDR), r = mapped(RADDR);
	struct lrp_flow4 key = {.lport = htons(PORT), .rport = htons(rport), .proto = IPPROTO_TCP};

	memcpy(&key.laddr, &l.byte[12], 4);
	memcpy(&key.raddr, &r.byte[12], 4);
	return !bpf_map_lookup_elem(bpf_map__fd(skel->maps.lrp_flows4), &key, value);
}

static void flow_put(uint16_t rport, const struct lrp_flow *value)
{
	struct lrp_addr6 l = mapped(LADDR), r = mapped(RADDR);
	struct lrp_flow4 key = {.lport = htons(PORT), .rport = htons(rport), .proto = IPPROTO_TCP};

	memcpy(&key.laddr, &l.byte[12], 4);
	memcpy(&key.raddr, &r.byte[12], 4);
	put(skel->maps.lrp_flows4, &key, value);
}

static int bound(const char *addr, uint16_t port, int listens)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	socklen_t len = sizeof(uint64_t);
	uint64_t cookie;

	inet_pton(AF_INET, addr, &a.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len), 0);
	if (listens)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* ---- what is allowed ------------------------------------------------------------------ */

static void test_own_end(void **state)
{
	struct lrp_flow value;

	(void)state;
	assert_int_equal(flow(LRP_FLOW_ADD, 6000), 0);
	assert_true(flow_get(6000, &value));
	assert_int_equal(value.endpoint, ENDPOINT);
	assert_int_equal(value.owner, OWNER);
	assert_int_equal(value.end, END);
	assert_int_equal(value.generation, 9);
	assert_int_equal(end_get(END).flows, 1);
	assert_int_equal(flow(LRP_FLOW_ADD, 6000), -EEXIST);
	assert_int_equal(flow(LRP_FLOW_SET, 6000), 0);
	assert_int_equal(flow(LRP_FLOW_DELETE, 6000), 0);
	assert_false(flow_get(6000, &value));
	assert_int_equal(end_get(END).flows, 0);
	assert_int_equal(flow(LRP_FLOW_DELETE, 6000), -ENOENT);
}

static void test_moves_in_place(void **state)
{
	uint32_t second = ENDPOINT + 1, owner = OWNER;
	struct lrp_flow_call call = call_of(LRP_FLOW_SET, LADDR, RADDR, 6000);
	struct lrp_flow value;

	(void)state;
	put(skel->maps.lrp_endpoint_owners, &second, &owner);
	assert_int_equal(flow(LRP_FLOW_ADD, 6000), 0);
	call.endpoint = second;
	assert_int_equal(run(&call), 0);
	assert_true(flow_get(6000, &value));
	assert_int_equal(value.endpoint, second);
	call.endpoint = second + 1; /* nobody's */
	assert_int_equal(run(&call), -EPERM);
	call.endpoint = 0; /* the fragments' */
	assert_int_equal(run(&call), -EPERM);
	call.endpoint = 0xffffffff;
	assert_int_equal(run(&call), -EPERM);
}

static void test_foreign_ends(void **state)
{
	struct lrp_flow_call call;

	(void)state;
	/* Another port. */
	call = call_of(LRP_FLOW_ADD, LADDR, RADDR, 6000);
	call.lport = htons(PORT + 1);
	assert_int_equal(run(&call), -EADDRNOTAVAIL);
	/* An address that is not the host's, although the family is bound to it (IP_FREEBIND). */
	end_is(END + 1, OWNER, "203.0.113.8", 1);
	call = call_of(LRP_FLOW_ADD, "203.0.113.8", RADDR, 6000);
	assert_int_equal(run(&call), -EADDRNOTAVAIL);
	/* One of the host's that the family has not. */
	local_is("198.18.2.1");
	call = call_of(LRP_FLOW_ADD, "198.18.2.1", RADDR, 6000);
	assert_int_equal(run(&call), -EADDRNOTAVAIL);
	/* Addresses of two families. */
	call = call_of(LRP_FLOW_ADD, LADDR, "2001:db8::1", 6000);
	assert_int_equal(run(&call), -EINVAL);
	call = call_of(LRP_FLOW_ADD, "2001:db8::1", RADDR, 6000);
	assert_int_equal(run(&call), -EINVAL);
	call = call_of(0, LADDR, RADDR, 6000);
	assert_int_equal(run(&call), -EINVAL);
	call = call_of(99, LADDR, RADDR, 6000);
	assert_int_equal(run(&call), -EINVAL);
}

/* A wildcard end covers the host's addresses, but not one that another family has on this port. */
static void test_specific_end_of_others(void **state)
{
	struct lrp_flow_call call = call_of(LRP_FLOW_ADD, "198.18.2.1", RADDR, 6000);

	(void)state;
	local_is("198.18.2.1");
	end_is(END + 1, OWNER, NULL, 1);
	assert_int_equal(run(&call), 0);
	end_is(END + 2, OTHER, "198.18.2.1", 1);
	call.rport = htons(6001);
	assert_int_equal(run(&call), -EACCES);
	/* No socket of theirs is there any more. */
	end_is(END + 2, OTHER, "198.18.2.1", 0);
	assert_int_equal(run(&call), 0);
}

static void test_dead_end(void **state)
{
	struct lrp_flow value;

	(void)state;
	assert_int_equal(flow(LRP_FLOW_ADD, 6000), 0);
	end_is(END, OWNER, LADDR, 0);
	assert_int_equal(flow(LRP_FLOW_ADD, 6001), -EADDRNOTAVAIL);
	assert_int_equal(flow(LRP_FLOW_SET, 6000), -EADDRNOTAVAIL);
	/* The four-tuple may be reserved; XDP does not look there. */
	assert_int_equal(flow(LRP_FLOW_RESERVE, 6001), 0);
	assert_true(flow_get(6001, &value));
	assert_int_equal(value.generation, 0);
	assert_int_equal(flow(LRP_FLOW_RESERVE, 6001), -EEXIST);
	assert_int_equal(flow(LRP_FLOW_ADD, 6001), -EADDRNOTAVAIL);
	end_is(END, OWNER, LADDR, 1);
	assert_int_equal(flow(LRP_FLOW_ADD, 6001), 0);
	assert_true(flow_get(6001, &value));
	assert_int_equal(value.generation, 9);
}

static void test_gone_family(void **state)
{
	(void)state;
	family_is(GENERATION + 1);
	assert_int_equal(flow(LRP_FLOW_ADD, 6000), -ESTALE);
	family_is(0);
	assert_int_equal(flow(LRP_FLOW_ADD, 6000), -ESTALE);
	assert_int_equal(flow(LRP_FLOW_DELETE, 6000), -ESTALE);
}

static void test_entries_of_others(void **state)
{
	struct lrp_flow theirs = {.endpoint = 6, .owner = OTHER, .end = END + 1, .generation = 9};
	struct lrp_flow lrpds = {.endpoint = 6, .owner = OWNER}, value;
	struct lrp_family family = {.generation = 1, .quota = LRP_QUOTA_ROOT};
	uint32_t other = OTHER;

	(void)state;
	put(skel->maps.lrp_families, &other, &family);
	end_is(END + 1, OTHER, "198.18.2.1", 1);
	flow_put(6000, &theirs);
	assert_int_equal(flow(LRP_FLOW_ADD, 6000), -EEXIST);
	assert_int_equal(flow(LRP_FLOW_SET, 6000), -EEXIST);
	assert_int_equal(flow(LRP_FLOW_RESERVE, 6000), -EEXIST);
	assert_int_equal(flow(LRP_FLOW_DELETE, 6000), -ENOENT);
	assert_true(flow_get(6000, &value));
	assert_memory_equal(&value, &theirs, sizeof(value));
	/* One that lrpd wrote is not the family's to change. */
	flow_put(6001, &lrpds);
	assert_int_equal(flow(LRP_FLOW_SET, 6001), -EEXIST);
	assert_int_equal(flow(LRP_FLOW_DELETE, 6001), -ENOENT);
	/* Theirs no longer counts: it keeps nobody from the four-tuple. */
	theirs.generation = 8;
	flow_put(6000, &theirs);
	assert_int_equal(flow(LRP_FLOW_ADD, 6000), 0);
	assert_true(flow_get(6000, &value));
	assert_int_equal(value.owner, OWNER);
}

static void test_kernel_connection(void **state)
{
	struct lrp_addr6 l = mapped(LADDR), r = mapped(RADDR);
	struct lrp_flow4 key = {.lport = htons(PORT), .rport = htons(6000), .proto = IPPROTO_TCP};
	struct lrp_kernel seen = {.seen = 1};

	(void)state;
	memcpy(&key.laddr, &l.byte[12], 4);
	memcpy(&key.raddr, &r.byte[12], 4);
	put(skel->maps.lrp_kernel4, &key, &seen);
	assert_int_equal(flow(LRP_FLOW_ADD, 6000), -EEXIST);
	assert_int_equal(flow(LRP_FLOW_SET, 6000), -EEXIST);
	assert_int_equal(flow(LRP_FLOW_RESERVE, 6000), -EEXIST);
	assert_int_equal(flow(LRP_FLOW_ADD, 6001), 0);
}

static void test_quota(void **state)
{
	(void)state;
	quota_is(2);
	assert_int_equal(flow(LRP_FLOW_ADD, 6000), 0);
	assert_int_equal(flow(LRP_FLOW_ADD, 6001), 0);
	assert_int_equal(flow(LRP_FLOW_ADD, 6002), -EDQUOT);
	assert_int_equal(flow(LRP_FLOW_ADD, 6001), -EEXIST);
	assert_int_equal(flow(LRP_FLOW_DELETE, 6000), 0);
	assert_int_equal(flow(LRP_FLOW_ADD, 6002), 0);
	assert_int_equal(flow(LRP_FLOW_ADD, 6003), -EDQUOT);
}

/* ---- sockets that the caller names ------------------------------------------------------ */

static int with_fd(int fd, const char *laddr, uint16_t rport)
{
	struct lrp_flow_call call = call_of(LRP_FLOW_SET, laddr, RADDR, rport);

	call.fd = fd;
	return run(&call);
}

static void test_socket(void **state)
{
	int fd = bound("127.0.0.1", PORT, 0), other = bound("127.0.0.1", PORT + 1, 0);
	int listener = bound("127.0.0.1", PORT + 2, 1), pipes[2], unbound, udp;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	struct lrp_shadow shadow;
	socklen_t len = sizeof(uint64_t);
	uint64_t cookie;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	unbound = socket(AF_INET, SOCK_STREAM, 0);
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
	assert_int_equal(bind(udp, (struct sockaddr *)&a, sizeof(a)), 0);
	getsockopt(udp, SOL_SOCKET, SO_COOKIE, &cookie, &len);
	end_is(END, OWNER, "127.0.0.1", 0);
	assert_int_equal(with_fd(-1, "127.0.0.1", 6000), -EADDRNOTAVAIL);
	assert_int_equal(with_fd(other, "127.0.0.1", 6000), -EBADF);
	assert_int_equal(with_fd(listener, "127.0.0.1", 6000), -EBADF);
	assert_int_equal(with_fd(unbound, "127.0.0.1", 6000), -EBADF);
	assert_int_equal(with_fd(udp, "127.0.0.1", 6000), -EBADF);
	assert_int_equal(with_fd(pipes[0], "127.0.0.1", 6000), -EBADF);
	assert_int_equal(with_fd(999, "127.0.0.1", 6000), -EBADF);
	assert_int_equal(with_fd(0x7fffffff, "127.0.0.1", 6000), -EBADF);
	assert_int_equal(end_get(END).sockets, 0);
	assert_int_equal(with_fd(fd, "127.0.0.1", 6000), 0);
	assert_int_equal(end_get(END).sockets, 1);
	/* Once is enough. */
	assert_int_equal(with_fd(fd, "127.0.0.1", 6001), 0);
	assert_int_equal(end_get(END).sockets, 1);
	getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len);
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(skel->maps.lrp_shadows), &cookie, &shadow),
			 0);
	assert_int_equal(shadow.end[0], END);
	assert_int_equal(shadow.reasons, LRP_SHADOW_FOUND);
	close(fd);
	close(other);
	close(listener);
	close(unbound);
	close(udp);
	close(pipes[0]);
	close(pipes[1]);
}

/* ---- without privilege --------------------------------------------------------------------- */

static int bpf_call(int cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr)) ? -errno : 0;
}

static int as_nobody(int (*what)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (setgid(65534) || setuid(65534))
			_exit(200);
		_exit(what() & 0xff);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int use(void)
{
	return flow(LRP_FLOW_ADD, 6000) || flow(LRP_FLOW_DELETE, 6000);
}

static int misuse(void)
{
	struct lrp_flow_call call = call_of(LRP_FLOW_ADD, LADDR, RADDR, 6000);
	int fd = bpf_program__fd(skel->progs.lrp_authority);
	union bpf_attr attr;

	/* Cut short, repeated, with flags: the kernel refuses. */
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.ctx_in = (uintptr_t)&call;
	attr.test.ctx_size_in = 8;
	if (!bpf_call(BPF_PROG_TEST_RUN, &attr))
		return 1;
	attr.test.ctx_size_in = sizeof(call);
	attr.test.repeat = 1000;
	if (!bpf_call(BPF_PROG_TEST_RUN, &attr))
		return 2;
	attr.test.repeat = 0;
	attr.test.flags = 1;
	if (!bpf_call(BPF_PROG_TEST_RUN, &attr))
		return 3;
	/* No map can be had from the program's descriptor. */
	for (uint32_t id = 0;;) {
		memset(&attr, 0, sizeof(attr));
		attr.start_id = id;
		if (bpf_call(BPF_MAP_GET_NEXT_ID, &attr))
			break;
		id = attr.next_id;
		memset(&attr, 0, sizeof(attr));
		attr.map_id = id;
		if (bpf_call(BPF_MAP_GET_FD_BY_ID, &attr) != -EPERM)
			return 4;
	}
	return 0;
}

static void test_nobody(void **state)
{
	(void)state;
	assert_int_equal(as_nobody(use), 0);
	assert_int_equal(as_nobody(misuse), 0);
}

/* ---- preempted ------------------------------------------------------------------- */

static _Atomic int result, started;

static void *stalled(void *arg)
{
	started = 1;
	result = flow(*(enum lrp_flow_op *)arg, 6000);
	return NULL;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Everything that lrpd takes away, each in its turn. */
static void take_family(void)
{
	family_is(0);
}

static void take_endpoint(void)
{
	endpoint_is(0);
}

static void take_end(void)
{
	struct lrp_end_key key = {
		.addr = mapped(LADDR), .port = htons(PORT), .family = 4, .owner = OWNER};

	assert_int_equal(bpf_map_delete_elem(bpf_map__fd(skel->maps.lrp_end_index), &key), 0);
	end_is(END, 0, NULL, 0);
}

/*
 * lrpd takes an authority away while the program stands at `step`. After a grace period it purges:
 * from then on there is no entry, however long the program had been standing there.
 */
static void stall(uint32_t step, void (*take)(void), enum lrp_flow_op op)
{
	struct lrp_flow value;
	pthread_t thread;
	uint64_t begin;

	set_up_with(step, 1u << 23);
	result = started = 0;
	assert_int_equal(pthread_create(&thread, NULL, stalled, &op), 0);
	while (!started)
		;
	usleep(5000);
	begin = now_ms();
	take();
	assert_int_equal(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0), 0);
	if (flow_get(6000, &value)) {
		struct lrp_addr6 l = mapped(LADDR), r = mapped(RADDR);
		struct lrp_flow4 key = {
			.lport = htons(PORT), .rport = htons(6000), .proto = IPPROTO_TCP};

		memcpy(&key.laddr, &l.byte[12], 4);
		memcpy(&key.raddr, &r.byte[12], 4);
		assert_int_equal(bpf_map_delete_elem(bpf_map__fd(skel->maps.lrp_flows4), &key), 0);
	}
	printf("step %u: %llu ms until the grace period was over\n", step,
	       (unsigned long long)(now_ms() - begin));
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(flow_get(6000, &value));
	/* It did stand there: nothing else takes so long. */
	assert_true(result == 0 || result == -ESTALE || result == -EPERM ||
		    result == -EADDRNOTAVAIL);
	tear_down(NULL);
}

static void test_stalled(void **state)
{
	(void)state;
	for (uint32_t step = 1; step <= 3; step++) {
		stall(step, take_family, LRP_FLOW_ADD);
		stall(step, take_endpoint, LRP_FLOW_ADD);
		stall(step, take_end, LRP_FLOW_ADD);
		stall(step, take_end, LRP_FLOW_SET);
	}
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_own_end),
		T(test_moves_in_place),
		T(test_foreign_ends),
		T(test_specific_end_of_others),
		T(test_dead_end),
		T(test_gone_family),
		T(test_entries_of_others),
		T(test_kernel_connection),
		T(test_quota),
		T(test_socket),
		T(test_nobody),
		cmocka_unit_test(test_stalled),
	};

	(void)argc;
	bed_enter(argv);
	bed_sh("ip link set lo up");
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
