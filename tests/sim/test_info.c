/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TCP_INFO against what the simulation knows. */
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net.h"

static int failed;

static void within(const char *where, const char *what, double got, double least, double most)
{
	if (got >= least && got <= most)
		return;
	fprintf(stderr, "%s: %s %.3f is not within %.3f and %.3f\n", where, what, got, least, most);
	failed++;
}

struct run {
	struct sim *s;
	struct sim_end *client, *server;
	struct sim_link *there;
	struct tcp_info info;
};

static struct run run(struct sim_link there, const struct sim_app *client,
		      const struct sim_app *server, int64_t until)
{
	struct sim_link back = {.delay_ns = there.delay_ns};
	struct run r = {.s = sim_new(11)};

	r.there = sim_link(r.s, &there);
	r.client = sim_pair(r.s, AF_INET, r.there, sim_link(r.s, &back), client, server);
	r.server = r.client->peer;
	sim_run(r.s, until);
	lrp_tcp_info(&r.client->c, r.s->now, &r.info);
	return r;
}

/* The bottleneck's rate, the round trip, and busy all the time. */
static void bulk(void)
{
	struct sim_link l = {.delay_ns = 10 * MS, .bits_per_s = 20000000, .queue_bytes = 60000};
	struct sim_app client = sim_app(1ull << 40), server = sim_app(0);
	struct run r = run(l, &client, &server, 10 * SECOND);
	double payload = 20e6 / 8 * 1448 / 1514;

	within("bulk", "delivery rate", (double)r.info.tcpi_delivery_rate, 0.97 * payload,
	       1.03 * payload);
	within("bulk", "app limited", r.info.tcpi_delivery_rate_app_limited, 0, 0);
	within("bulk", "min RTT", r.info.tcpi_min_rtt, 20000, 20700);
	within("bulk", "RTT", r.info.tcpi_rtt, 20000, 20000 + 60000 * 8 / 20);
	within("bulk", "busy", (double)r.info.tcpi_busy_time / 1e6, 9.9, 9.98);
	within("bulk", "rwnd limited", (double)r.info.tcpi_rwnd_limited / 1e6, 0, 0.3);
	within("bulk", "delivered", r.info.tcpi_delivered, (double)(r.info.tcpi_bytes_acked / 1448),
	       (double)r.server->read / 1448 + 2);
	within("bulk", "reordering", r.info.tcpi_reordering, 3, 3);
	within("bulk", "reorderings", r.info.tcpi_reord_seen, 0, 0);
	within("bulk", "not sent", r.info.tcpi_notsent_bytes,
	       (double)(r.client->written - r.info.tcpi_bytes_sent + r.info.tcpi_bytes_retrans),
	       (double)(r.client->written - r.info.tcpi_bytes_sent + r.info.tcpi_bytes_retrans));
	/* each loss once, and few in vain */
	within("bulk", "retransmissions", r.info.tcpi_total_retrans, (double)r.there->overflowed,
	       1.15 * (double)r.there->overflowed);
	sim_free(r.s);
}

/* A reader that takes 100 kB/s: its window holds the sender back. */
static void slow_reader(void)
{
	struct sim_link l = {.delay_ns = 10 * MS, .bits_per_s = 100000000, .queue_bytes = 1 << 20};
	struct sim_app client = sim_app(1ull << 40), server = sim_app(0);
	struct run r;

	server.rcv_bytes = 65536;
	server.read_most = 10000;
	server.pause_ns = 100 * MS;
	r = run(l, &client, &server, 10 * SECOND);
	within("slow reader", "busy", (double)r.info.tcpi_busy_time / 1e6, 9.9, 9.98);
	within("slow reader", "rwnd limited", (double)r.info.tcpi_rwnd_limited / 1e6, 9.5, 9.98);
	within("slow reader", "sndbuf limited", (double)r.info.tcpi_sndbuf_limited / 1e6, 0, 0);
	sim_free(r.s);
}

/* A send buffer far below what is under way: all is out, all the time. */
static void small_buffer(void)
{
	struct sim_link l = {.delay_ns = 50 * MS, .bits_per_s = 100000000, .queue_bytes = 1 << 20};
	struct sim_app client = sim_app(1ull << 40), server = sim_app(0);
	struct run r;

	client.snd_bytes = 8192;
	r = run(l, &client, &server, 10 * SECOND);
	within("small buffer", "busy", (double)r.info.tcpi_busy_time / 1e6, 9.7, 9.98);
	within("small buffer", "sndbuf limited", (double)r.info.tcpi_sndbuf_limited / 1e6, 9, 9.98);
	within("small buffer", "rwnd limited", (double)r.info.tcpi_rwnd_limited / 1e6, 0, 0);
	sim_free(r.s);
}

/* 30 kB, and nothing more to do: busy no longer than that took. */
static void idle(void)
{
	struct sim_link l = {.delay_ns = 10 * MS, .bits_per_s = 100000000, .queue_bytes = 1 << 20};
	struct sim_app client = sim_app(30000), server = sim_app(1);
	struct run r;

	client.ends = server.ends = false;
	r = run(l, &client, &server, 10 * SECOND);
	within("idle", "busy", (double)r.info.tcpi_busy_time / 1e6, 0.04, 0.1);
	within("idle", "not sent", r.info.tcpi_notsent_bytes, 0, 0);
	sim_free(r.s);
}

/* What overtakes is seen at both ends; marks are counted. */
static void disorder(void)
{
	struct sim_link l = {.delay_ns = 10 * MS,
			     .bits_per_s = 20000000,
			     .queue_bytes = 100000,
			     .mark_bytes = 40000,
			     .reorder = 0.01,
			     .reorder_ns = 3 * MS};
	struct sim_app client = sim_app(1ull << 40), server = sim_app(0);
	struct tcp_info far;
	struct run r;

	client.opt.ecn = server.opt.ecn = true;
	r = run(l, &client, &server, 10 * SECOND);
	lrp_tcp_info(&r.server->c, r.s->now, &far);
	/* 3 ms are five segments */
	within("disorder", "reordering", r.info.tcpi_reordering, 4, 20);
	within("disorder", "reorderings", r.info.tcpi_reord_seen, 0.005 * r.info.tcpi_delivered,
	       0.015 * r.info.tcpi_delivered);
	within("disorder", "out of order", far.tcpi_rcv_ooopack, 0.02 * far.tcpi_data_segs_in,
	       0.08 * far.tcpi_data_segs_in);
	within("disorder", "delivered with marks", r.info.tcpi_delivered_ce,
	       (double)r.there->marked, 100 * (double)r.there->marked);
	sim_free(r.s);
}

int main(void)
{
	sim_not_sanitized();
	bulk();
	slow_reader();
	small_buffer();
	idle();
	disorder();
	return failed != 0;
}
