/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "icmp_input.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "../wire/bytes.h"
#include "../wire/checksum.h"

#define ICMP_LEN       8u
#define HEADER4_LEN    20u
#define HEADER6_LEN    40u
#define EXTENSIONS_MAX 8u

struct meaning {
	int error;
	bool fatal;
};

/* Destination unreachable, by code; Linux: icmp_err_convert. RFC 1122 3.2.2.1: 0, 1 and 5 must be
 * taken as hints. */
/* clang-format off */
static const struct meaning unreachable4[] = {
	[ICMP_NET_UNREACH] = {ENETUNREACH, false},
	[ICMP_HOST_UNREACH] = {EHOSTUNREACH, false},
	[ICMP_PROT_UNREACH] = {ENOPROTOOPT, true},
	[ICMP_PORT_UNREACH] = {ECONNREFUSED, true},
	[ICMP_FRAG_NEEDED] = {EMSGSIZE, true}, /* unless path MTU discovery is off */
	[ICMP_SR_FAILED] = {EOPNOTSUPP, false},
	[ICMP_NET_UNKNOWN] = {ENETUNREACH, true},
	[ICMP_HOST_UNKNOWN] = {EHOSTDOWN, true},
	[ICMP_HOST_ISOLATED] = {ENONET, true},
	[ICMP_NET_ANO] = {ENETUNREACH, true},
	[ICMP_HOST_ANO] = {EHOSTUNREACH, true},
	[ICMP_NET_UNR_TOS] = {ENETUNREACH, false},
	[ICMP_HOST_UNR_TOS] = {EHOSTUNREACH, false},
	[ICMP_PKT_FILTERED] = {EHOSTUNREACH, true},
	[ICMP_PREC_VIOLATION] = {EHOSTUNREACH, true},
	[ICMP_PREC_CUTOFF] = {EHOSTUNREACH, true},
};
/* clang-format on */

/* Linux: icmpv6_err_convert. */
static const struct meaning unreachable6[] = {
	[ICMP6_DST_UNREACH_NOROUTE] = {ENETUNREACH, false},
	[ICMP6_DST_UNREACH_ADMIN] = {EACCES, true},
	[ICMP6_DST_UNREACH_BEYONDSCOPE] = {EHOSTUNREACH, false},
	[ICMP6_DST_UNREACH_ADDR] = {EHOSTUNREACH, false},
	[ICMP6_DST_UNREACH_NOPORT] = {ECONNREFUSED, true},
	[5 /* source address failed policy, RFC 4443 3.1 */] = {EACCES, true},
	[6 /* reject route */] = {EACCES, true},
};

#define LENGTH_OF(a) (sizeof(a) / sizeof((a)[0]))

/* False: no error for a socket [RFC 1122 3.2.2]. */
static bool meaning4(const uint8_t *icmp, struct lrp_icmp_error *e)
{
	struct meaning m;

	switch (e->type) {
	case ICMP_DEST_UNREACH:
		if (e->code >= LENGTH_OF(unreachable4))
			return false;
		m = unreachable4[e->code];
		if (e->code == ICMP_FRAG_NEEDED)
			e->info = lrp_get16(icmp + 6); /* RFC 1191 4; 0: from an old router */
		break;
	case ICMP_TIME_EXCEEDED:
		if (e->code == ICMP_EXC_FRAGTIME)
			return false;
		m = (struct meaning){EHOSTUNREACH, false};
		break;
	case ICMP_PARAMETERPROB:
		m = (struct meaning){EPROTO, true};
		e->info = icmp[4];
		break;
	default:
		/* Redirects are for routes, source quench for nobody [RFC 6633]. */
		return false;
	}
	e->error = m.error;
	e->fatal = m.fatal;
	return true;
}

static bool meaning6(const uint8_t *icmp, struct lrp_icmp_error *e)
{
	/* Unknown errors are passed up too [RFC 4443 2.4 (a)]. */
	struct meaning m = {EPROTO, false};

	if (e->type & ICMP6_INFOMSG_MASK)
		return false;
	switch (e->type) {
	case ICMP6_DST_UNREACH:
		m.fatal = true;
		if (e->code < LENGTH_OF(unreachable6))
			m = unreachable6[e->code];
		break;
	case ICMP6_PACKET_TOO_BIG:
		m = (struct meaning){EMSGSIZE, true}; /* unless path MTU discovery is off */
		break;
	case ICMP6_TIME_EXCEEDED:
		m = (struct meaning){EHOSTUNREACH, false};
		break;
	case ICMP6_PARAM_PROB:
		m = (struct meaning){EPROTO, true};
		break;
	}
	e->error = m.error;
	e->fatal = m.fatal;
	e->info = lrp_get32(icmp + 4);
	return true;
}

/*
 * What is left of the datagram's IPv4 packet. Its own length only bounds what is
 * quoted: the message may have been cut, or carry extensions behind [RFC 4884]. Its
 * header checksum says nothing: routers changed the TTL.
 */
