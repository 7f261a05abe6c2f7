/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* embedded.c - LRP in one process, without lrpd: counts datagrams to UDP port 7000.
 *   cc embedded.c -llrp && sudo ./a.out eth0 */
#include <lrp/lrp.h>
#include <netinet/in.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(7000)};
	char buf[2048];
	long count = 0;
	int fd;

	if (argc < 2 || lrp_embed(argv[1], NULL) < 0) {
		fprintf(stderr, "%s\n", argc < 2 ? "usage: embedded IFACE" : lrp_embed_error());
		return 1;
	}
	fd = lrp_socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || lrp_bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0)
		return perror("port 7000"), 1;
	while (lrp_recv(fd, buf, sizeof(buf), 0) >= 0) /* protocol processing happens in here */
		printf("\r%ld datagrams", ++count);
	return perror("lrp_recv"), 1;
}
