// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "inject.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpf/load.h"
#include "load.skel.h"

struct lrp_inject {
	struct load_bpf *skel;
	struct lrp_load_config *config;
	struct lrp_load_state *state;
	int prog_fd;
	int anchor_fd; /* TAP: goes with its descriptor */
	int link_fd;
	uint32_t frame_length;
	uint8_t frame[2048];
};

static int fail(char *error, size_t size, int err, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(error, size, format, ap);
	va_end(ap);
	return err;
}

/* One's complement sum of 16-bit words, in memory order. */
static uint32_t sum16(const void *data, size_t length, uint32_t sum)
{
	const uint8_t *p = data;
	uint16_t word;

	for (; length > 1; p += 2, length -= 2) {
		memcpy(&word, p, 2);
		sum += word;
	}
	if (length) {
		word = 0;
		memcpy(&word, p, 1);
		sum += word;
	}
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Refuses all but a veth in a namespace that is not the machine's first. */
static int check_device(const char *device, uint8_t smac[6], char *error, size_t size)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq ifr = {0};
	struct stat ours, first;
	int fd, err = 0;

	/* In a bed's pid namespace process 1 is the bed's own; beds say so by LRP_BED. */
	if (!getenv("LRP_BED") &&
	    (stat("/proc/self/ns/net", &ours) != 0 || stat("/proc/1/ns/net", &first) != 0 ||
	     ours.st_ino == first.st_ino))
		return fail(error, size, -EPERM,
			    "this is the machine's own network namespace; the generator sends only "
			    "inside a test bed");
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(error, size, -errno, "socket: %s", strerror(errno));
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", device);
	ifr.ifr_data = (void *)&info;
	if (ioctl(fd, SIOCETHTOOL, &ifr) != 0)
		err = fail(error, size, -errno, "%s: %s", device, strerror(errno));
	else if (strcmp(info.driver, "veth") != 0)
		err = fail(error, size, -EPERM,
			   "%s is a %s, not a veth; the generator sends through nothing else",
			   device, info.driver);
	memset(&ifr.ifr_ifru, 0, sizeof(ifr.ifr_ifru));
	if (!err && ioctl(fd, SIOCGIFHWADDR, &ifr) != 0)
		err = fail(error, size, -errno, "%s: %s", device, strerror(errno));
	if (!err)
		memcpy(smac, ifr.ifr_hwaddr.sa_data, 6);
	close(fd);
	return err;
}

/*
 * A program that is attached nowhere enters the XDP dispatcher anew at each
 * BPF_PROG_RUN, which costs a synchronize_rcu [note 27]. So it is attached, to a TAP that
 * is never up, and goes with it.
 */
static int make_anchor(struct lrp_inject *inject, char *error, size_t size)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};

	inject->anchor_fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (inject->anchor_fd < 0)
		return fail(error, size, -errno, "/dev/net/tun: %s", strerror(errno));
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "lrpload%%d");
	if (ioctl(inject->anchor_fd, TUNSETIFF, &ifr) != 0)
		return fail(error, size, -errno, "TUNSETIFF: %s", strerror(errno));
	inject->link_fd =
		bpf_link_create(inject->prog_fd, (int)if_nametoindex(ifr.ifr_name), BPF_XDP, NULL);
	if (inject->link_fd < 0)
		return fail(error, size, inject->link_fd, "attach to %s: %s", ifr.ifr_name,
			    strerror(-inject->link_fd));
	return 0;
}

