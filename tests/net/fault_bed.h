/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fault_bed.h - what the fault tests share: receivers in processes of their own
 * that note every sequence number, numbered load from lrp-load, and what lrpd says.
 *
 *    client ns                      this namespace
 *   [lrp-load] c0 ════════════ s0 198.18.1.1   [receivers]  lrpd
 *
 * The test process itself opens no LRP socket, so each receiver it forks is a
 * family of its own. lrp-load numbers its packets from 0 and sends them to `ports`
 * ports in turn: port k gets the numbers that leave the remainder k.
 */
#ifndef LRP_TEST_FAULT_BED_H
#define LRP_TEST_FAULT_BED_H

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lrp/lrp.h>

#include "../lib/check.h"

#define FAULT_PORT   5000
#define FAULT_SEQS   (8u << 20)
#define FAULT_FAMILY 8 /* processes of a family at most */

/* A receiver: in memory that the test and its processes share. */
struct fault_app {
	/* set before it is spawned */
	uint16_t port;
	uint16_t ports;	   /* of the load; this one's remainder is port - FAULT_PORT */
	uint32_t frames;   /* SO_RCVBUF, in frames; 0: as it is */
	uint32_t batch;	   /* of recvmmsg */
	uint32_t children; /* processes forked after bind, that share the socket */
	int nice;
	uid_t uid; /* not 0: without any privilege */
	bool echo; /* answers every datagram */
	/* 0: as a receiver does */
	int (*body)(struct fault_app *app, int fd);
	void *arg;
	/* said by the receiver */
	_Atomic pid_t pid[FAULT_FAMILY];   /* [0]: who made the socket */
	_Atomic uint64_t of[FAULT_FAMILY]; /* received by it */
	_Atomic int ready, done;	   /* done: 1 + its result, directly before it ends */
	_Atomic bool stop;
	_Atomic uint64_t received, doubled, strange, errors;
	_Atomic int last_errno;
	_Atomic uint64_t last_ns, gap_ns; /* longest time without a datagram since `gap_from_ns` */
	_Atomic uint64_t gap_from_ns;
	_Atomic uint64_t call, kernel, dropped,
		channels;      /* lrp_stats(), now and then, of its first process */
	_Atomic uint32_t step; /* for bodies */
	_Atomic unsigned char seen[FAULT_SEQS];
};

/* Enters the bed, makes its network, attaches s0 to a fresh lrpd. */
void fault_begin(char **argv, const char *attach_options);
/* Ends lrpd; the exit code. */
int fault_end(void);

uint64_t fault_now_ns(void);
void fault_sleep_ms(unsigned int ms);
uint32_t fault_random(uint32_t below);		/* LRP_SEED repeats a run */
unsigned int fault_soak_s(unsigned int normal); /* LRP_SOAK_SECONDS if that is less or check-long */
/* Waits until it is true; false if it is not within `ms`. */
#define FAULT_WAIT(cond, ms)                                                                       \
	({                                                                                         \
		uint64_t until_ = fault_now_ns() + (uint64_t)(ms)*1000000u;                        \
		bool ok_;                                                                          \
		while (!(ok_ = (cond)) && fault_now_ns() < until_)                                 \
			fault_sleep_ms(2);                                                         \
		ok_;                                                                               \
	})

struct fault_app *fault_app_new(uint16_t port, uint16_t ports);
void fault_app_free(struct fault_app *app);
pid_t fault_spawn(struct fault_app *app); /* returns when it has bound its socket */
void fault_stop(struct fault_app *app);	  /* ends it in peace and waits */
/* kill -9 of all its processes; waits for nothing. A process of which only the idle helper is left
 * stays a zombie for as long as the CPUs are busy; what it had must be free at once. */
void fault_kill(struct fault_app *app);
bool fault_receives(struct fault_app *app, unsigned int ms); /* something more within ms */
/* In the receiver: */
int fault_socket(struct fault_app *app);
int fault_receive(struct fault_app *app, int fd); /* the usual body: until stop */
void fault_note(struct fault_app *app, const void *payload, size_t len);
void fault_stats(struct fault_app *app, int fd);
/* Can the kernel bind it within ms? Returns how long that took, or -1. */
int fault_port_free(uint16_t port, unsigned int ms);

struct fault_load {
	FILE *out;
	pid_t pid;
	uint16_t ports;
	uint64_t link_drops; /* before */
	uint64_t sent;
};
void fault_load_start(struct fault_load *load, uint16_t ports, unsigned int rate,
		      unsigned int seconds);
void fault_load_stop(struct fault_load *load);
/* Have all numbers of this load, as far as the link did not lose them, been received once? At most
 * `may_miss` others may be missing. */
void fault_check_all(struct fault_app *app, struct fault_load *load, uint64_t may_miss,
		     const char *what);

int fault_lrpd_pid(void); /* -1: none answers */
struct fault_pool {
	long frames, free, queued, held, quarantined, kernel, lost, doubled;
	bool ok;
};
/* Sums over all pools. False: no lrpd answered. */
bool fault_audit(struct fault_pool *sum);
/* Clean, and quarantine empty within ms. */
void fault_audit_clean(const char *what, unsigned int ms);
/* The same when nothing moves and nobody holds anything: all is on the fill ring. */
void fault_audit_idle(const char *what, unsigned int ms);
/* A number of the channel of a port ("packets", "drop_full", ...), -1: no such channel. */
long fault_channel(uint16_t port, const char *name);
long fault_reason(const char *device, const char *reason);
/* How often lrpd has rebuilt a fill ring, in all pools; -1: no lrpd answers. */
long fault_repairs(void);
long fault_endpoints_used(void);
/* When all receivers have ended: nothing is left of them in lrpd. */
void fault_nobody_left(void);

int fault_sh(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
