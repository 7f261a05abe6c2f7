// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * exp_proxies.c - proxies [3.5]: how many packets one CPU hands to the kernel, who is charged for a
 * flood, and what is left for a service of the same host while packets that no socket owns come in.
 *
 * Proxies run on CPU S beside the service. Forwarded packets leave through the pair whose program
 * drops everything, towards the client.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exp_tcp.h"
#include "flood.h"

#define PROGRAMS       (1u << BED_PASS | 1u << BED_LRP | 1u << BED_DROP)
#define CONNECTIONS    8
#define BLACKHOLE_ADDR 0xc613c801u /* 198.19.200.1 */

enum kind { PING, ARP, CLOSED, BROADCAST, FRAGMENTS, FORWARD, BLACKHOLE };

struct flood_case {
	const char *name;
	enum kind kind;
	const char *proxy;
	uint64_t rate;
};

/* Hand-over: as fast as it goes. */
static const struct flood_case rates[] = {
	{"hand-over, packets without a route", BLACKHOLE, "forward", 1500000},
	{"hand-over and forwarding", FORWARD, "forward", 1500000},
	{"hand-over and answers to pings", PING, "icmp", 1500000},
	{"hand-over, closed ports", CLOSED, "host", 1500000},
};

static const struct flood_case floods[] = {
	{"ping flood", PING, "icmp", 300000},
	{"ARP flood", ARP, "arp", 300000},
	{"closed ports", CLOSED, "host", 300000},
	{"broadcast", BROADCAST, "host", 300000},
	{"fragments that never complete", FRAGMENTS, "host", 300000},
};

/* ---- lrp proxies, in the bed ---------------------------------------------------------- */

static int sh(struct bench *b, const char *command)
{
	char line[4600];

	snprintf(line, sizeof(line), "PATH=%s:$PATH; %s", b->bed.bin, command);
	if (bed_run(&b->bed, BED_SERVER, (char *[]){"/bin/sh", "-ec", line, NULL}))
		return bench_error(b, "proxies");
	return 0;
}

struct proxy_look {
	double cpu_s, packets, drops, queued, direct;
	int pid;
	uint64_t at_ns;
};

static double number(struct json_object *o, const char *name)
{
	struct json_object *v = NULL;

	json_object_object_get_ex(o, name, &v);
	return json_object_get_double(v);
}

static int look(struct bench *b, const char *kind, struct proxy_look *l)
{
	struct json_object *root, *proxies, *v;
	char path[128];
	int err = sh(b, "lrp proxies --json >/run/proxies.json");

	memset(l, 0, sizeof(*l));
	l->at_ns = bed_now();
	snprintf(path, sizeof(path), "/proc/%d/root/run/proxies.json", b->bed.holder[BED_SERVER]);
	root = err ? NULL : json_object_from_file(path);
	if (!root || !json_object_object_get_ex(root, "proxies", &proxies))
		return err ? err : -EIO;
	for (size_t i = 0; i < json_object_array_length(proxies); i++) {
		struct json_object *p = json_object_array_get_idx(proxies, i);

		json_object_object_get_ex(p, "kind", &v);
		if (strcmp(json_object_get_string(v), kind) != 0)
			continue;
		l->pid = (int)number(p, "pid");
		l->cpu_s = number(p, "cpu_us") / 1e6;
		l->direct = number(p, "direct");
		for (int c = 0; c < 2; c++) {
			json_object_object_get_ex(p, c ? "first" : "rest", &v);
			l->packets += number(v, "packets");
			l->drops += number(v, "drops");
			l->queued += number(v, "queued");
		}
	}
	json_object_put(root);
	return 0;
}

/* On and serving, on CPU S, with this nice value. */
static int proxy_on(struct bench *b, const char *kind, int nice)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "lrp proxies set %s --nice %d; lrp proxies on %s; "
		 "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2; "
		 "pid=$(pgrep -x lrp-%s) && taskset -pc %d $pid >/dev/null && exit 0; done; exit 1",
		 kind, nice, kind, kind, b->bed.cpu_server);
	return sh(b, command);
}

static int proxy_off(struct bench *b, const char *kind)
{
	char command[64];

	snprintf(command, sizeof(command), "lrp proxies off %s; sleep 0.2", kind);
	return sh(b, command);
}

/* ---- floods ------------------------------------------------------------------------------ */

