/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * socket.h - the kernel's sockets as far as programs read them. The types have only the members
 * that are used; libbpf relocates them when a program is loaded.
 */
#ifndef LRP_BPF_SOCKET_H
#define LRP_BPF_SOCKET_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <lrp/abi.h>

#define AF_INET	 2
#define AF_INET6 10

#define SOCK_BINDPORT_LOCK                                                                         \
	8 /* include/net/sock.h: bound by number, so not given back while it is open */
#define SOCKFS_MAGIC 0x534f434b

/* include/net/tcp_states.h */
enum {
	STATE_ESTABLISHED = 1,
	STATE_SYN_SENT,
	STATE_SYN_RECV,
	STATE_FIN_WAIT1,
	STATE_FIN_WAIT2,
	STATE_TIME_WAIT,
	STATE_CLOSE,
	STATE_CLOSE_WAIT,
	STATE_LAST_ACK,
	STATE_LISTEN,
	STATE_CLOSING,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net {
	__u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	unsigned char skc_ipv6only : 1;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	struct {
		__s64 counter;
	} skc_cookie;
};

typedef struct {
	__u32 val;
} kuid_t;

struct sock {
	struct sock_common __sk_common;
	__u8 sk_userlocks : 4;
	__u16 sk_protocol;
	kuid_t sk_uid;
};

struct inet_sock {
	__be16 inet_sport;
};

struct socket {
	struct sock *sk;
};

struct super_block {
	unsigned long s_magic;
};

struct inode {
	struct super_block *i_sb;
};

struct file {
	void *private_data;
	struct inode *f_inode;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	struct files_struct *files;
};

#pragma clang attribute pop

/*
 * The socket that the calling task has open as `fd`, NULL: none. Nothing keeps it there: what is
 * read from it must be checked by asking again afterwards, and comparing the cookie, which no two
 * sockets ever have in common.
 */
static __always_inline struct sock *lrp_socket_of(__u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd), *file = NULL;
	struct socket *socket;

	if (fd >= BPF_CORE_READ(table, max_fds) ||
	    bpf_probe_read_kernel(&file, sizeof(file), files + fd) || !file ||
	    BPF_CORE_READ(file, f_inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

static __always_inline bool lrp_addr6_mapped(const struct lrp_addr6 *addr)
{
	const __u32 *word = (const __u32 *)addr;

	return !word[0] && !word[1] && word[2] == bpf_htonl(0xffff);
}

static __always_inline bool lrp_addr6_zero(const struct lrp_addr6 *addr)
{
	const __u32 *word = (const __u32 *)addr;

	return !word[0] && !word[1] && !word[2] && !word[3];
}

static __always_inline bool lrp_addr6_equal(const struct lrp_addr6 *a, const struct lrp_addr6 *b)
{
	const __u32 *x = (const __u32 *)a, *y = (const __u32 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

/* The local address, IPv4 as ::ffff:a.b.c.d; zeros: the wildcard of either family. */
static __always_inline void lrp_socket_laddr(const struct sock *sk, struct lrp_addr6 *addr)
{
	__be32 addr4 = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);

	__builtin_memset(addr, 0, sizeof(*addr));
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6) {
		BPF_CORE_READ_INTO(addr, sk, __sk_common.skc_v6_rcv_saddr);
	} else if (addr4) {
		addr->byte[10] = addr->byte[11] = 0xff;
		__builtin_memcpy(&addr->byte[12], &addr4, 4);
	}
}

#endif
