/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The program on real devices, with a real AF_XDP socket behind the channel: native and generic
 * mode on veth, generic mode on lo, MTU 9000. What the program counts and what arrives in the
 * ring must agree, frame by frame.
 *
 *     this test ── t1 ═════ t0 ── lrp_xdp ── AF_XDP        this test ── lo ── lrp_xdp ── AF_XDP
 */
#include "harness.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <xdp/xsk.h>

#include "../lib/bed.h"

#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif
#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0)
#endif

#define PORT	      1000
#define FRAMES	      1024u
#define FRAME_SIZE    4096u
#define FRAME_PAYLOAD (FRAME_SIZE - 256) /* XDP_PACKET_HEADROOM */

struct place {
	const char *device, *sender;
	uint32_t mode; /* XDP_FLAGS_* */
};

struct stage {
	struct harness h;
	struct place place;
	struct xsk_umem *umem;
	struct xsk_socket *xsk;
	struct xsk_ring_prod fill;
	struct xsk_ring_cons rx, completion;
	uint8_t *memory;
	int sender;
};

static const struct place native = {"t0", "t1", XDP_FLAGS_DRV_MODE};
static const struct place generic = {"t0", "t1", XDP_FLAGS_SKB_MODE};
static const struct place loopback = {"lo", "lo", XDP_FLAGS_SKB_MODE};

