/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * channel.h - raw frames of one NI channel, for programs written against
 * libxdp's rings (<xdp/xsk.h>).
 *
 * lrp_channel_open() binds a UDP port and gives the program the channel's
 * rings. The program reads descriptors from `rx` with libxdp's
 * xsk_ring_cons__peek() and xsk_ring_cons__rx_desc(); frames are complete link
 * layer frames, unprocessed and unverified. It must not use
 * xsk_ring_cons__release() nor the fill ring itself: other processes return
 * frames to the same ring, and lrp_channel_return() is what keeps that safe
 * and the occupancy true.
 *
 * Threads: one at a time per channel.
 */
#ifndef LRP_CHANNEL_H
#define LRP_CHANNEL_H

#include <stdint.h>
#include <sys/socket.h>
#include <xdp/xsk.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef LRP_API
#define LRP_API __attribute__((visibility("default")))
#endif

struct lrp_raw_channel {
	struct xsk_ring_cons rx; /* libxdp's view of the RX ring */
	int fd;			 /* AF_XDP socket: wait with poll(2); do not read */
	uint8_t *umem;		 /* descriptor addresses are offsets into this */
	uint32_t frame_size;	 /* bytes */
	uint32_t ifindex;
	uint32_t queue;
	void *priv;
};

/*
 * Opens a UDP port as raw channels: one per queue of each attached device, up
 * to `max`. Returns their number, or -1 with errno (EADDRINUSE, EACCES,
 * ENOBUFS, ENETDOWN when nothing is attached, E2BIG when there are more than
 * `max`). `ring_size`: slots, 0 for the default. The channels of one call are
 * closed together. Traffic that does not come through an attached device is dropped.
 */
LRP_API int lrp_channel_open(const struct sockaddr *addr, socklen_t addrlen, uint32_t ring_size,
			     struct lrp_raw_channel *channels, int max);

/*
 * Gives back the `count` oldest frames that were peeked from `rx` and not
 * returned yet. Never blocks and never waits for another process.
 */
LRP_API void lrp_channel_return(struct lrp_raw_channel *channel, uint32_t count);

LRP_API void lrp_channel_close(struct lrp_raw_channel *channels, int count);

#ifdef __cplusplus
}
#endif
#endif