static void aim(struct bench *b, struct flood *f, enum kind kind, enum bed_program program,
		uint64_t rate)
{
	const struct bed_pair *pair = &b->bed.pair[program];

	memset(&f->spec, 0, sizeof(f->spec));
	f->elsewhere = false;
	f->rate = rate;
	f->spec.src.v4 = pair->flood_addr;
	f->spec.sources = 200;
	f->spec.payload = 14;
	f->spec.sport = 20000;
	f->spec.dport = 40000;
	f->spec.dports = 1000;
	switch (kind) {
	case PING:
		f->spec.kind = LRP_INJECT_ECHO;
		break;
	case ARP:
		f->spec.kind = LRP_INJECT_ARP;
		f->spec.src.v4 = pair->client_addr;
		break;
	case BROADCAST:
		f->elsewhere = true;
		f->spec.dst.v4.s_addr = pair->server_addr.s_addr | htonl(255);
		break;
	case FRAGMENTS: /* two of a datagram; LRP stores none of them, nobody wants UDP here */
		f->spec.payload = 2000;
		f->spec.no_checksum = true;
		break;
	case FORWARD:
		f->elsewhere = true;
		f->spec.dst.v4 = b->bed.pair[BED_DROP].client_addr;
		break;
	case BLACKHOLE: /* a route that leads nowhere */
		f->elsewhere = true;
		f->spec.dst.v4.s_addr = htonl(BLACKHOLE_ADDR);
		break;
	case CLOSED:
		break;
	}
}

/* ---- a service beside a flood ---------------------------------------------------------------- */

struct beside {
	struct series control, flooded, offered, forwarded, proxy_cpu;
	bool disturbed;
};

/* What stands for a service: its turns, or answers that its client has got. */
struct service {
	bool computes;
	struct bed_proc server;
	struct tcp_client *client;
	uint64_t *turns; /* shared */
	pid_t pid;
};

static int compute(void *arg)
{
	volatile uint64_t *turns = arg;

	while (*turns != UINT64_MAX)
		(*turns)++;
	return 0;
}

static int service_start(struct bench *b, const struct bench_system *system, struct service *s)
{
	char *poll[] = {"--serve", "echo", "--poll", NULL};
	uint16_t port;
	int err;

	if (s->computes) {
		s->turns =
			mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (s->turns == MAP_FAILED)
			return -errno;
		s->pid = bed_fork(&b->bed, BED_SERVER, b->bed.cpu_server, 0, compute, s->turns);
		return s->pid > 0 ? 0 : -EAGAIN;
	}
	s->client = tcp_client_new();
	err = s->client ? tcp_serve(b, system, poll, false, &port, &s->server) : -ENOMEM;
	if (err)
		return err;
	*s->client =
		(struct tcp_client){.kind = TCP_REQUESTS, .length = 64, .connections = CONNECTIONS};
	return tcp_connect(b, system, false, port, s->client);
}

static uint64_t service_done(const struct service *s)
{
	return s->computes ? __atomic_load_n(s->turns, __ATOMIC_RELAXED) : s->client->done;
}

static void service_stop(struct bench *b, struct service *s)
{
	int status;

	if (s->computes) {
		if (s->pid > 0) {
			kill(s->pid, SIGKILL);
			waitpid(s->pid, &status, 0);
		}
		if (s->turns && s->turns != MAP_FAILED)
			munmap(s->turns, 4096);
		return;
	}
	if (s->client && s->client->pid > 0 && tcp_client_stop(&b->bed, s->client))
		progress("service: %s", b->bed.error);
	bed_stop(&s->server);
	tcp_client_free(s->client);
}

static int service_run(struct bench *b, const struct bench_system *system,
		       const struct flood_case *c, bool computes, double seconds, struct beside *r)
{
	enum bed_program target[2] = {BED_DROP, system->program};
	struct service service = {.computes = computes};
	struct flood *flood = flood_new();
	struct proxy_look before, after;
	struct bed_window w;
	int i, err = flood ? service_start(b, system, &service) : -ENOMEM;

	for (i = 0; i < 2 && !err; i++) {
		uint64_t done, sent, from;
		double s;

		aim(b, flood, c->kind, target[i], c->rate);
		err = flood_start(b, flood, target[i]);
		if (err)
			break;
		bed_sleep(0.4);
		if (system->program == BED_LRP)
			err = look(b, c->proxy, &before);
		done = service_done(&service);
		sent = flood->sent;
		from = bed_now();
		bed_measure(&b->bed, system->program, computes ? NULL : &service.server, seconds,
			    &w);
		s = (double)(bed_now() - from) / 1e9;
		series_add(i ? &r->flooded : &r->control,
			   (double)(service_done(&service) - done) / s);
		if (i)
			series_add(&r->offered, (double)(flood->sent - sent) / s);
		r->disturbed |= w.disturbed;
		if (system->program == BED_LRP && !err)
			err = look(b, c->proxy, &after);
		if (system->program == BED_LRP && !err && i) {
			s = (double)(after.at_ns - before.at_ns) / 1e9;
			series_add(&r->forwarded, (after.packets - before.packets) / s);
			series_add(&r->proxy_cpu, (after.cpu_s - before.cpu_s) / s);
		}
		flood_stop(flood);
	}
	if (flood)
		flood_stop(flood);
	service_stop(b, &service);
	if (flood)
		munmap(flood, sizeof(*flood));
	return err;
}

