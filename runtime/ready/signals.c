/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* signals.c - see ready.h. */
#include <signal.h>

#include "ready.h"

/* A handler that would end a call; `always`: whatever its flags are. */
static bool any_handler(bool always)
{
	struct sigaction act;
	bool once;
	int sig;

	for (sig = 1; sig < NSIG; sig++) {
		/* glibc's own, for cancellation and set*id(), do not concern the application */
		if (sig == 32 || sig == 33 || sigaction(sig, NULL, &act))
			continue;
		/* One that has just run, and was to run once. */
		once = act.sa_handler == SIG_DFL && act.sa_flags & (int)SA_RESETHAND;
		if (act.sa_handler == SIG_IGN || (act.sa_handler == SIG_DFL && !once))
			continue;
		if (always || !(act.sa_flags & SA_RESTART))
			return true;
	}
	return false;
}

bool lrp_signals_restart(void)
{
	return !any_handler(false);
}

bool lrp_signals_none(void)
{
	return !any_handler(true);
}