static int quoted4(const uint8_t *ip, uint32_t len, struct lrp_icmp_error *e)
{
	uint32_t header_len, total;

	if (len < HEADER4_LEN || ip[0] >> 4 != 4)
		return LRP_DROPPED(LRP_DROP_IP_HEADER);
	header_len = (ip[0] & 15) * 4u;
	total = lrp_get16(ip + 2);
	if (header_len < HEADER4_LEN)
		return LRP_DROPPED(LRP_DROP_IP_HEADER);
	if (total < len)
		len = total;
	if (len < header_len + ICMP_LEN)
		return LRP_DROPPED(LRP_DROP_LENGTH);
	if (lrp_get16(ip + 6) & IP_OFFMASK)
		return LRP_DROPPED(LRP_DROP_PROTOCOL);
	e->proto = ip[9];
	memcpy(&e->src.v4, ip + 12, 4);
	memcpy(&e->dst.v4, ip + 16, 4);
	e->l4 = ip + header_len;
	e->payload_len = len - header_len - ICMP_LEN;
	return 0;
}

static int quoted6(const uint8_t *ip, uint32_t len, struct lrp_icmp_error *e)
{
	uint32_t at = HEADER6_LEN, n;

	if (len < HEADER6_LEN || ip[0] >> 4 != 6)
		return LRP_DROPPED(LRP_DROP_IP_HEADER);
	if (HEADER6_LEN + lrp_get16(ip + 4) < len)
		len = HEADER6_LEN + lrp_get16(ip + 4);
	memcpy(&e->src.v6, ip + 8, 16);
	memcpy(&e->dst.v6, ip + 24, 16);
	e->proto = ip[6];
	for (unsigned int count = 0; count <= EXTENSIONS_MAX; count++, at += n) {
		/* Also what a transport header needs. */
		if (len - at < 8)
			return LRP_DROPPED(LRP_DROP_LENGTH);
		switch (e->proto) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_DSTOPTS:
		case IPPROTO_ROUTING:
			n = (ip[at + 1] + 1u) * 8;
			break;
		case IPPROTO_AH:
			n = (ip[at + 1] + 2u) * 4;
			break;
		case IPPROTO_FRAGMENT:
			if (lrp_get16(ip + at + 2) & 0xfff8)
				return LRP_DROPPED(LRP_DROP_PROTOCOL);
			n = 8;
			break;
		default:
			e->l4 = ip + at;
			e->payload_len = len - at - ICMP_LEN;
			return 0;
		}
		if (n > len - at)
			return LRP_DROPPED(LRP_DROP_LENGTH);
		e->proto = ip[at];
	}
	return LRP_DROPPED(LRP_DROP_IP_HEADER);
}

static bool checksum_ok(const struct lrp_packet *p, const uint8_t *l4, bool partial_ok)
{
	uint64_t sum = 0;
	uint16_t check;

	if (p->family == AF_INET6) {
		sum = lrp_checksum_pseudo6(&p->src.v6, &p->dst.v6, IPPROTO_ICMPV6, p->l4_len);
		memcpy(&check, l4 + 2, 2);
		if (partial_ok && check == lrp_checksum_fold(sum))
			return true;
	}
	sum = lrp_checksum_add(sum, lrp_checksum_sum(l4, p->l4_len));
	return lrp_checksum_fold(sum) == 0xffff;
}

int lrp_icmp_input(const struct lrp_packet *p, const uint8_t *l4, bool partial_ok,
		   struct lrp_icmp_error *e)
{
	const bool v4 = p->family == AF_INET;
	int result;

	if (p->proto != (v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return LRP_DROPPED(LRP_DROP_PROTOCOL);
	if (p->l4_len < ICMP_LEN)
		return LRP_DROPPED(LRP_DROP_LENGTH);
	if (!checksum_ok(p, l4, partial_ok))
		return LRP_DROPPED(LRP_DROP_CHECKSUM);
	/* An error goes to the sender of a datagram, and that is one host [RFC 1122 3.2.2]. */
	if (v4 &&
	    (IN_MULTICAST(ntohl(p->dst.v4.s_addr)) || p->dst.v4.s_addr == htonl(INADDR_BROADCAST)))
		return LRP_DROPPED(LRP_DROP_PROTOCOL);

	memset(e, 0, sizeof(*e));
	e->family = p->family;
	e->type = l4[0];
	e->code = l4[1];
	e->offender = p->src;
	if (!(v4 ? meaning4(l4, e) : meaning6(l4, e)))
		return LRP_DROPPED(LRP_DROP_PROTOCOL);
	result = v4 ? quoted4(l4 + ICMP_LEN, p->l4_len - ICMP_LEN, e)
		    : quoted6(l4 + ICMP_LEN, p->l4_len - ICMP_LEN, e);
	if (result)
		return result;
	if (e->proto != IPPROTO_UDP && e->proto != IPPROTO_TCP)
		return LRP_DROPPED(LRP_DROP_PROTOCOL);
	memcpy(&e->sport, e->l4, 2);
	memcpy(&e->dport, e->l4 + 2, 2);
	e->payload = e->l4 + ICMP_LEN;
	return 0;
}
