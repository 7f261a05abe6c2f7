// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * lrp-load - offers packets at a rate to a test bed's veth, and says as JSON
 * what it offered and sent.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "inject.h"

#define MOST_SECONDS 3600

struct options {
	struct lrp_inject_spec spec;
	uint64_t rate;
	double seconds;
	int cpu;
	bool sendmmsg, have_mac, have_src;
};

static volatile sig_atomic_t stop;

static void on_signal(int signo)
{
	(void)signo;
	stop = 1;
}

/* By enum lrp_inject_kind; NULL: not offered here. */
static const char *const kind_name[] = {
	[LRP_INJECT_UDP] = "udp", [LRP_INJECT_UDP_BAD] = "udp-bad", [LRP_INJECT_SYN] = "syn",
	[LRP_INJECT_ACK] = "ack", [LRP_INJECT_TCP_BAD] = "tcp-bad",
};
#define KINDS ((int)(sizeof(kind_name) / sizeof(kind_name[0])))

static void usage(FILE *to)
{
	fprintf(to,
		"Usage: lrp-load --device VETH --to ADDRESS --port PORT [options]\n"
		"Sends packets into a veth of a test bed (never the machine's own namespace).\n"
		"  --rate N[k|M]|max   packets a second (default 1000), in bursts of at most 100 "
		"us\n"
		"  --seconds S         how long (default 10, at most %d)\n"
		"  --kind KIND         udp (default), udp-bad, syn, ack, tcp-bad\n"
		"  --from ADDRESS      first source (default: the device's own address)\n"
		"  --sources N         so many source addresses, counted upwards\n"
		"  --sport P, --sports N   first source port (10000), and how many\n"
		"  --ports N           so many destination ports from --port upwards\n"
		"  --payload BYTES     of UDP (default 14, at least 8); above the MTU with "
		"--no-checksum: fragments\n"
		"  --no-checksum       UDP over IPv4 without checksum\n"
		"  --mac MAC           of the receiver (default: asked from the neighbour table, "
		"then ff:ff:...)\n"
		"  --via inject|sendmmsg   inject: BPF_PROG_RUN (default); sendmmsg: a kernel UDP "
		"socket\n"
		"  --cpu N             run on that CPU\n",
		MOST_SECONDS);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t parse_rate(const char *s)
{
	char *end;
	double n;

	if (strcmp(s, "max") == 0)
		return UINT64_MAX;
	n = strtod(s, &end);
	if (*end == 'k')
		n *= 1e3, end++;
	else if (*end == 'M')
		n *= 1e6, end++;
	if (end == s || *end || n <= 0 || n > 1e9)
		return 0;
	return (uint64_t)n;
}

/* Number from `lo` to `hi`, or the program ends. */
static uint32_t number(const char *option, const char *s, uint32_t lo, uint32_t hi)
{
	char *end;
	unsigned long n = strtoul(s, &end, 0);

	if (end == s || *end || n < lo || n > hi) {
		fprintf(stderr, "lrp-load: --%s %s: a number from %u to %u\n", option, s, lo, hi);
		exit(2);
	}
	return (uint32_t)n;
}

static void address(const char *option, const char *s, struct lrp_inject_spec *spec, void *to)
{
	int family = strchr(s, ':') ? AF_INET6 : AF_INET;

	if ((spec->family && spec->family != family) || inet_pton(family, s, to) != 1) {
		fprintf(stderr,
			"lrp-load: --%s %s: not an address, or not of the other one's family\n",
			option, s);
		exit(2);
	}
	spec->family = family;
}

static enum lrp_inject_kind kind_of(const char *name)
{
	for (int i = 0; i < KINDS; i++)
		if (kind_name[i] && !strcmp(name, kind_name[i]))
			return (enum lrp_inject_kind)i;
	fprintf(stderr, "lrp-load: --kind %s: udp, udp-bad, syn, ack or tcp-bad\n", name);
	exit(2);
}

static void parse(int argc, char **argv, struct options *o)
{
	enum {
		DEVICE = 256,
		TO,
		PORT,
		PORTS,
		RATE,
		SECONDS,
		KIND,
		FROM,
		SOURCES,
		SPORT,
		SPORTS,
		PAYLOAD,
		NO_CHECKSUM,
		MAC,
		VIA,
		CPU
	};
	static const struct option longs[] = {{"device", 1, 0, DEVICE},
					      {"to", 1, 0, TO},
					      {"port", 1, 0, PORT},
					      {"ports", 1, 0, PORTS},
					      {"rate", 1, 0, RATE},
					      {"seconds", 1, 0, SECONDS},
					      {"kind", 1, 0, KIND},
					      {"from", 1, 0, FROM},
					      {"sources", 1, 0, SOURCES},
					      {"sport", 1, 0, SPORT},
					      {"sports", 1, 0, SPORTS},
					      {"payload", 1, 0, PAYLOAD},
					      {"no-checksum", 0, 0, NO_CHECKSUM},
					      {"mac", 1, 0, MAC},
					      {"via", 1, 0, VIA},
					      {"cpu", 1, 0, CPU},
					      {"help", 0, 0, 'h'},
					      {0}};
	int c;

	*o = (struct options){
		.rate = 1000, .seconds = 10, .cpu = -1, .spec = {.sport = 10000, .payload = 14}};
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case DEVICE:
			snprintf(o->spec.device, sizeof(o->spec.device), "%s", optarg);
			break;
		case TO:
			address("to", optarg, &o->spec, &o->spec.dst);
			break;
		case FROM:
			address("from", optarg, &o->spec, &o->spec.src);
			o->have_src = true;
			break;
		case PORT:
			o->spec.dport = (uint16_t)number("port", optarg, 1, 65535);
			break;
		case PORTS:
			o->spec.dports = number("ports", optarg, 1, 65535);
			break;
		case SOURCES:
			o->spec.sources = number("sources", optarg, 1, 1u << 24);
			break;
		case SPORT:
			o->spec.sport = (uint16_t)number("sport", optarg, 1, 65535);
			break;
		case SPORTS:
			o->spec.sports = number("sports", optarg, 1, 65535);
			break;
		case PAYLOAD:
			o->spec.payload = number("payload", optarg, 8, 65507);
			break;
		case CPU:
			o->cpu = (int)number("cpu", optarg, 0, CPU_SETSIZE - 1);
			break;
		case NO_CHECKSUM:
			o->spec.no_checksum = true;
			break;
		case RATE:
			o->rate = parse_rate(optarg);
			if (!o->rate) {
				fprintf(stderr,
					"lrp-load: --rate %s: packets a second, as 1000, 50k, 2M "
					"or max\n",
					optarg);
				exit(2);
			}
			break;
		case SECONDS:
			o->seconds = atof(optarg);
			if (!(o->seconds > 0 && o->seconds <= MOST_SECONDS)) {
				fprintf(stderr, "lrp-load: --seconds %s: more than 0, at most %d\n",
					optarg, MOST_SECONDS);
				exit(2);
			}
			break;
		case KIND:
			o->spec.kind = kind_of(optarg);
			break;
		case MAC:
			if (sscanf(optarg, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &o->spec.dmac[0],
				   &o->spec.dmac[1], &o->spec.dmac[2], &o->spec.dmac[3],
				   &o->spec.dmac[4], &o->spec.dmac[5]) != 6) {
				fprintf(stderr,
					"lrp-load: --mac %s: six bytes, as 02:00:00:00:00:01\n",
					optarg);
				exit(2);
			}
			o->have_mac = true;
			break;
		case VIA:
			if (strcmp(optarg, "sendmmsg") != 0 && strcmp(optarg, "inject") != 0) {
				fprintf(stderr, "lrp-load: --via %s: inject or sendmmsg\n", optarg);
				exit(2);
			}
			o->sendmmsg = optarg[0] == 's';
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			usage(stderr);
			exit(2);
		}
	}
	if (!o->spec.device[0] || !o->spec.family || !o->spec.dport || optind < argc) {
		usage(stderr);
		exit(2);
	}
}

