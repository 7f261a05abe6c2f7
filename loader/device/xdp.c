/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * xdp.c - the XDP program of a device: open the skeleton, set sizes and
 * read-only data, reuse maps, load; attach by bpf_link or beside others through libxdp.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include "../../runtime/base/log.h"
#include "kernel.h"
#include "link.h"
#include "lrp_xdp.skel.h"
#include "xdp.h"

#define PROGRAM "lrp_xdp"

/* ---- libbpf's and libxdp's words ------------------------------------------------ */

static char last_words[256]; /* what the library said last, for one line to the user */
static char verifier_words[320];

static void keep_words(const char *format, va_list args)
{
	char line[256], *whole = NULL;
	va_list again;

	/* The verifier's log comes in one piece. */
	if (strstr(format, "LOAD LOG")) {
		va_copy(again, args);
		if (vasprintf(&whole, format, again) >= 0)
			lrp_verifier_end(whole, verifier_words, sizeof(verifier_words));
		va_end(again);
		free(whole);
	}
	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = 0;
	lrp_log(LRP_LOG_DEBUG, "%s", line);
	if (line[0] && line[0] != '-')
		memcpy(last_words, line, sizeof(last_words));
}

static int on_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level != LIBBPF_DEBUG)
		keep_words(format, args);
	return 0;
}

static int on_libxdp(enum libxdp_print_level level, const char *format, va_list args)
{
	if (level != LIBXDP_DEBUG)
		keep_words(format, args);
	return 0;
}

/* ---- why it did not load ----------------------------------------------------------- */

/* What the check before the attachment [kernel.h] could not know. */
static int explain_load(const char *ifname, int err, char *text)
{
	/* EACCES: the verifier's, who wants CAP_PERFMON for comparisons of pointers */
	if (err == -EPERM || (err == -EACCES && geteuid() != 0))
		return lrp_core_error(
			text, err,
			"%s: no permission to load BPF programs: run as root, or with "
			"CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_NET_RAW and CAP_IPC_LOCK%s%s",
			ifname, verifier_words[0] ? "; verifier: " : "", verifier_words);
	if (err == -ENOMEM)
		return lrp_core_error(text, err,
				      "%s: not enough memory for the maps (or RLIMIT_MEMLOCK): use "
				      "fewer --endpoints with lrpd",
				      ifname);
	return lrp_core_error(text, err, "%s: the kernel refuses the program: %s (%s)", ifname,
			      strerror(-err), verifier_words[0] ? verifier_words : last_words);
}

/* ---- loading ------------------------------------------------------------------------ */

static int prepare_maps(struct lrp_core *core, struct lrp_core_device *device,
			struct bpf_object *obj)
{
	uint32_t channels = device->state->queues * core->state->endpoints;
	int err = 0;

	for (int m = 0; m < LRP_MAP_SHARED && !err; m++) {
		struct bpf_map *map = bpf_object__find_map_by_name(obj, lrp_shared_map_name[m]);

		if (!map)
			return -ENOENT;
		if (core->map_fd[m] >= 0)
			err = bpf_map__reuse_fd(map, core->map_fd[m]);
		else if (m == LRP_MAP_ENDPOINT_OWNERS)
			err = bpf_map__set_max_entries(map, core->state->endpoints);
	}
	for (int m = 0; m < LRP_MAP_PER_DEVICE && !err; m++) {
		struct bpf_map *map = bpf_object__find_map_by_name(obj, lrp_device_map_name[m]);

		if (!map)
			return -ENOENT;
		if (device->map_fd[m] >= 0)
			err = bpf_map__reuse_fd(map, device->map_fd[m]);
		else if (m == LRP_MAP_CHANNELS || m == LRP_MAP_XSKS)
			err = bpf_map__set_max_entries(map, channels);
		else if (m == LRP_MAP_POOLS)
			err = bpf_map__set_max_entries(map, device->state->queues);
	}
	return err;
}

static int take_fd(int *to, int from)
{
	if (*to >= 0)
		return 0; /* reused */
	*to = fcntl(from, F_DUPFD_CLOEXEC, 3);
	return *to < 0 ? -errno : 0;
}

/* Keeps descriptors of what was loaded; the skeleton is closed afterwards. */
static int take_loaded(struct lrp_core *core, struct lrp_core_device *device,
		       struct lrp_xdp_bpf *skel, int *prog_fd)
{
	int err = 0;

