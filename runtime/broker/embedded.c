/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* embedded.c - finds the embedded core [embedded.h]. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "embedded.h"

#define LIBRARY "liblrp-embed.so.0"

/* NULL, unless the program is linked with it. */
#pragma weak lrp_embedded_core

static const struct lrp_embedded *library_open(char *error, size_t error_size)
{
	/* Its threads and its constructors stay: it is not closed again. */
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	const struct lrp_embedded *core = library ? dlsym(library, "lrp_embedded_core") : NULL;
	const char *reason = core ? NULL : dlerror();

	if (!core)
		snprintf(
			error, error_size,
			"the embedded mode is in %s, which cannot be opened: %s (make install puts "
			"it beside liblrp.so; or use lrpd: lrp attach IFACE)",
			LIBRARY, reason ? reason : "it has no core");
	return core;
}

const struct lrp_embedded *lrp_embedded_find(char *error, size_t error_size)
{
	const struct lrp_embedded *core =
		&lrp_embedded_core ? &lrp_embedded_core : library_open(error, error_size);

	if (core && (core->size != sizeof(*core) || strcmp(core->version, LRP_VERSION))) {
		snprintf(
			error, error_size,
			"%s is of another version than this liblrp, which is %s: install both from "
			"one build",
			LIBRARY, LRP_VERSION);
		core = NULL;
	}
	return core;
}
