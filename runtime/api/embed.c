/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* embed.c - lrp_embed() and its kin [include/lrp/lrp.h]. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <lrp/lrp.h>

#include "../broker/broker.h"

static _Thread_local char last_error[512];

const char *lrp_embed_error(void)
{
	return last_error;
}

static int mode_of(const char *name)
{
	if (!name || !strcmp(name, "auto"))
		return LRP_MODE_AUTO;
	if (!strcmp(name, "native"))
		return LRP_MODE_NATIVE;
	if (!strcmp(name, "skb"))
		return LRP_MODE_SKB;
	return -EINVAL;
}

int lrp_embed(const char *ifname, const struct lrp_embed_opts *opts)
{
	struct lrp_embed_opts o = {.sz = sizeof(o)};
	int mode, error;

	last_error[0] = 0;
	if (!ifname || (opts && opts->sz < sizeof(opts->sz))) {
		snprintf(last_error, sizeof(last_error),
			 "lrp_embed: needs an interface's name and, in opts.sz, the size of opts");
		errno = EINVAL;
		return -1;
	}
	/* A caller compiled against a shorter struct has not set the rest. */
	if (opts)
		memcpy(&o, opts, opts->sz < sizeof(o) ? opts->sz : sizeof(o));
	mode = mode_of(o.mode);
	if (mode < 0) {
		snprintf(last_error, sizeof(last_error),
			 "lrp_embed: mode \"%s\" is none of auto, native, skb", o.mode);
		errno = EINVAL;
		return -1;
	}
	error = lrp_broker_embed(ifname, (uint32_t)mode, o.frames, o.frame_size, last_error,
				 sizeof(last_error));
	if (error) {
		errno = -error;
		return -1;
	}
	return 0;
}

void lrp_embed_close(void)
{
	lrp_broker_embed_close();
}