/* Connects a UDP socket bound to the device, so that the kernel says the source address and
 * has asked for the neighbour. */
static int kernel_socket(struct options *o)
{
	struct sockaddr_storage to = {.ss_family = (sa_family_t)o->spec.family};
	struct sockaddr_storage own;
	socklen_t length = sizeof(own);
	int fd = socket(o->spec.family, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1;

	if (o->spec.family == AF_INET) {
		((struct sockaddr_in *)&to)->sin_addr = o->spec.dst.v4;
		((struct sockaddr_in *)&to)->sin_port = htons(o->spec.dport);
	} else {
		((struct sockaddr_in6 *)&to)->sin6_addr = o->spec.dst.v6;
		((struct sockaddr_in6 *)&to)->sin6_port = htons(o->spec.dport);
	}
	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, o->spec.device,
		       (socklen_t)strlen(o->spec.device)) ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) ||
	    getsockname(fd, (struct sockaddr *)&own, &length)) {
		fprintf(stderr, "lrp-load: %s: %s\n", o->spec.device, strerror(errno));
		exit(1);
	}
	if (o->spec.no_checksum && o->spec.family == AF_INET)
		setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &one, sizeof(one));
	if (!o->have_src) {
		if (o->spec.family == AF_INET)
			o->spec.src.v4 = ((struct sockaddr_in *)&own)->sin_addr;
		else
			o->spec.src.v6 = ((struct sockaddr_in6 *)&own)->sin6_addr;
	}
	return fd;
}