static uint8_t *build_ip(struct lrp_inject *inject, const struct lrp_inject_spec *spec,
			 uint32_t l4_length, uint8_t proto)
{
	struct lrp_load_config *config = inject->config;
	uint8_t *p = inject->frame + ETH_HLEN;
	__be32 tail;

	if (spec->family == AF_INET) {
		struct iphdr *ip = (struct iphdr *)p;

		ip->version = 4;
		ip->ihl = 5;
		ip->ttl = 64;
		ip->protocol = proto;
		ip->frag_off = htons(config->fragments > 1 ? 0 : 0x4000);
		ip->tot_len = htons((uint16_t)(sizeof(*ip) + l4_length));
		ip->daddr = spec->dst.v4.s_addr;
		ip->saddr = 0;
		if (config->fragments > 1)
			ip->tot_len = 0; /* varies: the program adds it */
		config->ip_sum = sum16(ip, sizeof(*ip), 0);
		config->saddr = ntohl(spec->src.v4.s_addr);
		config->l4_sum = sum16(&ip->daddr, 4, htons(proto) + htons((uint16_t)l4_length));
		return p + sizeof(*ip);
	}
	struct ipv6hdr *ip6 = (struct ipv6hdr *)p;

	ip6->version = 6;
	ip6->hop_limit = 64;
	ip6->nexthdr = proto;
	ip6->payload_len = htons((uint16_t)l4_length);
	memcpy(&ip6->saddr, &spec->src.v6, 16);
	memcpy(&ip6->daddr, &spec->dst.v6, 16);
	memcpy(&tail, (uint8_t *)&ip6->saddr + 12, 4);
	config->saddr = ntohl(tail);
	memset((uint8_t *)&ip6->saddr + 12, 0, 4);
	config->l4_sum = sum16(&ip6->saddr, 32, htons(proto) + htons((uint16_t)l4_length));
	return p + sizeof(*ip6);
}

/* Who has dst? Tell src. */
static int build_arp(struct lrp_inject *inject, const struct lrp_inject_spec *spec,
		     const uint8_t smac[6])
{
	static const uint8_t request[] = {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1};
	uint8_t *p = inject->frame;

	memset(p, 0, sizeof(inject->frame));
	memset(p, 0xff, 6);
	memcpy(p + 6, smac, 6);
	memcpy(p + 12, request, sizeof(request));
	memcpy(p + 22, smac, 6);
	memcpy(p + 28, &spec->src.v4, 4);
	memcpy(p + 38, &spec->dst.v4, 4);
	inject->config->family = 0;
	inject->config->fragments = 1;
	inject->frame_length = ETH_ZLEN;
	return 0;
}

static void build_l4(struct lrp_inject *inject, const struct lrp_inject_spec *spec, uint8_t *l4,
		     uint32_t l4_length)
{
	if (spec->kind == LRP_INJECT_ECHO) {
		uint16_t check;

		inject->config->plain = 1;
		l4[0] = 8;
		check = (uint16_t)~sum16(l4, l4_length, 0);
		memcpy(l4 + 2, &check, 2);
	} else if (spec->kind >= LRP_INJECT_SYN) {
		struct tcphdr *th = (struct tcphdr *)l4;

		th->doff = sizeof(*th) / 4;
		th->window = htons(65535);
		if (spec->kind == LRP_INJECT_ACK) {
			th->ack = 1;
			th->ack_seq = htonl(0x12345678);
		} else {
			th->syn = 1;
		}
	} else {
		struct udphdr *udp = (struct udphdr *)l4;

		udp->len = htons((uint16_t)l4_length);
		memset(l4 + sizeof(*udp) + 8, 'x', l4_length - sizeof(*udp) - 8);
	}
}

