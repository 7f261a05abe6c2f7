/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * owner.c - process families: who they are, the token by which their children
 * prove that they belong, and what is done when somebody of them is gone.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "../base/family.h"
#include "../pool/user_page.h"
#include "../demux/end.h"
#include "../demux/exact.h"
#include "../demux/publish.h"
#include "../demux/release.h"
#include "../demux/shadow.h"
#include "../device/tap.h"
#include "endpoint.h"
#include "memory.h"
#include "owner.h"

#define SWEEP_MS      400
#define SWEEP_SOON_MS 120

static uint64_t start_time(pid_t pid)
{
	char path[64], line[1024], *at;
	unsigned long long ticks = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	/* Field 22; the name in parentheses may hold anything. */
	if (fgets(line, sizeof(line), file) && (at = strrchr(line, ')')) &&
	    sscanf(at + 1,
		   " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
		   "%*d %llu",
		   &ticks) != 1)
		ticks = 0;
	fclose(file);
	return ticks;
}

static void read_comm(pid_t pid, char comm[16])
{
	char path[64];
	FILE *file;

	memset(comm, 0, 16);
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return;
	if (fgets(comm, 16, file))
		comm[strcspn(comm, "\n")] = 0;
	/* A process gives itself any name; ours are read on terminals. */
	for (char *c = comm; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	fclose(file);
}

void lrp_core_owner_sync(struct lrp_core *core, uint32_t owner)
{
	const struct lrp_owner_state *state = &core->state->owner[owner];
	struct lrp_owner record = {0};

	lrp_core_memory_share(core);
	if (core->map_fd[LRP_MAP_OWNERS] < 0)
		return;
	if (state->used) {
		record.pid = state->pid;
		record.uid = state->uid;
		record.start_time = state->start_time;
		record.channels = state->endpoints * lrp_core_pools(core);
		memcpy(record.comm, state->comm, sizeof(record.comm));
		for (uint32_t p = 0; p < LRP_USER_PAGES; p++)
			record.user_pages += core->state->page_owner[p] == owner + 1;
	}
	bpf_map_update_elem(core->map_fd[LRP_MAP_OWNERS], &owner, &record, BPF_ANY);
}

/* Families that one uid may have: a pidfd and a connection each. */
#define FAMILIES_PER_UID 256u

/* Takes the same time wherever they differ. */
static bool same_token(const __u64 a[2], const __u64 b[2])
{
	return ((a[0] ^ b[0]) | (a[1] ^ b[1])) == 0;
}

int lrp_core_hello(struct lrp_core *core, struct lrp_core_client *client,
		   const struct lrp_request *request, struct lrp_reply *reply)
{
	uint32_t owner = request->hello.owner, of_uid = 0;
	struct lrp_owner_state *state;
	int err;

	if (client->owner) { /* asked again after a timeout */
		owner = client->owner;
	} else if (owner) {
		if (owner >= LRP_OWNERS || !core->state->owner[owner].used ||
		    core->state->owner[owner].gone ||
		    !same_token(core->state->owner[owner].token, request->hello.token))
			return -EACCES;
		/* The same program; another uid only for a process that dropped root's. */
		if (core->state->owner[owner].uid != client->uid &&
		    core->state->owner[owner].uid != 0)
			return -EACCES;
	} else {
		uint32_t unused = 0;

		for (uint32_t o = LRP_OWNERS - 1; o > LRP_OWNER_LRPD; o--) {
			if (!core->state->owner[o].used)
				unused = o;
			else if (core->state->owner[o].uid == client->uid)
				of_uid++;
		}
		if (!unused || (client->uid && of_uid >= FAMILIES_PER_UID)) {
			err = lrp_core_error(reply->error_text, unused ? -EDQUOT : -EUSERS,
					     "%u families of processes use LRP, as many as %s "
					     "can: end some",
					     unused ? of_uid : LRP_OWNERS - 1,
					     unused ? "one user" : "there");
			reply->length = (__u32)strlen(reply->error_text);
			return err;
		}
		owner = unused;
		state = &core->state->owner[owner];
		memset(state, 0, sizeof(*state));
		state->uid = client->uid;
		state->pid = (uint32_t)client->pid;
		state->start_time = start_time(client->pid);
		read_comm(client->pid, state->comm);
		/* Zeros: none. */
		while (!(state->token[0] | state->token[1]))
			if (getrandom(state->token, sizeof(state->token), 0) < 0)
				return -errno;
		state->used = 1;
		err = lrp_core_family_begin(core, owner);
		if (err) {
			state->used = 0;
			return err;
		}
		lrp_core_owner_sync(core, owner);
	}
	lrp_core_member_joined(core, owner, client->uid);
	client->owner = owner;
	reply->hello.owner = owner;
	memcpy(reply->hello.token, core->state->owner[owner].token, sizeof(reply->hello.token));
	return 0;
}

/* A member of the family runs under another uid: what it has had is no longer one user's. */
void lrp_core_member_joined(struct lrp_core *core, __u32 owner, uid_t uid)
{
	if (owner > LRP_OWNER_LRPD && owner < LRP_OWNERS && core->state->owner[owner].used &&
	    core->state->owner[owner].uid != uid)
		core->state->owner[owner].mixed = 1;
}

bool lrp_core_owner_valid(struct lrp_core *core, __u32 owner, uid_t uid)
{
	return owner > LRP_OWNER_LRPD && owner < LRP_OWNERS && core->state->owner[owner].used &&
	       (core->state->owner[owner].uid == uid || core->state->owner[owner].uid == 0);
}

static void owner_free(struct lrp_core *core, uint32_t owner)
{
	uint32_t uid = core->state->owner[owner].uid;

	if (core->map_fd[LRP_MAP_USERS] >= 0)
		lrp_core_user_pages_free(core, owner);
	lrp_core_family_end(core, owner);
	memset(&core->state->owner[owner], 0, sizeof(core->state->owner[owner]));
	lrp_core_owner_sync(core, owner);
	lrp_core_user_gone(core, uid);
}

/* ---- death ------------------------------------------------------------------------------- */

static int by_cookie(const void *a, const void *b)
{
	uint64_t x = (*(const struct lrp_published *const *)a)->cookie;
	uint64_t y = (*(const struct lrp_published *const *)b)->cookie;

	return x < y ? -1 : x > y;
}

static struct lrp_endpoint_state *endpoint_of(const struct lrp_published *pub)
{
	return (struct lrp_endpoint_state *)((char *)pub -
					     offsetof(struct lrp_endpoint_state, pub));
}

/* Of this thread: on a busy CPU time on the clock is mostly other people's. */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/*
 * Looks for published sockets that no process has open any more. A process that
 * only inherited sockets never says anything to us, so this runs all the time,
 * twice a second, and soon after somebody is known to have died. A socket must be missing
 * twice: one that is being disconnected is out of the kernel's tables for a moment.
 */
void lrp_core_sweep(struct lrp_core *core)
{
	uint64_t start = lrp_core_now_ns(), spent = cpu_ns();
	const struct lrp_published **row;
	size_t count = 0;
	bool *alive;

	if (!core->next_sweep_ns || start < core->next_sweep_ns)
		return;
	core->sweep_floor_ns = 0;
	core->next_sweep_ns = 0;
	lrp_core_ports_left(core);
	row = calloc(core->state->endpoints, sizeof(*row));
	alive = calloc(core->state->endpoints, sizeof(*alive));
	for (uint32_t e = LRP_ENDPOINT_FIRST; row && alive && e < core->state->endpoints; e++) {
		const struct lrp_endpoint_state *ep = &core->state->endpoint[e];

		if (ep->use == LRP_ENDPOINT_USED && ep->pub.on && lrp_core_shadow_visible(&ep->pub))
			row[count++] = &ep->pub;
	}
	if (count) {
		bool missing = false;

		qsort(row, count, sizeof(*row), by_cookie);
		if (!lrp_core_shadows_find(row, alive, count, 0)) {
			for (size_t i = 0; i < count; i++) {
				struct lrp_endpoint_state *ep = endpoint_of(row[i]);

				if (alive[i])
					ep->missing = 0;
				else if (ep->missing++)
					lrp_core_release(core,
							 (uint32_t)(ep - core->state->endpoint));
				else
					missing = true;
			}
		}
		/* Never more than a fiftieth of a CPU. */
		spent = cpu_ns() - spent;
		core->sweep_floor_ns = start + 50 * spent;
		lrp_core_sweep_in(core, missing ? SWEEP_SOON_MS : SWEEP_MS);
	}
	free(row);
	free(alive);
}

void lrp_core_client_gone(struct lrp_core *core, __u32 owner, bool family_gone)
{
	if (owner == LRP_OWNER_LRPD || owner >= LRP_OWNERS || !core->state->owner[owner].used)
		return;
	if (!family_gone) {
		lrp_core_sweep_in(core, 0);
		return;
	}
	/* An lrpd that took over may go on where another one ended. */
	if (!core->state->owner[owner].gone)
		core->owners_gone++;
	core->state->owner[owner].gone = 1;
	lrp_core_family_shut(core, owner);
	lrp_core_claims_owner_gone(core, owner);
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++)
		if (core->device[i].taps)
			lrp_taps_owner_gone(core->device[i].taps, owner);
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++) {
		const struct lrp_endpoint_state *ep = &core->state->endpoint[e];

		if (ep->use == LRP_ENDPOINT_USED && ep->owner == owner)
			lrp_core_release(core, e);
	}
	/* Its program may run still, and make entries: see lrp_core_owners_run(). */
	core->owner_ticket[owner] = lrp_core_grace_ask(core);
}

