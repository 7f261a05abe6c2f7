/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * packet.c - datagrams into frames, and frames to the device in as few system
 * calls as can be, see tx.h.
 *
 * A frame goes to the kernel as a struct virtio_net_hdr and the bytes from the link
 * header on, with the UDP checksum left to the device as a kernel socket leaves
 * it. Small payloads are gathered behind their headers: one iovec is cheaper to
 * import than two. A run of datagrams alike but for their payload goes as one
 * piece that the kernel cuts up (UDP segmentation) where nobody can tell.
 *
 * Measured for 14 bytes over veth, against a kernel socket's sendto 0.65 and sendmmsg 0.68 M/s:
 * send 1.12, sendmmsg 1.17, the same as one piece 2.2 to 2.9; a mapped ring
 * (PACKET_TX_RING) 1.14 and 1.45, which is not worth the lock and the pinned memory.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#include "../broker/broker.h"
#include "../udp/udp_output.h"
#include "../wire/checksum.h"
#include "device.h"
#include "route.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define MESSAGES      16u
#define IOVECS	      96u
#define BYTES	      4096u
#define GATHER_MAX    512u /* payload that is copied behind its header */
#define IOV_MAX_EACH  64u  /* iovecs of one datagram; more are the shadow's */
#define BARE_MAX      128u /* payload whose checksum costs less here than to tell the kernel of it */
#define RUN_MAX	      64u  /* datagrams in one piece, as UDP_SEGMENT has it */
#define RUN_BYTES_MAX 65000u
#define ID_BUCKETS    256u
#define VNET_LEN      ((uint32_t)sizeof(struct virtio_net_hdr))
#define LINK_LEN      LRP_UDP_LINK_LEN
#define UDP_LEN	      8u

/* Frames on their way into one system call. Lives on the caller's stack. */
struct chunk {
	const struct lrp_tx_device *device;
	uint32_t messages, iovs, used;
	uint32_t last_gather;	     /* length of a lone gathered frame */
	uint8_t datagrams[MESSAGES]; /* that are complete with this message */
	bool has_run;
	struct mmsghdr message[MESSAGES];
	struct iovec iov[IOVECS];
	uint8_t bytes[BYTES] __attribute__((aligned(8)));
};

struct head {
	struct virtio_net_hdr *vnet;
	struct lrp_udp_header_room *room;
};

static atomic_bool
	runs_refused; /* kernels before 6.2 know no UDP segmentation from packet sockets */
static _Atomic uint32_t ids[ID_BUCKETS];
static atomic_bool ids_seeded;

bool lrp_tx_ready(void)
{
	return lrp_tx_device_ready();
}

static const volatile uint32_t *epoch_source;

void lrp_tx_epoch_from(const volatile uint32_t *epoch)
{
	epoch_source = epoch;
}

uint32_t lrp_tx_epoch(void)
{
	const volatile uint32_t *source = epoch_source;

	return source ? *source : lrp_broker_status()->routes_epoch;
}

bool lrp_tx_epoch_followed(void)
{
	return epoch_source || lrp_broker_status()->lrpd_pid;
}

/*
 * Identification of datagrams that may be fragmented, `count` in a row: must not come
 * again for the same addresses while fragments are about [RFC 6864 4.3].
 */
static uint32_t take_ids(const struct lrp_udp_datagram *d, uint32_t count)
{
	uint64_t words[4] = {0}, h = 0;

	if (!atomic_load_explicit(&ids_seeded, memory_order_acquire)) {
		uint32_t seed[ID_BUCKETS / 4];

		for (uint32_t at = 0; at < ID_BUCKETS; at += ID_BUCKETS / 4) {
			while (getrandom(seed, sizeof(seed), 0) != sizeof(seed))
				;
			for (uint32_t i = 0; i < ID_BUCKETS / 4; i++)
				atomic_fetch_xor_explicit(&ids[at + i], seed[i],
							  memory_order_relaxed);
		}
		atomic_store_explicit(&ids_seeded, true, memory_order_release);
	}
	memcpy(words, &d->src, d->family == AF_INET ? 4 : 16);
	memcpy(words + 2, &d->dst, d->family == AF_INET ? 4 : 16);
	for (int i = 0; i < 4; i++) {
		h = (h ^ words[i]) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 32;
	}
	return atomic_fetch_add_explicit(&ids[h % ID_BUCKETS], count, memory_order_relaxed);
}

