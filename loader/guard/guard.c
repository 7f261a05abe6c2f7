/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* guard.c - see guard.h: loading, attaching, letting go. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "guard.skel.h"
#include "guard_internal.h"
#include "../device/kernel.h"
#include "../device/link.h"

#define RUN_NS 1000000000u
#define KEPT   LRP_GUARD_MAP_TARGETS /* maps before it are kept over lrpd's death */

const char *const lrp_guard_map_name[LRP_GUARD_MAPS] = {
	[LRP_GUARD_MAP_CONFIG] = "lrp_guard_config",
	[LRP_GUARD_MAP_SOCKETS] = "lrp_guard_sockets",
	[LRP_GUARD_MAP_SIZES] = "lrp_guard_sizes",
	[LRP_GUARD_MAP_TARGETS] = "lrp_guard_targets",
	[LRP_GUARD_MAP_REASONS] = "lrp_guard_reasons",
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int keep_fd(int *to, int from)
{
	*to = from < 0 ? from : fcntl(from, F_DUPFD_CLOEXEC, 3);
	return *to < 0 ? (from < 0 ? from : -errno) : 0;
}

/* ---- the list ------------------------------------------------------------------------------- */

static struct lrp_core_guard *guard_find(struct lrp_core *core, const char *ifname)
{
	struct lrp_core_guard *guard = core->guards;

	while (guard && strcmp(guard->ifname, ifname))
		guard = guard->next;
	return guard;
}

static struct lrp_core_guard *guard_new(struct lrp_core *core, const char *ifname)
{
	struct lrp_core_guard *guard = calloc(1, sizeof(*guard));

	if (!guard)
		return NULL;
	snprintf(guard->ifname, sizeof(guard->ifname), "%s", ifname);
	for (int m = 0; m < LRP_GUARD_MAPS; m++)
		guard->map_fd[m] = -1;
	guard->prog_fd = guard->link_fd = guard->next_fd = guard->fail_fd = guard->ready_fd = -1;
	guard->next = core->guards;
	core->guards = guard;
	return guard;
}

/* Takes the program off the interface. */
static void guard_detach(struct lrp_core_guard *guard)
{
	uint32_t slot = 0;

	if (guard->link_fd >= 0)
		bpf_link_detach(guard->link_fd);
	close_fd(&guard->link_fd);
	if (guard->next_fd >= 0)
		bpf_map_delete_elem(guard->next_fd, &slot);
	close_fd(&guard->next_fd);
}

/* Everything but the kept maps. */
static void guard_unload(struct lrp_core_guard *guard)
{
	guard_detach(guard);
	close_fd(&guard->fail_fd);
	close_fd(&guard->ready_fd);
	close_fd(&guard->prog_fd);
	for (int m = KEPT; m < LRP_GUARD_MAPS; m++)
		close_fd(&guard->map_fd[m]);
}

static void guard_free(struct lrp_core *core, struct lrp_core_guard *guard)
{
	struct lrp_core_guard **at = &core->guards;

	guard_unload(guard);
	if (guard->config)
		munmap(guard->config, sizeof(*guard->config));
	for (int m = 0; m < KEPT; m++) {
		lrp_core_drop(core, "guard:%s:%d", guard->ifname, m);
		close_fd(&guard->map_fd[m]);
	}
	while (*at != guard)
		at = &(*at)->next;
	*at = guard->next;
	free(guard);
}

static void guard_put(struct lrp_core *core, const struct lrp_core_guard *guard)
{
	for (int m = 0; m < KEPT; m++)
		lrp_core_put(core, guard->map_fd[m], "guard:%s:%d", guard->ifname, m);
}

/* ---- can it work here ------------------------------------------------------------------------- */

/* The number of arguments of the tracepoint's programs, or -errno. */
static int tracepoint_arguments(const char *name)
{
	struct btf *btf = btf__load_vmlinux_btf();
	const struct btf_type *type;
	char of[64];
	int id, count = -ENOENT;

	if (!btf)
		return -errno;
	snprintf(of, sizeof(of), "btf_trace_%s", name);
	id = btf__find_by_name_kind(btf, of, BTF_KIND_TYPEDEF);
	type = id < 0 ? NULL : btf__type_by_id(btf, (__u32)id);
	type = type ? btf__type_by_id(btf, type->type) : NULL; /* pointer */
	type = type ? btf__type_by_id(btf, type->type) : NULL; /* function */
	if (type && btf_is_func_proto(type))
		count = btf_vlen(type) - 1;
	btf__free(btf);
	return count;
}

static int guard_possible(const char *ifname, char *text)
{
	struct lrp_kernel_facts facts;
	unsigned int major = 0, minor = 0;

	lrp_kernel_ask(&facts);
	if (sscanf(facts.release, "%u.%u", &major, &minor) != 2 || major < 6 ||
	    (major == 6 && minor < 2))
		return lrp_core_error(text, -EOPNOTSUPP,
				      "%s: guard: Linux %s runs, 6.2 or later is needed "
				      "(bpf_rdonly_cast): install a newer kernel",
				      ifname, facts.release);
	if (!facts.btf)
		return lrp_core_error(text, -EOPNOTSUPP,
				      "%s: guard: Linux %s has no BTF (/sys/kernel/btf/vmlinux): "
				      "use a kernel with CONFIG_DEBUG_INFO_BTF",
				      ifname, facts.release);
	if (tracepoint_arguments("udp_fail_queue_rcv_skb") < 3)
		return lrp_core_error(
			text, -EOPNOTSUPP,
			"%s: guard: the tracepoint udp_fail_queue_rcv_skb of Linux %s "
			"does not show the packet, 6.10 and later do: install a newer "
			"kernel",
			ifname, facts.release);
	return 0;
}

/* ---- loading ----------------------------------------------------------------------------------- */

static int guard_maps(struct lrp_core_guard *guard, struct bpf_object *obj)
{
	int err = 0;

	for (int m = 0; m < KEPT && !err; m++)
		if (guard->map_fd[m] >= 0)
			err = bpf_map__reuse_fd(
				bpf_object__find_map_by_name(obj, lrp_guard_map_name[m]),
				guard->map_fd[m]);
	return err;
}

static int guard_take(struct lrp_core_guard *guard, struct guard_bpf *skel)
{
	int err = keep_fd(&guard->prog_fd, bpf_program__fd(skel->progs.guard_xdp));

	for (int m = 0; m < LRP_GUARD_MAPS && !err; m++)
		if (guard->map_fd[m] < 0)
			err = keep_fd(&guard->map_fd[m],
				      bpf_map__fd(bpf_object__find_map_by_name(
					      skel->obj, lrp_guard_map_name[m])));
	if (!err && !guard->config) {
		guard->config = mmap(NULL, sizeof(*guard->config), PROT_READ | PROT_WRITE,
				     MAP_SHARED, guard->map_fd[LRP_GUARD_MAP_CONFIG], 0);
		if (guard->config == MAP_FAILED) {
			guard->config = NULL;
			err = -errno;
		}
	}
	return err;
}

static int guard_trace(int *link_fd, const struct bpf_program *program)
{
	*link_fd = bpf_raw_tracepoint_open(NULL, bpf_program__fd(program));
	return *link_fd < 0 ? -errno : 0;
}

/* Loads for a mode and follows the kernel's drops. Packets do not pass it yet. */
static int guard_load(struct lrp_core *core, struct lrp_core_guard *guard, bool native, char *text)
{
	static int rule = -1, nodes;
	struct guard_bpf *skel = guard_bpf__open();
	uint32_t magic = 0;
	int err;

	if (!skel)
		return lrp_core_error(text, -errno, "guard: opening the program: %s",
				      strerror(errno));
	if (rule < 0) {
		rule = lrp_guard_probe();
		nodes = access("/sys/devices/system/node/node1", F_OK) ? 1 : 2;
	}
	if (getrandom(&magic, sizeof(magic), 0) != (ssize_t)sizeof(magic) || !magic)
		magic = (uint32_t)lrp_core_now_ns() | 1;
	skel->rodata->lrp_guard_ifindex = guard->ifindex;
	skel->rodata->lrp_guard_netns = core->netns_cookie;
	skel->rodata->lrp_guard_magic = magic;
	skel->rodata->lrp_guard_native = native;
	skel->rodata->lrp_guard_adds_size = rule == LRP_GUARD_RULE_SIZE;
	skel->rodata->lrp_guard_one_node = nodes == 1;
	if (tracepoint_arguments("sk_data_ready") < 0) /* Linux 6.3 */
		bpf_program__set_autoload(skel->progs.guard_ready, false);
	err = guard_maps(guard, skel->obj);
	if (!err)
		err = guard_bpf__load(skel);
	if (!err)
		err = guard_take(guard, skel);
	if (err) {
		lrp_core_error(text, err, "%s: guard: the kernel refuses the program: %s",
			       guard->ifname, strerror(-err));
		goto out;
	}
	err = guard_trace(&guard->fail_fd, skel->progs.guard_fail);
	if (!err && bpf_program__fd(skel->progs.guard_ready) >= 0)
		err = guard_trace(&guard->ready_fd, skel->progs.guard_ready);
	if (err)
		lrp_core_error(text, err, "%s: guard: attaching to the tracepoints: %s",
			       guard->ifname, strerror(-err));
	guard->native = native;
out:
	guard_bpf__destroy(skel);
	return err;
}

/* ---- attaching ----------------------------------------------------------------------------------- */

static struct lrp_core_device *guard_device(struct lrp_core *core,
					    const struct lrp_core_guard *guard)
{
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++) {
		struct lrp_core_device *device = &core->device[i];

		if (device->state && lrp_core_device_live(device->state) &&
		    device->state->ifindex == guard->ifindex && device->prog_fd >= 0)
			return device;
	}
	return NULL;
}

