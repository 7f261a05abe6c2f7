/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* close.c - lrp_close(). */
#include "../sock/kind.h"

LRP_API int lrp_close(int fd)
{
	LRP_CALL_POINT;
	int error = lrp_sock_close(fd);

	return error ? lrp_fail(error) : 0;
}
