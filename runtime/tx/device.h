/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * device.h - the way out of this process for frames, for each device (and each
 * priority that IP_TOS asks for), opened when first needed. Two packet sockets
 * that cannot receive, if the process has CAP_NET_RAW: one takes a struct
 * virtio_net_hdr before the frame, the other does without, which is cheaper where
 * it says nothing. Else a queue of a TAP device that lrpd made for it [tap.h],
 * with a virtio_net_hdr.
 *
 * Beside them, with CAP_NET_RAW, a raw socket of each family, which takes packets from the IP
 * header on: the kernel routes them, resolves the neighbour and lets them wait for it.
 *
 * A descriptor once published keeps its number, so that a sender that has read
 * it needs no lock.
 *
 * Fork: a child must not share its parent's socket, since the send buffer's bound would be common
 * to both: it closes what it inherited at once and opens its own.
 */
#ifndef LRP_TX_DEVICE_H
#define LRP_TX_DEVICE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "tap.h"

#define LRP_TX_DEVICES 64u

/* In place of an ifindex: the kernel's IP. */
#define LRP_TX_RAW4 0x80000004u
#define LRP_TX_RAW6 0x80000006u

struct lrp_tx_device {
	_Atomic uint32_t ifindex; /* 0: free */
	int fd;
	int bare_fd; /* takes frames without a virtio_net_hdr; -1: there is none */
	bool tap;
	uint8_t priority;
	/* which files they are, should somebody else close them and open others: device.c */
	ino_t ino, bare_ino;
};

extern struct lrp_tx_device lrp_tx_devices[LRP_TX_DEVICES];

/* True if there is a way to have a descriptor. */
bool lrp_tx_device_ready(void);
/* Only that of a TAP; after lrp_tx_device_ready(). */
bool lrp_tx_device_tap_only(void);

/* Slot of the device's descriptor, or -errno: EPERM, ENODEV, ENOSPC (all slots in use), ... */
int lrp_tx_device_open(uint32_t ifindex, uint8_t priority);

/* The device is gone: its slot may be used for another. */
void lrp_tx_device_gone(uint8_t slot, uint32_t ifindex);

/*
 * One frame in one piece. Inline, as all of the path of a single datagram:
 * behind a system call the processor has forgotten where calls return to, and
 * each level costs some 25 ns.
 */
static inline int lrp_tx_device_write(const struct lrp_tx_device *device, const void *frame,
				      size_t len, int flags)
{
	struct iovec iov = {.iov_base = (void *)frame, .iov_len = len};

	if (device->tap)
		return lrp_tx_tap_send(device->fd, &iov, 1, flags);
	return send(device->fd, frame, len, flags) < 0 ? -errno : 0;
}

static inline int lrp_tx_device_write_bare(const struct lrp_tx_device *device, const void *frame,
					   size_t len, int flags)
{
	return send(device->bare_fd, frame, len, flags) < 0 ? -errno : 0;
}

/* sendmsg() and sendmmsg() on whatever it is; -errno. */
int lrp_tx_device_send(const struct lrp_tx_device *device, const struct msghdr *message, int flags);
int lrp_tx_device_send_many(const struct lrp_tx_device *device, struct mmsghdr *messages,
			    uint32_t count, int flags);

#endif
