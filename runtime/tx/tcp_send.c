/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tcp_send.c - segments into frames, and frames to the device, see tcp_send.h. */
#include "tcp_send.h"

#include <errno.h>
#include <netinet/ip.h>
#include <string.h>

#include "device.h"
#include "hold.h"
#include "peer.h"
#include "route.h"
#include "tcp_frame.h"

#define MESSAGES 16u
#ifndef MSG_PROBE
#define MSG_PROBE 0x10 /* the kernel's name for it: nothing is sent */
#endif

/* Frames on their way into one system call. */
struct chunk {
	uint32_t count;
	struct mmsghdr message[MESSAGES];
	struct iovec iov[MESSAGES][3];
	uint8_t bytes[MESSAGES][LRP_TCP_FRAME_MAX] __attribute__((aligned(8)));
};

_Static_assert(LRP_TCP_FRAME_MAX % 4 == 0, "alignment of frames");

static struct lrp_tx_key key_of(const struct lrp_tx_tcp *how)
{
	const struct lrp_tcp_flow *flow = how->flow;
	struct lrp_tx_key key;

	memset(&key, 0, sizeof(key));
	if (flow->family == AF_INET) {
		key.src.v4 = flow->laddr.v4;
		key.dst.v4 = flow->raddr.v4;
	} else {
		key.src = flow->laddr;
		key.dst = flow->raddr;
	}
	key.oif = how->oif;
	key.sport = flow->lport;
	key.dport = flow->rport;
	key.family = flow->family;
	key.tos = how->tos & (uint8_t)~IPTOS_ECN_MASK;
	key.proto = IPPROTO_TCP;
	return key;
}

int lrp_tx_tcp_path(const struct lrp_tx_tcp *how, struct lrp_tx_path *path)
{
	struct lrp_tx_key key = key_of(how);

	return lrp_tx_path(&key, path);
}

/* ---- the kernel's way --------------------------------------------------------- */

/* A message to a raw socket: where to, and from where. */
struct raw {
	struct msghdr m;
	union {
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} to;
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int))];
	} control;
};

static void raw_control(struct raw *raw, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)(raw->control.bytes + raw->m.msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	raw->m.msg_controllen += CMSG_SPACE(len);
}

