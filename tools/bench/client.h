/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * client.h - the clients of the measurements: ping-pong and the sliding
 * window. Each runs as a process on CPU N in the client's namespace.
 */
#ifndef LRP_BENCH_CLIENT_H
#define LRP_BENCH_CLIENT_H

#include "bed/bed.h"
#include "bed/measure.h"

#define CLIENT_SAMPLES (1u << 20)

/* Shared with the client process. */
struct client_ping {
	/* in */
	struct in_addr addr;
	uint16_t port;
	uint32_t length;     /* bytes of payload, at least 1 */
	uint32_t count;	     /* so many round trips, 0: */
	double seconds;	     /* or so long */
	uint32_t timeout_ms; /* unanswered for so long: lost */
	/* out */
	uint32_t done, lost, late;
	uint64_t elapsed_ns;
	int error; /* errno, 0 if it ran */
	uint32_t rtt_ns[CLIENT_SAMPLES];
};

struct client_ping *client_ping_new(void);
void client_ping_free(struct client_ping *ping);
/* Runs it to its end. 0 or -errno. */
int client_ping_run(struct bed *bed, struct client_ping *ping);
/* rtt_ns at a quantile (0..1), sorted in place by the first call after a run. */
double client_ping_quantile(struct client_ping *ping, double q);

struct client_window {
	/* in */
	uint16_t port;
	uint32_t payload; /* bytes of a datagram */
	uint32_t window;  /* datagrams under way, at most; twice what the receiver acknowledges at
			     once or more */
	double seconds;
	/* out */
	double mbit; /* Mb/s of payload that the receiver counted */
	uint64_t elapsed_ns,
		starved_ns; /* of that with nothing under way: the client was too slow */
	uint32_t timeouts;
	int error;
	char text[256];
};

/* Runs it to its end and measures the receiver after `warm_s`. 0 or -errno. */
int client_window_run(struct bed *bed, struct client_window *w, const struct bed_proc *receiver,
		      double warm_s, struct bed_window *window);

#endif
