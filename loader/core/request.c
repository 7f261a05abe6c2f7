/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* request.c - what each request of control.h asks of the core. */
#include <bpf/bpf.h>
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "../base/family.h"
#include "../pool/audit.h"
#include "../pool/user_page.h"
#include "../demux/end.h"
#include "../demux/publish.h"
#include "../demux/release.h"
#include "../demux/shadow.h"
#include "../device/device.h"
#include "../device/park.h"
#include "../guard/guard.h"
#include "../proxy/proxy.h"
#include "../endpoint/endpoint.h"
#include "../endpoint/owner.h"
#include "core.h"
#include "status.h"

int lrp_core_check_request(const void *message, size_t length, int fd_count)
{
	struct lrp_request request;
	int least = 0, most = 0; /* descriptors */

	if (length != sizeof(request))
		return -EMSGSIZE;
	memcpy(&request, message, sizeof(request));
	if (request.magic != LRP_ABI_MAGIC)
		return -EBADMSG;
	if (request.version != LRP_ABI_VERSION)
		return -EPROTO;
	switch (request.type) {
	case LRP_REQ_PUBLISH:
		if (request.count > LRP_MEMBERSHIPS_MAX ||
		    request.publish.flags & ~LRP_PUBLISH_WITHDRAW)
			return -EINVAL;
		least = most = !(request.publish.flags & LRP_PUBLISH_WITHDRAW);
		break;
	case LRP_REQ_CLAIM:
		if (request.claim.flags & ~LRP_CLAIM_KEEP)
			return -EINVAL;
		least = 1;
		most = LRP_CONTROL_MAX_BATCH;
		break;
	case LRP_REQ_ENDPOINTS:
		if (!request.count)
			return -EINVAL;
		break;
	case LRP_REQ_ATTACH:
	case LRP_REQ_DETACH:
		if (!memchr(request.attach.ifname, 0, sizeof(request.attach.ifname)) ||
		    request.attach.mode > LRP_MODE_SKB || request.attach.libxdp > 1)
			return -EINVAL;
		most = 1;
		break;
	case LRP_REQ_PROXY_SET:
		if (!memchr(request.proxy.cgroup, 0, sizeof(request.proxy.cgroup)) ||
		    !request.proxy.kinds || request.proxy.kinds >> LRP_PROXY_COUNT ||
		    !request.proxy.changes ||
		    request.proxy.changes & ~(__u32)LRP_PROXY_CHANGE_ALL ||
		    request.proxy.ports > LRP_PROXY_PORTS)
			return -EINVAL;
		most = 1;
		break;
	case LRP_REQ_GUARD:
		if (!memchr(request.guard.ifname, 0, sizeof(request.guard.ifname)) ||
		    request.guard.mode > LRP_MODE_SKB ||
		    request.guard.flags &
			    ~(LRP_GUARD_SET_OFF | LRP_GUARD_SET_SHADOW | LRP_GUARD_SET_TRUST) ||
		    request.guard.ranges > LRP_GUARD_RANGES)
			return -EINVAL;
		most = 1;
		break;
	case LRP_REQ_AUDIT:
	case LRP_REQ_STOP:
	case LRP_REQ_GUARD_STATUS:
		most = 1;
		break;
	case LRP_REQ_PROVE:
		least = most = 1;
		break;
	case LRP_REQ_HELLO:
	case LRP_REQ_POOL:
	case LRP_REQ_USER_PAGE:
	case LRP_REQ_ADOPT:
	case LRP_REQ_LIMIT:
	case LRP_REQ_RELEASE:
	case LRP_REQ_STATUS:
	case LRP_REQ_CHANNELS:
	case LRP_REQ_TX:
	case LRP_REQ_FLOWS:
	case LRP_REQ_PROXIES:
	case LRP_REQ_PROXY_SERVE:
		break;
	default:
		return -ENOSYS;
	}
	return fd_count >= least && fd_count <= most ? 0 : -EBADMSG;
}

/* The endpoint, if it is in use and the client's family has it. */
static int own_endpoint(struct lrp_core *core, const struct lrp_core_client *client,
			uint32_t endpoint)
{
	const struct lrp_endpoint_state *ep;

	if (endpoint < LRP_ENDPOINT_FIRST || endpoint >= core->state->endpoints)
		return -ENOENT;
	ep = &core->state->endpoint[endpoint];
	if (ep->use != LRP_ENDPOINT_USED)
		return -ENOENT;
	return ep->owner == client->owner ? 0 : -EPERM;
}

/* The channels' records, for reading only: what XDP discarded early. Who has the UMEM may see all
 * packets, so counters give nothing away. Without CAP_SYS_ADMIN there is no such descriptor. */
