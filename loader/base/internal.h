/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * internal.h - what the files of the core share.
 *
 * Two kinds of state. `struct lrp_core_state` is a memfd that the keeper holds:
 * plain tables without pointers, so that a new lrpd goes on where the old one
 * stopped, at whatever instruction that was. The demultiplexing maps are always
 * computed from these tables (flow.c), never read back: a half-done update is
 * mended by doing it again. `struct lrp_core` is this process's view:
 * descriptors and mappings.
 */
#ifndef LRP_CORE_INTERNAL_H
#define LRP_CORE_INTERNAL_H

#include <linux/if_xdp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

#include "../../bpf/authority.h"
#include "../../runtime/ring/fill.h"
#include "../core/core.h"
#include "grace.h"
#include "../demux/stray.h"

#define LRP_CORE_STATE_VERSION	6u
#define LRP_MAX_POOLS_TOTAL	(LRP_MAX_DEVICES * 4u) /* as in struct lrp_status_page */
#define LRP_DEFAULT_FRAMES	32768u
#define LRP_DEFAULT_GUARANTEE	4u
#define LRP_DEFAULT_RING	256u
#define LRP_MAX_RING		32768u
#define LRP_FRAGMENT_GUARANTEE	64u
#define LRP_DEFAULT_QUOTA	1024u
#define LRP_MEMBERSHIPS_MAX	16u
#define LRP_QUARANTINE		256u
#define LRP_NO_POOL		UINT32_MAX
#define LRP_CLAIMS		16384u /* bound TCP sockets of connections, see LRP_REQ_CLAIM */
#define LRP_DEFAULT_CONNECTIONS (LRP_FLOWS / 4) /* exact entries of one user other than root */

#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4) /* Linux 6.6 */
#endif

/* ---- state that outlives lrpd ------------------------------------------- */

enum lrp_endpoint_use {
	LRP_ENDPOINT_FREE,
	LRP_ENDPOINT_USED,
	LRP_ENDPOINT_CLOSING, /* no longer in the maps; rings to be drained */
};

/* What a shadow is bound and connected to. Addresses of IPv4 are ::ffff:a.b.c.d. */
struct lrp_published {
	__u32 on;	/* last to be written, first to be cleared */
	__u32 sequence; /* of two sockets on one port the later one receives */
	__u64 cookie;	/* SO_COOKIE: the socket's identity, never reused */
	struct lrp_addr6 laddr, raddr;
	__be16 lport, rport;
	__u8 proto;
	__u8 v4, v6; /* families that it receives */
	__u8 wildcard;
	__u8 connected;
	__u8 reuseport;
	__u8 listens; /* TCP */
	__u8 left;    /* it has left this address: the kernel's, until it is published again */
	__u32 end[2]; /* TCP: index into lrp_ends, of IPv4 and IPv6; 0: none */
	__u32 membership_count;
	struct lrp_membership_request membership[LRP_MEMBERSHIPS_MAX];
};

struct lrp_endpoint_state {
	__u32 use; /* enum lrp_endpoint_use */
	__u32 owner;
	__u32 ring_size; /* of its sockets; kept when it is free, so that they can be recycled */
	__u32 limit;
	__u32 guarantee;
	__u32 generation;
	__u32 missing;	   /* looks in a row that did not find its shadow */
	__u32 pid;	   /* who asked for it */
	__u32 socket_user; /* uid + 1 of the one user who has had its sockets; 0: nobody */
	struct lrp_published pub;
};

struct lrp_owner_state {
	__u32 used;
	__u32 uid;
	__u32 pid; /* the family's first process */
	__u32 endpoints;
	__u32 gone;  /* the whole family; its endpoints are being reclaimed */
	__u32 quota; /* of its user: index into lrp_quotas */
	__u32 mixed; /* members run under several uids */
	__u32 pad;
	__u64 token[2];
	__u64 generation; /* as in lrp_families */
	__u64 start_time;
	char comm[16];
};

