/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * authority_cost.c - what it costs to make and delete an exact entry through a family's program
 * [bpf/authority.bpf.c], and directly in the map, as privileged programs could. Alternating
 * rounds; medians.
 *
 *   authority_cost [ROUNDS]   as root; needs no interface
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <lrp/abi.h>

#include "../../bpf/authority.h"
#include "authority.skel.h"

#define OWNER	   7u
#define GENERATION 42u
#define ENDPOINT   5u
#define END	   3u
#define PORT	   5000
#define PAIRS	   20000u
#define MOST	   101

static struct authority_bpf *skel;

static void put(const struct bpf_map *map, const void *key, const void *value)
{
	if (bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY)) {
		perror(bpf_map__name(map));
		exit(1);
	}
}

static void set_up(void)
{
	struct lrp_end end = {.owner = OWNER, .generation = 9, .sockets = 1};
	struct lrp_family family = {.generation = GENERATION, .quota = 2};
	struct lrp_quota quota = {.limit = LRP_FLOWS / 4};
	struct lrp_local local = {.kind = LRP_LOCAL_UNICAST};
	struct lrp_end_key key = {.port = htons(PORT), .family = 4, .owner = OWNER};
	uint32_t owner = OWNER, endpoint = ENDPOINT, index = END, two = 2, all = LRP_QUOTA_ALL;

	skel = authority_bpf__open();
	if (!skel) {
		perror("authority.bpf.o");
		exit(1);
	}
	skel->rodata->lrp_owner = OWNER;
	skel->rodata->lrp_generation = GENERATION;
	if (authority_bpf__load(skel)) {
		fprintf(stderr, "the program does not load: run as root\n");
		exit(1);
	}
	key.addr.byte[10] = key.addr.byte[11] = 0xff;
	inet_pton(AF_INET, "198.18.1.1", &key.addr.byte[12]);
	put(skel->maps.lrp_local4, &key.addr.byte[12], &local);
	put(skel->maps.lrp_families, &owner, &family);
	put(skel->maps.lrp_quotas, &two, &quota);
	quota.limit = LRP_FLOWS;
	put(skel->maps.lrp_quotas, &all, &quota);
	put(skel->maps.lrp_endpoint_owners, &endpoint, &owner);
	put(skel->maps.lrp_ends, &index, &end);
	put(skel->maps.lrp_end_index, &key, &index);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "%s: %d %s\n", what, err, strerror(errno));
	exit(1);
}

/* ns for an entry made and deleted. */
static double checked(void)
{
	struct lrp_flow_call call = {.endpoint = ENDPOINT, .lport = htons(PORT), .fd = -1};
	int fd = bpf_program__fd(skel->progs.lrp_authority);
	uint64_t start = now_ns();
	union bpf_attr attr;

	call.laddr[2] = call.raddr[2] = htonl(0xffff);
	inet_pton(AF_INET, "198.18.1.1", &call.laddr[3]);
	inet_pton(AF_INET, "198.18.1.2", &call.raddr[3]);
	for (uint32_t i = 0; i < PAIRS; i++) {
		call.rport = htons((uint16_t)(i + 1));
		for (int op = 0; op < 2; op++) {
			call.op = op ? LRP_FLOW_DELETE : LRP_FLOW_ADD;
			memset(&attr, 0, sizeof(attr));
			attr.test.prog_fd = (uint32_t)fd;
			attr.test.ctx_in = (uintptr_t)&call;
			attr.test.ctx_size_in = sizeof(call);
			must(syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)) != 0 ||
				     attr.test.retval,
			     "program");
		}
	}
	return (double)(now_ns() - start) / PAIRS;
}

static double direct(void)
{
	struct lrp_flow4 key = {.lport = htons(PORT), .proto = IPPROTO_TCP};
	struct lrp_flow flow = {.endpoint = ENDPOINT, .owner = OWNER};
	int fd = bpf_map__fd(skel->maps.lrp_flows4);
	uint64_t start = now_ns();

	inet_pton(AF_INET, "198.18.1.1", &key.laddr);
	inet_pton(AF_INET, "198.18.1.2", &key.raddr);
	for (uint32_t i = 0; i < PAIRS; i++) {
		key.rport = htons((uint16_t)(i + 1));
		must(bpf_map_update_elem(fd, &key, &flow, BPF_NOEXIST), "update");
		must(bpf_map_delete_elem(fd, &key), "delete");
	}
	return (double)(now_ns() - start) / PAIRS;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 21;
	double program[MOST], map[MOST], ratio[MOST];

	if (rounds < 1 || rounds > MOST) {
		fprintf(stderr, "authority_cost: 1 to %d rounds\n", MOST);
		return 2;
	}
	set_up();
	checked();
	direct();
	for (int i = 0; i < rounds; i++) {
		map[i] = direct();
		program[i] = checked();
		ratio[i] = program[i] / map[i];
	}
	qsort(map, (size_t)rounds, sizeof(map[0]), by_value);
	qsort(program, (size_t)rounds, sizeof(program[0]), by_value);
	qsort(ratio, (size_t)rounds, sizeof(ratio[0]), by_value);
	printf("an entry made and deleted, %d rounds of %u: directly %.0f ns, through the program "
	       "%.0f ns, "
	       "ratio %.2f (%.2f to %.2f)\n",
	       rounds, PAIRS, map[rounds / 2], program[rounds / 2], ratio[rounds / 2], ratio[0],
	       ratio[rounds - 1]);
	authority_bpf__destroy(skel);
	return 0;
}