/* lrp_guard_next among the maps of LRP's program: a descriptor or -errno. */
static int guard_slot(int prog_fd)
{
	__u32 ids[64], length = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {.nr_map_ids = 64, .map_ids = (uintptr_t)ids};
	int found = -ENOENT;

	if (bpf_obj_get_info_by_fd(prog_fd, &info, &length))
		return -errno;
	for (__u32 i = 0; i < info.nr_map_ids && i < 64 && found < 0; i++) {
		struct bpf_map_info map = {0};
		__u32 size = sizeof(map);
		int fd = bpf_map_get_fd_by_id(ids[i]);

		if (fd < 0)
			continue;
		if (!bpf_obj_get_info_by_fd(fd, &map, &size) &&
		    map.type == BPF_MAP_TYPE_PROG_ARRAY &&
		    !strncmp(map.name, "lrp_guard_next", sizeof(map.name) - 1))
			found = fd;
		else
			close(fd);
	}
	return found;
}

static int guard_beside(struct lrp_core *core, struct lrp_core_guard *guard,
			struct lrp_core_device *device, char *text)
{
	uint32_t slot = 0;
	int err = guard_load(core, guard, device->state->mode == LRP_MODE_NATIVE, text);

	if (err)
		return err;
	guard->next_fd = guard_slot(device->prog_fd);
	if (guard->next_fd < 0)
		return lrp_core_error(text, guard->next_fd,
				      "%s: guard: LRP's program there is of an older version: run "
				      "`lrp attach %s` again",
				      guard->ifname, guard->ifname);
	if (!bpf_map_update_elem(guard->next_fd, &slot, &guard->prog_fd, BPF_ANY))
		return 0;
	err = -errno;
	close_fd(&guard->next_fd);
	return lrp_core_error(text, err, "%s: guard: LRP's program cannot call it: %s%s",
			      guard->ifname, strerror(-err),
			      device->state->libxdp ? " (attached through libxdp: attach without "
						      "--libxdp)"
						    : "");
}

