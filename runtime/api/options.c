/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* options.c - lrp_setsockopt(), lrp_getsockopt(). */
#include "../sock/kind.h"

LRP_API int lrp_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	LRP_CALL;
	struct lrp_view *l;
	int error = lrp_setup_lock(fd, &l);

	if (error)
		return lrp_fail(error);
	error = lrp_kind_of(l->sock)->setsockopt(l, fd, level, name, value, len);
	lrp_setup_unlock(l);
	return error ? lrp_fail(error) : 0;
}

LRP_API int lrp_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	LRP_CALL;
	struct lrp_view *l = lrp_view_of(fd);
	int error = l ? lrp_kind_of(l->sock)->getsockopt(l, fd, level, name, value, len) : -EBADF;

	return error ? lrp_fail(error) : 0;
}
