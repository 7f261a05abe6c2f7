/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* lrp_print.h - lrpd's JSON as tables for people. */
#ifndef LRP_TOOLS_PRINT_H
#define LRP_TOOLS_PRINT_H

#include <json-c/json.h>
#include <stdbool.h>

void lrp_print_status(struct json_object *status);
void lrp_print_channels(struct json_object *channels);
void lrp_print_audit(struct json_object *audit);

void lrp_print_proxies(struct json_object *root);

#endif
