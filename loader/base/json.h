/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* json.h - members of a JSON object, for what lrpd reports. */
#ifndef LRP_CORE_JSON_H
#define LRP_CORE_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

static inline void lrp_json_int(struct json_object *to, const char *name, uint64_t value)
{
	json_object_object_add(to, name, json_object_new_int64((int64_t)value));
}

static inline void lrp_json_text(struct json_object *to, const char *name, const char *value)
{
	json_object_object_add(to, name, json_object_new_string(value));
}

static inline void lrp_json_bool(struct json_object *to, const char *name, bool value)
{
	json_object_object_add(to, name, json_object_new_boolean(value));
}

#endif
