/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tap.h - sending without CAP_NET_RAW: through a queue of a TAP device that lrpd
 * made for this process family, whose tc program checks that the source address
 * and port are the family's own and hands the frame to the real device
 * [bpf/tx_tap.bpf.c, loader/device/tap.h].
 *
 * Whole datagrams only: a fragment says nothing about its ports, so what exceeds the MTU is the
 * shadow's. The kernel makes the link header anew.
 *
 * Used for runs of datagrams only, which pass the TAP and the check in one
 * piece: 14 bytes cost 358 ns each in runs of 64, against 1,235 with a kernel socket's
 * sendmmsg; but 1,411 alone, against 1,325.
 *
 * Threads: any.
 */
#ifndef LRP_TX_TAP_H
#define LRP_TX_TAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Could lrpd be asked? False for a while after it refused. */
bool lrp_tx_tap_ready(void);

/* A descriptor for frames to that device, or -errno. */
int lrp_tx_tap_open(uint32_t ifindex);

/* A virtio_net_hdr and a frame. 0 or -errno. Flags: MSG_DONTWAIT. */
int lrp_tx_tap_send(int fd, const struct iovec *iov, size_t count, int flags);

/* Who is asked instead of lrpd; for tests. */
void lrp_tx_tap_from(int (*open)(uint32_t ifindex));

#endif
