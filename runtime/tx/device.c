/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* device.c - packet sockets that only send, see device.h. */
#include "device.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/fork.h"
#include "../base/fd.h"
#include "../base/log.h"
#include "hold.h"
#include "netlink.h"
#include "peer.h"
#include "route.h"

struct lrp_tx_device lrp_tx_devices[LRP_TX_DEVICES];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool opened[LRP_TX_DEVICES]; /* the slot's fd is a descriptor, if only a stale one */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool packet_allowed;

/* The filter cannot be taken off again: whatever is done to the socket, it stays deaf. */
static int send_only(int fd, uint8_t priority)
{
	struct sock_filter drop_all = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog filter = {.len = 1, .filter = &drop_all};
	int one = 1, prio = priority;

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) ||
	       setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &one, sizeof(one)) ||
	       setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &prio, sizeof(prio));
}

/* Protocol 0 receives nothing to begin with. */
static int packet_open(uint32_t ifindex, uint8_t priority, int vnet_hdr)
{
	struct sockaddr_ll local = {.sll_family = AF_PACKET, .sll_ifindex = (int)ifindex};
	int error;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (send_only(fd, priority) ||
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &vnet_hdr, sizeof(vnet_hdr)) ||
	    (ifindex && bind(fd, (struct sockaddr *)&local, sizeof(local)))) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

/* IPPROTO_RAW means that the IP header comes with the packet. A drop by the queueing discipline is reported
 * with the option that asks for errors only. */
static int raw_open(uint32_t which, uint8_t priority)
{
	int family = which == LRP_TX_RAW4 ? AF_INET : AF_INET6, one = 1, error;
	int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);

	if (fd < 0)
		return -errno;
	if (send_only(fd, priority) ||
	    (family == AF_INET ? setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one))
			       : setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &one, sizeof(one)))) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

static ino_t inode(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_ino;
}

/* Daemons close what they did not open, and the number may be another file's by now. */
static bool fds_ours(const struct lrp_tx_device *device)
{
	return inode(device->fd) == device->ino &&
	       (device->bare_fd < 0 || inode(device->bare_fd) == device->bare_ino);
}

static void close_ours(int fd, ino_t ino)
{
	if (fd >= 0 && inode(fd) == ino)
		close(fd);
}

static void device_fork_child(void)
{
	pthread_mutex_init(&lock, NULL);
	for (uint32_t i = 0; i < LRP_TX_DEVICES; i++) {
		struct lrp_tx_device *device = &lrp_tx_devices[i];

		if (opened[i]) {
			close_ours(device->fd, device->ino);
			close_ours(device->bare_fd, device->bare_ino);
		}
		opened[i] = false;
		atomic_store_explicit(&device->ifindex, 0, memory_order_relaxed);
	}
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_STORES,
		.child = device_fork_child,
	};

	lrp_fork_register(&handler);
}

static void device_start(void)
{
	int fd = packet_open(0, 0, 1);

	packet_allowed = fd >= 0;
	if (fd >= 0)
		close(fd);
}

bool lrp_tx_device_ready(void)
{
	pthread_once(&once, device_start);
	return packet_allowed || lrp_tx_tap_ready();
}

bool lrp_tx_device_tap_only(void)
{
	return !packet_allowed;
}

/* A sender may be about to use the number of a slot's old descriptor: it is replaced in place. */
static int put_fd(int *slot_fd, ino_t *ino, bool replace, int fd)
{
	int error = 0;

	if (!replace || *slot_fd < 0) {
		*slot_fd = fd < 0 ? -1 : lrp_fd_aside(fd);
	} else if (fd >= 0) {
		if (dup3(fd, *slot_fd, O_CLOEXEC) < 0)
			error = -errno;
		close(fd);
	}
	*ino = *slot_fd < 0 ? 0 : inode(*slot_fd);
	return error;
}

