/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * echo.c - a UDP echo server (RFC 862) on LRP: the code of any echo server, with
 * another prefix. Answers IPv4 and IPv6, in batches, from the address that was asked.
 *
 *   sudo lrp attach eth0 && ./echo 7
 *
 * Without lrpd it works as well, through the kernel alone.
 */
#define _GNU_SOURCE 1 /* struct mmsghdr */
#include <errno.h>
#include <lrp/lrp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 32

int main(int argc, char **argv)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	static struct mmsghdr msgs[BATCH];
	static struct iovec iov[BATCH];
	static struct sockaddr_in6 peer[BATCH];
	static char buf[BATCH][65536];
	int fd, n, i, off = 0;

	any.sin6_port = htons((unsigned short)(argc > 1 ? atoi(argv[1]) : 7));
	fd = lrp_socket(AF_INET6, SOCK_DGRAM, 0);
	if (fd < 0 || lrp_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0 ||
	    lrp_bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0) {
		perror("echo");
		return 1;
	}
	for (;;) {
		for (i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){.iov_base = buf[i], .iov_len = sizeof(buf[i])};
			msgs[i].msg_hdr = (struct msghdr){.msg_name = &peer[i],
							  .msg_namelen = sizeof(peer[i]),
							  .msg_iov = &iov[i],
							  .msg_iovlen = 1};
		}
		/* Waits for one datagram and takes what else is there. */
		n = lrp_recvmmsg(fd, msgs, BATCH, MSG_WAITFORONE, NULL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			perror("lrp_recvmmsg");
			return 1;
		}
		for (i = 0; i < n; i++)
			iov[i].iov_len = msgs[i].msg_len;
		for (i = 0; i < n;) {
			int sent = lrp_sendmmsg(fd, msgs + i, (unsigned int)(n - i), 0);

			/* One that cannot be answered does not stop the others. */
			i += sent > 0 ? sent : 1;
		}
	}
}
