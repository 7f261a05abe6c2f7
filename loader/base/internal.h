/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * internal.h - what the files of the core share: struct lrp_core, which is this process's view
 * (descriptors and mappings) of the tables [tables.h] and of the BPF maps.
 */
#ifndef LRP_CORE_INTERNAL_H
#define LRP_CORE_INTERNAL_H

#include <linux/if_xdp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

#include "../../runtime/ring/fill.h"
#include "client.h"
#include "grace.h"
#include "tables.h"

#define LRP_DEFAULT_FRAMES	32768u
#define LRP_DEFAULT_GUARANTEE	4u
#define LRP_DEFAULT_RING	256u
#define LRP_MAX_RING		32768u
#define LRP_FRAGMENT_GUARANTEE	64u
#define LRP_DEFAULT_QUOTA	1024u
#define LRP_DEFAULT_CONNECTIONS (LRP_FLOWS / 4) /* exact entries of one user other than root */
#define LRP_CHECKS_AFTER	4u		/* checks of the pools when all families are gone */

#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4) /* Linux 6.6 */
#endif

enum lrp_shared_map {
	LRP_MAP_PORTS,
	LRP_MAP_LOCAL4,
	LRP_MAP_LOCAL6,
	LRP_MAP_BINDS4,
	LRP_MAP_BINDS6,
	LRP_MAP_FLOWS4,
	LRP_MAP_FLOWS6,
	LRP_MAP_GROUPS,
	LRP_MAP_MEMBERSHIPS,
	LRP_MAP_USERS,
	LRP_MAP_OWNERS,
	LRP_MAP_EVENTS,
	LRP_MAP_END_INDEX,
	LRP_MAP_ENDS,
	LRP_MAP_END_HEADS,
	LRP_MAP_ENDPOINT_OWNERS,
	LRP_MAP_FAMILIES,
	LRP_MAP_QUOTAS,
	LRP_MAP_SHADOWS,
	LRP_MAP_KERNEL4,
	LRP_MAP_KERNEL6,
	LRP_MAP_LEFT,
	LRP_MAP_FRAGMENTS,
	LRP_MAP_ORPHANS,
	LRP_MAP_STRAYS,
	LRP_MAP_PROXIES,
	LRP_MAP_SHARED,
};

enum lrp_device_map {
	LRP_MAP_DEVICE,
	LRP_MAP_CHANNELS,
	LRP_MAP_XSKS,
	LRP_MAP_POOLS,
	LRP_MAP_REASONS,
	LRP_MAP_PER_DEVICE,
};

struct lrp_core_device;

extern const char *const lrp_shared_map_name[LRP_MAP_SHARED];
extern const char *const lrp_device_map_name[LRP_MAP_PER_DEVICE];

struct lrp_core_ring {
	void *map;
	size_t size;
};

/* The health of a pool's shared memory: see repair.c. */
struct lrp_core_health {
	enum { LRP_POOL_WELL, LRP_POOL_STOPPED, LRP_POOL_PASSED } state;
	bool suspect;
	const char *why;
	uint64_t ticket;	  /* STOPPED: of the grace period */
	uint64_t again_ns;	  /* PASSED: when to try the next repair */
	uint64_t repaired_ns;	  /* the last repair */
	uint64_t ignore_empty_ns; /* until then an empty fill ring says nothing */
	uint64_t verify_ns;	  /* repair once more then; 0: no */
	uint64_t said_ns;	  /* the last line about it */
	uint64_t empty;		  /* the kernel's count of an empty fill ring */
	uint64_t empty_when_repaired;
	uint32_t empty_checks, index_checks; /* checks in a row that found this amiss */
	uint32_t repairs, total;	     /* lately, ever */
};