static int guard_alone(struct lrp_core *core, struct lrp_core_guard *guard, bool native, char *text)
{
	struct bpf_link_create_opts opts = {
		.sz = sizeof(opts), .flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE};
	int err = guard_load(core, guard, native, text), link;

	if (err)
		return err;
	link = bpf_link_create(guard->prog_fd, (int)guard->ifindex, BPF_XDP, &opts);
	if (link >= 0) {
		guard->link_fd = link;
		return 0;
	}
	return lrp_core_error(
		text, -errno, "%s: guard: attaching in %s mode: %s", guard->ifname,
		native ? "native" : "skb",
		errno == EBUSY || errno == EEXIST
			? "another XDP program is attached: ip link set dev IFACE xdp off"
			: strerror(errno));
}

/* Loads the guard and puts it in its place. */
static int guard_attach(struct lrp_core *core, struct lrp_core_guard *guard, uint32_t mode,
			char *text)
{
	struct lrp_core_device *device;
	struct lrp_link_info info;
	int err = lrp_core_link_info(guard->ifname, &info);

	if (err == -ENODEV)
		return lrp_core_error(text, err, "%s: no such interface in this network namespace",
				      guard->ifname);
	if (err)
		return lrp_core_error(text, err, "%s: guard: asking for the interface: %s",
				      guard->ifname, strerror(-err));
	guard->ifindex = info.ifindex;
	device = guard_device(core, guard);
	if (device) {
		err = guard_beside(core, guard, device, text);
	} else {
		err = lrp_core_link_refusal(&info, false, text);
		if (!err && (mode == LRP_MODE_SKB || (mode == LRP_MODE_AUTO && info.loopback)))
			err = guard_alone(core, guard, false, text);
		else if (!err)
			err = guard_alone(core, guard, true, text);
		if (err && mode == LRP_MODE_AUTO && !info.loopback && err != -EPERM &&
		    err != -EBUSY && err != -EEXIST && guard->prog_fd >= 0) {
			lrp_log(LRP_LOG_WARN, "%s; using generic (skb) mode", text);
			guard_unload(guard);
			err = guard_alone(core, guard, false, text);
		}
	}
	if (err)
		guard_unload(guard);
	return err;
}

