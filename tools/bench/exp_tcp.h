/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * exp_tcp.h - what the TCP experiments share: a server and a client, measured together, and
 * systems compared in one run.
 */
#ifndef LRP_BENCH_EXP_TCP_H
#define LRP_BENCH_EXP_TCP_H

#include "bench.h"
#include "tcp_client.h"

#define TCP_PROGRAMS (1u << BED_PASS | 1u << BED_LRP | 1u << BED_DROP | 1u << BED_BARE)

/* What is measured of a run. */
enum tcp_unit {
	TCP_PER_S,   /* transactions of the client */
	TCP_MBIT_IN, /* payload that the server reads */
	TCP_MBIT_OUT /* payload that the client reads */
};

struct tcp_case {
	const char *name;	  /* in the tables and in JSON's "measure" */
	char *const *serve;	  /* options of stream, NULL-terminated */
	struct tcp_client client; /* its fields that go in, but addr and port */
	enum tcp_unit unit;
	const struct bench_system *baseline;
	double target; /* LRP against the baseline, at least; 0: a note alone */
	bool awake;    /* keep CPU S awake by idle polling, not by the spinner */
	bool far;      /* through the relay, which is running */
	double warm_s; /* 0: 0.3 */
};

struct tcp_sample {
	double value; /* in the case's unit; Mb/s of payload, or transactions/s */
	double cpu;   /* fraction of CPU S in use */
	double left;  /* what the client left of CPU N */
	double app;   /* segments of those in user space that the APP thread processed, 0..1 */
	bool disturbed;
};

/* Starts stream on a port of its own. 0 or -errno, said on stderr. */
int tcp_serve(struct bench *b, const struct bench_system *system, char *const serve[], bool far,
	      uint16_t *port, struct bed_proc *server);
/* Starts a client of it and waits until it is connected. */
int tcp_connect(struct bench *b, const struct bench_system *system, bool far, uint16_t port,
		struct tcp_client *client);

/* One server, one client, one window. 0 or -errno, said on stderr. */
int tcp_sample(struct bench *b, const struct tcp_case *c, const struct bench_system *system,
	       double seconds, struct tcp_sample *sample);

/* A B A B in the placement that is set; points, lines, target. */
int tcp_compare(struct bench *b, const struct tcp_case *c, int repeats, double seconds);

/* Each case that is wanted in each placement that is. 0 or -errno. */
int tcp_cases(struct bench *b, const char *name, const char *note, const struct tcp_case *cases,
	      int count);
bool tcp_wants(const struct bench *b, const char *name);

#endif