static int records_fd(const struct lrp_core_device *device)
{
	LIBBPF_OPTS(bpf_get_fd_by_id_opts, opts, .open_flags = BPF_F_RDONLY);
	struct bpf_map_info info = {0};
	__u32 length = sizeof(info);

	if (bpf_obj_get_info_by_fd(device->map_fd[LRP_MAP_CHANNELS], &info, &length))
		return -errno;
	return bpf_map_get_fd_by_id_opts(info.id, &opts);
}

static int request_pool(struct lrp_core *core, uint32_t index, struct lrp_reply *reply,
			int *out_fds, bool *out_owned, int *out_count)
{
	struct lrp_core_pool *pool;

	if (index >= LRP_MAX_POOLS_TOTAL || !lrp_core_pool_live(&core->pool[index]))
		return -ENOENT;
	pool = &core->pool[index];
	reply->pool.umem_size = pool->view.umem_size;
	reply->pool.frames = pool->state->frames;
	reply->pool.frame_size = pool->state->frame_size;
	reply->pool.headroom = 256; /* XDP_PACKET_HEADROOM */
	reply->pool.fill_size = pool->state->fill_size;
	reply->pool.ifindex = pool->device->state->ifindex;
	reply->pool.queue = pool->state->queue;
	reply->pool.virtual_device = pool->device->state->virtual_device;
	reply->pool.mtu = pool->device->state->mtu;
	reply->pool.frame_payload = pool->device->state->frame_payload;
	out_fds[0] = pool->umem_fd;
	out_fds[1] = records_fd(pool->device);
	out_owned[1] = true;
	*out_count = out_fds[1] >= 0 ? 2 : 1;
	return 0;
}

static int request_user_page(struct lrp_core *core, const struct lrp_core_client *client,
			     uint32_t page, struct lrp_reply *reply, int *out_fds, int *out_count)
{
	int fd = lrp_core_user_page_fd(core, client->owner, page);

	if (fd < 0)
		return fd;
	reply->user_page.page = page;
	out_fds[0] = fd;
	*out_count = 1;
	return 0;
}

static int request_flows(struct lrp_core *core, uint32_t owner, int *out_fds, int *out_count)
{
	int fd = lrp_core_family_program(core, owner);

	if (fd < 0)
		return fd;
	out_fds[0] = fd;
	*out_count = 1;
	return 0;
}

static int request_json(struct json_object *json, struct lrp_reply *reply, int *out_fds,
			bool *out_owned, int *out_count)
{
	int fd;

	if (!json)
		return -ENOMEM;
	fd = lrp_core_json_memfd(json, &reply->length);
	if (fd < 0)
		return fd;
	out_fds[0] = fd;
	out_owned[0] = true;
	*out_count = 1;
	return 0;
}

static int request_hello(struct lrp_core *core, struct lrp_core_client *client,
			 const struct lrp_request *request, struct lrp_reply *reply, int *out_fds,
			 int *out_count)
{
	int err = lrp_core_hello(core, client, request, reply);

	if (err)
		return err;
	reply->hello.pools = LRP_MAX_POOLS_TOTAL;
	out_fds[0] = core->page_ro_fd;
	*out_count = 1;
	return 0;
}

/* Requests of a family's member about what the family has. */
static int member_request(struct lrp_core *core, struct lrp_core_client *client,
			  const struct lrp_request *request, const int *in_fds, int in_count,
			  struct lrp_reply *reply, int *out_fds, bool *out_owned, int *out_count)
{
	int err;

	if (!client->owner)
		return -EACCES;
	switch (request->type) {
	case LRP_REQ_POOL:
		return request_pool(core, request->pool, reply, out_fds, out_owned, out_count);
	case LRP_REQ_USER_PAGE:
		return request_user_page(core, client, request->pool, reply, out_fds, out_count);
	case LRP_REQ_ENDPOINTS:
		return lrp_core_endpoints(core, client, request, reply, out_fds, out_count);
	case LRP_REQ_ADOPT:
		if (request->adopt.endpoint != LRP_ENDPOINT_FRAGMENT) {
			err = own_endpoint(core, client, request->adopt.endpoint);
			if (err)
				return err;
		}
		return lrp_core_adopt(core, client, request, reply, out_fds, out_count);
	case LRP_REQ_PUBLISH:
		err = own_endpoint(core, client, request->publish.endpoint);
		if (err)
			return err;
		if (request->publish.flags & LRP_PUBLISH_WITHDRAW) {
			lrp_core_withdraw(core, request->publish.endpoint);
			return 0;
		}
		return lrp_core_publish(core, request, in_fds[0], &reply->count);
	case LRP_REQ_LIMIT:
		err = own_endpoint(core, client, request->limit.endpoint);
		if (err)
			return err;
		err = lrp_core_limit(core, request->limit.endpoint, request->limit.limit);
		if (err < 0)
			return err;
		reply->limit.limit = (uint32_t)err;
		return 0;
	case LRP_REQ_RELEASE:
		/* Idempotent: what is gone already has been released. */
		err = own_endpoint(core, client, request->endpoint);
		if (err)
			return err == -ENOENT ? 0 : err;
		/* Another process of the family may have it open still. */
		if (!lrp_core_shadow_alive(core, request->endpoint))
			lrp_core_release(core, request->endpoint);
		return 0;
	case LRP_REQ_FLOWS:
		return request_flows(core, client->owner, out_fds, out_count);
	case LRP_REQ_CLAIM:
		return lrp_core_claim(core, client->owner, in_fds, in_count,
				      request->claim.flags & LRP_CLAIM_KEEP);
	case LRP_REQ_PROXY_SERVE:
		for (int c = 0; c < LRP_PROXY_CLASSES; c++) {
			err = own_endpoint(core, client, request->serve.endpoint[c]);
			if (err)
				return err;
		}
		return lrp_core_proxy_serve(core, client, request->serve.kind,
					    request->serve.endpoint);
	case LRP_REQ_TX:
		out_fds[0] = lrp_core_device_tap(core, request->tx.ifindex, client->owner);
		if (out_fds[0] < 0)
			return out_fds[0];
		out_owned[0] = true;
		*out_count = 1;
		return 0;
	default:
		return -ENOSYS;
	}
}