/* The route must be that of the segment's own source, device and type of service. */
static void raw_init(struct raw *raw, const struct lrp_tx_key *key)
{
	memset(raw, 0, sizeof(*raw));
	raw->m.msg_name = &raw->to;
	raw->m.msg_control = raw->control.bytes;
	if (key->family == AF_INET) {
		struct in_pktinfo info = {.ipi_ifindex = (int)key->oif,
					  .ipi_spec_dst = key->src.v4};
		int tos = key->tos;

		raw->to.v4.sin_family = AF_INET;
		raw->to.v4.sin_addr = key->dst.v4;
		raw->m.msg_namelen = sizeof(raw->to.v4);
		raw_control(raw, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
		if (tos)
			raw_control(raw, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	} else {
		struct in6_pktinfo info = {.ipi6_addr = key->src.v6, .ipi6_ifindex = key->oif};

		raw->to.v6.sin6_family = AF_INET6;
		raw->to.v6.sin6_addr = key->dst.v6;
		raw->to.v6.sin6_scope_id = key->oif;
		raw->m.msg_namelen = sizeof(raw->to.v6);
		raw_control(raw, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
}

static int raw_device(const struct lrp_tx_key *key)
{
	return lrp_tx_device_open(key->family == AF_INET ? LRP_TX_RAW4 : LRP_TX_RAW6,
				  lrp_tx_route_priority(key));
}

/* The neighbour answers: the kernel is told so without a packet. */
static void raw_confirm(int slot, const struct lrp_tx_key *key)
{
	struct raw raw;

	raw_init(&raw, key);
	lrp_tx_device_send(&lrp_tx_devices[slot], &raw.m, MSG_CONFIRM | MSG_PROBE | MSG_DONTWAIT);
}

static struct lrp_tcp_frame frame_of(const struct lrp_tx_dest *dest, const struct lrp_tx_tcp *how)
{
	return (struct lrp_tcp_frame){
		.flow = how->flow,
		.link = dest->l2,
		.flow_label = how->flow_label ? how->flow_label : dest->flow_label,
		.id = dest->id,
		.ttl = how->ttl ? how->ttl : dest->hop_limit,
		.tos = how->tos,
	};
}

/* Each segment of a run for itself. 0 or -errno. */
static int raw_send(int slot, const struct lrp_tcp_frame *f, struct raw *raw,
		    const struct lrp_tcp_tx *tx, int flags)
{
	uint32_t step = tx->mss ? tx->mss : tx->payload_len, at = 0;
	uint8_t head[LRP_TCP_FRAME_MAX] __attribute__((aligned(8)));
	struct iovec iov[3];
	int error;

	raw->m.msg_iov = iov;
	do {
		uint32_t len = tx->payload_len - at < step ? tx->payload_len - at : step;

		iov[0].iov_base = head + LRP_TCP_FRAME_IP;
		iov[0].iov_len = lrp_tcp_frame(head, f, tx, at, len, LRP_TCP_CHECKSUM_FULL) -
				 LRP_TCP_FRAME_IP;
		raw->m.msg_iovlen = 1 + lrp_tcp_frame_payload(tx, at, len, iov + 1);
		error = lrp_tx_device_send(&lrp_tx_devices[slot], &raw->m, flags);
		at += len;
	} while (!error && at < tx->payload_len);
	return error;
}

/* As lrp_tx_send_tcp(). */
static int send_by_kernel(int slot, struct lrp_tx_dest *dest, const struct lrp_tx_key *key,
			  const struct lrp_tx_tcp *how, const struct lrp_tcp_tx *tx, uint32_t count,
			  int flags)
{
	struct lrp_tx_path path;
	struct lrp_tcp_frame f;
	struct raw raw;
	int error = 0;

	lrp_tx_hold_release();
	raw_init(&raw, key);
	lrp_tx_route_defaults(dest, key, lrp_tx_now_ns());
	f = frame_of(dest, how);
	f.id = 0; /* the kernel's choice */
	for (uint32_t done = 0; done < count; done++) {
		error = raw_send(slot, &f, &raw, &tx[done], flags);
		if (error && done)
			return (int)done;
		if (error)
			break;
	}
	if (error == -EMSGSIZE && !lrp_tx_path(key, &path))
		dest->mtu = path.mtu;
	return error ? error : (int)count;
}

/* ---- ours ------------------------------------------------------------------------ */

/* One small segment is summed up here, which costs less than to tell the kernel. 1 or -errno. */
static int send_small(struct lrp_tx_dest *dest, const struct lrp_tcp_frame *f,
		      const struct lrp_tcp_tx *tx, int flags)
{
	const struct lrp_tx_device *device = &lrp_tx_devices[dest->slot];
	uint8_t once[LRP_TCP_FRAME_MAX + LRP_TX_HOLD_PAYLOAD] __attribute__((aligned(8)));
	uint8_t *held, *bytes;
	struct iovec iov[2];
	uint32_t len, n;
	int error = 0;

	if (lrp_tx_hold_fin(device, f->flow, tx))
		return 1;
	held = lrp_tx_hold_room(device);
	bytes = held ? held : once;
	len = lrp_tcp_frame(bytes, f, tx, 0, tx->payload_len, LRP_TCP_CHECKSUM_FULL);
	n = lrp_tcp_frame_payload(tx, 0, tx->payload_len, iov);
	for (uint32_t i = 0; i < n; i++) {
		memcpy(bytes + len, iov[i].iov_base, iov[i].iov_len);
		len += (uint32_t)iov[i].iov_len;
	}
	if (held)
		lrp_tx_hold_done(len - LRP_TCP_FRAME_VNET);
	else
		error = lrp_tx_device_write_bare(device, bytes + LRP_TCP_FRAME_VNET,
						 len - LRP_TCP_FRAME_VNET, flags);
	if (!error)
		dest->id++;
	return error ? error : 1;
}

static void chunk_add(struct chunk *c, const struct lrp_tcp_frame *f, const struct lrp_tcp_tx *tx)
{
	struct msghdr *m = &c->message[c->count].msg_hdr;
	struct iovec *iov = c->iov[c->count];
	uint8_t *bytes = c->bytes[c->count++];

	iov[0].iov_base = bytes;
	iov[0].iov_len = lrp_tcp_frame(bytes, f, tx, 0, tx->payload_len, LRP_TCP_CHECKSUM_PARTIAL);
	memset(m, 0, sizeof(*m));
	m->msg_iov = iov;
	m->msg_iovlen = 1 + lrp_tcp_frame_payload(tx, 0, tx->payload_len, iov + 1);
}

static uint16_t segments_of(const struct lrp_tcp_tx *tx)
{
	return tx->mss && tx->payload_len > tx->mss
		       ? (uint16_t)((tx->payload_len + tx->mss - 1) / tx->mss)
		       : 1;
}

/* Some of the first segments, each shorter than the MTU. How many, or -errno of the device. */
static int send_frames(struct lrp_tx_dest *dest, const struct lrp_tx_tcp *how,
		       const struct lrp_tcp_tx *tx, uint32_t count, int flags)
{
	const struct lrp_tx_device *device = &lrp_tx_devices[dest->slot];
	struct lrp_tcp_frame f = frame_of(dest, how);
	struct chunk c;
	int sent;

	if (count == 1 && tx->payload_len <= LRP_TX_HOLD_PAYLOAD && segments_of(tx) == 1 &&
	    device->bare_fd >= 0)
		return send_small(dest, &f, tx, flags);
	lrp_tx_hold_release();
	for (c.count = 0; c.count < count && c.count < MESSAGES;) {
		f.id = dest->id;
		dest->id = (uint16_t)(dest->id + segments_of(&tx[c.count]));
		chunk_add(&c, &f, &tx[c.count]);
	}
	if (c.count > 1)
		return lrp_tx_device_send_many(device, c.message, c.count, flags);
	sent = lrp_tx_device_send(device, &c.message[0].msg_hdr, flags);
	return sent ? sent : 1;
}

/* True: `dest` says how to send. False: the kernel has to, by the raw socket *slot, if >= 0. */
static bool prepared(struct lrp_tx_dest *dest, const struct lrp_tx_key *key, int flags, int *slot)
{
	uint64_t now_ns = lrp_tx_now_ns();
	bool same = !memcmp(&dest->key, key, sizeof(*key)), confirmed = flags & MSG_CONFIRM;
	uint32_t epoch = lrp_tx_epoch();

	if ((same && lrp_tx_route_fresh(dest, epoch, now_ns) && lrp_tx_route_same_device(dest)) ||
	    lrp_tx_peer_find(dest, key, epoch, now_ns))
		return true;
	*slot = raw_device(key);
	if (confirmed && same && dest->ifindex && now_ns >= dest->probe_ns) {
		if (*slot >= 0 && dest->confirm)
			raw_confirm(*slot, key);
		if (lrp_tx_route_extend(dest, epoch, now_ns)) {
			lrp_tx_peer_learn(dest, now_ns);
			return true;
		}
	}
	if (!lrp_tx_route_resolve(dest, key, epoch, now_ns, confirmed || *slot < 0))
		return false;
	lrp_tx_peer_learn(dest, now_ns);
	return true;
}

/* The same for a stranger, about whom nothing is asked. */
static bool known(struct lrp_tx_dest *dest, const struct lrp_tx_key *key, int *slot)
{
	if (lrp_tx_peer_find(dest, key, lrp_tx_epoch(), lrp_tx_now_ns()))
		return true;
	*slot = raw_device(key);
	return *slot < 0 && prepared(dest, key, 0, slot);
}

/* Nothing can be sent now: why. */
static int refused(const struct lrp_tx_key *key)
{
	struct lrp_tx_path path;
	int error = lrp_tx_path(key, &path);

	return error ? error : -EOPNOTSUPP;
}

/* How many of the first can be tried at once; or -errno of the first. */
static int acceptable(const struct lrp_tx_dest *dest, const struct lrp_tx_tcp *how,
		      const struct lrp_tcp_tx *tx, uint32_t count, bool mtu_known)
{
	for (uint32_t i = 0; i < count; i++) {
		int error = 0;

		if (tx[i].payload_len > LRP_TX_RUN_MAX)
			error = -EINVAL;
		else if (mtu_known && lrp_tcp_frame_need(how->flow, &tx[i]) > dest->mtu)
			error = -EMSGSIZE;
		if (error)
			return i ? (int)i : error;
	}
	return (int)count;
}

/* As lrp_tx_send_tcp(). */
static int send_some(struct lrp_tx_dest *dest, const struct lrp_tx_key *key,
		     const struct lrp_tx_tcp *how, const struct lrp_tcp_tx *tx, uint32_t count,
		     int flags, bool remember)
{
	int slot = -1, n;
	bool ours = remember ? prepared(dest, key, flags, &slot) : known(dest, key, &slot);

	flags &= MSG_DONTWAIT;
	n = acceptable(dest, how, tx, count, ours);
	if (n < 0)
		return n;
	count = (uint32_t)n;
	if (ours) {
		n = send_frames(dest, how, tx, count, flags);
		if (n < 0)
			n = lrp_tx_route_failed(dest, n);
		if (n)
			return n;
		lrp_tx_peer_forget(key);
	}
	if (slot < 0)
		slot = raw_device(key);
	if (slot < 0)
		return refused(key);
	n = send_by_kernel(slot, dest, key, how, tx, count, flags);
	/* The socket is full of what waits for neighbours that are not there: of a flood's strangers. Those that
	 * are there must not suffer. */
	if (n == -EAGAIN && !ours &&
	    lrp_tx_route_resolve(dest, key, lrp_tx_epoch(), lrp_tx_now_ns(), true) &&
	    acceptable(dest, how, tx, 1, true) == 1) {
		lrp_tx_peer_learn(dest, lrp_tx_now_ns());
		n = send_frames(dest, how, tx, 1, flags);
	}
	return n;
}

int lrp_tx_send_tcp(struct lrp_tx_dest *dest, const struct lrp_tx_tcp *how,
		    const struct lrp_tcp_tx *tx, uint32_t count, int flags)
{
	struct lrp_tx_dest forgotten = {0};
	struct lrp_tx_key key = key_of(how);
	uint32_t done = 0;

	if (!lrp_tx_device_ready())
		return -EOPNOTSUPP;
	while (done < count) {
		int n = send_some(dest ? dest : &forgotten, &key, how, tx + done, count - done,
				  flags, dest);

		if (n < 0)
			return done ? (int)done : n;
		done += (uint32_t)n;
	}
	return (int)done;
}
