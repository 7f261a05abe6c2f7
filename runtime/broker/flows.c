/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flows.c - the exact entries of TCP connections. This process changes them by running the program
 * that lrpd has made for its family [abi.h: struct lrp_flow_call]. BPF_PROG_RUN needs no privilege
 * but the program's descriptor, whatever kernel.unprivileged_bpf_disabled says (Linux 5.19).
 *
 * The descriptor is had once, and read without a lock: it changes only with another lrpd.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker_internal.h"

static _Atomic int program = -1;
static _Atomic uint32_t of_incarnation;

static int flows_fetch(void)
{
	struct lrp_request request = {.type = LRP_REQ_FLOWS};
	int fds[LRP_CONTROL_MAX_FDS], count, error;
	struct lrp_reply reply;

	if (atomic_load(&program) >= 0 && atomic_load(&of_incarnation) == lrp_broker_incarnation)
		return 0;
	error = lrp_broker_call(&request, NULL, 0, &reply, fds, &count);
	if (!error && count != 1) {
		lrp_broker_close_fds(fds, count);
		error = -EPROTO;
	}
	if (error)
		return error;
	/* An earlier one stays open: another thread may be about to use it. */
	atomic_store(&program, fds[0]);
	atomic_store(&of_incarnation, lrp_broker_incarnation);
	return 0;
}

int lrp_flows_open(void)
{
	int error;

	lrp_broker_lock();
	error = flows_fetch();
	lrp_broker_unlock();
	return error;
}

static void put_addr(__be32 to[4], int family, const void *addr)
{
	if (family == AF_INET) {
		to[2] = htonl(0xffff);
		memcpy(&to[3], addr, 4);
	} else {
		memcpy(to, addr, 16);
	}
}

static int flows_run(enum lrp_flow_op op, const struct lrp_flow_name *name, uint32_t endpoint,
		     int shadow)
{
	struct lrp_flow_call call = {.op = op,
				     .endpoint = endpoint,
				     .lport = name->lport,
				     .rport = name->rport,
				     .fd = shadow};
	union bpf_attr attr;
	int fd = atomic_load(&program);

	if (fd < 0)
		return -ENETDOWN;
	put_addr(call.laddr, name->family, name->laddr);
	put_addr(call.raddr, name->family, name->raddr);
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.ctx_in = (uint64_t)(uintptr_t)&call;
	attr.test.ctx_size_in = sizeof(call);
	if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
		return -errno;
	return (int)attr.test.retval;
}

static int flows_put(enum lrp_flow_op op, const struct lrp_flow_name *name,
		     const struct lrp_endpoint *ep, int shadow)
{
	if (ep->id == LRP_ENDPOINT_NONE || ep->incarnation != atomic_load(&of_incarnation))
		return -ENETDOWN;
	return flows_run(op, name, ep->id, shadow);
}

int lrp_flow_reserve(const struct lrp_flow_name *name, const struct lrp_endpoint *ep)
{
	return flows_put(LRP_FLOW_RESERVE, name, ep, -1);
}

int lrp_flow_set(const struct lrp_flow_name *name, const struct lrp_endpoint *ep)
{
	return flows_put(LRP_FLOW_SET, name, ep, -1);
}

int lrp_flow_set_bound(const struct lrp_flow_name *name, const struct lrp_endpoint *ep, int shadow)
{
	socklen_t len = sizeof(uint64_t);
	uint64_t cookie;

	/* The kernel gives a socket its cookie when somebody asks for it. */
	if (getsockopt(shadow, SOL_SOCKET, SO_COOKIE, &cookie, &len))
		return -errno;
	return flows_put(LRP_FLOW_SET, name, ep, shadow);
}

void lrp_flow_clear(const struct lrp_flow_name *name)
{
	flows_run(LRP_FLOW_DELETE, name, 0, -1);
}

int lrp_flows_claim(const int *shadow_fds, uint32_t count, bool keep)
{
	struct lrp_request request = {.type = LRP_REQ_CLAIM,
				      .claim.flags = keep ? LRP_CLAIM_KEEP : 0};
	struct lrp_reply reply;
	int error;

	if (!count || count > LRP_CONTROL_MAX_BATCH)
		return -EINVAL;
	lrp_broker_lock();
	error = flows_fetch();
	if (!error)
		error = lrp_broker_call_plain(&request, shadow_fds, (int)count, &reply);
	lrp_broker_unlock();
	return error;
}
