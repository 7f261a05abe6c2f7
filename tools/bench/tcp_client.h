/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tcp_client.h - the clients of the TCP measurements: kernel sockets in a process on
 * CPU N, in the client's namespace, which goes on until it is told to stop.
 */
#ifndef LRP_BENCH_TCP_CLIENT_H
#define LRP_BENCH_TCP_CLIENT_H

#include "bed/bed.h"

enum tcp_client_kind {
	TCP_REQUESTS, /* on each connection one message at a time, and its answer */
	TCP_TURNS,    /* a message and its answer, on one connection after the other */
	TCP_CONNECTS, /* connect, one message, its answer, end of file, close; and again */
	TCP_SEND,     /* one connection: as much as goes */
	TCP_RECEIVE,  /* reads until the peers have finished */
	TCP_HOLD,     /* idle connections */
};

/* Shared with the client's process. */
struct tcp_client {
	/* in */
	enum tcp_client_kind kind;
	struct in_addr addr;
	uint16_t port;
	uint32_t connections; /* 0: 1 */
	uint32_t length;      /* bytes of a message, or of one read or write */
	uint64_t total;	      /* TCP_SEND, TCP_RECEIVE: so many bytes; 0: until stopped */
	uint32_t window;      /* bytes that are advertised at most, 0: no limit */
	/* out; counters rise while it runs */
	uint32_t connected;
	uint16_t first_port; /* local port of the first connection */
	uint64_t done;	     /* transactions */
	uint64_t bytes;	     /* read or written */
	uint64_t elapsed_ns; /* TCP_SEND with a total, TCP_RECEIVE: until the last byte was
				acknowledged or the end of file came */
	int error;	     /* errno, 0: none */
	char text[128];	     /* what failed */
	/* private */
	uint32_t stop;
	pid_t pid;
};

/* NULL: no memory. */
struct tcp_client *tcp_client_new(void);
void tcp_client_free(struct tcp_client *client);

/*
 * Starts it and waits (10 s) until all are connected. 0 or -errno, bed->error then says what.
 */
int tcp_client_start(struct bed *bed, struct tcp_client *client);
/* Has it ended by itself, or given up? */
bool tcp_client_ended(const struct tcp_client *client);
/* Waits until it has ended by itself. 0, or -errno as tcp_client_stop(). */
int tcp_client_finish(struct bed *bed, struct tcp_client *client, double seconds);
/* Tells it to stop. 0, or -errno if it had failed; bed->error then says what. */
int tcp_client_stop(struct bed *bed, struct tcp_client *client);

#endif
