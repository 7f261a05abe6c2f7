/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * log.h - one line to stderr, at the edges only: what happened, to what, and
 * the way out. The environment's LRP_LOG sets the level: error, warn (default),
 * info, debug, or off. Any thread; errno is kept.
 */
#ifndef LRP_LOG_H
#define LRP_LOG_H

#include <stdatomic.h>
#include <stdbool.h>

enum lrp_log_level { LRP_LOG_ERROR = 1, LRP_LOG_WARN, LRP_LOG_INFO, LRP_LOG_DEBUG };

bool lrp_log_enabled(enum lrp_log_level level);
void lrp_log_set_level(enum lrp_log_level level); /* overrides the environment */
void lrp_log_write(enum lrp_log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Arguments are evaluated only if the line is written. */
#define lrp_log(level, ...)                                                                        \
	do {                                                                                       \
		if (lrp_log_enabled(level))                                                        \
			lrp_log_write(level, __VA_ARGS__);                                         \
	} while (0)

/* Once per process (and per forked child that comes here first). */
#define lrp_log_once(level, ...)                                                                   \
	do {                                                                                       \
		static atomic_flag said = ATOMIC_FLAG_INIT;                                        \
		if (!atomic_flag_test_and_set(&said))                                              \
			lrp_log(level, __VA_ARGS__);                                               \
	} while (0)

#endif