static int build_frame(struct lrp_inject *inject, const struct lrp_inject_spec *spec,
		       const uint8_t smac[6], char *error, size_t size)
{
	struct lrp_load_config *config = inject->config;
	uint32_t mtu = spec->mtu ? spec->mtu : 1500;
	uint32_t ip_length =
		spec->family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	bool tcp = spec->kind >= LRP_INJECT_SYN, echo = spec->kind == LRP_INJECT_ECHO;
	uint32_t payload = spec->payload < 8 ? 8 : spec->payload;
	uint32_t l4_length =
		tcp ? sizeof(struct tcphdr) : (uint32_t)sizeof(struct udphdr) + payload;
	uint8_t *l4;

	if (spec->family != AF_INET && spec->family != AF_INET6)
		return fail(error, size, -EAFNOSUPPORT, "family %d: neither IPv4 nor IPv6",
			    spec->family);
	config->family = spec->family == AF_INET ? 4 : 6;
	config->tcp = tcp;
	config->sources = spec->sources ? spec->sources : 1;
	config->sport = spec->sport;
	config->sports = spec->sports ? spec->sports : 1;
	config->dport = spec->dport;
	config->dports = spec->dports ? spec->dports : 1;
	config->no_checksum = spec->no_checksum && spec->family == AF_INET;
	config->spoil =
		spec->kind == LRP_INJECT_UDP_BAD || spec->kind == LRP_INJECT_TCP_BAD ? 0x5a5a : 0;
	config->fragments = 1;
	if (config->sport + config->sports > 65536 || config->dport + config->dports > 65536)
		return fail(error, size, -EINVAL, "more ports than there are above the first");
	if (ip_length + l4_length > mtu) {
		if (spec->family != AF_INET || !config->no_checksum || l4_length > 65535 - 20)
			return fail(error, size, -EMSGSIZE,
				    "%u bytes of payload: fragments are for IPv4 without checksum, "
				    "up to 65507",
				    payload);
		config->fragment_bytes = (mtu - ip_length) & ~7u;
		config->fragments =
			(l4_length + config->fragment_bytes - 1) / config->fragment_bytes;
		config->last_fragment_bytes =
			l4_length - (config->fragments - 1) * config->fragment_bytes;
		config->udp_length = l4_length;
		l4_length = config->fragment_bytes;
	}
	if (ETH_HLEN + ip_length + l4_length > sizeof(inject->frame))
		return fail(error, size, -EMSGSIZE, "frames are at most %zu bytes",
			    sizeof(inject->frame));

	memset(inject->frame, 0, sizeof(inject->frame));
	memcpy(inject->frame, spec->dmac, 6);
	memcpy(inject->frame + 6, smac, 6);
	inject->frame[12] = spec->family == AF_INET ? 0x08 : 0x86;
	inject->frame[13] = spec->family == AF_INET ? 0x00 : 0xdd;
	l4 = build_ip(inject, spec, l4_length,
		      tcp    ? IPPROTO_TCP
		      : echo ? IPPROTO_ICMP
			     : IPPROTO_UDP);
	build_l4(inject, spec, l4, l4_length);
	config->l4_sum = sum16(l4, l4_length, config->l4_sum);
	/* The program touches 28 bytes behind the IP header; a short segment is padded as
	 * Ethernet pads it. */
	if (l4_length < 28)
		l4_length = 28;
	inject->frame_length = ETH_HLEN + ip_length + l4_length;
	if (inject->frame_length < ETH_ZLEN)
		inject->frame_length = ETH_ZLEN;
	return 0;
}

int lrp_inject_open(struct lrp_inject **out, const struct lrp_inject_spec *spec, char *error,
		    size_t error_size)
{
	struct lrp_inject *inject;
	uint8_t smac[6];
	int err;

	err = check_device(spec->device, smac, error, error_size);
	if (err)
		return err;
	inject = calloc(1, sizeof(*inject));
	if (!inject)
		return fail(error, error_size, -ENOMEM, "no memory");
	inject->anchor_fd = inject->link_fd = -1;
	inject->skel = load_bpf__open_and_load();
	if (!inject->skel) {
		err = fail(error, error_size, -errno, "load.bpf.o: %s", strerror(errno));
		goto out;
	}
	inject->config = &inject->skel->bss->config;
	inject->state = &inject->skel->bss->state;
	inject->prog_fd = bpf_program__fd(inject->skel->progs.load_frame);
	inject->config->ifindex = if_nametoindex(spec->device);
	err = spec->kind == LRP_INJECT_ARP ? build_arp(inject, spec, smac)
					   : build_frame(inject, spec, smac, error, error_size);
	if (!err)
		err = make_anchor(inject, error, error_size);
out:
	if (err) {
		lrp_inject_close(inject);
		return err;
	}
	*out = inject;
	return 0;
}