/* The datagram with what the route adds to it. DF as the kernel's sockets set it by default. */
static void complete(struct lrp_udp_datagram *work, const struct lrp_tx_dest *dest,
		     const struct lrp_udp_datagram *d)
{
	*work = *d;
	work->src = dest->src;
	if (!work->ttl)
		work->ttl = dest->hop_limit;
	if (!work->flow_label)
		work->flow_label = dest->flow_label;
	work->dont_fragment = !d->no_df;
}

static uint16_t frame_id(struct lrp_tx_dest *dest, const struct lrp_udp_datagram *work,
			 uint32_t count)
{
	uint16_t id = dest->id;

	if (!work->dont_fragment)
		return (uint16_t)take_ids(work, count);
	dest->id = (uint16_t)(id + count);
	return id;
}

/* Room for one more head; false: the chunk is full. */
static bool chunk_head(struct chunk *c, struct head *head, uint32_t gather)
{
	uint32_t at = (c->used + (uint32_t)sizeof(*head->vnet) + 7) & ~7u;

	if (c->messages == MESSAGES || c->iovs == IOVECS ||
	    at + sizeof(*head->room) + gather > BYTES)
		return false;
	head->room = (struct lrp_udp_header_room *)(c->bytes + at);
	head->vnet = (struct virtio_net_hdr *)(c->bytes + at - sizeof(*head->vnet));
	return true;
}

static void vnet_set(const struct head *head, const struct lrp_udp_frame *frame, uint32_t segment)
{
	memset(head->vnet, 0, sizeof(*head->vnet));
	if (frame->csum_start) {
		head->vnet->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		head->vnet->csum_start = frame->csum_start;
		head->vnet->csum_offset = frame->csum_offset;
	}
	if (segment) {
		head->vnet->gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
		head->vnet->gso_size = (uint16_t)segment;
	}
	head->vnet->hdr_len = (uint16_t)frame->header_len;
}

/* Closes a message that consists of the head, `gathered` bytes behind it and `slices` iovecs,
 * which are in place after a free one. */
static void chunk_close(struct chunk *c, const struct head *head, const struct lrp_udp_frame *frame,
			uint32_t gathered, uint32_t slices, uint32_t datagrams)
{
	struct iovec *first = &c->iov[c->iovs];
	struct msghdr *m = &c->message[c->messages].msg_hdr;

	first->iov_base = head->vnet;
	first->iov_len = sizeof(*head->vnet) + frame->header_len + gathered;
	memset(m, 0, sizeof(*m));
	m->msg_iov = first;
	m->msg_iovlen = 1 + slices;
	c->datagrams[c->messages++] = (uint8_t)datagrams;
	c->iovs += 1 + slices;
	c->used = (uint32_t)((uint8_t *)first->iov_base + first->iov_len - c->bytes);
}

static uint8_t *gather(uint8_t *to, const struct lrp_udp_datagram *d)
{
	uint32_t left = d->length;

	for (uint32_t i = 0; i < d->iov_count && left; i++) {
		uint32_t n = d->iov[i].iov_len < left ? (uint32_t)d->iov[i].iov_len : left;

		memcpy(to, d->iov[i].iov_base, n);
		to += n;
		left -= n;
	}
	return to;
}

/*
 * How many of the datagrams from the first on may go as one piece: the same
 * headers, the same length, but for the last, which may be shorter.
 */
static uint32_t run_length(struct lrp_tx_dest *const *dest, const struct lrp_udp_datagram *d,
			   uint32_t count)
{
	uint32_t n, total = d->length, iovs = d->iov_count;

	if (!dest[0]->gso || d->no_checksum || !d->length ||
	    atomic_load_explicit(&runs_refused, memory_order_relaxed))
		return 1;
	for (n = 1; n < count && n < RUN_MAX; n++) {
		const struct lrp_udp_datagram *e = &d[n];

		if (dest[n] != dest[0] || !lrp_tx_key_match(&dest[0]->key, e) ||
		    e->length > d->length || !e->length || e->ttl != d->ttl ||
		    e->no_df != d->no_df || e->no_checksum || e->flow_label != d->flow_label ||
		    total + e->length > RUN_BYTES_MAX || iovs + e->iov_count > IOVECS - 1)
			break;
		total += e->length;
		iovs += e->iov_count;
		if (e->length < d->length)
			return n + 1;
	}
	return n;
}