struct lrp_core_pool {
	struct lrp_pool_state *state;
	struct lrp_core_device *device;
	int umem_fd;
	struct lrp_pool_view view; /* view.umem == NULL: no pool here */
	struct lrp_core_ring completion;
	int *xsk;		  /* [endpoints], -1: none */
	struct lrp_core_ring *rx; /* [endpoints]; embedded only, else NULL */
	uint32_t guaranteed;	  /* sum over used endpoints */
	uint32_t goal;		  /* frames that are to circulate; 0: not known yet */
	uint64_t short_ns;	  /* XDP has warned last */
	struct lrp_pool *shared;  /* its record in lrp_pools */
	struct lrp_core_health health;
};

struct lrp_core_device {
	struct lrp_device_state *state;
	int prog_fd;
	int link_fd; /* -1: attached through libxdp */
	int map_fd[LRP_MAP_PER_DEVICE];
	struct lrp_channel *channels; /* mapped lrp_channels, queues * endpoints */
	struct lrp_pool *pools;	      /* mapped lrp_pools */
	size_t channels_size, pools_size;
	struct lrp_taps *taps; /* for senders without CAP_NET_RAW; made when first asked for */
};

/* Endpoints that are taken back together, after one grace period. */
struct lrp_core_batch {
	uint32_t *endpoint; /* ascending; NULL: no batch */
	uint32_t count;
	uint64_t ticket;
};

struct lrp_core {
	struct lrp_core_opts opts;
	uint32_t cpus;
	int state_fd;
	size_t state_size;
	struct lrp_core_state *state;
	int page_fd, page_ro_fd;
	struct lrp_status_page *page;
	int map_fd[LRP_MAP_SHARED]; /* -1 until the first device is attached */
	struct lrp_port *ports;	    /* mapped lrp_ports */
	/* Mapped, too. An array of 32-bit values has one in 64 bits. */
	struct lrp_end *ends;
	struct lrp_family *families;
	struct lrp_quota *quotas;
	uint64_t *end_heads, *endpoint_owners, *left;
	uint32_t *left_seen;	     /* [LRP_LEFT_ENTRIES] of `left`, that the maps agree with */
	int family_prog[LRP_OWNERS]; /* -1: not loaded */
	uint64_t end_ticket;	     /* grace period of the ends that are retiring; 0: none are */
	bool end_again;		     /* and another one after that */
	uint64_t next_left_ns;	     /* the soonest look for sockets that have left */
	uint64_t sweep_floor_ns;     /* no sweep before */
	uint64_t owner_ticket[LRP_OWNERS]; /* gone: until its program has run its last */
	uint32_t owners_gone;
	/* UDP ports that somebody has bound, and those that were bound a round before: beside.c */
	uint64_t bound[65536 / 64], bound_before[65536 / 64];
	uint64_t next_beside_ns;
	uint64_t next_walk_ns;	       /* through the exact entries */
	uint32_t flow_walks;	       /* that are to come */
	uint64_t next_kernel_ns;       /* 0: the kernel has no connection on our ports */
	uint64_t next_idle_ns;	       /* of ends that are kept; 0: none are */
	bool claims_look;	       /* a socket has left its port, or an end was taken away */
	struct lrp_core_guard *guards; /* a list */
	struct lrp_core_watch *watch;  /* NULL: nothing follows the sockets at once */
	struct lrp_core_device device[LRP_MAX_DEVICES];
	struct lrp_core_pool pool[LRP_MAX_POOLS_TOTAL];
	int page_map_fd[LRP_USER_PAGES];
	struct lrp_user *page_map[LRP_USER_PAGES];
	uint8_t slot_used[LRP_USER_PAGES][LRP_USER_PAGE_RECORDS];
	uint32_t *by_port;	/* [65536], by lport as it is in memory: first endpoint published */
	uint32_t *next_on_port; /* [endpoints] */
	int sync_error;		/* flow.c: an entry could not be written */
	uint32_t closing;	/* endpoints in LRP_ENDPOINT_CLOSING */
	uint32_t demand;  /* frames that all channels of a queue may hold together: sum of limits */
	uint32_t largest; /* of the limits */
	uint32_t sockets, others;   /* endpoints, by their guarantee: see circulate.c */
	struct ring_buffer *events; /* XDP's, NULL until the first device is attached */
	int epoll_fd;
	struct lrp_core_grace *grace;
	struct lrp_closer *closer; /* NULL: nothing has been closed yet */
	struct lrp_core_local *local;
	struct lrp_core_strays *strays;
	struct lrp_core_proxies *proxies;
	struct { /* set once by a higher folder; NULL: nothing */
		/* The endpoint is going to be somebody else's. */
		void (*endpoint_released)(struct lrp_core *core, uint32_t endpoint);
		uint16_t (*device_flags)(struct lrp_core *core, uint32_t device); /* LRP_DEVICE_* */
	} hooks;
	struct lrp_proxies *proxies_shared; /* mapped; NULL: no device was attached yet */
	struct lrp_core_resets *resets;	    /* NULL: nobody is to be reset */
	uint64_t netns_cookie;
	char pin_dir[64];	     /* "": not pinned */
	uint64_t next_quarantine_ns; /* 0: nothing in quarantine */
	uint64_t next_sweep_ns;	     /* 0: nothing published */
	uint64_t next_rest_ns;	     /* 0: no pool has frames too many */
	uint64_t next_check_ns;	     /* of the health of the pools */
	uint32_t checks;	     /* so many more, though nobody is there */
	uint64_t gather_at_ns;	     /* 0: all endpoints that are closing are in the batch */
	uint64_t next_block_ns;	     /* earlier than that no request waits for a grace period */
	struct lrp_core_batch batch;
};

