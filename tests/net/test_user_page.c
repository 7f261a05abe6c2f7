/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_user_page.c - user pages that are frozen, asked for by others, or missing when a new core
 * takes over. Two cores in this process, one after the other, stand for two lrpds.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../loader/base/hold.h"
#include "../../loader/base/internal.h"
#include "../../loader/core/core.h"
#include "../../runtime/base/log.h"
#include "../lib/bed.h"
#include "../lib/check.h"

#define KEPT_MAX 1024

static struct lrp_core_kept kept[KEPT_MAX];
static size_t kept_count;

static void drop(void *arg, const char *name)
{
	(void)arg;
	for (size_t i = 0; i < kept_count; i++)
		if (!strcmp(kept[i].name, name)) {
			close(kept[i].fd);
			kept[i] = kept[--kept_count];
			return;
		}
}

static void put(void *arg, const char *name, int fd)
{
	drop(arg, name);
	must(kept_count < KEPT_MAX, "room for descriptors");
	snprintf(kept[kept_count].name, sizeof(kept->name), "%s", name);
	kept[kept_count].fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	must(kept[kept_count++].fd >= 0, "dup");
}

static struct lrp_core *core_new(const struct lrp_core_kept *from, size_t count)
{
	struct lrp_core_opts opts = {.endpoints = 64,
				     .store = {.put = put, .drop = drop},
				     .kept = from,
				     .kept_count = count};
	char error[512] = "";
	struct lrp_core *core = lrp_core_new(&opts, error, sizeof(error));

	if (!core) {
		printf("lrp_core_new: %s\n", error);
		exit(1);
	}
	return core;
}

/* As after its death: all that it had mapped is gone, and nothing has been said to anybody. */
static void core_die(struct lrp_core *core)
{
	for (uint32_t i = 0; i < LRP_USER_PAGES; i++)
		lrp_hold_unmap(core->page_map[i]);
}

static int ask(struct lrp_core *core, struct lrp_core_client *client, struct lrp_request request,
	       struct lrp_reply *reply, int *fd)
{
	int fds[LRP_CONTROL_MAX_FDS], count;
	bool owned[LRP_CONTROL_MAX_FDS];

	request.magic = LRP_ABI_MAGIC;
	request.version = LRP_ABI_VERSION;
	lrp_core_request(core, client, &request, NULL, 0, reply, fds, owned, &count);
	if (fd)
		*fd = count ? fds[0] : -1;
	return reply->error;
}

static uint32_t endpoint_of(struct lrp_core *core, struct lrp_core_client *client, uint32_t *page)
{
	struct lrp_request hello = {.type = LRP_REQ_HELLO};
	struct lrp_request wanted = {.type = LRP_REQ_ENDPOINTS, .count = 1};
	struct lrp_reply reply;

	CHECK(!ask(core, client, hello, &reply, NULL), "hello: %d", reply.error);
	CHECK(!ask(core, client, wanted, &reply, NULL), "endpoints: %d", reply.error);
	*page = reply.endpoints.channel[0].user_page;
	return reply.endpoints.endpoint[0];
}

static int page_of(struct lrp_core *core, struct lrp_core_client *client, uint32_t page)
{
	struct lrp_request request = {.type = LRP_REQ_USER_PAGE, .pool = page};
	struct lrp_reply reply;
	int fd, err = ask(core, client, request, &reply, &fd);

	return err ? err : fd;
}

static int freeze(int fd)
{
	return bpf_map_freeze(fd) ? -errno : 0;
}

/* Only its family gets a page; the record of the fragment endpoint is nobody's. */
static void test_whose(struct lrp_core *core, struct lrp_core_client *a, uint32_t page_a,
		       struct lrp_core_client *b)
{
	struct lrp_request adopt = {.type = LRP_REQ_ADOPT,
				    .adopt = {.endpoint = LRP_ENDPOINT_FRAGMENT}};
	struct lrp_reply reply;
	uint32_t own = 0;

	while (core->state->page_owner[own] != LRP_OWNER_LRPD + 1)
		own++;
	CHECK(page_of(core, a, page_a) >= 0, "its own page");
	CHECK(page_of(core, b, page_a) == -EPERM, "another's page: %d", page_of(core, b, page_a));
	CHECK(page_of(core, a, own) == -EPERM, "lrpd's page: %d", page_of(core, a, own));
	if (!ask(core, a, adopt, &reply, NULL))
		CHECK(reply.endpoints.channel[0].user_page == LRP_USER_PAGES,
		      "the fragment endpoint's page is %u", reply.endpoints.channel[0].user_page);
}

