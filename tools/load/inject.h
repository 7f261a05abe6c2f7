/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * inject.h - packets out of one CPU at several million a second.
 *
 * BPF_PROG_RUN with live frames redirects frames of bpf/load.bpf.c out of one
 * end of a veth pair, in the caller's network namespace, in the caller's
 * context: no socket, no qdisc, no system call per packet. The other end sees
 * them as it sees any packet.
 *
 * It is a weapon, so it is locked to a test bed: the device must be a veth, and
 * not in the machine's first network namespace.
 *
 * Threads: one at a time per struct lrp_inject.
 */
#ifndef LRP_INJECT_H
#define LRP_INJECT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum lrp_inject_kind {
	LRP_INJECT_UDP,
	LRP_INJECT_UDP_BAD, /* wrong checksum */
	LRP_INJECT_ECHO,    /* ICMP echo requests, IPv4 */
	LRP_INJECT_ARP,	    /* broadcast questions for `dst` */
	LRP_INJECT_SYN,
	LRP_INJECT_ACK,	    /* of no connection */
	LRP_INJECT_TCP_BAD, /* a SYN with a wrong checksum */
};

struct lrp_inject_spec {
	char device[16]; /* veth in the current namespace */
	uint8_t dmac[6]; /* of the veth's other end, or the next hop */
	int family;	 /* AF_INET or AF_INET6 */
	enum lrp_inject_kind kind;
	union {
		struct in_addr v4;
		struct in6_addr v6;
	} src, dst;	       /* src: the first of `sources`, counted upwards in the low 32 bits */
	uint32_t sources;      /* 0: 1 */
	uint16_t sport, dport; /* the first of sports, dports; a later one is base + i */
	uint32_t sports, dports; /* 0: 1 */
	uint32_t payload; /* bytes of UDP payload, at least 8: a sequence number comes first */
	uint32_t mtu;	  /* larger datagrams go in IPv4 fragments; 0: 1500 */
	bool no_checksum;
};

struct lrp_inject;

/* 0 or -errno; `error` says what and why in one line. */
int lrp_inject_open(struct lrp_inject **inject, const struct lrp_inject_spec *spec, char *error,
		    size_t error_size);
void lrp_inject_close(struct lrp_inject *inject);

/*
 * The rate from now on, frames a second, in bursts of at most 100 us: 0: none, UINT64_MAX: as many
 * as possible. What could not be sent in time because the CPU was somebody else's is not caught up.
 */
void lrp_inject_rate(struct lrp_inject *inject, uint64_t rate);
/*
 * Sends what is due for some milliseconds; to be called over and over. The CPU can be
 * preempted meanwhile. A frame that the device refuses (its peer's ring is full) is
 * gone, as on a wire, and counted by the device. 0 or -errno.
 */
int lrp_inject_run(struct lrp_inject *inject);
/* Datagrams go out only while their number is below the limit, which any process that shares
 * the memory (a fork) may raise. */
void lrp_inject_limit(struct lrp_inject *inject, uint64_t datagrams);

/* Sequence number of the next datagram. */
uint64_t lrp_inject_sequence(const struct lrp_inject *inject);

/* Other ports and another number of sources, from the next frame on. */
void lrp_inject_aim(struct lrp_inject *inject, uint16_t dport, uint32_t dports, uint32_t sources);

/* Frames given to the device so far; true at any moment, also in a process that was forked. */
uint64_t lrp_inject_sent(const struct lrp_inject *inject);
/*
 * The same pacing for those who send in other ways: call it over and over with now_ns; it
 * returns the number of packets to send now.
 */
struct lrp_pacer {
	uint64_t rate;
	uint64_t last_ns;
	uint64_t credit_ns; /* time not yet spent */
};
#define LRP_BURST_NS 100000u
void lrp_pacer_set(struct lrp_pacer *pacer, uint64_t rate, uint64_t now_ns);
uint32_t lrp_pacer_due(struct lrp_pacer *pacer, uint64_t now_ns);

#endif
