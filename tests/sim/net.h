/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * net.h - a network with virtual time between TCP connections of the pure core.
 *
 *   client ──► link ──► server        A link belongs to the whole network: connections
 *   client ◄── link ◄── server        that name the same one share its bottleneck.
 *
 * Segments travel as bytes with Ethernet and IP headers and are parsed by lrp_ip_input() and
 * lrp_tcp_segment_read(): what is corrupted must fail its checksum. Both streams are patterns of
 * the offset and are compared byte by byte; after each event lrp_tcp_check() must hold, and what
 * goes out must respect the windows that were offered. Everything follows from the seed.
 *
 * A failure prints the last packets and ends the test. LRP_SIM_TRACE=1 prints all of them.
 */
#ifndef LRP_SIM_NET_H
#define LRP_SIM_NET_H

#include "runtime/tcp/listen.h"
#include "runtime/tcp/tcp.h"
#include "runtime/tcp/timewait.h"

#define MS     1000000ll
#define SECOND 1000000000ll
#define SIM_T0 (1000 * SECOND) /* virtual time begins here */

/* One direction. Chances are per packet, 0 to 1. */
struct sim_link {
	double loss, duplicate, corrupt;
	double reorder; /* so many are overtaken: they take reorder_ns longer */
	int64_t reorder_ns;
	int64_t delay_ns;     /* propagation */
	int64_t jitter_ns;    /* up to so much more, in order */
	uint64_t bits_per_s;  /* 0: no bottleneck */
	uint32_t queue_bytes; /* what waits before the bottleneck; tail drop */
	uint32_t mark_bytes;  /* ECN: beyond it ECN-capable packets are marked; 0: never */
	uint32_t mtu;	      /* larger packets are answered by ICMP; 0: none are too large */
	bool black_hole;      /* or vanish */
	/* totals */
	uint64_t packets, bytes, lost, overflowed, too_big, marked;
	/* state */
	int64_t free_ns; /* when the bottleneck has sent what waits */
	int64_t last_ns; /* arrival of the last packet that kept its place */
};

/* What the application at one end does. */
struct sim_app {
	struct lrp_tcp_options opt;
	uint64_t send;		       /* bytes, then it shuts down its side */
	int64_t start_ns;	       /* after SIM_T0 */
	int64_t pause_ns;	       /* between two reads; 0: reads at once */
	uint32_t read_most;	       /* bytes per read; 0: all */
	uint32_t snd_bytes, rcv_bytes; /* buffers, powers of two */
	uint32_t mtu;		       /* of its device */
	uint32_t run_max;	       /* segmentation offload: bytes per run */
	double refuse;		       /* chance that the device refuses a run */
	bool autotune;		       /* buffers grow as the connection asks */
	bool ends; /* closes when it has sent and received everything; else stays open */
};

struct sim_end {
	struct sim *sim;
	struct lrp_tcp c;
	struct lrp_tcp_flow flow;
	struct sim_app app;
	struct sim_end *peer;
	struct sim_link *out;
	bool passive, open, shut, closed;
	uint64_t stream;	/* key of the pattern that it sends */
	uint64_t written, read; /* bytes */
	bool eof;
	int64_t eof_ns;
	int64_t read_ns; /* it pauses until then; 0: not at all */
	int64_t start_ns;
	uint32_t edge; /* of the window that has arrived */
	bool edge_known;
	uint32_t promised; /* right edge that we have offered */
	bool promised_known;
	uint64_t corrupted; /* packets that failed their checksum */
	/* the passive side's */
	struct lrp_tcp_listener listener;
	struct lrp_tcp_half half[8];
	struct lrp_tcp_timewaits timewaits;
	struct lrp_tcp_timewait timewait[4];
};

#define SIM_ENDS_MAX  64
#define SIM_LINKS_MAX 8

struct sim {
	uint64_t seed;
	uint64_t random;
	int64_t now;
	struct sim_end end[SIM_ENDS_MAX];
	uint32_t ends;
	struct sim_link link[SIM_LINKS_MAX];
	uint32_t links;
	struct sim_event *event; /* heap by time */
	uint32_t events, room;
	uint64_t order;
	uint64_t icmps;
	bool unchecked; /* without lrp_tcp_check(), which takes long with large windows */
	bool icmp_off;	/* no ICMP comes through */
};

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *s);
/* The link, to be changed at any time. */
struct sim_link *sim_link(struct sim *s, const struct sim_link *l);
/* An application that sends `send` bytes with buffers of 256 KiB over an Ethernet. */
struct sim_app sim_app(uint64_t send);
/* A client that connects at its start_ns, and its server. Returns the client; ->peer is the server.
 */
struct sim_end *sim_pair(struct sim *s, int family, struct sim_link *there, struct sim_link *back,
			 const struct sim_app *client, const struct sim_app *server);
/* Until this time after SIM_T0, or nothing happens any more. */
void sim_run(struct sim *s, int64_t until_ns);
/* Until all applications have sent and received everything and, if they end, no connection is left
 * but in TIME_WAIT. Fails if that takes longer. Returns the time it took. */
int64_t sim_finish(struct sim *s, int64_t limit_ns);
/* Prints the last packets and what failed, and ends the program. */
void sim_fail(struct sim *s, const char *format, ...)
	__attribute__((format(printf, 2, 3), noreturn));

/* Ends a long test as skipped under a sanitizer, where it would take minutes: test_transfer has the
 * same code run. */
void sim_not_sanitized(void);

uint64_t sim_random(struct sim *s);
/* True with this chance. */
bool sim_chance(struct sim *s, double chance);

#endif
