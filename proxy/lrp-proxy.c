/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * lrp-proxy.c - a proxy [3.5]: takes the packets of one kind from its channels and hands them to the
 * kernel's stack, in its own context and at its own priority. lrpd starts it and watches it
 * [loader/proxy.c].
 *
 * One thread. It serves two endpoints in turn, at most a batch of each channel, so that neither
 * waits for more than a batch of the other. It ends when lrpd asks it to (SIGTERM), after what lies
 * on its channels, and when neither lrpd nor its keeper is left.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../runtime/base/clock.h"
#include "../runtime/base/log.h"
#include "../runtime/broker/proxy.h"
#include "output.h"

#define BATCH	  LRP_HANDOVER_BATCH
#define BEAT_MS	  200			/* LRP_PROXY_PATIENCE_NS is several of these */
#define LOOK_NS	  (200 * LRP_NS_PER_MS) /* between two looks at the devices */
#define GUARANTEE 32u			/* frames of each channel */
#define OUTPUTS	  LRP_MAX_DEVICES
#define CHANNELS  (LRP_PROXY_CLASSES * LRP_MAX_POOLS)

struct proxy {
	enum lrp_proxy_kind kind;
	const char *name;
	struct lrp_endpoint ep[LRP_PROXY_CLASSES];
	struct lrp_proxy_run *run; /* NULL: not wanted or not to be had */
	struct lrp_output output[OUTPUTS];
	uint32_t outputs;
	uint32_t routes_epoch; /* of the last look at the devices */
	uint64_t looked_ns;
	const char *cgroup; /* its own, to be removed if nobody else does; NULL: none */
};

static const char *const kind_name[] = {
#define X(NAME, name, text) #name,
	LRP_PROXY_KINDS(X)
#undef X
};

static volatile sig_atomic_t ending;

static void on_term(int signo)
{
	(void)signo;
	ending = 1;
}

static void *heap_alloc(size_t size)
{
	return calloc(1, size);
}

static void heap_free(void *p, size_t size)
{
	(void)size;
	free(p);
}

static const struct lrp_allocator heap = {.alloc = heap_alloc, .free = heap_free};

/* ---- devices ------------------------------------------------------------------------- */

/* Generic XDP runs on injected frames again, which would come here again. */
static bool native(uint32_t ifindex)
{
	struct bpf_xdp_query_opts query = {.sz = sizeof(query)};

	return !bpf_xdp_query((int)ifindex, 0, &query) && query.attach_mode == XDP_ATTACHED_DRV;
}

static struct lrp_output *output_find(struct proxy *p, uint32_t ifindex)
{
	for (uint32_t i = 0; i < p->outputs; i++)
		if (p->output[i].ifindex == ifindex)
			return &p->output[i];
	return NULL;
}

static struct lrp_output *output_get(struct proxy *p, const struct lrp_pool_view *pool)
{
	struct lrp_output *out = output_find(p, pool->ifindex);
	char error[256], ifname[IF_NAMESIZE] = "?";

	if (out)
		return out;
	if (p->outputs == OUTPUTS)
		return NULL;
	out = &p->output[p->outputs];
	if (lrp_output_open(out, pool->ifindex, pool->virtual_device,
			    native(pool->ifindex) ? p->run : NULL, error, sizeof(error))) {
		lrp_log(LRP_LOG_ERROR, "lrp-proxy: %s: %s: %s", p->name,
			if_indextoname(pool->ifindex, ifname) ? ifname : "?", error);
		return NULL;
	}
	p->outputs++;
	return out;
}

/* Those of devices that are attached no longer go; the others follow their device. */
static void outputs_check(struct proxy *p)
{
	for (uint32_t i = 0; i < p->outputs;) {
		bool used = false;

		for (uint32_t c = 0; c < p->ep[0].channels; c++)
			used |= p->ep[0].chan[c].pool->ifindex == p->output[i].ifindex;
		if (used && !lrp_output_check(&p->output[i])) {
			p->output[i].run = native(p->output[i].ifindex) ? p->run : NULL;
			i++;
			continue;
		}
		lrp_output_close(&p->output[i]);
		p->output[i] = p->output[--p->outputs];
	}
}