	for (int m = 0; m < LRP_MAP_SHARED && !err; m++)
		err = take_fd(&core->map_fd[m], bpf_map__fd(bpf_object__find_map_by_name(
							skel->obj, lrp_shared_map_name[m])));
	for (int m = 0; m < LRP_MAP_PER_DEVICE && !err; m++)
		err = take_fd(&device->map_fd[m], bpf_map__fd(bpf_object__find_map_by_name(
							  skel->obj, lrp_device_map_name[m])));
	*prog_fd = -1;
	if (!err)
		err = take_fd(prog_fd, bpf_program__fd(skel->progs.lrp_xdp));
	return err;
}

static struct lrp_xdp_bpf *open_program(struct lrp_core *core, struct lrp_core_device *device,
					uint32_t mode, char *text)
{
	struct lrp_xdp_bpf *skel = lrp_xdp_bpf__open();
	int err;

	if (!skel) {
		err = -errno;
		lrp_core_error(text, err, "opening the program: %s (%s)", strerror(-err),
			       last_words);
		errno = -err;
		return NULL;
	}
	/* In native mode a queue is one NAPI's: nobody else is in the program for it. */
	skel->rodata->lrp_concurrent = mode != LRP_MODE_NATIVE;
	err = prepare_maps(core, device, skel->obj);
	if (!err)
		return skel;
	lrp_core_error(text, err, "%s: maps of another version: run `lrp stop` and attach again",
		       device->state->ifname);
	lrp_xdp_bpf__destroy(skel);
	errno = -err;
	return NULL;
}

static int load(struct lrp_core *core, struct lrp_core_device *device, uint32_t mode, int *prog_fd,
		char *text)
{
	struct lrp_xdp_bpf *skel = open_program(core, device, mode, text);
	int err;

	if (!skel)
		return -errno;
	err = lrp_xdp_bpf__load(skel);
	if (err)
		explain_load(device->state->ifname, err, text);
	else
		err = take_loaded(core, device, skel, prog_fd);
	lrp_xdp_bpf__destroy(skel);
	return err;
}

/* ---- by bpf_link ---------------------------------------------------------------------- */

static int link_create(int prog_fd, uint32_t ifindex, uint32_t mode)
{
	struct bpf_link_create_opts opts = {.sz = sizeof(opts),
					    .flags = mode == LRP_MODE_NATIVE ? XDP_FLAGS_DRV_MODE
									     : XDP_FLAGS_SKB_MODE};

	return bpf_link_create(prog_fd, (int)ifindex, BPF_XDP, &opts);
}

static int attach_link_mode(struct lrp_core *core, struct lrp_core_device *device, uint32_t mode,
			    char *text)
{
	int prog_fd, link_fd, err;

	err = load(core, device, mode, &prog_fd, text);
	if (err)
		return err;
	link_fd = link_create(prog_fd, device->state->ifindex, mode);
	if (link_fd < 0) {
		close(prog_fd);
		return lrp_core_error(text, link_fd, "%s: attaching in %s mode: %s",
				      device->state->ifname,
				      mode == LRP_MODE_NATIVE ? "native" : "skb",
				      link_fd == -EBUSY || link_fd == -EEXIST
					      ? "another program was attached meanwhile"
					      : strerror(-link_fd));
	}
	device->prog_fd = prog_fd;
	device->link_fd = link_fd;
	device->state->mode = mode;
	return 0;
}

static int replace_program(struct lrp_core *core, struct lrp_core_device *device, char *text)
{
	int prog_fd, err;

	err = load(core, device, device->state->mode, &prog_fd, text);
	if (err)
		return err;
	if (bpf_link_update(device->link_fd, prog_fd, NULL)) {
		err = -errno;
		close(prog_fd);
		return lrp_core_error(text, err, "%s: replacing the program: %s",
				      device->state->ifname, strerror(-err));
	}
	close(device->prog_fd);
	device->prog_fd = prog_fd;
	return 0;
}

/* ---- through libxdp ------------------------------------------------------------------------ */

static int attach_libxdp_mode(struct lrp_core *core, struct lrp_core_device *device, uint32_t mode,
			      char *text)
{
	struct lrp_xdp_bpf *skel = open_program(core, device, mode, text);
	struct xdp_program_opts opts = {.sz = sizeof(opts), .prog_name = PROGRAM};
	enum xdp_attach_mode as = mode == LRP_MODE_NATIVE ? XDP_MODE_NATIVE : XDP_MODE_SKB;
	struct xdp_program *program;
	int prog_fd = -1, err;

	if (!skel)
		return -errno;
	opts.obj = skel->obj;
	program = xdp_program__create(&opts);
	err = (int)libxdp_get_error(program);
	if (!err) {
		err = xdp_program__attach(program, (int)device->state->ifindex, as, 0);
		if (err)
			lrp_core_error(
				text, err,
				"%s: libxdp does not attach in %s mode: %s (%s); what is attached "
				"already must have been attached through libxdp, too",
				device->state->ifname, mode == LRP_MODE_NATIVE ? "native" : "skb",
				strerror(-err), last_words);
		else
			err = take_loaded(core, device, skel, &prog_fd);
		if (prog_fd < 0 && !err)
			err = -EBADF;
	} else {
		lrp_core_error(text, err, "%s: libxdp: %s (%s)", device->state->ifname,
			       strerror(-err), last_words);
	}
	if (!err) {
		device->prog_fd = prog_fd;
		device->state->mode = mode;
	}
	if (!libxdp_get_error(program))
		xdp_program__close(program); /* leaves the object, which is the skeleton's */
	lrp_xdp_bpf__destroy(skel);
	return err;
}

