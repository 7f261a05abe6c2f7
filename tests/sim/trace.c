/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "trace.h"

#include <stdlib.h>
#include <string.h>

#define LINES 60

static char line[LINES][240];
static uint64_t lines;
static bool all;

void trace_begin(void)
{
	const char *want = getenv("LRP_SIM_TRACE");

	lines = 0;
	all = want && want[0] == '1';
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t be16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static char *options(char *o, char *end, const uint8_t *p, const uint8_t *stop)
{
	while (p < stop && *p != 0 && o < end) {
		if (*p == 1) {
			p++;
			continue;
		}
		if (p + 1 >= stop || p[1] < 2)
			break;
		if (*p == 2)
			o += snprintf(o, (size_t)(end - o), " mss %u", be16(p + 2));
		else if (*p == 3)
			o += snprintf(o, (size_t)(end - o), " wscale %u", p[2]);
		else if (*p == 4)
			o += snprintf(o, (size_t)(end - o), " sackOK");
		else if (*p == 5)
			for (int i = 2; i < p[1] && o < end; i += 8)
				o += snprintf(o, (size_t)(end - o), " sack %u:%u", be32(p + i),
					      be32(p + i + 4));
		else if (*p == 8)
			o += snprintf(o, (size_t)(end - o), " ts %u/%u", be32(p + 2), be32(p + 6));
		p += p[1];
	}
	return o;
}

void trace_packet(int64_t at_ns, bool forth, const uint8_t *l4, uint32_t len)
{
	static const char letters[] = "FSRP.UEC";
	char *o = line[lines % LINES], *end = o + sizeof(line[0]);
	uint32_t header = (uint32_t)(l4[12] >> 4) * 4, seq = be32(l4 + 4);
	char flags[9];
	int n = 0;

	for (int i = 0; i < 8; i++)
		if (l4[13] & 1 << i)
			flags[n++] = letters[i];
	flags[n] = 0;
	o += snprintf(o, (size_t)(end - o), "%12.6f %u %s %-3s %u:%u(%u) ack %u win %u",
		      (double)at_ns / 1e9, be16(l4 + (forth ? 0 : 2)), forth ? ">" : "<", flags,
		      seq, seq + len - header, len - header, be32(l4 + 8), be16(l4 + 14));
	options(o, end, l4 + 20, l4 + header);
	if (all)
		fprintf(stderr, "%s\n", line[lines % LINES]);
	lines++;
}

void trace_dump(FILE *to)
{
	for (uint64_t i = lines > LINES ? lines - LINES : 0; !all && i < lines; i++)
		fprintf(to, "%s\n", line[i % LINES]);
}
