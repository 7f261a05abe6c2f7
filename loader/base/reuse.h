/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* reuse.h - programs beside the XDP program look at its maps. */
#ifndef LRP_CORE_REUSE_H
#define LRP_CORE_REUSE_H

#include <bpf/libbpf.h>

#include "internal.h"

/*
 * Before loading: the object's maps that have the name of a shared map become that map. maps.h
 * defines more than any program but XDP's looks at: others are not made, except `own` (NULL: none)
 * and the object's rodata, data and bss. 0 or -errno.
 */
static inline int lrp_core_reuse_maps(const struct lrp_core *core, struct bpf_object *obj,
				      const struct bpf_map *own)
{
	struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map(map, obj)
	{
		bool given = false;

		for (int m = 0; m < LRP_MAP_SHARED && !given; m++) {
			given = !strcmp(bpf_map__name(map), lrp_shared_map_name[m]);
			if (given && !err) /* and takes that map's name */
				err = bpf_map__reuse_fd(map, core->map_fd[m]);
		}
		if (!given && map != own && !bpf_map__is_internal(map))
			bpf_map__set_autocreate(map, false);
	}
	return err;
}

#endif
