/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fuzz_control.c - requests as a hostile client sends them: any length, any bytes,
 * any number of descriptors. What the check lets through must be what the core relies on.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../loader/core/core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int condition)
{
	if (!condition)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lrp_request request;
	int fds, err;

	if (size < 2)
		return 0;
	fds = data[0];
	/* Half of the time with a head that passes, so that the rest is reached. */
	if (data[1] & 1 && size - 2 >= sizeof(request)) {
		memcpy(&request, data + 2, sizeof(request));
		request.magic = LRP_ABI_MAGIC;
		request.version = LRP_ABI_VERSION;
		request.type %= LRP_REQ_GUARD_STATUS + 2;
		fds %= 2;
		err = lrp_core_check_request(&request, sizeof(request), fds);
	} else {
		/* At whatever address it lies. */
		err = lrp_core_check_request(data + 2, size - 2, fds);
		if (err)
			return 0;
		must(size - 2 == sizeof(request));
		memcpy(&request, data + 2, sizeof(request));
	}
	if (err)
		return 0;
	must(request.magic == LRP_ABI_MAGIC && request.version == LRP_ABI_VERSION);
	must(request.type >= LRP_REQ_HELLO && request.type <= LRP_REQ_GUARD_STATUS);
	if (request.type == LRP_REQ_CLAIM)
		must(fds >= 1 && fds <= LRP_CONTROL_MAX_BATCH);
	else if (request.type == LRP_REQ_PROVE)
		must(fds == 1);
	else if (request.type == LRP_REQ_ATTACH || request.type == LRP_REQ_DETACH ||
		 request.type == LRP_REQ_AUDIT || request.type == LRP_REQ_STOP ||
		 request.type == LRP_REQ_PROXY_SET || request.type == LRP_REQ_GUARD ||
		 request.type == LRP_REQ_GUARD_STATUS)
		must(fds <= 1);
	else
		must(fds == (request.type == LRP_REQ_PUBLISH &&
			     !(request.publish.flags & LRP_PUBLISH_WITHDRAW)));
	switch (request.type) {
	case LRP_REQ_PUBLISH:
		must(request.count <=
		     sizeof(request.publish.membership) / sizeof(request.publish.membership[0]));
		break;
	case LRP_REQ_ENDPOINTS:
		must(request.count > 0);
		break;
	case LRP_REQ_ATTACH:
	case LRP_REQ_DETACH:
		must(strnlen(request.attach.ifname, IFNAMSIZ) < IFNAMSIZ);
		must(request.attach.mode <= LRP_MODE_SKB);
		break;
	case LRP_REQ_GUARD:
		must(strnlen(request.guard.ifname, IFNAMSIZ) < IFNAMSIZ);
		must(request.guard.mode <= LRP_MODE_SKB);
		must(request.guard.ranges <= LRP_GUARD_RANGES);
		break;
	case LRP_REQ_PROXY_SET:
		must(request.proxy.ports <= LRP_PROXY_PORTS);
		must(strnlen(request.proxy.cgroup, LRP_PROXY_CGROUP) < LRP_PROXY_CGROUP);
		break;
	}
	return 0;
}
