// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "exp_tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define WARM_S	  0.3
#define TRANSFERS 5 /* of a fixed size, in one sample */

int tcp_serve(struct bench *b, const struct bench_system *system, char *const serve[], bool far,
	      uint16_t *port, struct bed_proc *server)
{
	/* What a killed server leaves behind shall meet nobody. */
	static uint16_t used;
	struct in_addr addr = bed_far(system->program, BED_SERVER);
	char text[INET_ADDRSTRLEN];
	char *extra[20];
	int n = 0;

	*port = (uint16_t)(10000 + used++ % 10000);
	for (; serve[n] && n < 17; n++)
		extra[n] = serve[n];
	if (far) {
		inet_ntop(AF_INET, &addr, text, sizeof(text));
		extra[n++] = "--addr";
		extra[n++] = text;
	}
	extra[n] = NULL;
	return bench_start(b, system, "stream", *port, extra, server);
}

int tcp_connect(struct bench *b, const struct bench_system *system, bool far, uint16_t port,
		struct tcp_client *client)
{
	client->addr = far ? bed_far(system->program, BED_SERVER)
			   : b->bed.pair[system->program].server_addr;
	client->port = port;
	return tcp_client_start(&b->bed, client);
}

static uint64_t progress_of(const struct tcp_case *c, const struct tcp_client *client,
			    const struct bed_proc *server)
{
	switch (c->unit) {
	case TCP_MBIT_IN:
		return __atomic_load_n(&server->counters->bytes, __ATOMIC_RELAXED);
	case TCP_MBIT_OUT:
		return __atomic_load_n(&client->bytes, __ATOMIC_RELAXED);
	default:
		return __atomic_load_n(&client->done, __ATOMIC_RELAXED);
	}
}

static double per_second(const struct tcp_case *c, uint64_t done, uint64_t ns)
{
	return (double)done * (c->unit == TCP_PER_S ? 1e9 : 8e3) / (double)ns;
}

/* CPU time of the server, and of the NAPI thread of its interface where it has one. */
static uint64_t server_cpu_ns(const struct bench *b, const struct bed_proc *server)
{
	pid_t napi = b->bed.pair[server->program].napi;

	return bed_cpu_ns(server->pid) + (napi ? bed_cpu_ns(napi) : 0);
}

/* Transfers of a fixed size, from the connect to the end of file. */
static int run_transfers(struct bench *b, const struct tcp_case *c,
			 const struct bench_system *system, uint16_t port,
			 const struct bed_proc *server, struct tcp_client *client,
			 struct tcp_sample *sample)
{
	uint64_t t = bed_now(), cpu = server_cpu_ns(b, server), bytes = 0, ns = 0;
	struct bed_quiet quiet;
	double steal, foreign;
	int i, err = 0;

	bed_quiet_begin(&b->bed, &quiet);
	for (i = 0; i < TRANSFERS && !err; i++) {
		err = tcp_connect(b, system, c->far, port, client);
		if (!err)
			err = tcp_client_finish(&b->bed, client, 60);
		bytes += client->bytes;
		ns += client->elapsed_ns;
	}
	sample->disturbed = !bed_quiet_end(&b->bed, &quiet, &steal, &foreign);
	sample->cpu = (double)(server_cpu_ns(b, server) - cpu) / (double)(bed_now() - t);
	sample->left = NAN;
	sample->value = ns ? per_second(c, bytes, ns) : NAN;
	return err;
}

static int run_window(struct bench *b, const struct tcp_case *c, const struct bench_system *system,
		      uint16_t port, const struct bed_proc *server, struct tcp_client *client,
		      double seconds, struct tcp_sample *sample)
{
	uint64_t from, before, ns;
	struct bed_window w;
	int err = tcp_connect(b, system, c->far, port, client);

	if (err)
		return err;
	bed_sleep(c->warm_s > 0 ? c->warm_s : WARM_S);
	before = progress_of(c, client, server);
	from = bed_now();
	bed_measure(&b->bed, server->program, server, seconds, &w);
	ns = bed_now() - from;
	sample->value = per_second(c, progress_of(c, client, server) - before, ns);
	sample->cpu = c->awake || !b->bed.spinners ? w.receiver + w.napi : 1 - fmin(w.left[0], 1);
	sample->left = w.left[1];
	sample->disturbed = w.disturbed;
	/* One that gave up did not do so much. */
	return tcp_client_stop(&b->bed, client);
}