static int stage_open(void **state, const struct place *place)
{
	struct xsk_umem_config umem_config = {
		.fill_size = FRAMES * 2,
		.comp_size = 64,
		.frame_size = FRAME_SIZE,
	};
	struct xsk_socket_config config = {
		.rx_size = FRAMES,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = XDP_COPY | XDP_USE_SG,
	};
	struct stage *stage = calloc(1, sizeof(*stage));
	struct harness *h = &stage->h;
	struct sockaddr_ll to = {.sll_family = AF_PACKET};
	uint32_t first = 0, index;
	int rc, fd;

	stage->place = *place;
	if (place->device[0] == 't')
		bed_sh("ip link add t0 address 02:00:00:00:00:01 type veth peer name t1 && "
		       "sysctl -qw net.ipv6.conf.t0.disable_ipv6=1 net.ipv6.conf.t1.disable_ipv6=1 "
		       "&& "
		       "ip link set t0 mtu 9000 up && ip link set t1 mtu 9000 up");
	harness_open(h, place->mode != XDP_FLAGS_DRV_MODE);
	h->device->frame_payload = FRAME_PAYLOAD;
	if (place->device[0] == 'l')
		h->device->flags = LRP_DEVICE_LOOPBACK;
	harness_any(h, 4, IPPROTO_UDP, PORT, 1);
	h->channel[0].limit = h->channel[0].guarantee = h->channel[1].limit =
		h->channel[1].guarantee = FRAMES - 8;

	stage->memory = mmap(NULL, FRAMES * FRAME_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	rc = xsk_umem__create(&stage->umem, stage->memory, FRAMES * FRAME_SIZE, &stage->fill,
			      &stage->completion, &umem_config);
	if (rc)
		fail_msg("UMEM: %s", strerror(-rc));
	/* the pool of the socket before is torn down in a workqueue (EBUSY meanwhile) */
	for (int tries = 0; tries < 200; tries++) {
		rc = xsk_socket__create(&stage->xsk, place->device, 0, stage->umem, &stage->rx,
					NULL, &config);
		if (rc != -EBUSY)
			break;
		usleep(10000);
	}
	if (rc)
		fail_msg("AF_XDP socket on %s: %s", place->device, strerror(-rc));
	assert_int_equal(xsk_ring_prod__reserve(&stage->fill, FRAMES, &first), FRAMES);
	for (uint32_t i = 0; i < FRAMES; i++)
		*xsk_ring_prod__fill_addr(&stage->fill, first + i) = (uint64_t)i * FRAME_SIZE;
	xsk_ring_prod__submit(&stage->fill, FRAMES);
	fd = xsk_socket__fd(stage->xsk);
	for (index = 0; index < 2; index++) /* the fragment channel's frames arrive here, too */
		if (bpf_map_update_elem(harness_map(h, "lrp_xsks"), &index, &fd, BPF_ANY))
			fail_msg("lrp_xsks: %s", strerror(errno));
	rc = bpf_xdp_attach(if_nametoindex(place->device), h->prog, place->mode, NULL);
	if (rc)
		fail_msg("attach to %s: %s", place->device, strerror(-rc));

	stage->sender = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	to.sll_ifindex = if_nametoindex(place->sender);
	if (stage->sender < 0 || bind(stage->sender, (void *)&to, sizeof(to)))
		fail_msg("packet socket: %s", strerror(errno));
	*state = stage;
	return 0;
}

static int stage_close(void **state)
{
	struct stage *stage = *state;

	close(stage->sender);
	bpf_xdp_detach(if_nametoindex(stage->place.device), stage->place.mode, NULL);
	xsk_socket__delete(stage->xsk);
	xsk_umem__delete(stage->umem);
	munmap(stage->memory, FRAMES * FRAME_SIZE);
	harness_close(&stage->h);
	if (stage->place.device[0] == 't')
		bed_sh("ip link del t0");
	free(stage);
	return 0;
}

static int setup_native(void **state)
{
	return stage_open(state, &native);
}
static int setup_generic(void **state)
{
	return stage_open(state, &generic);
}
static int setup_loopback(void **state)
{
	return stage_open(state, &loopback);
}

static void emit(struct stage *stage, const struct packet *packet)
{
	ssize_t sent = send(stage->sender, packet->data, packet->len, 0);

	if (sent != (ssize_t)packet->len)
		fail_msg("send of %u bytes: %s", packet->len, strerror(errno));
}

/* Waits until the program has counted so many more packets in all channels and passes. */
static void settle(struct stage *stage, enum lrp_xdp_reason reason, uint64_t want)
{
	for (int i = 0; i < 1000 && harness_count(&stage->h, reason) < want; i++)
		usleep(1000);
	if (harness_count(&stage->h, reason) != want)
		fail_msg("%s: %llu, expected %llu", harness_reason(reason),
			 (unsigned long long)harness_count(&stage->h, reason),
			 (unsigned long long)want);
}

static uint32_t available(struct stage *stage, uint32_t want)
{
	uint32_t n = 0;

	for (int i = 0; i < 1000; i++) {
		n = __atomic_load_n(stage->rx.producer, __ATOMIC_ACQUIRE) - *stage->rx.consumer;
		if (n >= want)
			break;
		usleep(1000);
	}
	return n;
}

/* Takes one packet out of the ring, which must be this one; returns how many frames it took. */
static uint32_t take(struct stage *stage, const struct packet *packet)
{
	uint32_t frames = 0, at = 0, index = 0;
	bool more = true;

	while (more) {
		const struct xdp_desc *desc;

		assert_true(available(stage, 1) >= 1);
		assert_int_equal(xsk_ring_cons__peek(&stage->rx, 1, &index), 1);
		desc = xsk_ring_cons__rx_desc(&stage->rx, index);
		more = desc->options & XDP_PKT_CONTD;
		assert_true(at + desc->len <= packet->len);
		assert_memory_equal(stage->memory + desc->addr, packet->data + at, desc->len);
		at += desc->len;
		frames++;
		xsk_ring_cons__release(&stage->rx, 1);
	}
	assert_int_equal(at, packet->len);
	return frames;
}

static void test_arrive(void **state)
{
	struct stage *stage = *state;
	struct spec spec = {.dport = PORT, .payload = 100}, other = {.dport = PORT + 1};
	struct packet packet;

	for (uint16_t i = 0; i < 50; i++) {
		spec.payload = 18 + i * 29; /* up to 1,439 bytes */
		packet_build(&packet, &spec);
		emit(stage, &packet);
		assert_int_equal(take(stage, &packet), 1);
	}
	settle(stage, LRP_XDP_ENQUEUED, 50);
	assert_int_equal(stage->h.channel[1].enqueued, 50);
	packet_build(&packet, &other);
	emit(stage, &packet);
	settle(stage, LRP_XDP_PASS_PORT, 1);
	assert_int_equal(available(stage, 0), 0);
}

/* The channel never holds more than its limit: the rest is dropped before it is copied. */
static void test_discard(void **state)
{
	struct stage *stage = *state;
	struct harness *h = &stage->h;
	struct spec spec = {.dport = PORT, .payload = 100};
	struct xdp_statistics statistics;
	socklen_t size = sizeof(statistics);
	struct packet packet;

	packet_build(&packet, &spec);
	h->channel[1].limit = h->channel[1].guarantee = 5;
	for (int i = 0; i < 20; i++)
		emit(stage, &packet);
	settle(stage, LRP_XDP_DROP_FULL, 15);
	settle(stage, LRP_XDP_ENQUEUED, 5);
	assert_int_equal(available(stage, 5), 5);
	harness_user(h, 0, 1)->returned = 3; /* as if three of them were back */
	for (int i = 0; i < 20; i++)
		emit(stage, &packet);
	settle(stage, LRP_XDP_ENQUEUED, 8);
	settle(stage, LRP_XDP_DROP_FULL, 32);
	assert_int_equal(available(stage, 8), 8);
	/* nothing was lost behind the program's back */
	assert_int_equal(
		getsockopt(xsk_socket__fd(stage->xsk), SOL_XDP, XDP_STATISTICS, &statistics, &size),
		0);
	assert_int_equal(statistics.rx_dropped + statistics.rx_ring_full, 0);
}

/* A packet takes as many frames as the program says. */
static void test_jumbo(void **state)
{
	static const uint16_t lengths[] = {FRAME_PAYLOAD - 1,
					   FRAME_PAYLOAD,
					   FRAME_PAYLOAD + 1,
					   2 * FRAME_PAYLOAD - 1,
					   2 * FRAME_PAYLOAD,
					   2 * FRAME_PAYLOAD + 1,
					   9014};
	struct stage *stage = *state;
	struct packet packet;
	uint64_t enqueued = 0;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct spec spec = {.dport = PORT, .payload = lengths[i] - 42};

		packet_build(&packet, &spec);
		assert_int_equal(packet.len, lengths[i]);
		emit(stage, &packet);
		enqueued += take(stage, &packet);
		settle(stage, LRP_XDP_ENQUEUED, i + 1);
		if (stage->h.channel[1].enqueued != enqueued)
			fail_msg("%u bytes: %llu frames counted, %llu arrived", packet.len,
				 (unsigned long long)stage->h.channel[1].enqueued,
				 (unsigned long long)enqueued);
	}
	assert_int_equal(enqueued, 1 + 1 + 2 + 2 + 2 + 3 + 3);
}

/* An orphan arrives on the fragment channel, as it was. */
static void test_orphan(void **state)
{
	struct spec spec = {.dport = PORT,
			    .payload = 200,
			    .id = 5,
			    .fragment = true,
			    .offset = 64,
			    .length = 64};
	struct stage *stage = *state;
	struct packet packet;

	packet_build(&packet, &spec);
	emit(stage, &packet);
	assert_int_equal(take(stage, &packet), 1);
	assert_int_equal(stage->h.channel[0].enqueued, 1);
	assert_int_equal(stage->h.channel[1].enqueued, 0);
}

int main(int argc, char **argv)
{
#define MODE(test)                                                                                 \
	cmocka_unit_test_setup_teardown(test, setup_native, stage_close),                          \
		cmocka_unit_test_setup_teardown(test, setup_generic, stage_close),                 \
		cmocka_unit_test_setup_teardown(test, setup_loopback, stage_close)
	const struct CMUnitTest tests[] = {
		MODE(test_arrive),
		MODE(test_discard),
		MODE(test_jumbo),
		MODE(test_orphan),
	};

	(void)argc;
	bed_enter(argv);
	bed_sh("ip link set lo up");
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
