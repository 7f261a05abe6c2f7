/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * budget.h - what a user other than root may take of lrpd itself: connections and CPU time.
 *
 * CPU time is a token bucket, filled with `cpu_ms` a second. Each request is charged
 * with what it took. A user whose bucket is empty is not refused: lrpd reads nothing more
 * from him until it has filled again. Root is not counted.
 */
#ifndef LRP_CORE_BUDGET_H
#define LRP_CORE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum lrp_budget_limit { /* what a user has been told about in the log */
			LRP_BUDGET_CONNECTIONS = 1 << 0,
			LRP_BUDGET_CPU = 1 << 1,
			LRP_BUDGET_DESCRIPTORS = 1 << 2,
			LRP_BUDGET_QUOTA = 1 << 3,
			LRP_BUDGET_ADMISSION = 1 << 4,
			LRP_BUDGET_NETNS = 1 << 5,
};

struct lrp_budget_user {
	uid_t uid;
	uint32_t connections; /* the caller counts */
	uint32_t said;	      /* enum lrp_budget_limit */
	bool used;
	int64_t left_ns; /* below 0: over it */
	uint64_t at_ns;	 /* when left_ns was right */
};

struct lrp_budget;

struct lrp_budget *lrp_budget_new(uint32_t users, uint32_t cpu_ms);
void lrp_budget_free(struct lrp_budget *budget);

/* The user's account; the caller counts connections in it. Accounts without connections are used
 * again once their bucket is full. NULL: there are too many. */
struct lrp_budget_user *lrp_budget_user(struct lrp_budget *budget, uid_t uid, uint64_t now_ns);

void lrp_budget_charge(struct lrp_budget *budget, struct lrp_budget_user *user, uint64_t now_ns,
		       uint64_t cpu_ns);
/* 0: go on. Else when he may again. */
uint64_t lrp_budget_over(struct lrp_budget *budget, struct lrp_budget_user *user, uint64_t now_ns);

/* True the first time that it is asked for this user and limit. */
bool lrp_budget_first(struct lrp_budget_user *user, enum lrp_budget_limit limit);

#endif
