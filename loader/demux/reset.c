/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * reset.c - see reset.h.
 *
 * Of two sequence numbers that are half the space apart one at least is out of any window.
 * Linux answers such segments twice a second and connection (tcp_invalid_ratelimit), so all
 * are asked once more after that time. Packets go out through raw sockets that cannot receive
 * (IPPROTO_RAW), which are there only while somebody is to be asked.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "../../runtime/wire/checksum.h"
#include "reset.h"

#define BATCH	 256u		  /* peers at a time */
#define PAUSE_NS 10000000ull	  /* between two batches */
#define AGAIN_NS 600000000ull	  /* Linux: tcp_invalid_ratelimit is 500 ms */
#define MOST	 (2u * LRP_FLOWS) /* peers that wait: all entries of both families */

struct row {
	struct lrp_core_reset peer;
	uint64_t again_ns;
};

/* In the order in which they came: row[0..twice) have been asked twice, row[..once) once. */
struct lrp_core_resets {
	int fd4, fd6;
	uint32_t count, room, once, twice;
	uint64_t batch_ns; /* no batch before */
	struct row *row;
};

void lrp_core_resets_close(struct lrp_core *core)
{
	struct lrp_core_resets *r = core->resets;

	if (!r)
		return;
	if (r->fd4 >= 0)
		close(r->fd4);
	if (r->fd6 >= 0)
		close(r->fd6);
	free(r->row);
	free(r);
	core->resets = NULL;
}

static struct lrp_core_resets *resets(struct lrp_core *core)
{
	struct lrp_core_resets *r = core->resets;

	if (r)
		return r;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->fd4 = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
	r->fd6 = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
	if (r->fd4 < 0 && r->fd6 < 0)
		lrp_log_once(LRP_LOG_WARN,
			     "lrpd: raw socket: %s: idle peers of dead processes are not reset",
			     strerror(errno));
	core->resets = r;
	return r;
}

void lrp_core_reset(struct lrp_core *core, const struct lrp_core_reset *peer)
{
	struct lrp_core_resets *r = resets(core);

	if (!r || r->count == MOST)
		return;
	if (r->count == r->room) {
		uint32_t room = r->room ? 2 * r->room : 64;
		struct row *row = realloc(r->row, room * sizeof(*row));

		if (!row)
			return;
		r->row = row;
		r->room = room;
	}
	r->row[r->count++] = (struct row){.peer = *peer};
}

/* ---- asking --------------------------------------------------------------------------- */

static bool is_v4(const struct lrp_addr6 *addr)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(addr, mapped, sizeof(mapped));
}

static void send4(int fd, const struct lrp_core_reset *peer, struct tcphdr *tcp)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct {
		struct iphdr ip;
		struct tcphdr tcp;
	} packet = {.ip = {.version = 4,
			   .ihl = 5,
			   .frag_off = htons(IP_DF),
			   .ttl = IPDEFTTL,
			   .protocol = IPPROTO_TCP}};
	struct in_addr src;

	memcpy(&src, &peer->laddr.byte[12], 4);
	memcpy(&to.sin_addr, &peer->raddr.byte[12], 4);
	packet.ip.tot_len = htons(sizeof(packet)); /* its checksum is the kernel's */
	packet.ip.saddr = src.s_addr;
	packet.ip.daddr = to.sin_addr.s_addr;
	tcp->check = (uint16_t)~lrp_checksum_fold(
		lrp_checksum_add(lrp_checksum_pseudo4(src, to.sin_addr, IPPROTO_TCP, sizeof(*tcp)),
				 lrp_checksum_sum(tcp, sizeof(*tcp))));
	packet.tcp = *tcp;
	sendto(fd, &packet, sizeof(packet), MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
}

static void send6(int fd, const struct lrp_core_reset *peer, struct tcphdr *tcp)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6};
	struct {
		struct ip6_hdr ip;
		struct tcphdr tcp;
	} packet = {.ip = {.ip6_flow = htonl(6u << 28), .ip6_hlim = IPDEFTTL}};

	packet.ip.ip6_nxt = IPPROTO_TCP;
	packet.ip.ip6_plen = htons(sizeof(*tcp));
	memcpy(&packet.ip.ip6_src, &peer->laddr, sizeof(packet.ip.ip6_src));
	memcpy(&packet.ip.ip6_dst, &peer->raddr, sizeof(packet.ip.ip6_dst));
	to.sin6_addr = packet.ip.ip6_dst;
	tcp->check = (uint16_t)~lrp_checksum_fold(
		lrp_checksum_add(lrp_checksum_pseudo6(&packet.ip.ip6_src, &packet.ip.ip6_dst,
						      IPPROTO_TCP, sizeof(*tcp)),
				 lrp_checksum_sum(tcp, sizeof(*tcp))));
	packet.tcp = *tcp;
	sendto(fd, &packet, sizeof(packet), MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
}

static void ask(const struct lrp_core_resets *r, const struct lrp_core_reset *peer)
{
	bool v4 = is_v4(&peer->raddr);
	int fd = v4 ? r->fd4 : r->fd6;
	struct tcphdr tcp = {.source = peer->lport, .dest = peer->rport, .doff = 5, .ack = 1};
	uint32_t seq = 0;

	if (fd < 0)
		return;
	if (getrandom(&seq, sizeof(seq), GRND_NONBLOCK) < 0)
		seq = (uint32_t)lrp_core_now_ns();
	for (int half = 0; half < 2; half++) {
		tcp.seq = htonl(seq);
		tcp.check = 0;
		(v4 ? send4 : send6)(fd, peer, &tcp);
		seq ^= 0x80000000u;
	}
}

/* When there is something to do. */
static uint64_t due(const struct lrp_core_resets *r)
{
	uint64_t again = r->twice < r->once ? r->row[r->twice].again_ns : UINT64_MAX;

	return r->once < r->count || again < r->batch_ns ? r->batch_ns : again;
}

uint64_t lrp_core_resets_run(struct lrp_core *core)
{
	struct lrp_core_resets *r = core->resets;
	uint64_t now = lrp_core_now_ns();
	uint32_t n = 0;

	if (!r)
		return 0;
	if (now < due(r))
		return due(r);
	for (; n < BATCH && r->twice < r->once && r->row[r->twice].again_ns <= now; n++)
		ask(r, &r->row[r->twice++].peer);
	for (; n < BATCH && r->once < r->count; n++) {
		r->row[r->once].again_ns = now + AGAIN_NS;
		ask(r, &r->row[r->once++].peer);
	}
	r->batch_ns = now + PAUSE_NS;
	if (r->twice < r->count)
		return due(r);
	lrp_core_resets_close(core);
	return 0;
}