uint64_t lrp_core_now_ns(void);
/* A line for people in error[LRP_ERROR_SIZE]; returns err. */
#define LRP_ERROR_SIZE 512 /* as lrp_reply.error_text */
__attribute__((format(printf, 3, 4))) int lrp_core_error(char *error, int err, const char *format,
							 ...);
/* To and from the keeper. */
__attribute__((format(printf, 3, 4))) void lrp_core_put(struct lrp_core *core, int fd,
							const char *format, ...);
__attribute__((format(printf, 2, 3))) void lrp_core_drop(struct lrp_core *core, const char *format,
							 ...);

uint32_t lrp_core_pools(const struct lrp_core *core); /* number that are on */
/* The next look for published sockets that are gone comes after `ms` at the latest. */
void lrp_core_sweep_in(struct lrp_core *core, uint32_t ms);
/* Something about the pool's shared memory may be wrong: it is repaired soon. */
void lrp_core_suspect(struct lrp_core *core, struct lrp_core_pool *pool);
/* The endpoint is taken back with the batch whose grace period is awaited. */
bool lrp_core_in_batch(const struct lrp_core *core, uint32_t endpoint);

static inline bool lrp_core_pool_on(const struct lrp_core_pool *pool)
{
	return pool->view.umem != NULL;
}

/* On, and packets come. */
static inline bool lrp_core_pool_live(const struct lrp_core_pool *pool)
{
	return lrp_core_pool_on(pool) && !pool->device->state->parked;
}

static inline bool lrp_core_device_live(const struct lrp_device_state *state)
{
	return state->used && !state->parked;
}

static inline uint32_t lrp_core_pool_index(const struct lrp_core *core,
					   const struct lrp_core_pool *pool)
{
	return (uint32_t)(pool - core->pool);
}

static inline uint32_t lrp_core_channel_id(const struct lrp_core *core,
					   const struct lrp_core_pool *pool, uint32_t endpoint)
{
	return pool->state->queue * core->state->endpoints + endpoint;
}

static inline struct lrp_channel *
lrp_core_channel(const struct lrp_core *core, const struct lrp_core_pool *pool, uint32_t endpoint)
{
	return &pool->device->channels[lrp_core_channel_id(core, pool, endpoint)];
}

#endif
