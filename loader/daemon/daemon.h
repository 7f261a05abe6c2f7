/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* daemon.h - lrpd as a process: in the background, or under systemd. */
#ifndef LRP_CORE_DAEMON_H
#define LRP_CORE_DAEMON_H

#include <stdbool.h>

/* Goes into the background. The parent stays until lrp_daemon_ready() and exits with its status. A
 * descriptor for that, or -errno. */
int lrp_daemon_start(const char *log);
void lrp_daemon_ready(int ready_fd, bool keep_stderr,
		      unsigned char status); /* ready_fd < 0: none */

/* The limit of open files: one for each channel of each queue, which no distribution's default is
 * meant for. As far as we may. */
void lrp_daemon_descriptors(void);
void lrp_daemon_notify(void); /* systemd, if it has started us */
void lrp_daemon_log_to(const char *path);

#endif
