/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* kind.c - TCP sockets, as the folders below know them. */
#include "../base/clock.h"
#include "../drive/app.h"
#include "family.h"
#include "stream.h"

/* In the APP thread. */
static bool hub_run(struct lrp_driven *d, uint32_t serial, bool timers_only)
{
	struct lrp_hub *hub = lrp_hub_driven(d);
	int64_t now = (int64_t)lrp_now_ns();

	if (!lrp_hub_lock_if(hub, serial))
		return false;
	if (!timers_only) {
		lrp_hub_input(hub, now, NULL, LRP_CONTEXT_APP);
		lrp_hub_settle(hub);
	} else {
		d->armed_ns = LRP_TCP_NEVER;
		if (now >= atomic_load(&d->deadline_ns))
			lrp_hub_timers(hub, now);
		lrp_app_deadline(d);
	}
	lrp_hub_unlock(hub);
	return true;
}

static __attribute__((constructor)) void stream_register(void)
{
	static const struct lrp_app_ops app = {
		.run = hub_run,
		.starts = lrp_exit_register,
		.attach = lrp_family_attach,
		.event = lrp_family_event,
	};

	lrp_app_register(&app);
	lrp_stream_fork_register();
	lrp_family_on_death(lrp_orphans_close);
}

/* The linker takes this file with whatever calls it. */
void lrp_stream_linked(void)
{
}
