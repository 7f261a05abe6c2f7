/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* options.h - lrpd's command line, on top of its settings file. */
#ifndef LRP_CORE_OPTIONS_H
#define LRP_CORE_OPTIONS_H

#include "conf.h"

struct lrp_options { /* zeros at first */
	struct lrp_conf conf;
	bool foreground;
	const char *log;		    /* NULL: none */
	char *argv[2 * LRP_CONF_UIDS + 32]; /* for the keeper to start us again */
	size_t argc;
};

/* self: the path of this program. 0, or the exit status, with a line on stderr. */
int lrp_options_parse(int argc, char **argv, char *self, struct lrp_options *o);

#endif