static void detach_libxdp(struct lrp_core_device *device)
{
	struct xdp_program *program = xdp_program__from_fd(device->prog_fd);
	int err = (int)libxdp_get_error(program);

	if (!err) {
		err = xdp_program__detach(
			program, (int)device->state->ifindex,
			device->state->mode == LRP_MODE_NATIVE ? XDP_MODE_NATIVE : XDP_MODE_SKB, 0);
		xdp_program__close(program);
	}
	if (err && err != -ENODEV)
		lrp_log(LRP_LOG_WARN,
			"%s: libxdp does not detach: %s (%s): ip link set dev %s xdp off",
			device->state->ifname, strerror(-err), last_words, device->state->ifname);
}

/* ---- both ------------------------------------------------------------------------------------ */

static int attach_mode(struct lrp_core *core, struct lrp_core_device *device, uint32_t mode,
		       char *text)
{
	return device->state->libxdp ? attach_libxdp_mode(core, device, mode, text)
				     : attach_link_mode(core, device, mode, text);
}

int lrp_core_xdp_attach(struct lrp_core *core, struct lrp_core_device *device,
			const struct lrp_link_info *info, char *text)
{
	libbpf_print_fn_t libbpf_print = libbpf_set_print(on_libbpf);
	libxdp_print_fn_t libxdp_print = libxdp_set_print(on_libxdp);
	bool had_map[LRP_MAP_SHARED];
	uint32_t mode = device->state->mode;
	int err;

	for (int m = 0; m < LRP_MAP_SHARED; m++)
		had_map[m] = core->map_fd[m] >= 0;
	last_words[0] = verifier_words[0] = 0;
	if (device->prog_fd >= 0 && device->link_fd >= 0) {
		err = replace_program(core, device, text);
	} else if (device->prog_fd >= 0) {
		err = lrp_core_error(text, -EALREADY,
				     "%s is attached already, through libxdp: detach it first",
				     device->state->ifname);
	} else if (mode != LRP_MODE_AUTO) {
		err = attach_mode(core, device, mode, text);
	} else {
		/* lo and others without a driver's hook: no need to try. */
		err = info->loopback ? -EOPNOTSUPP
				     : attach_mode(core, device, LRP_MODE_NATIVE, text);
		if (err && err != -EPERM) {
			if (!info->loopback)
				lrp_log(LRP_LOG_WARN, "%s; using generic (skb) mode", text);
			err = attach_mode(core, device, LRP_MODE_SKB, text);
		}
	}
	libbpf_set_print(libbpf_print);
	libxdp_set_print(libxdp_print);
	if (!err)
		device->state->program = lrp_core_xdp_hash();
	for (int m = 0; m < LRP_MAP_SHARED; m++)
		if (!had_map[m] && core->map_fd[m] >= 0)
			lrp_core_put(core, core->map_fd[m], "map:%s", lrp_shared_map_name[m]);
	return err;
}

void lrp_core_xdp_detach(struct lrp_core *core, struct lrp_core_device *device)
{
	libbpf_print_fn_t libbpf_print = libbpf_set_print(on_libbpf);
	libxdp_print_fn_t libxdp_print = libxdp_set_print(on_libxdp);

	(void)core;
	if (device->link_fd >= 0) {
		/* Not just closed: the keeper has it, too. */
		bpf_link_detach(device->link_fd);
		close(device->link_fd);
		device->link_fd = -1;
	} else if (device->prog_fd >= 0 && device->state->libxdp) {
		detach_libxdp(device);
	}
	if (device->prog_fd >= 0)
		close(device->prog_fd);
	device->prog_fd = -1;
	libbpf_set_print(libbpf_print);
	libxdp_set_print(libxdp_print);
}

/* FNV-1a over the object file. */
uint64_t lrp_core_xdp_hash(void)
{
	uint64_t hash = 0xcbf29ce484222325u;
	const uint8_t *byte;
	size_t size;

	byte = lrp_xdp_bpf__elf_bytes(&size);
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ byte[i]) * 0x100000001b3u;
	return hash;
}
