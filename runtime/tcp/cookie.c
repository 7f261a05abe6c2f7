/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "cookie.h"

#include "isn.h"

#define MINUTE_NS 60000000000ll
#define MINUTES	  (LRP_TCP_COOKIE_NS / MINUTE_NS)
#define LOW	  0xffffffu

/* Common values: RFC 9293's defaults, tunnels, PPPoE, Ethernet, jumbo frames. Eight of them: one
 * forged ACK in a million is let in, as with any cookie of 24 bits. */
static const uint16_t mss_table[] = {536, 1220, 1300, 1400, 1440, 1452, 1460, 8940};
#define MSS_COUNT (sizeof(mss_table) / sizeof(mss_table[0]))

/* `domain` 0: F; else G of a minute. Longer than what isn.h hashes under the same key. */
static uint32_t cookie_hash(const uint64_t key[2], const struct lrp_tcp_flow *flow, uint32_t minute,
			    uint32_t domain)
{
	uint8_t bytes[LRP_TCP_FLOW_BYTES_MAX + 8];
	uint32_t len = lrp_tcp_flow_bytes(flow, bytes);

	memcpy(bytes + len, &minute, 4);
	memcpy(bytes + len + 4, &domain, 4);
	return (uint32_t)lrp_siphash(key, bytes, len + 8);
}

static uint32_t minute_of(int64_t now_ns)
{
	return (uint32_t)(now_ns / MINUTE_NS);
}

bool lrp_tcp_cookie(const uint64_t key[2], const struct lrp_tcp_flow *flow, uint32_t irs,
		    uint16_t mss, int64_t now_ns, uint32_t *iss)
{
	uint32_t minute = minute_of(now_ns), i = MSS_COUNT - 1;

	if (mss < mss_table[0])
		return false;
	while (mss < mss_table[i])
		i--;
	*iss = cookie_hash(key, flow, 0, 0) + irs + (minute << 24) +
	       ((cookie_hash(key, flow, minute, 1) + i) & LOW);
	return true;
}

bool lrp_tcp_cookie_check(const uint64_t key[2], const struct lrp_tcp_flow *flow, uint32_t irs,
			  uint32_t iss, int64_t now_ns, uint16_t *mss)
{
	uint32_t minute = minute_of(now_ns), i, age;
	uint32_t rest = iss - cookie_hash(key, flow, 0, 0) - irs;

	age = (minute - (rest >> 24)) & 0xff;
	if (age >= MINUTES)
		return false;
	i = (rest - cookie_hash(key, flow, minute - age, 1)) & LOW;
	if (i >= MSS_COUNT)
		return false;
	*mss = mss_table[i];
	return true;
}

#define TS_WSCALE      0x0fu
#define TS_SACK	       0x10u
#define TS_ECN	       0x20u
#define TS_BITS	       0x3fu
#define TS_WSCALE_NONE 15u

uint32_t lrp_tcp_cookie_timestamp(int64_t now_ns, uint8_t options, uint8_t wscale, bool ecn)
{
	uint32_t now = lrp_tcp_ts_clock(now_ns), ts = now & ~TS_BITS;

	ts |= options & LRP_TCP_HAS_WSCALE ? wscale : TS_WSCALE_NONE;
	ts |= options & LRP_TCP_HAS_SACK_OK ? TS_SACK : 0;
	ts |= ecn ? TS_ECN : 0;
	/* never ahead of the clock: the next segment's timestamp must not look old */
	return ts > now ? ts - (TS_BITS + 1) : ts;
}

uint8_t lrp_tcp_cookie_options(uint32_t ts, uint8_t *wscale, bool *ecn)
{
	bool scaled = (ts & TS_WSCALE) != TS_WSCALE_NONE;

	*wscale = scaled ? ts & TS_WSCALE : 0;
	*ecn = ts & TS_ECN;
	return (uint8_t)(LRP_TCP_HAS_TIMESTAMP | (scaled ? LRP_TCP_HAS_WSCALE : 0) |
			 (ts & TS_SACK ? LRP_TCP_HAS_SACK_OK : 0));
}
