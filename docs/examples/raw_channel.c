/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * raw_channel.c - raw frames of one UDP port, in the manner of a libxdp program.
 *
 *     lrp attach eth0
 *     example-raw_channel 5000 [packets]
 *
 * Prints the length and the first bytes of each frame; ends after so many packets.
 */
#include <lrp/channel.h>

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_CHANNELS 64
#define BATCH	     32

int main(int argc, char **argv)
{
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6};
	struct lrp_raw_channel channel[MAX_CHANNELS];
	struct pollfd pfd[MAX_CHANNELS];
	unsigned long left = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;
	int channels;

	if (argc < 2) {
		fprintf(stderr, "usage: %s PORT [PACKETS]\n", argv[0]);
		return 2;
	}
	addr.sin6_port = htons((uint16_t)atoi(argv[1]));
	channels =
		lrp_channel_open((struct sockaddr *)&addr, sizeof(addr), 0, channel, MAX_CHANNELS);
	if (channels < 0) {
		perror("lrp_channel_open");
		return 1;
	}
	for (int i = 0; i < channels; i++)
		pfd[i] = (struct pollfd){.fd = channel[i].fd, .events = POLLIN};

	for (;;) {
		if (poll(pfd, (nfds_t)channels, -1) < 0)
			break;
		for (int i = 0; i < channels; i++) {
			uint32_t index, n = xsk_ring_cons__peek(&channel[i].rx, BATCH, &index);

			for (uint32_t k = 0; k < n; k++) {
				const struct xdp_desc *d =
					xsk_ring_cons__rx_desc(&channel[i].rx, index + k);
				const uint8_t *frame = channel[i].umem + d->addr;

				printf("queue %u: %u bytes:", channel[i].queue, d->len);
				for (uint32_t b = 0; b < d->len && b < 16; b++)
					printf(" %02x", frame[b]);
				printf("\n");
			}
			/* The frames go back: from here on their bytes are others'. */
			if (n)
				lrp_channel_return(&channel[i], n);
			if (left && n >= left)
				goto done;
			left -= left ? n : 0;
		}
	}
done:
	lrp_channel_close(channel, channels);
	return 0;
}
