/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* proxy_internal.h - between proxy.c (what is on, requests, XDP), proxy_process.c (the processes),
 * proxy_cgroup.c and proxy_status.c. */
#ifndef LRP_CORE_PROXY_INTERNAL_H
#define LRP_CORE_PROXY_INTERNAL_H

#include "proxy.h"

#define LRP_PROXY_LIMIT	    512u   /* frames on each channel, unless it is set */
#define LRP_PROXY_NICE	    11	   /* a twelfth of a CPU beside a process at nice 0; forward: 0 */
#define LRP_PROXY_LIMIT_MIN 32u	   /* as much is guaranteed */
#define LRP_PROXY_LIMIT_MAX 16384u /* a ring of twice as many */

struct lrp_core_proxy {	      /* of one kind */
	uint64_t start_at_ns; /* not before */
	uint64_t term_at_ns;  /* it is to end then: XDP no longer knows it; 0: no */
	uint64_t kill_at_ns;  /* asked to end: killed then */
	uint64_t started_ns;
	uint64_t beat_ns;  /* its last sign of life, or ours in its place */
	uint32_t failures; /* ended soon after the start, in a row */
	bool serving;
};

struct lrp_core_proxies {
	struct lrp_core_proxy proxy[LRP_PROXY_COUNT];
	uint64_t next_ns;
	bool devices_known;		    /* refusal[] is */
	char refusal[LRP_MAX_DEVICES][160]; /* "": proxies serve the device */
	char cgroup_root[256]; /* of the hierarchy that shares out CPU time; "": none */
	bool cgroup_v2;
	bool said_rps, said_cgroup;
};

extern const char *const lrp_proxy_kind_name[LRP_PROXY_COUNT];

/* The mapped lrp_proxies; NULL until a device is attached. */
struct lrp_proxies *lrp_core_proxies_shared(struct lrp_core *core);
/* What XDP is to do, from the state. */
void lrp_core_proxies_write(struct lrp_core *core);
/* XDP no longer puts anything on the kind's channels. */
void lrp_core_proxy_forget(struct lrp_core *core, uint32_t kind);

/* ---- proxy_process.c ---------------------------------------------------------------- */

struct lrp_proxy_stat { /* of /proc/PID/stat */
	char state;
	int nice;
	uint64_t start_time, cpu_ns;
};

bool lrp_core_proxy_stat(uint32_t pid, struct lrp_proxy_stat *stat);
/* Starts, watches and ends the process of the kind. */
void lrp_core_proxy_run(struct lrp_core *core, uint32_t kind, bool wanted, uint64_t now);
/* It is to end, and another one to start if the kind is on. */
void lrp_core_proxy_restart(struct lrp_core *core, uint32_t kind);
void lrp_core_proxy_end(struct lrp_core *core, uint32_t kind); /* and waits */

/* ---- proxy_cgroup.c ------------------------------------------------------------------ */

void lrp_core_proxy_cgroup_find(struct lrp_core_proxies *proxies);
/* The directory: its own, or the one that was set. "" where there is no hierarchy. */
void lrp_core_proxy_cgroup_path(const struct lrp_core *core, uint32_t kind, char *path,
				size_t size);
/* Into its cgroup, with the weight of its nice value. 0 or -errno. */
int lrp_core_proxy_cgroup_enter(struct lrp_core *core, uint32_t kind);
/* Its weight follows its nice value. */
void lrp_core_proxy_cgroup_weigh(struct lrp_core *core, uint32_t kind);
void lrp_core_proxy_cgroup_remove(struct lrp_core *core, uint32_t kind); /* its own */
/* Can a proxy go there? 0 or -errno, and a line. */
int lrp_core_proxy_cgroup_check(const struct lrp_core *core, const char *path, char *text);

/* ---- proxy_device.c ------------------------------------------------------------------- */

/* Why proxies do not serve this device, a line; "": they do. */
void lrp_core_proxy_refusal(const struct lrp_device_state *state, char *text, size_t size);

#endif