/* While it is mapped writable anywhere, it cannot be frozen. */
static void test_hold(int fd)
{
	struct bpf_map_create_opts opts = {.sz = sizeof(opts), .map_flags = BPF_F_MMAPABLE};
	int page = bpf_map_create(BPF_MAP_TYPE_ARRAY, "page", sizeof(__u32),
				  sizeof(struct lrp_user), LRP_USER_PAGE_RECORDS, &opts);
	void *held;

	CHECK(freeze(fd) == -EBUSY, "a page that lrpd has mapped: %d", freeze(fd));
	must(page >= 0, "bpf_map_create");
	CHECK(!lrp_hold_map("map:lrp_ports", page), "holds what is no page");
	held = lrp_hold_map("page:7", page);
	CHECK(held != NULL, "does not hold a page");
	CHECK(freeze(page) == -EBUSY, "frozen while it is held");
	lrp_hold_unmap(held);
	CHECK(freeze(page) == 0, "cannot be frozen: nothing is tested");
	CHECK(!lrp_hold_map("page:7", page), "a frozen page was mapped");
	close(page);
}

int main(int argc, char **argv)
{
	struct lrp_core_client a = {.pid = getpid(), .uid = 65534};
	struct lrp_core_client b = {.pid = getpid(), .uid = 65533};
	struct lrp_core_client c = {.pid = getpid(), .uid = 65532};
	struct lrp_request attach = {.type = LRP_REQ_ATTACH, .attach = {.ifname = "s0"}};
	struct lrp_core_client root = {.pid = getpid(), .admin = true};
	uint32_t of_a, of_b, of_c, page_a, page_b, page_c;
	struct lrp_core_kept handed[KEPT_MAX];
	struct lrp_core *core;
	struct lrp_reply reply;
	size_t count;
	int fd;

	(void)argc;
	bed_enter(argv);
	bed_needs_lrpd();
	setvbuf(stdout, NULL, _IOLBF, 0);
	bed_sh(BED_NET);
	attach.attach.frames = 1024;
	core = core_new(NULL, 0);
	CHECK(!ask(core, &root, attach, &reply, NULL), "attach: %s", reply.error_text);
	of_a = endpoint_of(core, &a, &page_a);
	of_b = endpoint_of(core, &b, &page_b);
	of_c = endpoint_of(core, &c, &page_c);
	CHECK(page_a != page_b && page_b != page_c, "families share a page");
	test_whose(core, &a, page_a, &b);
	fd = page_of(core, &a, page_a);
	test_hold(fd);

	/* It dies. a freezes its page; c's descriptor is not to be found. */
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	core_die(core);
	CHECK(freeze(fd) == 0, "cannot be frozen: nothing is tested");
	for (size_t i = 0; i < kept_count; i++) {
		char name[48];

		snprintf(name, sizeof(name), "page:%u", page_c);
		if (!strcmp(kept[i].name, name)) {
			drop(NULL, name);
			break;
		}
	}
	memcpy(handed, kept, sizeof(kept));
	count = kept_count;
	for (size_t i = 0; i < count; i++)
		kept[i].fd = fcntl(handed[i].fd, F_DUPFD_CLOEXEC, 0);
	core = core_new(handed, count);
	CHECK(core->state->endpoint[of_a].use == LRP_ENDPOINT_CLOSING,
	      "a's endpoint on a frozen page is in state %u", core->state->endpoint[of_a].use);
	CHECK(core->state->endpoint[of_b].use == LRP_ENDPOINT_USED, "b has lost its endpoint");
	CHECK(core->state->endpoint[of_c].use == LRP_ENDPOINT_USED, "c has lost its endpoint");
	CHECK(core->page_map[page_b] && core->page_map[page_c], "a page is not mapped");
	CHECK(!core->page_map[page_a] && !core->state->page_owner[page_a], "the page is kept");
	/* It can go on, on another page. */
	endpoint_of(core, &a, &page_a);
	CHECK(page_a < LRP_USER_PAGES && core->page_map[page_a], "no page for a new endpoint");
	endpoint_of(core, &b, &page_b);
	for (int i = 0; i < 500 && core->state->endpoint[of_a].use != LRP_ENDPOINT_FREE; i++) {
		lrp_core_run(core);
		usleep(10000);
	}
	CHECK(core->state->endpoint[of_a].use == LRP_ENDPOINT_FREE, "never taken back");
	lrp_core_free(core);
	printf(check_failures ? "%d failures\n" : "all well\n", check_failures);
	return check_failures ? 1 : 0;
}