struct lrp_pool_state {
	__u32 used; /* generation, as on the status page */
	__u32 device;
	__u32 queue;
	__u32 frames;
	__u32 frame_size;
	__u32 fill_size;
	__u32 reserve;	   /* frames that are never lent: the kernel's and the driver's */
	__u32 circulating; /* the first so many frames are, or rest; the others were never needed */
	__u32 zerocopy;
	__u32 sg;
	__u32 quarantined;
	struct { /* frames whose holder died while it returned them */
		__u32 frame;
		__u32 misses;	   /* audits that found it nowhere */
		__u32 at_producer; /* fill ring's producer at the last of them */
	} quarantine[LRP_QUARANTINE];
};

struct lrp_device_state {
	__u32 used;
	__u32 ifindex;
	char ifname[IFNAMSIZ];
	__u32 mode; /* LRP_MODE_NATIVE or LRP_MODE_SKB */
	__u32 libxdp;
	__u32 parked; /* detached, but sockets still have its channels: see lrp_core_detach() */
	__u32 frames; /* of each pool */
	__u32 queues;
	__u32 mtu;
	__u32 virtual_device;
	__u32 frame_payload;
	__u64 program; /* lrp_core_xdp_hash() of what is attached */
	__u32 pool[LRP_MAX_QUEUES];
};

struct lrp_group_state {
	__u32 used;
	__u8 ipv6;
	__u8 proto;
	__be16 port;
	struct lrp_addr6 addr; /* of the bind; zeros: wildcard */
};

enum lrp_end_use {
	LRP_END_FREE,
	LRP_END_USED,
	/* nobody's; a grace period, then entries that were made under it are purged */
	LRP_END_RETIRING,
	LRP_END_RETIRING_NEXT, /* the same, but of the grace period after the one that is awaited */
	LRP_END_RETIRED,       /* they are; sockets that it was taken away from name it still */
};

/* What lrp_ends does not say, since the watcher writes there. */
struct lrp_end_state {
	__u32 use; /* enum lrp_end_use */
	__u32 owner;
	struct lrp_addr6 addr; /* zeros: wildcard */
	__be16 port;
	__u8 v6;
	__u8 kept; /* the family's also while it has no socket there: see LRP_CLAIM_KEEP */
	__u32 pad;
	__u64 idle_ns; /* kept: no socket was there since; 0: there is one */
};

/* A bound TCP socket that a process named because it has connections on its port. */
struct lrp_claim_state {
	__u64 cookie; /* 0: unused */
	__u32 owner;
	__u32 pad;
};

struct lrp_quota_state {
	__u32 used; /* families */
	__u32 uid;
};

struct lrp_core_state {
	__u32 magic;
	__u32 version;
	__u32 endpoints;
	__u32 quota;
	__u32 sequence;
	__u32 generation;
	__u64 family_generation;
	__u32 connections; /* exact entries that a user other than root may have */
	__u32 pad;
	struct lrp_owner_state owner[LRP_OWNERS];
	struct lrp_device_state device[LRP_MAX_DEVICES];
	struct lrp_pool_state pool[LRP_MAX_POOLS_TOTAL];
	struct lrp_group_state group[LRP_GROUPS];
	__u32 page_owner[LRP_USER_PAGES]; /* owner + 1; 0: no page */
	struct lrp_end_state end[LRP_ENDS];
	struct lrp_claim_state claim[LRP_CLAIMS];
	struct lrp_quota_state quota_of[LRP_QUOTAS]; /* by lrp_quotas */
	struct lrp_endpoint_state endpoint[];	     /* `endpoints` of them */
};

