/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * guard_probe.c - when does this kernel drop a datagram for want of room? Until about 6.16 it asks
 * whether the queue's memory is above the limit, since then whether the memory and this packet are.
 * A full socket tells: its memory is above its limit or it is not.
 */
#include <errno.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard_probe.h"

#define DATAGRAMS 256

static bool loopback_up(int fd)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	return !ioctl(fd, SIOCSIFFLAGS, &request);
}

/* In a process of its own, in a network namespace of its own. */
static enum lrp_guard_rule probe(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(any), size;
	uint32_t memory[SK_MEMINFO_VARS] = {0};
	int to, from, room = 16384;
	char byte = 0;

	if (unshare(CLONE_NEWNET))
		return LRP_GUARD_RULE_MEMORY;
	to = socket(AF_INET, SOCK_DGRAM, 0);
	from = socket(AF_INET, SOCK_DGRAM, 0);
	if (to < 0 || from < 0 || !loopback_up(to) ||
	    setsockopt(to, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) ||
	    bind(to, (struct sockaddr *)&any, sizeof(any)) ||
	    getsockname(to, (struct sockaddr *)&any, &length))
		return LRP_GUARD_RULE_MEMORY;
	for (int i = 0; i < DATAGRAMS; i++)
		if (sendto(from, &byte, 1, 0, (struct sockaddr *)&any, sizeof(any)) != 1)
			return LRP_GUARD_RULE_MEMORY;
	size = sizeof(memory);
	if (getsockopt(to, SOL_SOCKET, SO_MEMINFO, memory, &size) || !memory[SK_MEMINFO_DROPS])
		return LRP_GUARD_RULE_MEMORY;
	return memory[SK_MEMINFO_RMEM_ALLOC] > memory[SK_MEMINFO_RCVBUF] ? LRP_GUARD_RULE_MEMORY
									 : LRP_GUARD_RULE_SIZE;
}

enum lrp_guard_rule lrp_guard_probe(void)
{
	int status = 0;
	pid_t child = fork();

	if (child < 0)
		return LRP_GUARD_RULE_MEMORY;
	if (!child)
		_exit(probe() == LRP_GUARD_RULE_SIZE ? 1 : 0);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 1 ? LRP_GUARD_RULE_SIZE
							     : LRP_GUARD_RULE_MEMORY;
}
