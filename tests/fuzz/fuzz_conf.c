/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* fuzz_conf.c - lrpd's settings: whatever is taken lies within its bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../loader/daemon/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int condition)
{
	if (!condition)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lrp_conf conf;
	char error[128];

	memset(error, 0x5a, sizeof(error));
	lrp_conf_init(&conf);
	if (lrp_conf_parse(&conf, (const char *)data, size, error, sizeof(error))) {
		must(memchr(error, 0, sizeof(error)) != NULL);
		return 0;
	}
	must(memchr(conf.group, 0, sizeof(conf.group)) != NULL);
	must(conf.uids <= LRP_CONF_UIDS);
	for (uint32_t i = 0; i < conf.uids; i++)
		must(conf.uid[i] != UINT32_MAX);
	must(conf.cpu_ms >= 1 && conf.cpu_ms <= 1000 && conf.connections >= 1);
	must(conf.endpoints != 1 && conf.endpoints <= 1u << 20 && conf.quota <= 1u << 20);
	return 0;
}
