/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_fragment_service.c - datagrams for a kernel socket whose second fragment comes
 * first: it waits on the fragment channel until the first one shows that it is the
 * kernel's, then lrpd gives it to the kernel, which puts the datagram together. None
 * is given up before its time, whenever it comes.
 *
 *    client ns ── c0 ════ s0 ── here: a kernel socket on 5000
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "../../loader/store.h"
#include "../lib/bed.h"

#define PAYLOAD 1200u /* of UDP; split behind the first 600 bytes of the datagram */
#define SPLIT	600u
#define WAIT_MS 10000 /* for what comes in some ms, on a machine that does other things */
#define MANY	100u

static uint8_t smac[6], dmac[6];
static int packet_fd;

static uint16_t sum(const void *data, size_t length, uint32_t start)
{
	const uint8_t *byte = data;

	for (size_t i = 0; i + 1 < length; i += 2)
		start += (uint32_t)byte[i] << 8 | byte[i + 1];
	while (start >> 16)
		start = (start & 0xffff) + (start >> 16);
	return (uint16_t)~start;
}

static void make_datagram(uint8_t *udp, bool v6)
{
	struct udphdr *header = (struct udphdr *)udp;

	memset(udp, 'x', sizeof(*header) + PAYLOAD);
	header->source = htons(6000);
	header->dest = htons(5000);
	header->len = htons(sizeof(*header) + PAYLOAD);
	header->check = 0; /* IPv4: none */
	if (v6) {
		uint8_t pseudo[40] = {0};

		inet_pton(AF_INET6, "2001:db8:1::2", pseudo);
		inet_pton(AF_INET6, "2001:db8:1::1", pseudo + 16);
		pseudo[34] = (uint8_t)((sizeof(*header) + PAYLOAD) >> 8);
		pseudo[35] = (uint8_t)(sizeof(*header) + PAYLOAD);
		pseudo[39] = IPPROTO_UDP;
		header->check = htons(sum(udp, sizeof(*header) + PAYLOAD,
					  (uint16_t)~sum(pseudo, sizeof(pseudo), 0)));
	}
}

static void send_part(const uint8_t *udp, bool v6, uint16_t id, bool second)
{
	uint32_t offset = second ? SPLIT : 0;
	uint32_t length = second ? (uint32_t)sizeof(struct udphdr) + PAYLOAD - SPLIT : SPLIT;
	uint8_t frame[2048] = {0};
	size_t at = 14;

	memcpy(frame, dmac, 6);
	memcpy(frame + 6, smac, 6);
	frame[12] = v6 ? 0x86 : 0x08;
	frame[13] = v6 ? 0xdd : 0x00;
	if (v6) {
		struct ip6_hdr *ip = (struct ip6_hdr *)(frame + at);
		struct ip6_frag *fragment = (struct ip6_frag *)(ip + 1);

		ip->ip6_flow = htonl(6u << 28);
		ip->ip6_plen = htons((uint16_t)(sizeof(*fragment) + length));
		ip->ip6_nxt = IPPROTO_FRAGMENT;
		ip->ip6_hlim = 64;
		inet_pton(AF_INET6, "2001:db8:1::2", &ip->ip6_src);
		inet_pton(AF_INET6, "2001:db8:1::1", &ip->ip6_dst);
		fragment->ip6f_nxt = IPPROTO_UDP;
		fragment->ip6f_offlg = htons((uint16_t)(offset | !second));
		fragment->ip6f_ident = htonl(id);
		at += sizeof(*ip) + sizeof(*fragment);
	} else {
		struct iphdr *ip = (struct iphdr *)(frame + at);

		ip->version = 4;
		ip->ihl = 5;
		ip->ttl = 64;
		ip->protocol = IPPROTO_UDP;
		ip->id = htons(id);
		ip->tot_len = htons((uint16_t)(sizeof(*ip) + length));
		ip->frag_off = htons((uint16_t)(offset / 8 | (second ? 0 : IP_MF)));
		inet_pton(AF_INET, "198.18.1.2", &ip->saddr);
		inet_pton(AF_INET, "198.18.1.1", &ip->daddr);
		ip->check = htons(sum(ip, sizeof(*ip), 0));
		at += sizeof(*ip);
	}
	memcpy(frame + at, udp + offset, length);
	if (send(packet_fd, frame, at + length, 0) < 0) {
		perror("send");
		exit(1);
	}
}

static void mac_of(const char *name, uint8_t *mac)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq ifr = {0};

	strcpy(ifr.ifr_name, name);
	if (ioctl(fd, SIOCGIFHWADDR, &ifr)) {
		perror(name);
		exit(1);
	}
	memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
	close(fd);
}

