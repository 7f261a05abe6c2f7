/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* zerocopy.c - lrp_zc_recv(), lrp_zc_return(). */
#include "../sock/kind.h"

LRP_API int lrp_zc_recv(int fd, struct lrp_zc *dgrams, unsigned int count, int flags)
{
	LRP_CALL_POINT;
	struct lrp_view *l = lrp_view_of(fd);
	int n;

	if (!l)
		return lrp_fail(-EBADF);
	if (!lrp_kind_of(l->sock)->zc_receive)
		return lrp_fail(-EOPNOTSUPP);
	n = lrp_kind_of(l->sock)->zc_receive(l, fd, dgrams, count, flags);
	return n > 0 ? n : lrp_fail(n);
}

LRP_API int lrp_zc_return(int fd, struct lrp_zc *dgrams, unsigned int count)
{
	LRP_CALL;
	struct lrp_view *l;
	int (*call)(struct lrp_view *, struct lrp_zc *, unsigned int);
	int error = lrp_setup_lock(fd, &l);

	if (error)
		return lrp_fail(error);
	call = lrp_kind_of(l->sock)->zc_return;
	error = call ? call(l, dgrams, count) : -EOPNOTSUPP;
	lrp_setup_unlock(l);
	return error ? lrp_fail(error) : 0;
}
