/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_core_sockets.c - to whom an AF_XDP socket goes when its endpoint has been given back: to the
 * same user, never to another, and to nobody when the user is gone.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../loader/base/internal.h"
#include "../../loader/core/core.h"
#include "../../loader/demux/release.h"
#include "../lib/bed.h"
#include "../lib/check.h"

static struct lrp_core *core;

static int ask(struct lrp_core_client *client, struct lrp_request request, struct lrp_reply *reply)
{
	int fds[LRP_CONTROL_MAX_FDS], count;
	bool owned[LRP_CONTROL_MAX_FDS];

	request.magic = LRP_ABI_MAGIC;
	request.version = LRP_ABI_VERSION;
	lrp_core_request(core, client, &request, NULL, 0, reply, fds, owned, &count);
	return reply->error;
}

/* The socket behind an endpoint, by an identity that is never used again; 0: none. */
static uint64_t cookie_of(uint32_t endpoint)
{
	socklen_t length = sizeof(uint64_t);
	uint64_t cookie = 0;

	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL && !cookie; i++)
		if (lrp_core_pool_on(&core->pool[i]) && core->pool[i].xsk[endpoint] >= 0)
			must(!getsockopt(core->pool[i].xsk[endpoint], SOL_SOCKET, SO_COOKIE,
					 &cookie, &length),
			     "SO_COOKIE");
	return cookie;
}

/* A new endpoint of the client; and its socket. */
static uint32_t take(struct lrp_core_client *client, uint64_t *cookie)
{
	struct lrp_request wanted = {.type = LRP_REQ_ENDPOINTS, .count = 1};
	struct lrp_reply reply;

	CHECK(!ask(client, wanted, &reply), "endpoints: %d", reply.error);
	*cookie = cookie_of(reply.endpoints.endpoint[0]);
	CHECK(*cookie != 0, "no socket");
	return reply.endpoints.endpoint[0];
}

static void run_until_free(uint32_t endpoint)
{
	for (int i = 0; i < 1000 && core->state->endpoint[endpoint].use != LRP_ENDPOINT_FREE; i++) {
		lrp_core_run(core);
		usleep(5000);
	}
	CHECK(core->state->endpoint[endpoint].use == LRP_ENDPOINT_FREE, "not taken back");
}

static void give_back(uint32_t endpoint)
{
	lrp_core_release(core, endpoint);
	run_until_free(endpoint);
}

static void hello(struct lrp_core_client *client)
{
	struct lrp_request request = {.type = LRP_REQ_HELLO};
	struct lrp_reply reply;

	CHECK(!ask(client, request, &reply), "hello: %d", reply.error);
}

int main(int argc, char **argv)
{
	struct lrp_core_client root = {.pid = getpid(), .admin = true},
			       a = {.pid = getpid(), .uid = 65534},
			       b = {.pid = getpid(), .uid = 65533};
	struct lrp_request attach = {.type = LRP_REQ_ATTACH,
				     .attach = {.ifname = "s0", .frames = 1024}};
	struct lrp_core_opts opts = {.endpoints = 3}; /* that are there for clients: two */
	uint64_t first, again, other;
	struct lrp_reply reply;
	uint32_t e, kept;
	char error[512];

	(void)argc;
	bed_enter(argv);
	bed_needs_lrpd();
	setvbuf(stdout, NULL, _IOLBF, 0);
	bed_sh(BED_NET);
	core = lrp_core_new(&opts, error, sizeof(error));
	if (!core) {
		printf("lrp_core_new: %s\n", error);
		return 1;
	}
	CHECK(!ask(&root, attach, &reply), "attach: %s", reply.error_text);
	hello(&root);
	hello(&a);
	hello(&b);

	/* Again to the same user: a program that opens and closes pays for no new socket. */
	kept = take(&root, &first); /* leaves one endpoint */
	e = take(&a, &first);
	give_back(e);
	CHECK(cookie_of(e) == first, "closed at once");
	CHECK(take(&a, &again) == e && again == first, "not recycled for its own user");
	give_back(e);
	/* Never to another. */
	CHECK(take(&b, &other) == e, "the endpoint is free, and not given");
	CHECK(other != first, "b has the socket that a has had");
	give_back(e);
	CHECK(take(&a, &again) == e, "the endpoint is free, and not given");
	CHECK(again != first && again != other, "a has the socket that b has had");
	/* What was his goes when he goes. */
	lrp_core_client_gone(core, a.owner, true);
	run_until_free(e);
	CHECK(cookie_of(e) == 0, "the socket of a user who is gone is kept");
	CHECK(cookie_of(kept) != 0, "root's was closed");
	lrp_core_free(core);
	printf(check_failures ? "%d failures\n" : "all well\n", check_failures);
	return check_failures ? 1 : 0;
}
