/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * conf.h - lrpd's settings: the file LRP_CONF_FILE and the options of the same names.
 *
 * The file has one `key = value` a line; '#' starts a comment. A key that is
 * not known is an error: a limit that is misspelt would else not be there.
 */
#ifndef LRP_CORE_CONF_H
#define LRP_CORE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LRP_CONF_FILE "/etc/lrp/lrpd.conf"
#define LRP_CONF_UIDS 64u
#define LRP_CONF_MAX  65536u /* bytes of a file */

struct lrp_conf {
	char group[64]; /* whose members are admitted; "": nobody's */
	uid_t uid[LRP_CONF_UIDS];
	uint32_t uids;
	uint32_t endpoints; /* 0: default, here and below */
	/* of each user other than root */
	uint32_t quota;	      /* sockets */
	uint32_t ring_mib;    /* memory of their rings */
	uint32_t frames;      /* slots of their rings on one queue */
	uint32_t connections; /* to lrpd */
	uint32_t cpu_ms;      /* of lrpd's time in a second */
};

#define LRP_CONF_CONNECTIONS 512u
#define LRP_CONF_CPU_MS	     100u

void lrp_conf_init(struct lrp_conf *conf);

/* 0 or -EINVAL with a line in error. */
int lrp_conf_set(struct lrp_conf *conf, const char *key, const char *value, char *error,
		 size_t error_size);
int lrp_conf_parse(struct lrp_conf *conf, const char *text, size_t length, char *error,
		   size_t error_size);

/* A file that is not there is empty. One that somebody other than root can write is refused. */
int lrp_conf_read(struct lrp_conf *conf, const char *path, char *error, size_t error_size);

#endif
