/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * bind.c - giving a socket a port that it keeps.
 *
 * The kernel takes a port that it has chosen by itself away from an open socket, for example at
 * connect(AF_UNSPEC), and gives it to somebody else, whose packets XDP would go on to deliver here.
 * lrpd does not publish such UDP sockets. So a port that the kernel is to choose is found with a
 * socket that is closed again, and then bound by its number.
 */
#include <netinet/in.h>
#include <unistd.h>

#include "socket.h"

#define TRIES 64 /* another process may take the port in between */

static void copy_option(int from, int to, int level, int name)
{
	socklen_t len = sizeof(int);
	int value = 0;

	if (!getsockopt(from, level, name, &value, &len) && value)
		setsockopt(to, level, name, &value, sizeof(value));
}

/* A port of the address that nobody has at this moment, network order; 0: none, or not
 * for us to say. */
static __be16 free_port(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sockaddr_storage local;
	socklen_t local_len = sizeof(local), size = sizeof(int);
	int domain, type, probe;
	__be16 port = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size))
		return 0;
	probe = socket(domain, type | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return 0;
	copy_option(fd, probe, IPPROTO_IPV6, IPV6_V6ONLY);
	copy_option(fd, probe, SOL_SOCKET, SO_BINDTOIFINDEX);
	copy_option(fd, probe, SOL_IP, IP_FREEBIND);
	if (!bind(probe, addr, len) && !getsockname(probe, (struct sockaddr *)&local, &local_len))
		port = ((struct sockaddr_in *)&local)->sin_port; /* in the same place in both */
	close(probe);
	return port;
}

/* Beside nobody: a socket with SO_REUSEADDR could share the port with who has taken
 * it meanwhile. */
static int bind_alone(int fd, const struct sockaddr *addr, socklen_t len)
{
	socklen_t size = sizeof(int);
	int reuse = 0, off = 0, error;

	getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, &size);
	if (reuse)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof(off));
	error = bind(fd, addr, len) ? -errno : 0;
	if (reuse)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
	return error;
}

int lrp_bind_port(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sockaddr_storage local;
	struct sockaddr_in *sin = (struct sockaddr_in *)&local;
	int error = -EADDRINUSE;

	if (!addr || len < sizeof(*sin) || len > sizeof(local) ||
	    (addr->sa_family != AF_INET && addr->sa_family != AF_INET6))
		return bind(fd, addr, len) ? -errno : 0;
	memcpy(&local, addr, len);
	if (sin->sin_port)
		return bind(fd, addr, len) ? -errno : 0;
	for (int i = 0; i < TRIES && error == -EADDRINUSE; i++) {
		sin->sin_port = free_port(fd, addr, len);
		if (!sin->sin_port)
			break;
		error = bind_alone(fd, (struct sockaddr *)&local, len);
	}
	/* The kernel says what is wrong, or does it. */
	if (error && (!sin->sin_port || error == -EADDRINUSE))
		error = bind(fd, addr, len) ? -errno : 0;
	return error;
}

int lrp_bind_any(int fd, int domain)
{
	/* sockaddr_in of 0.0.0.0:0 is all zeros but for the family, too. */
	struct sockaddr_in6 local = {.sin6_family = (sa_family_t)domain};
	socklen_t len = sizeof(local);

	if (getsockname(fd, (struct sockaddr *)&local, &len))
		return -errno;
	if (local.sin6_port)
		return 0;
	memset(&local, 0, sizeof(local));
	local.sin6_family = (sa_family_t)domain;
	return lrp_bind_port(fd, (struct sockaddr *)&local,
			     domain == AF_INET ? sizeof(struct sockaddr_in) : sizeof(local));
}
