/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* log.c - see log.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

static const char *const names[] = {"off", "error", "warn", "info", "debug"};

/* -1: the environment has not been asked. A race asks it twice, for the same answer. */
static atomic_int current = -1;

static int level_of_environment(void)
{
	const char *s = getenv("LRP_LOG");

	for (size_t i = 0; s && i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(s, names[i]))
			return (int)i;
	return LRP_LOG_WARN;
}

bool lrp_log_enabled(enum lrp_log_level level)
{
	int now = atomic_load_explicit(&current, memory_order_relaxed);

	if (now < 0) {
		now = level_of_environment();
		atomic_store_explicit(&current, now, memory_order_relaxed);
	}
	return (int)level <= now;
}

void lrp_log_set_level(enum lrp_log_level level)
{
	atomic_store_explicit(&current, (int)level, memory_order_relaxed);
}

void lrp_log_write(enum lrp_log_level level, const char *format, ...)
{
	int saved = errno;
	char line[1024];
	va_list args;
	int head, body;

	head = snprintf(line, sizeof(line), "lrp: %s%s",
			level == LRP_LOG_WARN || level == LRP_LOG_INFO ? "" : names[level],
			level == LRP_LOG_WARN || level == LRP_LOG_INFO ? "" : ": ");
	errno = saved; /* for %m */
	va_start(args, format);
	body = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, args);
	va_end(args);
	if (body < 0)
		body = 0;
	head += body;
	if ((size_t)head > sizeof(line) - 2)
		head = (int)sizeof(line) - 2;
	line[head++] = '\n';
	/* One write, so that lines of several processes do not mix. Where stderr is
	 * closed or full there is nobody to tell. */
	if (write(STDERR_FILENO, line, (size_t)head) < 0)
		errno = saved;
	errno = saved;
}