void lrp_inject_close(struct lrp_inject *inject)
{
	if (!inject)
		return;
	if (inject->link_fd >= 0)
		close(inject->link_fd);
	if (inject->anchor_fd >= 0)
		close(inject->anchor_fd);
	load_bpf__destroy(inject->skel);
	free(inject);
}

void lrp_inject_rate(struct lrp_inject *inject, uint64_t rate)
{
	struct lrp_load_config *config = inject->config;

	if (rate == 0) {
		config->limited = 1;
		inject->skel->bss->limit.datagrams = 0;
		return;
	}
	config->limited = 0;
	config->interval_256 = rate == UINT64_MAX ? 0 : 256000000000u / rate;
	/* At low rates four frames are the most that is caught up. */
	config->lag_ns = LRP_BURST_NS;
	if (rate != UINT64_MAX && 4000000000u / rate > LRP_BURST_NS)
		config->lag_ns = 4000000000u / rate;
}

void lrp_inject_limit(struct lrp_inject *inject, uint64_t datagrams)
{
	inject->config->limited = 1;
	inject->skel->bss->limit.datagrams = datagrams;
}

/*
 * Turns of one call: at most 5 ms of sending, 1 ms of waiting. Not fewer, for each call makes a
 * page pool that lives on until the last of its frames comes back, a second at least if one is
 * still queued somewhere, and the kernel has 65,534 names for them.
 */
#define TURNS 16384

int lrp_inject_run(struct lrp_inject *inject)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = inject->frame,
		    .data_size_in = inject->frame_length, .repeat = TURNS,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		    .batch_size = inject->config->interval_256 ? 32 : 64);

	return bpf_prog_test_run_opts(inject->prog_fd, &opts) ? -errno : 0;
}

void lrp_inject_aim(struct lrp_inject *inject, uint16_t dport, uint32_t dports, uint32_t sources)
{
	inject->config->dport = dport;
	inject->config->dports = dports ? dports : 1;
	inject->config->sources = sources ? sources : 1;
	inject->state->dport = inject->state->source = 0;
}

uint64_t lrp_inject_sequence(const struct lrp_inject *inject)
{
	return *(volatile __u64 *)&inject->state->seq;
}

uint64_t lrp_inject_sent(const struct lrp_inject *inject)
{
	return *(volatile __u64 *)&inject->state->sent;
}

void lrp_pacer_set(struct lrp_pacer *pacer, uint64_t rate, uint64_t now_ns)
{
	pacer->rate = rate;
	pacer->last_ns = now_ns;
	pacer->credit_ns = 0;
}

uint32_t lrp_pacer_due(struct lrp_pacer *pacer, uint64_t now_ns)
{
	uint64_t frames, most_ns;

	if (pacer->rate == 0)
		return 0;
	if (pacer->rate == UINT64_MAX)
		return 1024;
	pacer->credit_ns += now_ns - pacer->last_ns;
	pacer->last_ns = now_ns;
	/* At low rates four frames are the most that is caught up. */
	most_ns = LRP_BURST_NS;
	if (pacer->rate < 4000000000u / LRP_BURST_NS)
		most_ns = 4000000000u / pacer->rate;
	if (pacer->credit_ns > most_ns)
		pacer->credit_ns = most_ns;
	frames = pacer->credit_ns * pacer->rate / 1000000000u;
	/* Most of a burst at once. */
	if (frames == 0 || (frames < 32 && pacer->credit_ns < LRP_BURST_NS / 2))
		return 0;
	pacer->credit_ns -= frames * 1000000000u / pacer->rate;
	return (uint32_t)frames;
}
