/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * harness.h - the XDP program with small maps of its own, and packets through
 * BPF_PROG_TEST_RUN. Every run checks what always holds: exactly one reason is
 * counted, it fits the verdict, and no channel but the expected one changes.
 *
 * TEST_RUN does not carry out a redirect; behind the XSKMAP stand AF_XDP
 * sockets with an RX ring that are bound to nothing.
 */
#ifndef LRP_TEST_HARNESS_H
#define LRP_TEST_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants those first */
#include <cmocka.h>
#include <stdbool.h>

#include <lrp/abi.h>

#include "../../bpf/authority.h"

#include "packets.h"

#define H_ENDPOINTS 64u
#define H_QUEUES    2u
#define H_CHANNELS  (H_ENDPOINTS * H_QUEUES)
#define H_IFINDEX   42u /* in the device record; no such device is needed */
#define H_LIMIT	    100u
#define H_PAYLOAD   3000u /* bytes that one frame holds */
#define H_OWNER	    7u

struct lrp_xdp_bpf;

struct harness {
	struct lrp_xdp_bpf *skel;
	int prog;
	int xsk; /* stands behind every channel that is made */
	int cpus;
	uint32_t ifindex, queue; /* packets come from; 0: the default (lo, queue 0) */
	/* the maps, mmapped */
	struct lrp_device *device;
	struct lrp_channel *channel;
	struct lrp_pool *pool;
	struct lrp_port *port;
	struct lrp_group *group;
	struct lrp_orphans *orphans; /* wanted: one socket of each family */
	struct lrp_user *user;	     /* page 0; slot = channel id */
	uint32_t end, generation;    /* of flows that are made */
	/* of the last run */
	uint32_t verdict;
	enum lrp_xdp_reason reason;
	uint32_t meta_len;
	uint64_t meta;
};

/* Made anew for each test. `concurrent`: the program's parameter. */
void harness_open(struct harness *h, bool concurrent);
void harness_close(struct harness *h);

/* cmocka fixtures: *state is a struct harness. */
int harness_setup(void **state);
int harness_teardown(void **state);

/* Opens the channel of an endpoint on a queue: limit H_LIMIT, all of it guaranteed. */
struct lrp_channel *harness_channel(struct harness *h, uint32_t queue, uint32_t endpoint);
struct lrp_user *harness_user(struct harness *h, uint32_t queue, uint32_t endpoint);
void harness_no_socket(struct harness *h, uint32_t queue, uint32_t endpoint);

/* Demultiplexing. Each opens the endpoint's channel on queue 0. proto 0: UDP. */
void harness_any(struct harness *h, int family, int proto, uint16_t port, uint32_t target);
void harness_bind(struct harness *h, int proto, const char *addr, uint16_t port, uint32_t target);
/* The kernel has a TCP connection; the port says that there are some. */
void harness_kernel(struct harness *h, const char *laddr, uint16_t lport, const char *raddr,
		    uint16_t rport);
/* The end that the exact entries of TCP which harness_flow() makes from now on name; 0: none. */
void harness_end(struct harness *h, uint32_t index, uint32_t generation);
void harness_flow(struct harness *h, int proto, const char *laddr, uint16_t lport,
		  const char *raddr, uint16_t rport, uint32_t endpoint);
void harness_member(struct harness *h, const char *group, uint16_t port, uint32_t ifindex,
		    uint32_t endpoint);
void harness_local(struct harness *h, const char *addr, uint32_t kind, uint32_t ifindex);
/* Returns the target word. */
uint32_t harness_group(struct harness *h, uint32_t index, uint32_t count,
		       const uint32_t *endpoints);

uint64_t harness_count(struct harness *h, enum lrp_xdp_reason reason);
uint64_t harness_count_all(struct harness *h);
const char *harness_reason(enum lrp_xdp_reason reason);

/* Runs one packet; fills verdict, reason, meta. `what` is printed when a check fails. */
enum lrp_xdp_reason harness_run(struct harness *h, const char *what, const struct packet *packet);

#define ANY_ENDPOINT 0xffffffffu

/* Runs it and fails unless it ends so. `endpoint`: whose channel counts it, for reasons that
 * a channel counts; ANY_ENDPOINT: do not look. */
void harness_expect(struct harness *h, const char *what, const struct packet *packet,
		    enum lrp_xdp_reason reason, uint32_t endpoint);
void harness_expect_spec(struct harness *h, const char *what, const struct spec *spec,
			 enum lrp_xdp_reason reason, uint32_t endpoint);

struct table_case {
	const char *what;
	struct spec spec;
	enum lrp_xdp_reason reason;
	uint32_t endpoint;
	void (*mutate)(struct packet *packet);
};

void harness_table(struct harness *h, const struct table_case *table, size_t count);

/* What lies in lrp_fragments for the datagram of this fragment; -1: nothing. */
int64_t harness_fragment(struct harness *h, const struct packet *packet, int family,
			 uint8_t fragment_proto, uint32_t id);

int harness_map(struct harness *h, const char *name);

#endif