/*
 * Adds the first datagram, or a run, to the chunk. Returns how many, 0 if there is no
 * room left, or -errno.
 */
static int chunk_add(struct chunk *c, struct lrp_tx_dest *const *dest,
		     const struct lrp_udp_datagram *d, uint32_t count)
{
	uint32_t run = run_length(dest, d, count), gathered = 0, slices = 0;
	struct lrp_udp_datagram work;
	struct lrp_udp_frame frame;
	struct head head;
	int error;

	complete(&work, dest[0], d);
	for (uint32_t i = 1; i < run; i++)
		work.length += d[i].length;
	gathered = work.length <= (run > 1 ? 4 * GATHER_MAX : GATHER_MAX) ? work.length : 0;
	if (!chunk_head(c, &head, gathered))
		return 0;
	if (!gathered) {
		for (uint32_t i = 0; i < run; i++) {
			int n = lrp_udp_slice(&d[i], 0, d[i].length, &c->iov[c->iovs + 1 + slices],
					      IOVECS - c->iovs - 1 - slices);

			if (n == -ENOBUFS && c->messages)
				return 0;
			if (n < 0)
				return n;
			slices += (uint32_t)n;
		}
		work.iov = &c->iov[c->iovs + 1];
		work.iov_count = slices;
	} else if (run > 1) {
		/* Only the sum of lengths is looked at; the bytes are not. */
		c->iov[c->iovs].iov_base = NULL;
		c->iov[c->iovs].iov_len = work.length;
		work.iov = &c->iov[c->iovs];
		work.iov_count = 1;
	}
	error = lrp_udp_build(head.room, &frame, dest[0]->l2, &work, frame_id(dest[0], &work, run),
			      LRP_UDP_CHECKSUM_PARTIAL);
	if (error)
		return error;
	if (gathered) {
		uint8_t *to = head.room->bytes + frame.header_len;

		for (uint32_t i = 0; i < run; i++)
			to = gather(to, &d[i]);
	}
	vnet_set(&head, &frame, run > 1 ? d->length : 0);
	c->has_run |= run > 1;
	chunk_close(c, &head, &frame, gathered, slices, run);
	return (int)run;
}

/* Sends the chunk. Returns how many messages went, or -errno of the first. */
static int chunk_send(struct chunk *c, int flags)
{
	int error;

	if (c->messages > 1)
		return lrp_tx_device_send_many(c->device, c->message, c->messages, flags);
	if (c->iovs == 1)
		error = lrp_tx_device_write(c->device, c->iov[0].iov_base, c->iov[0].iov_len,
					    flags);
	else
		error = lrp_tx_device_send(c->device, &c->message[0].msg_hdr, flags);
	return error ? error : 1;
}

static void chunk_reset(struct chunk *c, const struct lrp_tx_dest *dest)
{
	c->device = &lrp_tx_devices[dest->slot];
	c->messages = c->iovs = c->used = 0;
	c->has_run = false;
}

/*
 * The head of a datagram without payload, to be patched for each that differs from
 * it in payload, length and identification only.
 */
static __attribute__((noinline)) bool head_make(struct lrp_tx_dest *dest,
						const struct lrp_udp_datagram *d)
{
	struct lrp_udp_header_room room;
	struct lrp_udp_datagram work;
	struct lrp_udp_frame frame;
	const uint8_t *udp;
	struct head head;
	uint16_t sum;

	complete(&work, dest, d);
	work.length = 0;
	if (lrp_udp_build(&room, &frame, dest->l2, &work, 0, LRP_UDP_CHECKSUM_PARTIAL) ||
	    !frame.csum_start)
		return false;
	head.vnet = (struct virtio_net_hdr *)dest->head.bytes;
	vnet_set(&head, &frame, 0);
	memcpy(dest->head.bytes + VNET_LEN, room.bytes, frame.header_len);
	udp = room.bytes + frame.csum_start;
	memcpy(&sum, udp + frame.csum_offset, 2);
	/* Less the length, which the pseudo-header has; all in one's complement. */
	dest->head.udp_sum = (uint32_t)sum + (uint16_t)~htons(UDP_LEN);
	if (d->family == AF_INET) {
		memset(room.bytes + LINK_LEN + 2, 0, 2);  /* total length; the id is 0 */
		memset(room.bytes + LINK_LEN + 10, 0, 2); /* checksum */
		dest->head.ip_sum =
			lrp_checksum_fold(lrp_checksum_header4(room.bytes + LINK_LEN, 5));
	}
	dest->head.ports_sum = (uint32_t)d->sport + d->dport;
	dest->head.ttl = d->ttl;
	dest->head.flow_label = d->flow_label;
	dest->head.length = (uint8_t)(VNET_LEN + frame.header_len);
	return true;
}