/* The receiver's MAC from the neighbour table, IPv4 only; what fails leaves broadcast. */
static void find_mac(struct options *o, int fd)
{
	struct arpreq arp = {0};
	uint64_t until = now_ns() + 500000000u;

	memset(o->spec.dmac, 0xff, 6);
	if (o->spec.family != AF_INET)
		return;
	((struct sockaddr_in *)&arp.arp_pa)->sin_family = AF_INET;
	((struct sockaddr_in *)&arp.arp_pa)->sin_addr = o->spec.dst.v4;
	snprintf(arp.arp_dev, sizeof(arp.arp_dev), "%s", o->spec.device);
	send(fd, "", 0, MSG_DONTWAIT); /* makes the kernel ask */
	while (now_ns() < until) {
		if (ioctl(fd, SIOCGARP, &arp) == 0 && (arp.arp_flags & ATF_COM)) {
			memcpy(o->spec.dmac, arp.arp_ha.sa_data, 6);
			return;
		}
		usleep(1000);
	}
}

#define BATCH 64
static int send_batch(int fd, const struct options *o, uint64_t *seq, uint32_t count,
		      uint64_t *sent)
{
	static uint8_t buf[BATCH][65536];
	struct mmsghdr msg[BATCH];
	struct iovec iov[BATCH];
	uint32_t i;
	int n;

	while (count && !stop) {
		uint32_t now = count < BATCH ? count : BATCH;

		for (i = 0; i < now; i++, (*seq)++) {
			memcpy(buf[i], seq, sizeof(*seq));
			iov[i] = (struct iovec){buf[i], o->spec.payload};
			msg[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &iov[i], .msg_iovlen = 1}};
		}
		n = sendmmsg(fd, msg, now, 0);
		if (n < 0 && errno != ECONNREFUSED && errno != ENOBUFS)
			return -errno;
		*sent += n > 0 ? (uint64_t)n : 0;
		count -= now;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct lrp_inject *inject = NULL;
	struct lrp_pacer pacer;
	struct options o;
	uint64_t start, end, t, seq = 0, sent = 0;
	char error[256];
	int fd, err = 0;

	parse(argc, argv, &o);
	if (o.cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(o.cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set)) {
			fprintf(stderr, "lrp-load: CPU %d: %s\n", o.cpu, strerror(errno));
			return 1;
		}
	}
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	fd = kernel_socket(&o);
	if (!o.have_mac)
		find_mac(&o, fd);
	/* Opened in either mode: it also refuses devices that are not a test bed's. */
	if (lrp_inject_open(&inject, &o.spec, error, sizeof(error))) {
		fprintf(stderr, "lrp-load: %s\n", error);
		return 1;
	}
	start = t = now_ns();
	end = start + (uint64_t)(o.seconds * 1e9);
	lrp_pacer_set(&pacer, o.rate, start);
	lrp_inject_rate(inject, o.rate);
	while (!stop && !err && t < end) {
		err = o.sendmmsg ? send_batch(fd, &o, &seq, lrp_pacer_due(&pacer, t), &sent)
				 : lrp_inject_run(inject);
		t = now_ns();
	}
	if (!o.sendmmsg)
		sent = lrp_inject_sent(inject);
	if (err && err != -EINTR)
		fprintf(stderr, "lrp-load: %s\n", strerror(-err));
	printf("{\"kind\": \"%s\", \"via\": \"%s\", \"rate\": ", kind_name[o.spec.kind],
	       o.sendmmsg ? "sendmmsg" : "inject");
	if (o.rate == UINT64_MAX)
		printf("\"max\"");
	else
		printf("%llu", (unsigned long long)o.rate);
	printf(", \"seconds\": %.3f, \"sent\": %llu, \"sent_per_second\": %.0f}\n",
	       (double)(t - start) / 1e9, (unsigned long long)sent,
	       (double)sent * 1e9 / (double)(t - start));
	lrp_inject_close(inject);
	close(fd);
	return err && err != -EINTR ? 1 : 0;
}
