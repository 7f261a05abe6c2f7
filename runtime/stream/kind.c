/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* kind.c - TCP sockets, as the folders below know them. */
#include "family.h"
#include "stream.h"

static __attribute__((constructor)) void stream_register(void)
{
	lrp_stream_fork_register();
	lrp_family_on_death(lrp_orphans_close);
}

/* The linker takes this file with whatever calls it. */
void lrp_stream_linked(void)
{
}
