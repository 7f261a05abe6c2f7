/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* stats.c - lrp_stats(), lrp_version(). */
#include <stddef.h>
#include <string.h>

#include "../sock/kind.h"

LRP_API int lrp_stats(int fd, struct lrp_stats *stats)
{
	LRP_CALL;
	struct lrp_stats now = {.sz = sizeof(now)};
	struct lrp_view *l;
	size_t sz;
	int error = stats->sz < offsetof(struct lrp_stats, call) ? -EINVAL : lrp_setup_lock(fd, &l);

	if (error)
		return lrp_fail(error);
	lrp_kind_of(l->sock)->stats(l, fd, &now);
	lrp_setup_unlock(l);
	sz = stats->sz < sizeof(now) ? stats->sz : sizeof(now);
	now.sz = sz;
	memcpy(stats, &now, sz);
	return 0;
}

LRP_API const char *lrp_version(void)
{
	return LRP_VERSION;
}
