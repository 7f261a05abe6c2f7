/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tap.c - see tap.h. */
#include "tap.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "../base/clock.h"
#include "../broker/broker.h"

/* lrpd is not to be asked per datagram: after a refusal, not before this. */
#define REFUSED_NS (10 * LRP_NS_PER_S)

static int (*opener)(uint32_t ifindex);
static _Atomic uint64_t refused_until_ns;

void lrp_tx_tap_from(int (*open)(uint32_t ifindex))
{
	opener = open;
	atomic_store(&refused_until_ns, 0);
}

bool lrp_tx_tap_ready(void)
{
	uint64_t until = atomic_load_explicit(&refused_until_ns, memory_order_relaxed);

	if (!opener && !lrp_broker_status()->lrpd_pid)
		return false;
	return !until || lrp_now_ns() >= until;
}

int lrp_tx_tap_open(uint32_t ifindex)
{
	int fd;

	if (!lrp_tx_tap_ready())
		return -EPERM;
	fd = opener ? opener(ifindex) : lrp_broker_tx(ifindex);
	/* That one device is not attached says nothing about the others. */
	if (fd < 0 && fd != -ENODEV)
		atomic_store(&refused_until_ns, lrp_now_ns() + REFUSED_NS);
	return fd;
}

int lrp_tx_tap_send(int fd, const struct iovec *iov, size_t count, int flags)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	/*
	 * The file is shared with whoever else holds it: O_NONBLOCK is not ours to
	 * set. And a blocking write is not woken when the send buffer drains, since
	 * tun_sock_write_space() looks for a bit that only poll() sets (tried: it hangs).
	 */
	for (;;) {
		if (pwritev2(fd, iov, (int)count, -1, RWF_NOWAIT) >= 0)
			return 0;
		if (errno != EAGAIN || flags & MSG_DONTWAIT)
			return -errno;
		if (poll(&p, 1, -1) < 0)
			return -errno;
	}
}