static int request_device(struct lrp_core *core, const struct lrp_core_client *client,
			  const struct lrp_request *request, char *text)
{
	bool attach = request->type == LRP_REQ_ATTACH;
	int err;

	if (!client->admin)
		return lrp_core_error(text, -EPERM, "%s: %s", attach ? "attach" : "detach",
				      client->refusal);
	lrp_core_guard_yield(core, request->attach.ifname);
	err = attach ? lrp_core_attach(core, &request->attach, text)
		     : lrp_core_detach(core, request->attach.ifname, text);
	lrp_core_guard_follow(core, request->attach.ifname);
	return err;
}

void lrp_core_request(struct lrp_core *core, struct lrp_core_client *client,
		      const struct lrp_request *request, const int *in_fds, int in_count,
		      struct lrp_reply *reply, int *out_fds, bool *out_owned, int *out_count)
{
	int err = lrp_core_check_request(request, sizeof(*request), in_count);
	char text[LRP_ERROR_SIZE] = "";

	memset(reply, 0, sizeof(*reply));
	memset(out_owned, 0, LRP_CONTROL_MAX_FDS * sizeof(*out_owned));
	reply->magic = LRP_ABI_MAGIC;
	reply->id = request->id;
	*out_count = 0;
	if (err)
		goto out;
	switch (request->type) {
	case LRP_REQ_HELLO:
		err = request_hello(core, client, request, reply, out_fds, out_count);
		break;
	case LRP_REQ_ATTACH:
	case LRP_REQ_DETACH:
		err = request_device(core, client, request, text);
		break;
	case LRP_REQ_GUARD:
		err = !client->admin ? lrp_core_error(text, -EPERM, "guard: %s", client->refusal)
				     : lrp_core_guard(core, &request->guard, text);
		break;
	case LRP_REQ_GUARD_STATUS:
		err = !client->admin ? lrp_core_error(text, -EPERM, "guard: %s", client->refusal)
				     : request_json(lrp_core_guard_status(core), reply, out_fds,
						    out_owned, out_count);
		break;
	case LRP_REQ_STOP: /* the caller ends when it sees that this was granted */
		err = client->admin ? 0 : lrp_core_error(text, -EPERM, "stop: %s", client->refusal);
		break;
	case LRP_REQ_STATUS:
		err = request_json(lrp_core_status(core), reply, out_fds, out_owned, out_count);
		break;
	case LRP_REQ_CHANNELS:
		err = request_json(lrp_core_channels(core), reply, out_fds, out_owned, out_count);
		break;
	case LRP_REQ_PROXIES:
		err = request_json(lrp_core_proxies(core), reply, out_fds, out_owned, out_count);
		break;
	case LRP_REQ_PROXY_SET:
		err = !client->admin ? lrp_core_error(text, -EPERM, "proxies: %s", client->refusal)
				     : lrp_core_proxy_set(core, &request->proxy, text);
		break;
	case LRP_REQ_AUDIT:
		err = !client->admin ? lrp_core_error(text, -EPERM, "audit: %s", client->refusal)
				     : request_json(lrp_core_audit(core), reply, out_fds, out_owned,
						    out_count);
		break;
	default:
		err = member_request(core, client, request, in_fds, in_count, reply, out_fds,
				     out_owned, out_count);
	}
out:
	reply->error = err;
	reply->fds = (uint32_t)*out_count;
	if (text[0]) {
		memcpy(reply->error_text, text, sizeof(reply->error_text));
		reply->length = (uint32_t)strlen(text);
	}
}