/*
 * The common case, one small datagram like the last: its head is a copy of what
 * was sent before with four fields changed. 1, or as lrp_tx_send(), or
 * -EOPNOTSUPP: not that case.
 */
static inline __attribute__((always_inline)) int
send_like_last(struct lrp_tx_dest *dest, const struct lrp_udp_datagram *d, int flags)
{
	uint8_t bytes[sizeof(dest->head.bytes) + GATHER_MAX];
	uint8_t *ip = bytes + VNET_LEN + LINK_LEN, *udp;
	uint16_t word, udp_len = htons((uint16_t)(UDP_LEN + d->length));
	const struct lrp_tx_device *device = &lrp_tx_devices[dest->slot];
	bool bare = d->length <= BARE_MAX && device->bare_fd >= 0;
	int error;

	if (device->tap || d->iov_count != 1 || d->length > GATHER_MAX ||
	    d->length > d->iov->iov_len || d->no_checksum || d->no_df ||
	    !lrp_udp_fits(d, dest->mtu))
		return -EOPNOTSUPP;
	if ((!dest->head.length || dest->head.ttl != d->ttl ||
	     dest->head.flow_label != d->flow_label) &&
	    !head_make(dest, d))
		return -EOPNOTSUPP;
	memcpy(bytes, dest->head.bytes, sizeof(dest->head.bytes));
	udp = bytes + dest->head.length - UDP_LEN;
	memcpy(udp + 4, &udp_len, 2);
	if (d->family == AF_INET6)
		memcpy(ip + 4, &udp_len, 2);
	if (bare) {
		uint64_t sum = lrp_checksum_sum(d->iov->iov_base, d->length);

		sum = lrp_checksum_add(sum, (uint64_t)dest->head.udp_sum + dest->head.ports_sum +
						    2u * udp_len);
		word = (uint16_t)~lrp_checksum_fold(sum);
		word = word ? word : 0xffff;
	} else {
		word = lrp_checksum_fold((uint64_t)dest->head.udp_sum + udp_len);
	}
	memcpy(udp + 6, &word, 2);
	if (d->family == AF_INET) {
		uint16_t id = htons(dest->id++), length = htons((uint16_t)(28 + d->length));

		memcpy(ip + 2, &length, 2);
		memcpy(ip + 4, &id, 2);
		word = (uint16_t)~lrp_checksum_fold((uint64_t)dest->head.ip_sum + length + id);
		memcpy(ip + 10, &word, 2);
	}
	memcpy(bytes + dest->head.length, d->iov->iov_base, d->length);
	if (bare)
		error = lrp_tx_device_write_bare(device, bytes + VNET_LEN,
						 dest->head.length - VNET_LEN + d->length, flags);
	else
		error = lrp_tx_device_write(device, bytes, dest->head.length + d->length, flags);
	return error ? lrp_tx_route_failed(dest, error) : 1;
}

/* One datagram larger than the MTU. 1, or as lrp_tx_send(). */
static int send_fragments(struct lrp_tx_dest *dest, const struct lrp_udp_datagram *d, int flags)
{
	struct lrp_udp_fragments fragments;
	struct lrp_udp_datagram work;
	struct lrp_udp_frame frame;
	struct head head;
	struct chunk c;
	bool more = true;
	int error;

	complete(&work, dest, d);
	work.dont_fragment = false;
	error = lrp_udp_fragments_init(&fragments, dest->l2, &work, dest->mtu, take_ids(&work, 1));
	if (error)
		return error;
	do {
		uint32_t sent = 0;

		chunk_reset(&c, dest);
		while (c.iovs + 1 + d->iov_count <= IOVECS && chunk_head(&c, &head, 0)) {
			int slices;

			more = lrp_udp_fragments_next(&fragments, head.room, &frame);
			if (!more)
				break;
			slices = lrp_udp_slice(d, frame.payload_offset, frame.payload_len,
					       &c.iov[c.iovs + 1], IOVECS - c.iovs - 1);
			if (slices < 0)
				return slices;
			vnet_set(&head, &frame, 0);
			chunk_close(&c, &head, &frame, 0, (uint32_t)slices, 0);
		}
		while (sent < c.messages) {
			int n = lrp_tx_device_send_many(c.device, c.message + sent,
							c.messages - sent, flags);

			if (n < 0)
				return lrp_tx_route_failed(dest, n);
			sent += (uint32_t)n;
		}
	} while (more);
	return 1;
}

