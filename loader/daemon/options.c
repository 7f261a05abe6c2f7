/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* options.c - see options.h. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../runtime/base/log.h"
#include "options.h"

static const struct option options[] = {
	{"foreground", no_argument, NULL, 'f'},
	{"config", required_argument, NULL, 'c'},
	{"log", required_argument, NULL, 'l'},
	{"verbose", no_argument, NULL, 'v'},
	{"version", no_argument, NULL, 'V'},
	{"help", no_argument, NULL, 'h'},
	{"endpoints", required_argument, NULL, 's'},
	{"quota", required_argument, NULL, 's'},
	{"group", required_argument, NULL, 's'},
	{"allow-uid", required_argument, NULL, 's'},
	{"ring-memory", required_argument, NULL, 's'},
	{"frames", required_argument, NULL, 's'},
	{"connections", required_argument, NULL, 's'},
	{"cpu", required_argument, NULL, 's'},
	{0},
};

static const char usage[] =
	"Usage: lrpd [OPTION...]\n"
	"  --foreground     stay in the foreground (systemd)\n"
	"  --config FILE    settings, `key = value` (default " LRP_CONF_FILE ")\n"
	"  --log FILE       append messages to FILE (background mode: none by default)\n"
	"  --verbose        say more\n"
	"Settings, here or in the file without the dashes:\n"
	"  --group NAME     the group whose members may use LRP (default lrp)\n"
	"  --allow-uid UID  a user who may, too; repeatable\n"
	"  --endpoints N    sockets in this network namespace at most (default 8192)\n"
	"of each user other than root:\n"
	"  --quota N        sockets (default 1024)\n"
	"  --ring-memory N  MiB of memory for their rings (default 64)\n"
	"  --frames N       slots of their rings on one queue (default 262144)\n"
	"  --connections N  connections to lrpd (default 512)\n"
	"  --cpu N          ms of lrpd's CPU time in a second (default 100)\n";

/* What the keeper is to start us with. */
static void remember(struct lrp_options *o, const char *option, const char *value)
{
	char *text;

	if (o->argc + 2 > sizeof(o->argv) / sizeof(o->argv[0]) ||
	    asprintf(&text, value ? "--%s=%s" : "--%s", option, value) < 0)
		return;
	o->argv[o->argc++] = text;
}

int lrp_options_parse(int argc, char **argv, char *self, struct lrp_options *o)
{
	const char *conf = LRP_CONF_FILE;
	char error[256];
	int c, index;

	o->argv[o->argc++] = self;
	remember(o, "foreground", NULL);
	/* First the file, so that what is said here has the last word. */
	opterr = 0;
	while ((c = getopt_long(argc, argv, "", options, &index)) != -1)
		if (c == 'c')
			conf = optarg;
	opterr = 1;
	lrp_conf_init(&o->conf);
	if (lrp_conf_read(&o->conf, conf, error, sizeof(error))) {
		fprintf(stderr, "lrpd: %s: %s\n", conf, error);
		return 2;
	}
	optind = 1;
	while ((c = getopt_long(argc, argv, "", options, &index)) != -1) {
		switch (c) {
		case 'f':
			o->foreground = true;
			continue;
		case 's':
			if (lrp_conf_set(&o->conf, options[index].name, optarg, error,
					 sizeof(error))) {
				fprintf(stderr, "lrpd: --%s\n", error);
				return 2;
			}
			break;
		case 'c':
			break;
		case 'l':
			o->log = optarg;
			break;
		case 'v':
			lrp_log_set_level(LRP_LOG_DEBUG);
			break;
		case 'V':
			printf("lrpd %s\n", LRP_VERSION);
			exit(0);
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs(usage, stderr);
			return 2;
		}
		remember(o, options[index].name, options[index].has_arg ? optarg : NULL);
	}
	if (optind < argc) {
		fprintf(stderr, "lrpd: unknown argument %s\n%s", argv[optind], usage);
		return 2;
	}
	return 0;
}
