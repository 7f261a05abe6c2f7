/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* guard_probe.h - the kernel's rule for a full UDP queue, tried in a private network namespace. */
#ifndef LRP_CORE_GUARD_PROBE_H
#define LRP_CORE_GUARD_PROBE_H

enum lrp_guard_rule {
	LRP_GUARD_RULE_MEMORY, /* drops if memory > limit */
	LRP_GUARD_RULE_SIZE,   /* drops if memory + truesize > limit, unless the queue is empty */
};

/* Never fails: what cannot be found out is taken as LRP_GUARD_RULE_MEMORY, which drops less. */
enum lrp_guard_rule lrp_guard_probe(void);

#endif