/* `nice`: of the proxy. `target`: of control; 0: a line alone. */
static int service(struct bench *b, const struct flood_case *c, bool computes, int nice,
		   double target)
{
	static const int repeats[] = {2, 3, 5};
	static const double seconds[] = {0.5, 1, 2};
	static const int systems[2] = {SYS_STOCK, SYS_LRP};
	const char *placement = bed_placement_name[b->bed.placement];
	const char *what = computes ? "computing" : "TCP service";
	struct beside r[2] = {0};
	struct bed_window w;
	double d[2] = {0}, offered;
	char text[112];
	int k, s, err = proxy_on(b, c->proxy, nice);

	for (k = 0; k < repeats[b->length] && !err; k++)
		for (s = 0; s < 2 && !err; s++) {
			progress("%s, %s: %s", c->name, placement, bench_systems[systems[s]].name);
			err = service_run(b, &bench_systems[systems[s]], c, computes,
					  seconds[b->length], &r[s]);
		}
	proxy_off(b, c->proxy);
	for (s = 0; s < 2 && !err; s++) {
		const char *name = bench_system_name(&bench_systems[systems[s]], b->bed.placement);
		struct json_object *o = result_point(name, placement, r[s].flooded.count,
						     series_spread(&r[s].flooded), r[s].disturbed);

		result_string(o, "measure", c->name);
		result_string(o, "service", what);
		result_number(o, "nice", nice);
		result_number(o, "offered", series_median(&r[s].offered));
		result_number(o, "per_s", series_median(&r[s].flooded));
		result_number(o, "per_s_control", series_median(&r[s].control));
		result_number(o, "through_proxy", series_median(&r[s].forwarded));
		result_number(o, "proxy_cpu", series_median(&r[s].proxy_cpu));
		result_note("%-8s %-9s %-29s %s: %.3g /s under %s/s, %.3g in the control run%s",
			    placement, name, c->name, what, series_median(&r[s].flooded),
			    si(series_median(&r[s].offered)), series_median(&r[s].control),
			    r[s].disturbed ? " *" : "");
	}
	if (!err)
		result_note("%-8s proxy at nice %d took %s/s and %.0f %% of a CPU", placement, nice,
			    si(series_median(&r[1].forwarded)),
			    100 * series_median(&r[1].proxy_cpu));
	/* Where CPU S demultiplexes, dropping late costs more than dropping first. */
	offered = series_median(&r[1].offered);
	if (!err && target > 0 && b->bed.placement != BED_NI) {
		d[0] = bench_drop_cost(b, (uint64_t)offered, 0.4, &w) * 1e-9;
		d[1] = d[0] + 100e-9; /* parse, the proxy's channel, discard */
		if (offered * d[1] > 0.8)
			target = 0;
		else
			target *= (1 - offered * d[1]) / (1 - offered * d[0]);
	}
	snprintf(text, sizeof(text), "%s, proxy at nice %d, %s, %s", c->name, nice, what,
		 placement);
	result_note("%-64s %9.4g x (stock)", text,
		    series_median(&r[0].flooded) / series_median(&r[0].control));
	if (err || target > 0)
		result_target(text,
			      err ? NAN
				  : series_median(&r[1].flooded) / series_median(&r[1].control),
			      "x", AT_LEAST, target);
	else
		result_note("%-64s %9.4g x (no target)", text,
			    series_median(&r[1].flooded) / series_median(&r[1].control));
	return err;
}

/* ---- hand-over on one CPU ------------------------------------------------------------------------ */