/* ---- each second ----------------------------------------------------------------------------------- */

static void flag_set(struct lrp_core_guard *guard, uint32_t flag, bool on)
{
	uint32_t flags = guard->config->flags;

	__atomic_store_n(&guard->config->flags, on ? flags | flag : flags & ~flag,
			 __ATOMIC_RELAXED);
}

static void guard_look(struct lrp_core_guard *guard)
{
	char why[sizeof(guard->suspended)] = "";

	if (!guard->config)
		return;
	if (!(guard->config->flags & LRP_GUARD_F_TRUST))
		lrp_guard_diverted(guard->ifname, guard->ifindex, why, sizeof(why));
	if (strcmp(why, guard->suspended)) {
		lrp_log(LRP_LOG_WARN, "%s: guard: %s%s", guard->ifname,
			why[0] ? why : "nothing changes destinations any more: it drops again",
			why[0] ? ": everything passes" : "");
		memcpy(guard->suspended, why, sizeof(why));
	}
	flag_set(guard, LRP_GUARD_F_SUSPENDED, why[0]);
	flag_set(guard, LRP_GUARD_F_RPS, lrp_core_link_steered(guard->ifname));
}

uint64_t lrp_core_guard_run(struct lrp_core *core)
{
	static uint64_t next_ns;
	uint64_t now = lrp_core_now_ns(), end;
	struct lrp_guard_owner *listeners;
	struct lrp_core_guard *next;
	size_t count;

	if (!core->guards)
		return 0;
	if (now < next_ns)
		return next_ns;
	for (struct lrp_core_guard *guard = core->guards; guard; guard = next) {
		struct lrp_link_info info;

		next = guard->next;
		if (lrp_core_link_info(guard->ifname, &info) == -ENODEV) {
			lrp_log(LRP_LOG_WARN, "%s: guard: the interface is gone", guard->ifname);
			guard_free(core, guard);
			continue;
		}
		guard_look(guard);
	}
	/* The look gives each listener the cookie by which the program knows it. */
	if (!lrp_guard_sockets(&listeners, &count, true))
		free(listeners);
	/* Never more than a fiftieth of a CPU, however many listeners and rules there are. */
	end = lrp_core_now_ns();
	next_ns = end + RUN_NS + 50 * (end - now);
	return next_ns;
}

/* ---- requests ----------------------------------------------------------------------------------- */

static void guard_configure(struct lrp_core_guard *guard, const struct lrp_guard_request *request)
{
	struct lrp_guard_config *config = guard->config;

	/* The ports first: meanwhile all or the old ones are guarded, never another's. */
	flag_set(guard, LRP_GUARD_F_SUSPENDED, true);
	memset(config->ports, 0, sizeof(config->ports));
	for (uint32_t r = 0; r < request->ranges; r++)
		for (uint32_t p = request->range[r].first; p <= request->range[r].last; p++)
			config->ports[p / 64] |= 1ull << p % 64;
	flag_set(guard, LRP_GUARD_F_PORTS, request->ranges);
	flag_set(guard, LRP_GUARD_F_SHADOW, request->flags & LRP_GUARD_SET_SHADOW);
	flag_set(guard, LRP_GUARD_F_TRUST, request->flags & LRP_GUARD_SET_TRUST);
	guard_look(guard);
}