/* ---- channels ------------------------------------------------------------------------ */

/* Takes up to a batch from the channel. How many. */
static uint32_t serve(struct proxy *p, struct lrp_chan *chan)
{
	struct lrp_output_frame frame[BATCH];
	uint32_t n = lrp_chan_available(chan, BATCH), count = 0;
	struct lrp_output *out;

	if (!n)
		return 0;
	out = output_get(p, chan->pool);
	for (uint32_t i = 0; i < n && out; i++) {
		const volatile struct xdp_desc *desc = lrp_chan_desc(chan, i);
		uint64_t at = desc->addr;
		uint32_t length = desc->len;

		/* Whoever has a channel of this UMEM can write the ring, too: each value is read
		 * once. */
		if (at >= (uint64_t)chan->pool->frames << chan->pool->frame_shift ||
		    length > chan->pool->frame_size - (at & (chan->pool->frame_size - 1)) ||
		    length < 14)
			continue;
		frame[count++] =
			(struct lrp_output_frame){.data = chan->pool->umem + at, .length = length};
	}
	if (count)
		lrp_output_frames(out, chan->pool->queue, frame, count);
	if (chan->user)
		__atomic_store_n(&chan->user->processed[LRP_CONTEXT_CALL],
				 chan->user->processed[LRP_CONTEXT_CALL] + count, __ATOMIC_RELAXED);
	lrp_chan_take(chan, n);
	return n;
}

static uint32_t serve_all(struct proxy *p)
{
	uint32_t n = 0, most = 0;

	for (int c = 0; c < LRP_PROXY_CLASSES; c++)
		most = p->ep[c].channels > most ? p->ep[c].channels : most;
	/* Both classes of a device, then the next: each gets its turn. */
	for (uint32_t i = 0; i < most; i++)
		for (int c = LRP_PROXY_CLASSES - 1; c >= 0; c--)
			if (i < p->ep[c].channels)
				n += serve(p, &p->ep[c].chan[i]);
	return n;
}

static void beat(struct proxy *p)
{
	uint64_t now = lrp_now_ns();

	for (int c = 0; c < LRP_PROXY_CLASSES; c++)
		for (uint32_t i = 0; i < p->ep[c].channels; i++)
			lrp_proxy_beat(&p->ep[c].chan[i], now);
}

/* Returns frames, and sleeps unless something has come. False: nobody is there any more. */
static bool settle_and_wait(struct proxy *p)
{
	struct pollfd pfd[CHANNELS + 1];
	nfds_t n = 0;

	for (int c = 0; c < LRP_PROXY_CLASSES; c++)
		for (uint32_t i = 0; i < p->ep[c].channels; i++) {
			if (!lrp_chan_settle(&p->ep[c].chan[i]))
				return true;
			pfd[n++] = (struct pollfd){.fd = p->ep[c].chan[i].fd, .events = POLLIN};
		}
	pfd[n] = (struct pollfd){.fd = lrp_proxy_lifeline()};
	if (poll(pfd, n + 1, BEAT_MS) <= 0)
		return true;
	return !(pfd[n].revents & (POLLHUP | POLLERR | POLLNVAL));
}

/* Devices have come or gone. 0 or -errno. */
static int refresh(struct proxy *p)
{
	const volatile struct lrp_status_page *page = lrp_broker_status();
	int err = 0;

	for (int c = 0; c < LRP_PROXY_CLASSES && !err; c++) {
		uint32_t incarnation = p->ep[c].incarnation;

		if (lrp_endpoint_current(&p->ep[c]))
			continue;
		lrp_endpoint_refresh(&p->ep[c], &heap);
		/* Another lrpd, which has not started this process. */
		if (p->ep[c].incarnation != incarnation)
			err = -ESTALE;
	}
	p->routes_epoch = page->routes_epoch;
	p->looked_ns = lrp_now_ns();
	outputs_check(p);
	return err;
}