static void open_sender(void)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET};
	int here = open("/proc/self/ns/net", O_RDONLY), there = open("/run/netns/client", O_RDONLY);

	mac_of("s0", dmac);
	if (setns(there, CLONE_NEWNET)) {
		perror("setns");
		exit(1);
	}
	mac_of("c0", smac);
	packet_fd = socket(AF_PACKET, SOCK_RAW, 0);
	addr.sll_ifindex = (int)if_nametoindex("c0");
	if (packet_fd < 0 || bind(packet_fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    setns(here, CLONE_NEWNET)) {
		perror("packet socket");
		exit(1);
	}
	close(here);
	close(there);
}

static uint16_t id = 100;

static bool arrives(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	uint8_t buffer[4096];

	return poll(&pfd, 1, WAIT_MS) > 0 && recv(fd, buffer, sizeof(buffer), 0) == PAYLOAD;
}

static int one(int fd, bool v6, const char *mode)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	uint8_t udp[sizeof(struct udphdr) + PAYLOAD];

	make_datagram(udp, v6);
	id++;
	send_part(udp, v6, id, true);
	if (poll(&pfd, 1, 50)) {
		printf("FAIL %s: half a datagram arrived\n", mode);
		return 1;
	}
	send_part(udp, v6, id, false);
	if (!arrives(fd)) {
		printf("FAIL %s: IPv%d datagram did not arrive\n", mode, v6 ? 6 : 4);
		return 1;
	}
	return 0;
}

/* A client that keeps lrpd awake: it looks at the ring in every turn of its loop. */
static pid_t keep_awake(void)
{
	struct sockaddr_un addr;
	unsigned int length = lrp_store_address(&addr, LRP_CONTROL_NAME);
	pid_t pid = fork();

	while (pid == 0) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

		if (connect(fd, (struct sockaddr *)&addr, length))
			_exit(1);
		close(fd);
	}
	return pid;
}

/* Some come while lrpd is looking: after it read the clock, before it read the ring. */
static int while_awake(int fd, const char *mode)
{
	uint8_t udp[sizeof(struct udphdr) + PAYLOAD];
	pid_t client = keep_awake();
	unsigned int i, came = 0;

	make_datagram(udp, false);
	for (i = 1; i <= MANY; i++) {
		send_part(udp, false, (uint16_t)(id + i), true);
		usleep(300);
	}
	kill(client, SIGKILL);
	waitpid(client, NULL, 0);
	for (i = 1; i <= MANY; i++) {
		send_part(udp, false, (uint16_t)(id + i), false);
		if (!arrives(fd))
			break;
		came++;
	}
	id += MANY;
	if (came == MANY)
		return 0;
	printf("FAIL %s: datagram %u of %u did not arrive\n", mode, came + 1, MANY);
	return 1;
}

/* A field of .fragments in lrp status. */
static long count_of(const char *field)
{
	char command[128];
	long value = -1;
	FILE *p;

	snprintf(command, sizeof(command), "$LRP_BUILD/bin/lrp status --json | jq .fragments.%s",
		 field);
	p = popen(command, "r");
	if (!p || fscanf(p, "%ld", &value) != 1)
		value = -1;
	if (p)
		pclose(p);
	return value;
}

static int counted(const char *field, long want, const char *mode)
{
	long value = count_of(field);

	if (value == want)
		return 0;
	printf("FAIL %s: fragments.%s is %ld, not %ld\n", mode, field, value, want);
	return 1;
}

int main(int argc, char **argv)
{
	static const char *const modes[] = {"native", "skb"};
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_port = htons(5000)};
	int failures = 0, fd;

	(void)argc;
	bed_enter(argv);
	bed_needs_lrpd();
	setenv("LRP_BUILD", "build", 0);
	bed_sh(BED_NET);
	fd = socket(AF_INET6, SOCK_DGRAM, 0);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		perror("bind");
		return 1;
	}
	open_sender();
	for (int m = 0; m < 2 && !failures; m++) {
		char command[128];

		snprintf(command, sizeof(command),
			 "$LRP_BUILD/bin/lrp attach s0 --mode %s >/dev/null", modes[m]);
		bed_sh(command);
		for (int i = 0; i < 5 && !failures; i++) {
			failures += one(fd, false, modes[m]);
			failures += one(fd, true, modes[m]);
		}
		if (!failures)
			failures += while_awake(fd, modes[m]);
		failures += counted("injected", (m + 1) * (10 + MANY), modes[m]);
		failures += counted("expired", 0, modes[m]);
		failures += counted("failed", 0, modes[m]);
		bed_sh("$LRP_BUILD/bin/lrp status --audit >/dev/null");
		bed_sh("$LRP_BUILD/bin/lrp detach s0 >/dev/null");
	}
	bed_sh("$LRP_BUILD/bin/lrp stop");
	return failures != 0;
}