int lrp_core_guard(struct lrp_core *core, const struct lrp_guard_request *request, char *text)
{
	struct lrp_core_guard *guard = guard_find(core, request->ifname);
	bool fresh = !guard;
	int err;

	if (request->flags & LRP_GUARD_SET_OFF) {
		if (!guard)
			return lrp_core_error(text, -ENOENT, "%s: is not guarded", request->ifname);
		guard_free(core, guard);
		lrp_core_error(text, 0, "%s: no longer guarded", request->ifname);
		return 0;
	}
	if (request->flags & LRP_GUARD_SET_TRUST && !request->ranges)
		return lrp_core_error(text, -EINVAL,
				      "%s: guard: --trust needs --port: only you know for which "
				      "ports nothing changes the destination",
				      request->ifname);
	if (fresh) {
		err = guard_possible(request->ifname, text);
		if (err)
			return err;
		guard = guard_new(core, request->ifname);
		if (!guard)
			return lrp_core_error(text, -ENOMEM, "guard: out of memory");
		err = guard_attach(core, guard, request->mode, text);
		if (err) {
			guard_free(core, guard);
			return err;
		}
		guard->config->mode = request->mode;
		guard_put(core, guard);
	}
	guard_configure(guard, request);
	lrp_core_guard_run(core);
	lrp_core_error(text, 0, "%s: %s in %s mode%s%s%s%s", guard->ifname,
		       fresh ? "guarded" : "guard changed", guard->native ? "native" : "skb",
		       guard->next_fd >= 0 ? ", behind LRP's program" : "",
		       request->flags & LRP_GUARD_SET_SHADOW ? ", shadow: drops nothing" : "",
		       guard->suspended[0] ? "; everything passes: " : "", guard->suspended);
	return 0;
}

void lrp_core_guard_yield(struct lrp_core *core, const char *ifname)
{
	struct lrp_core_guard *guard = guard_find(core, ifname);

	if (guard)
		guard_unload(guard);
}

/* As the operator asked for it; the settings may not be mapped yet. */
static uint32_t guard_mode(const struct lrp_core_guard *guard)
{
	struct lrp_guard_config config;
	uint32_t zero = 0;

	return bpf_map_lookup_elem(guard->map_fd[LRP_GUARD_MAP_CONFIG], &zero, &config)
		       ? (uint32_t)LRP_MODE_AUTO
		       : config.mode;
}

void lrp_core_guard_follow(struct lrp_core *core, const char *ifname)
{
	struct lrp_core_guard *guard = guard_find(core, ifname);
	char text[LRP_ERROR_SIZE];

	if (!guard || guard->prog_fd >= 0)
		return;
	if (guard_attach(core, guard, guard_mode(guard), text)) {
		lrp_log(LRP_LOG_ERROR, "%s: the guard is off", text);
		guard_free(core, guard);
	}
}

/* ---- lrpd's death ---------------------------------------------------------------------------------- */

bool lrp_core_guard_kept(struct lrp_core *core, const struct lrp_core_kept *kept)
{
	struct lrp_core_guard *guard;
	char ifname[IFNAMSIZ];
	int m;

	if (sscanf(kept->name, "guard:%15[^:]:%d", ifname, &m) != 2 || m < 0 || m >= KEPT)
		return false;
	guard = guard_find(core, ifname);
	if (!guard)
		guard = guard_new(core, ifname);
	if (!guard)
		return false;
	guard->map_fd[m] = kept->fd;
	return true;
}

void lrp_core_guard_adopt(struct lrp_core *core)
{
	struct lrp_core_guard *guard = core->guards, *next;
	char text[LRP_ERROR_SIZE];

	for (; guard; guard = next) {
		next = guard->next;
		if (!guard_attach(core, guard, guard_mode(guard), text)) {
			guard_look(guard);
			continue;
		}
		lrp_log(LRP_LOG_ERROR, "%s: the guard is off", text);
		guard_free(core, guard);
	}
}

void lrp_core_guard_store(struct lrp_core *core)
{
	for (const struct lrp_core_guard *guard = core->guards; guard; guard = guard->next)
		guard_put(core, guard);
}

void lrp_core_guard_close(struct lrp_core *core)
{
	while (core->guards)
		guard_free(core, core->guards);
}