/* ---- this process's view ------------------------------------------------- */

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
	uint64_t next_walk_ns;	      /* through the exact entries */
	uint32_t flow_walks;	      /* that are to come */
	uint64_t next_kernel_ns;      /* 0: the kernel has no connection on our ports */
	uint64_t next_idle_ns;	      /* of ends that are kept; 0: none are */
	bool claims_look;	      /* a socket has left its port, or an end was taken away */
	struct lrp_core_watch *watch; /* NULL: nothing follows the sockets at once */
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
	struct lrp_core_resets *resets; /* NULL: nobody is to be reset */
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

/* core.c */
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

/* device.c */
int lrp_core_attach(struct lrp_core *core, const struct lrp_attach_request *request, char *text);
int lrp_core_detach(struct lrp_core *core, const char *ifname, char *text);
void lrp_core_device_close(struct lrp_core *core, struct lrp_core_device *device);
void lrp_core_parked_run(struct lrp_core *core); /* frees what nobody uses any more */
int lrp_core_device_adopt(struct lrp_core *core, struct lrp_core_device *device);
int lrp_core_map_shared(struct lrp_core *core); /* maps the maps that are mmapable */
void lrp_core_unmap_shared(struct lrp_core *core);
struct lrp_core_device *lrp_core_device_find(struct lrp_core *core, uint32_t ifindex);

/* A TAP queue that leads to the device, for the family; a descriptor or -errno. */
int lrp_core_device_tap(struct lrp_core *core, uint32_t ifindex, uint32_t owner);

/* endpoint.c */
int lrp_core_endpoints(struct lrp_core *core, struct lrp_core_client *client,
		       const struct lrp_request *request, struct lrp_reply *reply, int *out_fds,
		       int *out_count);
int lrp_core_adopt(struct lrp_core *core, struct lrp_core_client *client,
		   const struct lrp_request *request, struct lrp_reply *reply, int *out_fds,
		   int *out_count);
void lrp_core_user_gone(struct lrp_core *core, uint32_t uid); /* unless he has families left */
int lrp_core_limit(struct lrp_core *core, uint32_t endpoint, uint32_t limit);
int lrp_core_fragment_endpoint(struct lrp_core *core, struct lrp_core_pool *pool);
void lrp_core_channel_shut(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint);
void lrp_core_channel_free(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint);

/* user_page.c */
int lrp_core_user_page_fd(struct lrp_core *core, uint32_t owner, uint32_t page);
int lrp_core_user_page_map(struct lrp_core *core, uint32_t page);
void lrp_core_user_pages_free(struct lrp_core *core, uint32_t owner);
void lrp_core_user_pages_adopt(struct lrp_core *core); /* after a takeover; devices are there */
/* A record of zeros for a channel. */
int lrp_core_user_slot_take(struct lrp_core *core, uint32_t owner, uint32_t *page, uint32_t *slot);
void lrp_core_user_slot_free(struct lrp_core *core, const struct lrp_channel *channel);
/* Its owner writes it: read each value once. NULL: it has none. */
struct lrp_user *lrp_core_user(struct lrp_core *core, const struct lrp_channel *channel);

/* circulate.c */
void lrp_core_guarantees(
	struct lrp_core *core); /* recomputes guaranteed and surplus of all pools */
uint32_t lrp_core_guarantee_sum(const struct lrp_core *core); /* of one pool */
/* An endpoint more; a limit that has become larger by `more`. */
void lrp_core_guarantee_add(struct lrp_core *core, const struct lrp_endpoint_state *ep);
void lrp_core_limit_add(struct lrp_core *core, uint32_t more, uint32_t limit);
/* XDP has said so: more of its frames circulate from now on. */
void lrp_core_pool_short(struct lrp_core *core, struct lrp_core_pool *pool);
uint64_t lrp_core_rest_run(struct lrp_core *core); /* when to come again, 0: no need */
/* The goal once more: frames that could not be returned rest. */
void lrp_core_circulate(struct lrp_core *core, struct lrp_core_pool *pool);

/* owner.c */
int lrp_core_hello(struct lrp_core *core, struct lrp_core_client *client,
		   const struct lrp_request *request, struct lrp_reply *reply);
