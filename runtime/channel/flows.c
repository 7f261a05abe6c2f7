/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flows.c - the exact entries of TCP connections, which this process writes into the maps of its
 * trust domain. bpf() on the elements of a map that one has needs no privilege, whatever
 * kernel.unprivileged_bpf_disabled says (Linux 5.19).
 *
 * The descriptors are had once, and read without a lock: they change only with another lrpd.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "broker_internal.h"

static _Atomic int map4 = -1, map6 = -1;
static _Atomic uint32_t of_incarnation, of_owner;

static int fetch(void)
{
	struct lrp_request request = {.type = LRP_REQ_FLOWS};
	int fds[LRP_CONTROL_MAX_FDS], count, error;
	struct lrp_reply reply;

	if (atomic_load(&map4) >= 0 && atomic_load(&of_incarnation) == lrp_broker_incarnation)
		return 0;
	error = lrp_broker_call(&request, NULL, 0, &reply, fds, &count);
	if (!error && count != 2) {
		lrp_broker_close_fds(fds, count);
		error = -EPROTO;
	}
	if (error)
		return error;
	/* Earlier ones stay open: another thread may be about to use them. */
	atomic_store(&map4, fds[0]);
	atomic_store(&map6, fds[1]);
	atomic_store(&of_owner, lrp_broker_owner);
	atomic_store(&of_incarnation, lrp_broker_incarnation);
	return 0;
}

int lrp_flows_open(void)
{
	int error;

	lrp_broker_lock();
	error = fetch();
	lrp_broker_unlock();
	return error;
}

/* The map, and the entry's key; -1: no map. */
static int key_of(const struct lrp_flow_name *name, struct lrp_flow4 *key4, struct lrp_flow6 *key6,
		  const void **key)
{
	memset(key4, 0, sizeof(*key4));
	memset(key6, 0, sizeof(*key6));
	if (name->family == AF_INET) {
		memcpy(&key4->laddr, name->laddr, sizeof(key4->laddr));
		memcpy(&key4->raddr, name->raddr, sizeof(key4->raddr));
		key4->lport = name->lport;
		key4->rport = name->rport;
		key4->proto = IPPROTO_TCP;
		*key = key4;
		return atomic_load(&map4);
	}
	memcpy(&key6->laddr, name->laddr, sizeof(key6->laddr));
	memcpy(&key6->raddr, name->raddr, sizeof(key6->raddr));
	key6->lport = name->lport;
	key6->rport = name->rport;
	key6->proto = IPPROTO_TCP;
	*key = key6;
	return atomic_load(&map6);
}

static int put(const struct lrp_flow_name *name, const struct lrp_endpoint *ep, uint64_t how)
{
	struct lrp_flow flow = {.endpoint = ep->id, .owner = atomic_load(&of_owner)};
	struct lrp_flow4 key4;
	struct lrp_flow6 key6;
	const void *key;
	int fd = key_of(name, &key4, &key6, &key);

	if (fd < 0 || ep->id == LRP_ENDPOINT_NONE ||
	    ep->incarnation != atomic_load(&of_incarnation))
		return -ENETDOWN;
	return bpf_map_update_elem(fd, key, &flow, how) ? -errno : 0;
}

int lrp_flow_set(const struct lrp_flow_name *name, const struct lrp_endpoint *ep)
{
	return put(name, ep, BPF_ANY);
}

int lrp_flow_add(const struct lrp_flow_name *name, const struct lrp_endpoint *ep)
{
	return put(name, ep, BPF_NOEXIST);
}

void lrp_flow_clear(const struct lrp_flow_name *name)
{
	struct lrp_flow4 key4;
	struct lrp_flow6 key6;
	const void *key;
	int fd = key_of(name, &key4, &key6, &key);

	if (fd >= 0)
		bpf_map_delete_elem(fd, key);
}

int lrp_flows_claim(const int *shadow_fds, uint32_t count)
{
	struct lrp_request request = {.type = LRP_REQ_CLAIM};
	struct lrp_reply reply;
	int error;

	if (!count || count > LRP_CONTROL_MAX_BATCH)
		return -EINVAL;
	lrp_broker_lock();
	error = fetch();
	if (!error)
		error = lrp_broker_call_plain(&request, shadow_fds, (int)count, &reply);
	lrp_broker_unlock();
	return error;
}
