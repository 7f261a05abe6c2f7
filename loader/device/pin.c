/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * pin.c - maps and programs under /sys/fs/bpf/lrp/net-<inode of the network
 * namespace>/, for people with bpftool. Nothing depends on a pin: links are not
 * pinned, so that a host whose lrpd and keeper are both gone is an ordinary one.
 */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "pin.h"

#define BPFFS "/sys/fs/bpf"

static bool have_bpffs(void)
{
	struct statfs fs;

	if (statfs(BPFFS, &fs))
		return false;
	if (fs.f_type == BPF_FS_MAGIC)
		return true;
	return !mount("bpf", BPFFS, "bpf", 0, "mode=0700");
}

int lrp_core_pin_dir(struct lrp_core *core)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st))
		return -errno;
	if (!have_bpffs()) {
		lrp_log(LRP_LOG_WARN, "lrpd: no bpffs at " BPFFS " (%s): maps are not pinned",
			strerror(errno));
		return -ENOENT;
	}
	mkdir(BPFFS "/lrp", 0700);
	snprintf(core->pin_dir, sizeof(core->pin_dir), BPFFS "/lrp/net-%lu",
		 (unsigned long)st.st_ino);
	if (mkdir(core->pin_dir, 0700) && errno != EEXIST) {
		lrp_log(LRP_LOG_WARN, "lrpd: %s: %s: maps are not pinned", core->pin_dir,
			strerror(errno));
		core->pin_dir[0] = 0;
		return -errno;
	}
	return 0;
}

static void remove_tree(const char *path, int depth)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char sub[512];

	while (dir && (entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", path, entry->d_name);
		if (unlink(sub) && depth)
			remove_tree(sub, depth - 1);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

void lrp_core_pin_clean(struct lrp_core *core)
{
	if (!core->pin_dir[0])
		return;
	remove_tree(core->pin_dir, 1);
	rmdir(BPFFS "/lrp"); /* unless another namespace has pins */
}

static void pin(const char *dir, const char *name, int fd)
{
	char path[512];

	if (fd < 0)
		return;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
	if (bpf_obj_pin(fd, path))
		lrp_log(LRP_LOG_WARN, "lrpd: pinning %s: %s", path, strerror(errno));
}

void lrp_core_pin_shared(struct lrp_core *core)
{
	if (!core->pin_dir[0])
		return;
	mkdir(BPFFS "/lrp", 0700);
	mkdir(core->pin_dir, 0700);
	for (int m = 0; m < LRP_MAP_SHARED; m++)
		pin(core->pin_dir, lrp_shared_map_name[m], core->map_fd[m]);
}

static bool device_dir(const struct lrp_core *core, const struct lrp_core_device *device,
		       char *path, size_t size)
{
	/* By index: names change, and may hold a dot, which bpffs refuses. */
	return core->pin_dir[0] &&
	       snprintf(path, size, "%s/dev-%u", core->pin_dir, device->state->ifindex) < (int)size;
}

void lrp_core_pin_device(struct lrp_core *core, struct lrp_core_device *device)
{
	char dir[128];

	if (!device_dir(core, device, dir, sizeof(dir)))
		return;
	mkdir(dir, 0700);
	for (int m = 0; m < LRP_MAP_PER_DEVICE; m++)
		pin(dir, lrp_device_map_name[m], device->map_fd[m]);
	pin(dir, "lrp_xdp", device->prog_fd);
}

void lrp_core_unpin_device(struct lrp_core *core, struct lrp_core_device *device)
{
	char dir[128];

	if (device_dir(core, device, dir, sizeof(dir)))
		remove_tree(dir, 0);
}
