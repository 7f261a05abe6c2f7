/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* budget.c - see budget.h. */
#include <stdlib.h>

#include "budget.h"

#define SECOND_NS 1000000000ull
#define BURST	  2 /* a bucket holds a second's budget divided by so much */

struct lrp_budget {
	uint32_t users;
	uint32_t cpu_ms;
	struct lrp_budget_user user[];
};

struct lrp_budget *lrp_budget_new(uint32_t users, uint32_t cpu_ms)
{
	struct lrp_budget *budget = calloc(1, sizeof(*budget) + users * sizeof(budget->user[0]));

	if (!budget)
		return NULL;
	budget->users = users;
	budget->cpu_ms = cpu_ms;
	return budget;
}

void lrp_budget_free(struct lrp_budget *budget)
{
	free(budget);
}

static int64_t full(const struct lrp_budget *budget)
{
	return (int64_t)budget->cpu_ms * 1000000 / BURST;
}

static void fill(const struct lrp_budget *budget, struct lrp_budget_user *user, uint64_t now_ns)
{
	uint64_t gone = now_ns > user->at_ns ? now_ns - user->at_ns : 0;

	/* Whatever is owed is paid within this. */
	if (gone > 3600 * SECOND_NS)
		gone = 3600 * SECOND_NS;
	user->left_ns += (int64_t)(gone / 1000u * budget->cpu_ms);
	if (user->left_ns > full(budget))
		user->left_ns = full(budget);
	/* What was too short to count stays. */
	if (now_ns > user->at_ns)
		user->at_ns = now_ns - gone % 1000u;
}

struct lrp_budget_user *lrp_budget_user(struct lrp_budget *budget, uid_t uid, uint64_t now_ns)
{
	struct lrp_budget_user *free_one = NULL;

	for (uint32_t i = 0; i < budget->users; i++) {
		struct lrp_budget_user *user = &budget->user[i];

		if (user->used && user->uid == uid)
			return user;
		if (user->used && !user->connections && !free_one) {
			fill(budget, user, now_ns);
			user->used = user->left_ns < full(budget);
		}
		if (!user->used && !free_one)
			free_one = user;
	}
	if (free_one)
		*free_one = (struct lrp_budget_user){
			.uid = uid, .used = true, .left_ns = full(budget), .at_ns = now_ns};
	return free_one;
}

void lrp_budget_charge(struct lrp_budget *budget, struct lrp_budget_user *user, uint64_t now_ns,
		       uint64_t cpu_ns)
{
	fill(budget, user, now_ns);
	user->left_ns -= (int64_t)cpu_ns;
}

uint64_t lrp_budget_over(struct lrp_budget *budget, struct lrp_budget_user *user, uint64_t now_ns)
{
	fill(budget, user, now_ns);
	if (user->left_ns >= 0)
		return 0;
	return now_ns + (uint64_t)-user->left_ns * 1000u / budget->cpu_ms + 1000u;
}

bool lrp_budget_first(struct lrp_budget_user *user, enum lrp_budget_limit limit)
{
	bool first = !(user->said & limit);

	user->said |= limit;
	return first;
}