int tcp_sample(struct bench *b, const struct tcp_case *c, const struct bench_system *system,
	       double seconds, struct tcp_sample *sample)
{
	struct tcp_client *client = tcp_client_new();
	const struct bench_counters *n;
	struct bed_proc server = {0};
	uint16_t port;
	char what[128];
	int err;

	if (!client)
		return -ENOMEM;
	memset(sample, 0, sizeof(*sample));
	bed_poll_idle(&b->bed, c->awake);
	err = tcp_serve(b, system, c->serve, c->far, &port, &server);
	if (!err) {
		*client = c->client;
		if (c->client.total)
			err = run_transfers(b, c, system, port, &server, client, sample);
		else
			err = run_window(b, c, system, port, &server, client, seconds, sample);
		snprintf(what, sizeof(what), "%s, %s, %s", c->name,
			 bed_placement_name[b->bed.placement], system->name);
		if (err)
			bench_error(b, what);
		n = server.counters;
		if (n->call + n->app)
			sample->app = (double)n->app / (double)(n->call + n->app);
		if (bench_died(&server, what))
			err = -EIO;
	}
	bed_stop(&server);
	tcp_client_free(client);
	return err;
}

struct tcp_point {
	struct series value, cpu, left, app;
	bool disturbed;
	int failed;
};

static void add(struct tcp_point *p, const struct tcp_sample *s)
{
	series_add(&p->value, s->value);
	series_add(&p->cpu, s->cpu);
	series_add(&p->left, s->left);
	series_add(&p->app, s->app);
	p->disturbed |= s->disturbed;
}

static const char *unit_name(const struct tcp_case *c)
{
	return c->unit == TCP_PER_S ? "/s" : "Mb/s";
}

static void report(struct bench *b, const struct tcp_case *c, const struct bench_system *system,
		   const struct tcp_point *p)
{
	const char *placement = bed_placement_name[b->bed.placement];
	const char *name = bench_system_name(system, b->bed.placement);
	struct json_object *o = result_point(name, placement, p->value.count,
					     series_spread(&p->value), p->disturbed);
	double cpu = series_median(&p->cpu);

	result_string(o, "measure", c->name);
	result_number(o, c->unit == TCP_PER_S ? "per_s" : "mbit_per_s", series_median(&p->value));
	result_number(o, "cpu_server", cpu);
	result_number(o, "per_cpu_s", series_median(&p->value) / cpu);
	result_number(o, "cpu_left_client", series_median(&p->left));
	result_number(o, "app_share", series_median(&p->app));
	result_number(o, "failed", p->failed);
	result_note(
		"%-8s %-9s %-28s %8.0f %-4s (spread %2.0f %%); CPU S %3.0f %%: %.0f per second of "
		"it; CPU N idle %2.0f %%; by APP %2.0f %%%s%s",
		placement, name, c->name, series_median(&p->value), unit_name(c),
		100 * series_spread(&p->value), 100 * cpu, series_median(&p->value) / cpu,
		100 * series_median(&p->left), 100 * series_median(&p->app),
		p->failed ? "; SOME FAILED" : "", p->disturbed ? " *" : "");
}

int tcp_compare(struct bench *b, const struct tcp_case *c, int repeats, double seconds)
{
	const struct bench_system *systems[2] = {c->baseline, &bench_systems[SYS_LRP]};
	struct tcp_point point[2] = {0};
	char text[96];
	double ratio;
	int k, s;

	for (k = 0; k < repeats; k++) {
		for (s = 0; s < 2; s++) {
			struct tcp_sample sample;
			int tries = 0, err;

			progress("%s, %s: %s, %d of %d", c->name,
				 bed_placement_name[b->bed.placement], systems[s]->name, k + 1,
				 repeats);
			do
				err = tcp_sample(b, c, systems[s], seconds, &sample);
			while (!err && bench_again(b, sample.disturbed, &tries));
			if (err)
				point[s].failed++;
			else
				add(&point[s], &sample);
		}
	}
	bed_poll_idle(&b->bed, false);
	for (s = 0; s < 2; s++)
		report(b, c, systems[s], &point[s]);
	ratio = series_median(&point[1].value) / series_median(&point[0].value);
	/* A run that failed is no run that was slow. */
	if (point[0].failed || point[1].failed)
		ratio = NAN;
	snprintf(text, sizeof(text), "%s, LRP against %s, %s", c->name, systems[0]->name,
		 bed_placement_name[b->bed.placement]);
	if (c->target > 0)
		result_target(text, ratio, "x", AT_LEAST, c->target);
	else
		result_note("%-64s %9.4g x", text, ratio);
	return 0;
}

bool tcp_wants(const struct bench *b, const char *name)
{
	return !b->only || strstr(name, b->only);
}

int tcp_cases(struct bench *b, const char *name, const char *note, const struct tcp_case *cases,
	      int count)
{
	static const int repeats_of[] = {2, 5, 9};
	static const double seconds_of[] = {0.5, 1, 2};
	int p, i, err = 0;

	result_begin(name, b->json_dir);
	result_note("%s", note);
	for (p = 0; p < BED_PLACEMENTS && !err; p++) {
		if (!bench_wants(b, (enum bed_placement)p, BENCH_LONG))
			continue;
		err = bench_place(b, (enum bed_placement)p, TCP_PROGRAMS);
		for (i = 0; i < count && !err; i++)
			if (tcp_wants(b, cases[i].name))
				err = tcp_compare(b, &cases[i], repeats_of[b->length],
						  seconds_of[b->length]);
	}
	return result_end() ? -EIO : err;
}