static bool prepared(struct lrp_tx_dest *dest, const struct lrp_udp_datagram *d, uint32_t epoch,
		     uint64_t now_ns)
{
	struct lrp_tx_key key;

	if (lrp_tx_route_fresh(dest, epoch, now_ns) && lrp_tx_key_match(&dest->key, d) &&
	    lrp_tx_route_same_device(dest))
		return true;
	lrp_tx_key_set(&key, d);
	return lrp_tx_route_resolve(dest, &key, epoch, now_ns, false);
}

/* Sends some of the first datagrams over one device. As lrp_tx_send(). */
static __attribute__((noinline)) int send_some(struct lrp_tx_dest *const *dest,
					       const struct lrp_udp_datagram *dgram, uint32_t count,
					       int flags, uint32_t epoch, uint64_t now_ns)
{
	uint32_t filled = 0, done = 0;
	struct chunk c;
	int n;

	if (!prepared(dest[0], &dgram[0], epoch, now_ns) || dgram[0].iov_count > IOV_MAX_EACH)
		return 0;
	chunk_reset(&c, dest[0]);
	while (filled < count) {
		struct lrp_tx_dest *to = dest[filled];
		const struct lrp_udp_datagram *d = &dgram[filled];

		if (filled && (d->iov_count > IOV_MAX_EACH || !prepared(to, d, epoch, now_ns) ||
			       &lrp_tx_devices[to->slot] != c.device))
			break;
		if (!lrp_udp_fits(d, to->mtu)) {
			if (filled)
				break;
			if (d->length > lrp_udp_max_payload(d->family) || d->dont_fragment)
				return -EMSGSIZE;
			if (c.device->tap) /* takes whole datagrams only */
				return 0;
			return send_fragments(to, d, flags);
		}
		/* Alone, the kernel's socket is faster: tap.h. */
		if (c.device->tap && run_length(dest + filled, d, count - filled) < 2) {
			if (!filled)
				return 0;
			break;
		}
		n = chunk_add(&c, dest + filled, d, count - filled);
		if (n < 0 && !filled)
			return n;
		if (n <= 0)
			break;
		filled += (uint32_t)n;
	}
	n = chunk_send(&c, flags);
	if (n < 0 && n == -EINVAL && c.has_run) {
		atomic_store_explicit(&runs_refused, true, memory_order_relaxed);
		return send_some(dest, dgram, count, flags, epoch, now_ns);
	}
	if (n < 0)
		return lrp_tx_route_failed(dest[0], n);
	for (int i = 0; i < n; i++)
		done += c.datagrams[i];
	return (int)done;
}

int lrp_tx_send(struct lrp_tx_dest *const *dest, const struct lrp_udp_datagram *dgram,
		uint32_t count, int flags)
{
	uint32_t epoch = lrp_tx_epoch(), done = 0;
	uint64_t now_ns = lrp_tx_now_ns();

	flags &= MSG_DONTWAIT;
	if (count == 1 && lrp_tx_route_fresh(dest[0], epoch, now_ns) &&
	    lrp_tx_key_match(&dest[0]->key, dgram) && lrp_tx_route_same_device(dest[0])) {
		int n = send_like_last(dest[0], dgram, flags);

		if (n != -EOPNOTSUPP)
			return n;
	}
	if (!lrp_tx_device_ready() || (count < 2 && lrp_tx_device_tap_only()))
		return 0;
	while (done < count) {
		int n = send_some(dest + done, dgram + done, count - done, flags, epoch, now_ns);

		if (n <= 0)
			return done ? (int)done : n;
		done += (uint32_t)n;
	}
	return (int)done;
}
