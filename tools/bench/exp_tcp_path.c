// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * exp_tcp_path.c - TCP on a long way: goodput with random loss, and how connections of both
 * systems share a bottleneck. The server sends; both systems pass the same relay.
 */
#include <errno.h>
#include <stdio.h>

#include "exp_tcp.h"

#define READ_BYTES  65536
#define CONNECTIONS 8

static char *const source[] = {"--serve", "source", "--length", "65536", "--threads", NULL};

/* CPU N receives in any case, and speed is not the question: one placement says all. */
static int place(struct bench *b)
{
	int p;

	for (p = 0; p < BED_PLACEMENTS; p++)
		if (b->placements >> p & 1)
			return bench_place(b, (enum bed_placement)p, TCP_PROGRAMS);
	return bench_place(b, BED_NI, TCP_PROGRAMS);
}

int exp_tcp_loss(struct bench *b)
{
	static const int repeats[] = {2, 5, 9};
	static const double seconds[] = {4, 8, 20};
	static const struct tcp_case c = {
		.name = "bulk, 1 % loss, 5 ms",
		.serve = source,
		.client = {.kind = TCP_RECEIVE, .length = READ_BYTES},
		.unit = TCP_MBIT_OUT,
		.baseline = &bench_systems[SYS_STOCK],
		.target = 1,
		.far = true,
		.warm_s = 1,
	};
	static const struct bed_relay_spec way = {.delay_s = 0.0025, .loss = 0.01, .seed = 1};
	int err;

	result_begin("tcp-loss", b->json_dir);
	result_note(
		"the server sends to a kernel receiver through a relay: 2.5 ms each way, 1 %% of "
		"data frames lost at random; CUBIC against CUBIC");
	err = place(b);
	if (!err && bed_relay_start(&b->bed, &way))
		err = bench_error(b, "relay");
	if (!err)
		err = tcp_compare(b, &c, repeats[b->length], seconds[b->length]);
	bed_relay_stop(&b->bed);
	return result_end() ? -EIO : err;
}

struct sharing {
	double mbit[2]; /* stock, LRP */
	double dropped; /* of the frames at the bottleneck */
	bool disturbed;
};

/* Both at once: eight connections from each of two servers; `first` of them starts, for who comes
 * later has to win its share. */
static int share(struct bench *b, int first, double seconds, struct sharing *result)
{
	static const int systems[2] = {SYS_STOCK, SYS_LRP};
	struct tcp_client *client[2] = {tcp_client_new(), tcp_client_new()};
	uint64_t before[2], from, frames[2], lost, dropped[2];
	struct bed_proc server[2] = {0};
	struct bed_quiet quiet;
	double steal, foreign;
	uint16_t port;
	int i, s, err = client[0] && client[1] ? 0 : -ENOMEM;

	for (i = 0; i < 2 && !err; i++) {
		const struct bench_system *system = &bench_systems[systems[s = first ^ i]];

		err = tcp_serve(b, system, source, true, &port, &server[s]);
		if (err)
			break;
		*client[s] = (struct tcp_client){
			.kind = TCP_RECEIVE, .length = READ_BYTES, .connections = CONNECTIONS};
		if (tcp_connect(b, system, true, port, client[s]))
			err = bench_error(b, system->name);
	}
	if (!err) {
		bed_sleep(4);
		bed_quiet_begin(&b->bed, &quiet);
		bed_relay_count(&b->bed, &frames[0], &lost, &dropped[0]);
		for (s = 0; s < 2; s++)
			before[s] = client[s]->bytes;
		from = bed_now();
		bed_sleep(seconds);
		for (s = 0; s < 2; s++)
			result->mbit[s] = (double)(client[s]->bytes - before[s]) * 8e3 /
					  (double)(bed_now() - from);
		bed_relay_count(&b->bed, &frames[1], &lost, &dropped[1]);
		result->dropped =
			(double)(dropped[1] - dropped[0]) / (double)(frames[1] - frames[0] + 1);
		result->disturbed = !bed_quiet_end(&b->bed, &quiet, &steal, &foreign);
	}
	for (s = 0; s < 2; s++) {
		if (client[s] && client[s]->pid > 0 && tcp_client_stop(&b->bed, client[s]) && !err)
			err = bench_error(b, bench_systems[systems[s]].name);
		bed_stop(&server[s]);
		tcp_client_free(client[s]);
	}
	return err;
}

static int share_repeatedly(struct bench *b, const struct bed_relay_spec *way, const char *name,
			    bool judged)
{
	static const int repeats[] = {2, 3, 5};
	static const double seconds[] = {6, 15, 40};
	struct series part = {0}, sum = {0}, dropped = {0};
	bool disturbed = false;
	struct json_object *o;
	int k, err = 0;

	if (bed_relay_start(&b->bed, way))
		err = bench_error(b, "relay");
	for (k = 0; k < repeats[b->length] && !err; k++) {
		struct sharing s = {0};

		progress("%s, %d of %d", name, k + 1, repeats[b->length]);
		err = share(b, k % 2, seconds[b->length], &s);
		series_add(&part, 100 * s.mbit[1] / (s.mbit[0] + s.mbit[1]));
		series_add(&sum, s.mbit[0] + s.mbit[1]);
		series_add(&dropped, 100 * s.dropped);
		disturbed |= s.disturbed;
	}
	bed_relay_stop(&b->bed);
	if (err)
		return err;
	o = result_point("lrp", bed_placement_name[b->bed.placement], part.count,
			 series_spread(&part), disturbed);
	result_string(o, "queue", name);
	result_number(o, "share_percent", series_median(&part));
	result_number(o, "mbit_per_s", series_median(&sum));
	result_number(o, "dropped_percent", series_median(&dropped));
	result_note("%s: LRP has %.1f %% of %.0f Mb/s (spread %.0f %%); %.2f %% of the frames "
		    "dropped",
		    name, series_median(&part), series_median(&sum), 100 * series_spread(&part),
		    series_median(&dropped));
	if (judged) {
		result_target("share of 8 connections beside 8 of kernel CUBIC",
			      series_median(&part), "%", AT_LEAST, 40);
		result_target("share of 8 connections beside 8 of kernel CUBIC",
			      series_median(&part), "%", AT_MOST, 60);
	}
	return 0;
}

/* A queue whose limit is the same to the microsecond is beside it to be compared: there it decides whose
 * ACK clock ticks just after a frame has left (phase effects: Floyd and Jacobson, "On traffic phase effects in
 * packet-switched gateways", 1992). */
int exp_tcp_fair(struct bench *b)
{
	static const struct bed_relay_spec varying = {.delay_s = 0.01,
						      .bit_per_s = 200e6,
						      .queue_s = 0.02,
						      .queue_varies = 0.15,
						      .seed = 1},
					   sharp = {.delay_s = 0.01,
						    .bit_per_s = 200e6,
						    .queue_s = 0.02,
						    .seed = 1};
	int err;

	result_begin("tcp-fair", b->json_dir);
	result_note(
		"8 connections of LRP and 8 of kernel CUBIC at a bottleneck of 200 Mb/s, 20 ms, "
		"a queue of 20 ms");
	err = place(b);
	if (!err)
		err = share_repeatedly(b, &varying, "a limit drawn for each frame, 17 to 23 ms",
				       true);
	if (!err)
		err = share_repeatedly(b, &sharp, "a limit of 20 ms exactly, not judged", false);
	return result_end() ? -EIO : err;
}
