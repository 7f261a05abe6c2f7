/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * embedded.h - between liblrp and the embedded core, which is a library of its own:
 * liblrp-embed.so, with the libraries that lrpd needs. liblrp needs none of them.
 *
 * liblrp takes the core that is linked into the program (lrp-embed.pc), or
 * else opens liblrp-embed.so at the first lrp_embed(). Neither library uses a function of the
 * other but through these two tables. Both are of one build: the version is compared.
 */
#ifndef LRP_EMBEDDED_H
#define LRP_EMBEDDED_H

#include "broker_internal.h"

/* liblrp's side, for the core. */
struct lrp_embedded_host {
	/* The broker's mutex: the core is entered with it held, by requests and by its own thread. */
	void (*lock)(void);
	void (*unlock)(void);
	/* lrp_broker_hello() */
	int (*hello)(const struct lrp_reply *reply, int page_fd, bool fresh);
};

/* The core's side. All with the broker's mutex held. */
struct lrp_embedded {
	uint32_t size;	     /* of this struct */
	const char *version; /* LRP_VERSION */
	struct lrp_broker_source source;
	/* Attaches an interface: see lrp_broker_embed(). */
	int (*start)(const struct lrp_embedded_host *host, const char *ifname, uint32_t mode,
		     uint32_t frames, uint32_t frame_size, char *error, size_t error_size);
	bool (*running)(void);
	/* Unlocks the mutex while it waits for the service thread. */
	void (*stop)(void);
};

extern const struct lrp_embedded lrp_embedded_core __attribute__((visibility("default")));

/* The core; NULL: there is none, and one line in `error`. Loaded once and never unloaded. */
const struct lrp_embedded *lrp_embedded_find(char *error, size_t error_size);

#endif