/* ---- start ---------------------------------------------------------------------------- */

static int start(struct proxy *p, uint32_t ring_size, uint32_t limit)
{
	char error[256];
	int n;

	if (!lrp_broker_ready())
		return -ENETDOWN;
	n = lrp_endpoint_batch(p->ep, LRP_PROXY_CLASSES, ring_size, limit, GUARANTEE, &heap);
	if (n != LRP_PROXY_CLASSES)
		return n < 0 ? n : -ENOBUFS;
	/* Frames in sockets' queues would keep its page pools. */
	if (p->kind != LRP_PROXY_HOST && lrp_proxy_run_open(&p->run, error, sizeof(error)))
		lrp_log(LRP_LOG_WARN,
			"lrp-proxy: %s: %s: frames go through a TAP device one by one", p->name,
			error);
	/* Before the first packet comes. */
	for (uint32_t i = 0; i < p->ep[0].channels; i++)
		if (!output_get(p, p->ep[0].chan[i].pool))
			return -EIO;
	beat(p);
	return lrp_proxy_serve(p->kind, p->ep);
}

/* Neither lrpd nor its keeper is left: nobody removes the cgroup. */
static int leave(const struct proxy *p)
{
	char path[600];
	int fd;

	if (!p->cgroup)
		return 0;
	/* Into the hierarchy's root, since a cgroup with processes cannot be removed. */
	snprintf(path, sizeof(path), "%s/../cgroup.procs", p->cgroup);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!write(fd, "0", 1);
		close(fd);
	}
	rmdir(p->cgroup);
	return 0;
}

static int run(struct proxy *p)
{
	const volatile struct lrp_status_page *page = lrp_broker_status();

	while (!ending) {
		beat(p);
		/* A flood can bring new neighbours as fast as it likes. */
		if (!lrp_endpoint_current(&p->ep[0]) || !lrp_endpoint_current(&p->ep[1]) ||
		    (page->routes_epoch != p->routes_epoch &&
		     lrp_now_ns() - p->looked_ns > LOOK_NS))
			if (refresh(p))
				return leave(p);
		if (!serve_all(p) && !settle_and_wait(p))
			return leave(p);
	}
	/* lrpd has shut the channels before it asked. */
	for (int c = 0; c < LRP_PROXY_CLASSES; c++)
		for (uint32_t i = 0; i < p->ep[c].channels; i++)
			while (serve(p, &p->ep[c].chan[i]))
				;
	for (int c = 0; c < LRP_PROXY_CLASSES; c++)
		lrp_endpoint_close(&p->ep[c], &heap);
	return 0;
}

static int usage(void)
{
	fprintf(stderr,
		"Usage: lrp-proxy KIND RING LIMIT [CGROUP]\nlrpd starts it: see lrp-proxies(8).\n");
	return 2;
}

int main(int argc, char **argv)
{
	static struct proxy p;
	struct sigaction term = {.sa_handler = on_term};
	char title[16];
	int err;

	if (argc != 4 && argc != 5)
		return usage();
	for (p.kind = 0; p.kind < LRP_PROXY_COUNT; p.kind++)
		if (!strcmp(argv[1], kind_name[p.kind]))
			break;
	if (p.kind == LRP_PROXY_COUNT)
		return usage();
	p.name = kind_name[p.kind];
	p.cgroup = argv[4];
	snprintf(title, sizeof(title), "lrp-%s", p.name);
	prctl(PR_SET_NAME, title);
	sigaction(SIGTERM, &term, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	err = start(&p, (uint32_t)atoi(argv[2]), (uint32_t)atoi(argv[3]));
	if (err) {
		lrp_log(LRP_LOG_ERROR, "lrp-proxy: %s: cannot start: %s", p.name, strerror(-err));
		return 1;
	}
	return run(&p);
}