void lrp_core_owner_sync(struct lrp_core *core, uint32_t owner); /* its record in lrp_owners */
void lrp_core_owners_run(struct lrp_core *core);
void lrp_core_sweep(struct lrp_core *core);
void lrp_core_sweep_in(struct lrp_core *core, uint32_t ms); /* at the latest */

/* reclaim.c */
void lrp_core_release(struct lrp_core *core, uint32_t endpoint);
/* Endpoints in LRP_ENDPOINT_CLOSING are taken back after a grace period. When to come again, 0: no
 * need before the core's descriptor is readable. */
uint64_t lrp_core_reclaim_run(struct lrp_core *core);
/* For a request that lacks what closing endpoints still have: waits for their grace period, and
 * takes them back. False: nothing is closing, the grace period is not over soon, or another
 * request has waited just now. */
bool lrp_core_reclaim_now(struct lrp_core *core);
void lrp_core_reclaim_forget(struct lrp_core *core); /* on the way out */
bool lrp_core_in_batch(const struct lrp_core *core, uint32_t endpoint);

/* quarantine.c: frames in doubt */
void lrp_core_quarantine(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t frame);
void lrp_core_quarantine_run(struct lrp_core *core);
void lrp_core_quarantine_adopt(struct lrp_core *core);
/* Back on the fill ring; at rest, if the ring is broken. */
bool lrp_core_frame_return(struct lrp_core_pool *pool, uint32_t frame);

/* repair.c */
/* Something about the pool's shared memory may be wrong: it is repaired soon. */
void lrp_core_suspect(struct lrp_core *core, struct lrp_core_pool *pool);
uint64_t lrp_core_repair_run(struct lrp_core *core); /* when to come again, 0: no need */

/* audit.c */
enum lrp_frame_place {
	LRP_FRAME_NOWHERE = 0, /* the kernel's, or lost */
	LRP_FRAME_IN_FILL = 1 << 0,
	LRP_FRAME_IN_RX = 1 << 1,
	LRP_FRAME_HELD = 1 << 2, /* marked in the frame table */
	LRP_FRAME_QUARANTINED = 1 << 3,
	LRP_FRAME_TWICE = 1 << 4,   /* in two rings, or twice in one */
	LRP_FRAME_AT_HEAD = 1 << 5, /* seen only at the consumer of an RX ring */
	LRP_FRAME_AT_REST = 1 << 6,
};
/* ORs what is true of each frame into place[]. The RX rings only if asked for: there may be
 * thousands. While packets move the picture is blurred. -ETIME: not finished by until_ns (0: no
 * limit); -EOVERFLOW: the RX rings name more frames than there are. */
enum lrp_rings {
	LRP_RINGS_NONE,
	LRP_RINGS_USED,	  /* not those of endpoints that are closing */
	LRP_RINGS_OTHERS, /* not those of the batch */
	LRP_RINGS_ALL,
};
int lrp_core_places(struct lrp_core *core, struct lrp_core_pool *pool, uint8_t *place,
		    enum lrp_rings rings, uint64_t until_ns);
/* The fill ring alone. */
int lrp_core_fill_places(const struct lrp_core_pool *pool, uint8_t *place);
/* The entries of an RX ring as its shared indices say, at most a ring full: the first, and in *end
 * one past the last. And the frame of one of them, UINT32_MAX: none of the pool. Read once. */
uint32_t lrp_core_ring_bounds(const struct lrp_chan *chan, uint32_t *end);
uint32_t lrp_core_ring_frame(const struct lrp_chan *chan, uint32_t at);
struct json_object;
struct json_object *lrp_core_audit(struct lrp_core *core);

/* status.c */
struct json_object *lrp_core_status(struct lrp_core *core);
struct json_object *lrp_core_channels(struct lrp_core *core);
int lrp_core_json_memfd(struct json_object *json, uint32_t *length); /* takes json */

#endif