/* Under the lock. */
static int publish(uint32_t slot, uint32_t ifindex, uint8_t priority)
{
	struct lrp_tx_device *device = &lrp_tx_devices[slot];
	bool raw = ifindex == LRP_TX_RAW4 || ifindex == LRP_TX_RAW6, tap;
	int bare_fd = -1, error, fd = -EPERM;

	if (packet_allowed)
		fd = raw ? raw_open(ifindex, priority) : packet_open(ifindex, priority, 1);
	tap = fd == -EPERM && !raw; /* also when the privilege was given up meanwhile */
	if (tap)
		fd = lrp_tx_tap_open(ifindex);
	if (fd >= 0 && !tap && !raw) {
		bare_fd = packet_open(ifindex, priority, 0);
		if (bare_fd < 0) {
			close(fd);
			fd = bare_fd;
		}
	}
	if (fd < 0)
		return fd;
	error = put_fd(&device->fd, &device->ino, opened[slot], fd);
	if (!error)
		error = put_fd(&device->bare_fd, &device->bare_ino, opened[slot], bare_fd);
	else if (bare_fd >= 0)
		close(bare_fd);
	if (error)
		return error;
	opened[slot] = true;
	device->tap = tap;
	device->priority = priority;
	atomic_store_explicit(&device->ifindex, ifindex, memory_order_release);
	return (int)slot;
}

/* Under the lock: the slot is as good as never used. */
static void device_forget(uint32_t slot)
{
	struct lrp_tx_device *device = &lrp_tx_devices[slot];

	atomic_store_explicit(&device->ifindex, 0, memory_order_relaxed);
	/* What is not ours any more must not be replaced. */
	if (opened[slot] && !fds_ours(device)) {
		close_ours(device->fd, device->ino);
		close_ours(device->bare_fd, device->bare_ino);
		opened[slot] = false;
	}
}

int lrp_tx_device_open(uint32_t ifindex, uint8_t priority)
{
	int free_slot = -1, result;

	if (!lrp_tx_device_ready())
		return -EPERM;
	if (!packet_allowed) /* a TAP knows none */
		priority = 0;
	pthread_mutex_lock(&lock);
	for (uint32_t i = 0; i < LRP_TX_DEVICES; i++) {
		const struct lrp_tx_device *device = &lrp_tx_devices[i];
		uint32_t used = atomic_load_explicit(&device->ifindex, memory_order_relaxed);

		if (used == ifindex && device->priority == priority) {
			if (fds_ours(device)) {
				pthread_mutex_unlock(&lock);
				return (int)i;
			}
			device_forget(i);
			used = 0;
		}
		if (!used && free_slot < 0)
			free_slot = (int)i;
	}
	if (free_slot < 0) {
		lrp_log_once(LRP_LOG_WARN,
			     "lrp: sending on more than %u devices: the others are the kernel's",
			     LRP_TX_DEVICES);
		result = -ENOSPC;
	} else {
		result = publish((uint32_t)free_slot, ifindex, priority);
	}
	pthread_mutex_unlock(&lock);
	return result;
}

void lrp_tx_device_gone(uint8_t slot, uint32_t ifindex)
{
	pthread_mutex_lock(&lock);
	if (atomic_load_explicit(&lrp_tx_devices[slot].ifindex, memory_order_relaxed) == ifindex)
		device_forget(slot);
	pthread_mutex_unlock(&lock);
}

int lrp_tx_device_send(const struct lrp_tx_device *device, const struct msghdr *message, int flags)
{
	if (device->tap)
		return lrp_tx_tap_send(device->fd, message->msg_iov, message->msg_iovlen, flags);
	return sendmsg(device->fd, message, flags) < 0 ? -errno : 0;
}

int lrp_tx_device_send_many(const struct lrp_tx_device *device, struct mmsghdr *messages,
			    uint32_t count, int flags)
{
	int sent;

	if (device->tap) {
		for (sent = 0; sent < (int)count; sent++) {
			int error = lrp_tx_device_send(device, &messages[sent].msg_hdr, flags);

			if (error)
				return sent ? sent : error;
		}
		return sent;
	}
	sent = sendmmsg(device->fd, messages, count, flags);
	return sent < 0 ? -errno : sent;
}
