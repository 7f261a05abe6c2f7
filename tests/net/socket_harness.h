/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * socket_harness.h - the same calls on a kernel socket and on ours.
 *
 * A case is a function that makes calls through `r->ops` and writes down what
 * it sees: results, errno, data, addresses, control messages. It is run with libc's
 * functions and with liblrp's; the two transcripts must be equal. So the expected
 * outcome is never written by hand.
 *
 *    client ns                      this namespace
 *   peers  198.18.1.2 c0 ────── s0 198.18.1.1     sockets under test
 *          2001:db8:1::2           2001:db8:1::1
 */
#ifndef LRP_TEST_SOCKET_HARNESS_H
#define LRP_TEST_SOCKET_HARNESS_H

#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#define PORT	    5000 /* of the socket under test */
#define PEER_PORT   6000 /* of the peer in the client namespace */
#define OTHER_PORT  6001 /* of another peer there */
#define CLOSED_PORT 6999

struct ops {
	const char *name;
	int (*socket)(int, int, int);
	int (*bind)(int, const struct sockaddr *, socklen_t);
	int (*connect)(int, const struct sockaddr *, socklen_t);
	int (*listen)(int, int);
	int (*accept)(int, struct sockaddr *, socklen_t *);
	int (*accept4)(int, struct sockaddr *, socklen_t *, int);
	int (*shutdown)(int, int);
	int (*close)(int);
	int (*getsockname)(int, struct sockaddr *, socklen_t *);
	int (*getpeername)(int, struct sockaddr *, socklen_t *);
	int (*setsockopt)(int, int, int, const void *, socklen_t);
	int (*getsockopt)(int, int, int, void *, socklen_t *);
	int (*fcntl)(int, int, ...);
	int (*ioctl)(int, unsigned long, ...);
	int (*dup)(int);
	ssize_t (*send)(int, const void *, size_t, int);
	ssize_t (*sendto)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
	ssize_t (*sendmsg)(int, const struct msghdr *, int);
	int (*sendmmsg)(int, struct mmsghdr *, unsigned int, int);
	ssize_t (*write)(int, const void *, size_t);
	ssize_t (*writev)(int, const struct iovec *, int);
	ssize_t (*recv)(int, void *, size_t, int);
	ssize_t (*recvfrom)(int, void *, size_t, int, struct sockaddr *, socklen_t *);
	ssize_t (*recvmsg)(int, struct msghdr *, int);
	int (*recvmmsg)(int, struct mmsghdr *, unsigned int, int, struct timespec *);
	ssize_t (*read)(int, void *, size_t);
	ssize_t (*readv)(int, const struct iovec *, int);
	int (*poll)(struct pollfd *, nfds_t, int);
};

extern const struct ops kernel_ops, lrp_ops;

struct run {
	const struct ops *ops;
	int family;
	bool lrp;
	int peer, other; /* kernel sockets in the client namespace, connected to PORT here */
	FILE *out;	 /* the transcript */
	char *text;
	size_t size;
};

struct test_case {
	const char *name;
	void (*run)(struct run *r);
	bool ipv4, ipv6;
	/* ours must have got at least so many datagrams through a channel: else nothing was tested */
	int through_channel;
};

/* Runs all cases embedded and, where lrpd is built, with lrpd. Returns the exit code. */
int harness_main(int argc, char **argv, const struct test_case *cases, int count);

/* ---- for the cases ---- */
socklen_t addr_server(const struct run *r, struct sockaddr_storage *a, int port);
socklen_t addr_client(const struct run *r, struct sockaddr_storage *a, int port);
socklen_t addr_any(const struct run *r, struct sockaddr_storage *a, int port);
int client_socket(int family, int type, int protocol); /* in the client namespace */
int client_run(const char *command);		       /* there */

int new_socket(struct run *r);	 /* under test; with a receive timeout of a second */
int bound_socket(struct run *r); /* bound to PORT on the wildcard address */
void peer_send(struct run *r, const void *data, size_t len);
void peer_text(struct run *r, const char *text);
void other_text(struct run *r, const char *text);
void arrive(void); /* what was sent has arrived */

/* Lines of the transcript. */
void note(struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void note_result(struct run *r, const char *what, long result);
void note_data(struct run *r, const void *data, long len);
void note_addr(struct run *r, const void *addr, socklen_t len);
void note_msg(struct run *r, const struct msghdr *msg, long result);
/* recvfrom() with all that it says. */
long do_recvfrom(struct run *r, int fd, size_t len, int flags);
long do_recvmsg(struct run *r, int fd, size_t len, size_t control, int flags);

#define CASE(fn, through)                                                                          \
	{                                                                                          \
		.name = #fn, .run = fn, .ipv4 = true, .ipv6 = true, .through_channel = through     \
	}
#define CASE4(fn, through)                                                                         \
	{                                                                                          \
		.name = #fn, .run = fn, .ipv4 = true, .through_channel = through                   \
	}
#define CASE6(fn, through)                                                                         \
	{                                                                                          \
		.name = #fn, .run = fn, .ipv6 = true, .through_channel = through                   \
	}

#endif