static int hand_over(struct bench *b, const struct flood_case *c)
{
	static const int repeats[] = {3, 5, 7};
	static const double seconds[] = {0.5, 1, 2};
	const char *placement = bed_placement_name[b->bed.placement];
	struct series rate = {0}, charged = {0}, offered = {0};
	struct flood *flood = flood_new();
	struct proxy_look before, after;
	bool disturbed = false;
	struct bed_window w;
	char text[112];
	int k, err = flood ? proxy_on(b, c->proxy, 0) : -ENOMEM;

	for (k = 0; k < repeats[b->length] && !err; k++) {
		double s, used;

		progress("%s, %s", c->name, placement);
		aim(b, flood, c->kind, BED_LRP, c->rate);
		err = flood_start(b, flood, BED_LRP);
		if (err)
			break;
		bed_sleep(0.3);
		err = look(b, c->proxy, &before);
		bed_measure(&b->bed, BED_LRP, NULL, seconds[b->length], &w);
		if (!err)
			err = look(b, c->proxy, &after);
		flood_stop(flood);
		if (err)
			break;
		s = (double)(after.at_ns - before.at_ns) / 1e9;
		used = 1 - w.left[0] - w.napi;
		series_add(&rate, (after.packets - before.packets) / s);
		series_add(&offered,
			   (after.packets - before.packets + after.drops - before.drops) / s);
		series_add(&charged, 100 * (after.cpu_s - before.cpu_s) / s / used);
		disturbed |= w.disturbed;
	}
	proxy_off(b, c->proxy);
	if (flood) {
		flood_stop(flood);
		munmap(flood, sizeof(*flood));
	}
	if (!err) {
		struct json_object *o =
			result_point("lrp", placement, rate.count, series_spread(&rate), disturbed);

		result_string(o, "measure", c->name);
		result_number(o, "handed_over", series_median(&rate));
		result_number(o, "offered", series_median(&offered));
		result_number(o, "charged_percent", series_median(&charged));
		result_note("%-8s %-34s %s/s of %s/s offered, spread %.0f %%%s", placement, c->name,
			    si(series_median(&rate)), si(series_median(&offered)),
			    100 * series_spread(&rate), disturbed ? " *" : "");
	}
	snprintf(text, sizeof(text), "%s, %s", c->name, placement);
	/* Elsewhere what demultiplexing leaves of the CPU decides. */
	if ((b->bed.placement == BED_NI && c->kind == BLACKHOLE) || err)
		result_target(text, err ? NAN : series_median(&rate) / 1e3, "k/s", AT_LEAST, 400);
	snprintf(text, sizeof(text), "%s: CPU time charged to the proxy, %s", c->name, placement);
	result_target(text, err ? NAN : series_median(&charged), "%", AT_LEAST, 80);
	return err;
}

/* ---- the experiment ---------------------------------------------------------------------------------- */

static int place(struct bench *b, enum bed_placement p)
{
	int err;

	/* What shares out CPU time, where lrpd finds it when it starts. */
	bed_run(&b->bed, BED_SERVER,
		(char *[]){
			"/bin/sh", "-c",
			"[ -d /run/cpu ] || { mkdir /run/cpu; "
			"mount -t cgroup -o cpu none /run/cpu || mount -t cgroup2 none /run/cpu; }",
			NULL});
	err = bench_place(b, p, PROGRAMS);
	if (!err)
		err = sh(b, "echo 1 >/proc/sys/net/ipv4/ip_forward; "
			    "ip route replace blackhole 198.19.200.0/24");
	return err;
}

/*
 * The target is for a process that computes. The TCP service's client shares CPU N with the flood, and
 * with what the proxy answers or forwards, which the control run does not have.
 */
static int both(struct bench *b, const struct flood_case *c, int nice, double target)
{
	int err = service(b, c, true, nice, target);

	return err ? err : service(b, c, false, nice, 0);
}

int exp_proxies(struct bench *b)
{
	static const struct flood_case forward = {"forwarding flood", FORWARD, "forward", 800000};
	int p, err = 0;

	result_begin("proxies", b->json_dir);
	result_note(
		"computing: a process at nice 0 on CPU S; TCP service: %d connections with 64 B "
		"requests; control: the same flood at a pair that drops everything; CPU time "
		"charged: of what CPU S spends outside NAPI",
		CONNECTIONS);
	for (p = 0; p < BED_PLACEMENTS && !err; p++) {
		if (!bench_wants(b, (enum bed_placement)p, BENCH_LONG) ||
		    (!b->placements && p != BED_NI &&
		     (p != BED_STRICT || b->length == BENCH_QUICK)))
			continue;
		err = place(b, (enum bed_placement)p);
		for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]) && !err; i++)
			if (tcp_wants(b, rates[i].name))
				err = hand_over(b, &rates[i]);
		for (size_t i = 0; i < sizeof(floods) / sizeof(floods[0]) && !err; i++)
			if (tcp_wants(b, floods[i].name))
				err = both(b, &floods[i], 11, 0.9);
		if (!err && tcp_wants(b, forward.name))
			err = both(b, &forward, 19, 0.8);
		if (!err && tcp_wants(b, forward.name))
			err = both(b, &forward, 0, 0);
	}
	return result_end() ? -EIO : err;
}