/*
 * Frees the families that are gone: their program has run its last, their endpoints have been
 * reclaimed, and the entries that they made are purged. Their number is used again from then on.
 */
void lrp_core_owners_run(struct lrp_core *core)
{
	bool purged = false;

	for (uint32_t o = LRP_OWNER_LRPD + 1; core->owners_gone && o < LRP_OWNERS; o++) {
		const struct lrp_owner_state *state = &core->state->owner[o];

		if (!state->used || !state->gone || state->endpoints ||
		    !lrp_core_grace_over(core, core->owner_ticket[o]))
			continue;
		/* Its own entries are among its user's. */
		if (!purged && (!core->quotas || core->quotas[state->quota].flows)) {
			lrp_core_flows_purge(core);
			purged = true;
		}
		core->owners_gone--;
		core->owner_ticket[o] = 0;
		owner_free(core, o);
	}
}

void lrp_core_member_gone(struct lrp_core *core, __u32 owner, pid_t pid)
{
	if (owner == LRP_OWNER_LRPD || owner >= LRP_OWNERS)
		return;
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++) {
		const struct lrp_endpoint_state *ep = &core->state->endpoint[e];

		/* Of those that are published the shadow tells. */
		if (ep->use != LRP_ENDPOINT_USED || ep->owner != owner || ep->pub.on ||
		    ep->pid != (uint32_t)pid)
			continue;
		lrp_core_release(core, e);
	}
}

void lrp_core_reclaim_unclaimed(struct lrp_core *core, const bool *claimed)
{
	for (uint32_t o = LRP_OWNER_LRPD + 1; o < LRP_OWNERS; o++)
		if (core->state->owner[o].used && !claimed[o])
			lrp_core_client_gone(core, o, true);
}
