/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fragment_cost - what a first fragment costs the receiver, in nanoseconds, when nothing is stored
 * and when all is: datagrams that wait in reassembly, orphans in the index. The fragments are 36
 * bytes of IP, the smallest. Medians of 99 batches.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/ip/ip_input.h"
#include "runtime/ip/orphans.h"
#include "runtime/ip/reassembly.h"
#include "runtime/wire/checksum.h"

#define BATCH	64u /* fewer than reassembly holds, so that an empty one does not get full */
#define BATCHES 99

static uint8_t frame[BATCH][64] __attribute__((aligned(64)));
static uint64_t memory[LRP_REASSEMBLY_SIZE / 8];
static struct lrp_orphan_index orphans;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void make(uint8_t *f, uint32_t random)
{
	uint16_t check;

	memset(f, 0, 64);
	f[12] = 8;
	f[14] = 0x45;
	f[17] = 36;
	memcpy(f + 18, &random, 2);
	f[20] = 0x20; /* more fragments */
	f[22] = 64;
	f[23] = 17;
	f[26] = 10;
	memcpy(f + 27, (uint8_t *)&random + 1, 3);
	f[30] = 10;
	check = (uint16_t)~lrp_checksum_fold(lrp_checksum_sum(f + 14, 20));
	memcpy(f + 24, &check, 2);
}

static void input(struct lrp_reassembly *r, const uint8_t *f)
{
	struct lrp_packet p = {.frame = f, .frame_len = 50}, whole;
	struct lrp_orphan_place place;

	if (lrp_ip_input(&p) || !p.fragment)
		abort();
	lrp_reassembly_input(r, 0, &p, &whole);
	while (lrp_reassembly_wants(r, &p) &&
	       lrp_orphan_index_take(&orphans, lrp_reassembly_hash(r, &p), &place))
		;
}

static double measure(uint32_t stored, uint32_t noted)
{
	struct lrp_reassembly *r = NULL;
	double result[BATCHES];

	lrp_orphan_index_init(&orphans);
	for (uint32_t i = 0; i < noted; i++)
		lrp_orphan_index_note(&orphans, (uint32_t)random() << 1 ^ (uint32_t)random(),
				      (struct lrp_orphan_place){0, i});
	for (int b = 0; b < BATCHES; b++) {
		uint64_t start;

		if (!r || !stored)
			r = lrp_reassembly_init(memory, sizeof(memory), 0x123456789abcdef);
		for (uint32_t i = 0; b == 0 && i < stored; i++) {
			make(frame[0], (uint32_t)random());
			input(r, frame[0]);
		}
		for (uint32_t i = 0; i < BATCH; i++)
			make(frame[i], (uint32_t)random());
		start = now_ns();
		for (uint32_t i = 0; i < BATCH; i++)
			input(r, frame[i]);
		result[b] = (double)(now_ns() - start) / BATCH;
	}
	qsort(result, BATCHES, sizeof(result[0]), compare);
	return result[BATCHES / 2];
}

int main(void)
{
	double empty, full;

	srandom(1);
	measure(0, 0); /* warms up */
	empty = measure(0, 0);
	full = measure(1000, LRP_ORPHAN_PLACES);
	printf("a first fragment, nothing stored:  %6.1f ns\n", empty);
	printf("a first fragment, all memory full: %6.1f ns, %.2f x\n", full, full / empty);
	return 0;
}
