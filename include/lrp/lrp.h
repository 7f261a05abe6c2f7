/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * lrp.h - BSD sockets over Lazy Receiver Processing.
 *
 * Each call behaves as its namesake without the prefix, on descriptors that
 * lrp_socket() made. Such a descriptor is a real one (its number comes from the
 * kernel, it survives fork, close-on-exec works) but only lrp_ calls may
 * receive from it. Differences from BSD are listed in lrp(7).
 *
 * Errors: -1 and errno, as the namesakes have them. What is not supported
 * fails with EOPNOTSUPP or ENOPROTOOPT, never silently. A descriptor that
 * lrp_socket() did not make: EBADF (nothing has been done; a wrapper may call
 * libc's function).
 *
 * Threads: every call may be made from any thread, and after fork from any
 * process that inherited the descriptor. No call is async-signal-safe but
 * lrp_close.
 *
 * Where the work happens: protocol processing of what a socket receives runs
 * inside these calls, in the calling thread, charged to it (Druschel and Banga,
 * OSDI '96, section 3.3); lrp_stats() proves it.
 */
#ifndef LRP_LRP_H
#define LRP_LRP_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef LRP_API
#define LRP_API __attribute__((visibility("default")))
#endif

/*
 * Embedded mode: attach to an interface in this process, without lrpd. Needs
 * CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON, and CAP_IPC_LOCK or a RLIMIT_MEMLOCK for the
 * memory of all queues. Call before the first lrp_socket().
 * The program is detached when lrp_embed_close() is called or the process ends,
 * however it ends. Returns 0, or -1 with errno; lrp_embed_error() has a line
 * that names the thing and the way out.
 *
 * The embedded mode is a library of its own, liblrp-embed.so, which lrp_embed() opens: ENOENT if it
 * cannot. liblrp needs libc and libmnl only. lrp-embed.pc says how to link with it, or statically.
 */
struct lrp_embed_opts {
	size_t sz;	     /* sizeof(struct lrp_embed_opts) */
	const char *mode;    /* "auto" (default), "native" or "skb" */
	uint32_t frames;     /* per queue, a power of two; 0: default */
	uint32_t frame_size; /* 2048 or 4096; 0: from the MTU */
};
LRP_API int lrp_embed(const char *ifname, const struct lrp_embed_opts *opts);
LRP_API void lrp_embed_close(void);
LRP_API const char *lrp_embed_error(void);

LRP_API int lrp_socket(int domain, int type, int protocol);
LRP_API int lrp_bind(int fd, const struct sockaddr *addr, socklen_t addrlen);
LRP_API int lrp_connect(int fd, const struct sockaddr *addr, socklen_t addrlen);
LRP_API int lrp_listen(int fd, int backlog);
LRP_API int lrp_accept(int fd, struct sockaddr *addr, socklen_t *addrlen);
LRP_API int lrp_accept4(int fd, struct sockaddr *addr, socklen_t *addrlen, int flags);
LRP_API int lrp_shutdown(int fd, int how);
LRP_API int lrp_close(int fd);
LRP_API int lrp_getsockname(int fd, struct sockaddr *addr, socklen_t *addrlen);
LRP_API int lrp_getpeername(int fd, struct sockaddr *addr, socklen_t *addrlen);
LRP_API int lrp_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
LRP_API int lrp_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
LRP_API int lrp_fcntl(int fd, int cmd, ...);
LRP_API int lrp_ioctl(int fd, unsigned long request, ...);
LRP_API int lrp_dup(int fd);

LRP_API ssize_t lrp_send(int fd, const void *buf, size_t len, int flags);
LRP_API ssize_t lrp_sendto(int fd, const void *buf, size_t len, int flags,
			   const struct sockaddr *addr, socklen_t addrlen);
LRP_API ssize_t lrp_sendmsg(int fd, const struct msghdr *msg, int flags);
LRP_API int lrp_sendmmsg(int fd, struct mmsghdr *msgs, unsigned int count, int flags);
LRP_API ssize_t lrp_write(int fd, const void *buf, size_t len);
LRP_API ssize_t lrp_writev(int fd, const struct iovec *iov, int count);

LRP_API ssize_t lrp_recv(int fd, void *buf, size_t len, int flags);
LRP_API ssize_t lrp_recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *addr,
			     socklen_t *addrlen);
LRP_API ssize_t lrp_recvmsg(int fd, struct msghdr *msg, int flags);
LRP_API int lrp_recvmmsg(int fd, struct mmsghdr *msgs, unsigned int count, int flags,
			 struct timespec *timeout);
LRP_API ssize_t lrp_read(int fd, void *buf, size_t len);
LRP_API ssize_t lrp_readv(int fd, const struct iovec *iov, int count);

/* As poll(2); entries may be lrp descriptors and others, mixed. */
LRP_API int lrp_poll(struct pollfd *fds, nfds_t count, int timeout_ms);

/*
 * Zero-copy receive of datagrams. Each datagram stays in the frame that it
 * arrived in and counts against the socket's receive buffer until it is given
 * back with lrp_zc_return(); a caller that keeps them starves itself alone.
 * Returns the number of datagrams (1..count), or -1 with errno (EAGAIN,
 * EINTR, ...). Flags: MSG_DONTWAIT. `data` may be written to. Any thread that
 * may use the socket may return its datagrams, once each.
 * A datagram that did not arrive in one frame (reassembled, jumbo, or through
 * the kernel) is copied to memory of the runtime; lrp_zc_return() frees it.
 */
struct lrp_zc {
	void *data;
	uint32_t len; /* bytes */
	uint32_t pad;
	struct sockaddr_storage peer;
	uint64_t cookie; /* for lrp_zc_return() */
};
LRP_API int lrp_zc_recv(int fd, struct lrp_zc *dgrams, unsigned int count, int flags);
LRP_API int lrp_zc_return(int fd, struct lrp_zc *dgrams, unsigned int count);

/*
 * Where the packets of this socket were processed, and what became of the
 * others. Sums over the socket's channels and its shadow.
 */
struct lrp_stats {
	size_t sz;	     /* in: sizeof(struct lrp_stats) */
	uint64_t call;	     /* packets processed in a call of the application */
	uint64_t helper;     /* ahead of the call, by the SCHED_IDLE helper */
	uint64_t eager;	     /* at arrival, by the eager thread */
	uint64_t app;	     /* by the APP thread */
	uint64_t kernel;     /* datagrams that came through the kernel's stack */
	uint64_t dropped;    /* dropped by the runtime after demultiplexing */
	uint64_t channels;   /* channels that the socket has */
	uint64_t channel_fd; /* AF_XDP descriptor of the first channel, or -1 */
	uint64_t
		discarded; /* early, by the interface's program: channel full, no surplus, SYN over the backlog */
};
LRP_API int lrp_stats(int fd, struct lrp_stats *stats);

LRP_API const char *lrp_version(void);

#ifdef __cplusplus
}
#endif
#endif
