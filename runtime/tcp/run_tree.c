/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * run_tree.c - a balanced tree over the runs of a scoreboard, in the order of the sequence
 * (Adelson- Velsky and Landis 1962). The heights of two subtrees differ by one at most, whatever
 * the peer does: a search visits at most 1.45 log2(runs) records.
 *
 * The list in the same order says where a new run goes, so that an insertion does not search.
 */
#include "run.h"

static uint8_t height(const struct lrp_tcp_scoreboard *b, uint16_t i)
{
	return i == NONE ? 0 : b->run[i].height;
}

static void measure(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	struct lrp_tcp_sent_run *run = &b->run[i];
	uint8_t left = height(b, run->left), right = height(b, run->right);

	run->height = (uint8_t)((left > right ? left : right) + 1);
}

/* `to` stands where `i` stood below its parent. */
static void replace(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t to)
{
	uint16_t up = b->run[i].up;

	if (up == NONE)
		b->root = to;
	else if (b->run[up].left == i)
		b->run[up].left = to;
	else
		b->run[up].right = to;
	if (to != NONE)
		b->run[to].up = up;
}

static void put_left(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t child)
{
	b->run[i].left = child;
	if (child != NONE)
		b->run[child].up = i;
}

static void put_right(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t child)
{
	b->run[i].right = child;
	if (child != NONE)
		b->run[child].up = i;
}

/* The right child rises above `i`. */
static uint16_t rotate_left(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	uint16_t child = b->run[i].right;

	replace(b, i, child);
	put_right(b, i, b->run[child].left);
	put_left(b, child, i);
	measure(b, i);
	measure(b, child);
	return child;
}

static uint16_t rotate_right(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	uint16_t child = b->run[i].left;

	replace(b, i, child);
	put_left(b, i, b->run[child].right);
	put_right(b, child, i);
	measure(b, i);
	measure(b, child);
	return child;
}

/* One side of `i` is higher by two. What stands where `i` stood. */
static uint16_t balance(struct lrp_tcp_scoreboard *b, uint16_t i, bool left_is_high)
{
	uint16_t left = b->run[i].left, right = b->run[i].right;

	if (left_is_high) {
		if (height(b, b->run[left].left) < height(b, b->run[left].right))
			rotate_left(b, left);
		return rotate_right(b, i);
	}
	if (height(b, b->run[right].right) < height(b, b->run[right].left))
		rotate_right(b, right);
	return rotate_left(b, i);
}

/* From `i` up to where no height changes. */
static void rebalance(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	while (i != NONE) {
		struct lrp_tcp_sent_run *run = &b->run[i];
		uint8_t left = height(b, run->left), right = height(b, run->right);
		uint8_t before = run->height;

		b->steps++;
		if (left > right + 1 || right > left + 1)
			i = balance(b, i, left > right);
		else
			run->height = (uint8_t)((left > right ? left : right) + 1);
		if (b->run[i].height == before)
			break;
		i = b->run[i].up;
	}
}

void lrp_tcp_tree_insert(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	run->left = run->right = run->up = NONE;
	run->height = 1;
	if (b->root == NONE) {
		b->root = i;
		return;
	}
	/* One of two neighbours has no child on this side. */
	if (run->prev != NONE && b->run[run->prev].right == NONE)
		put_right(b, run->prev, i);
	else
		put_left(b, run->next, i);
	rebalance(b, run->up);
}

void lrp_tcp_tree_remove(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	const struct lrp_tcp_sent_run *run = &b->run[i];
	uint16_t heir = run->next, from = run->up;

	if (run->left == NONE || run->right == NONE) {
		replace(b, i, run->left == NONE ? run->right : run->left);
		rebalance(b, from);
		return;
	}
	/* The next in order has no left child. It takes the place. */
	from = b->run[heir].up;
	if (from == i) {
		from = heir;
	} else {
		replace(b, heir, b->run[heir].right);
		put_right(b, heir, run->right);
	}
	replace(b, i, heir);
	put_left(b, heir, run->left);
	b->run[heir].height = run->height;
	rebalance(b, from);
}

/* The last run that begins at `seq` or before it. The peer chooses where to look, so no branch can
 * be predicted: there is none but that of the loop. */
uint16_t lrp_tcp_tree_find(struct lrp_tcp_scoreboard *b, uint32_t seq)
{
	const struct lrp_tcp_sent_run *runs = b->run;
	uint16_t i = b->root, found = NONE;
	uint32_t steps = 0;

	while (i != NONE) {
		const struct lrp_tcp_sent_run *run = &runs[i];
		/* all ones if it begins before: compilers make a branch of anything else */
		uint32_t before = 0 - ((run->seq - seq - 1) >> 31);

		found = (uint16_t)((i & before) | (found & ~before));
		i = (uint16_t)((run->right & before) | (run->left & ~before));
		steps++;
	}
	b->steps += steps;
	return found != NONE && lrp_seq_lt(seq, runs[found].end) ? found : NONE;
}

/* ---- checking ---- */

const char *lrp_tcp_tree_check(const struct lrp_tcp_scoreboard *b)
{
	uint32_t roots = 0;

	for (uint16_t i = b->first; i != NONE; i = b->run[i].next) {
		const struct lrp_tcp_sent_run *run = &b->run[i];
		uint8_t left = height(b, run->left), right = height(b, run->right);

		if (run->up == NONE)
			roots += b->root == i;
		else if (b->run[run->up].left != i && b->run[run->up].right != i)
			return "a run hangs below its parent";
		if (run->left != NONE &&
		    (b->run[run->left].up != i || !lrp_seq_lt(b->run[run->left].seq, run->seq)))
			return "left of a run";
		if (run->right != NONE &&
		    (b->run[run->right].up != i || !lrp_seq_gt(b->run[run->right].seq, run->seq)))
			return "right of a run";
		if (run->height != (left > right ? left : right) + 1 || left > right + 1 ||
		    right > left + 1)
			return "the tree is balanced";
	}
	return roots == (b->root != NONE) && (b->first == NONE) == (b->root == NONE) ? NULL
										     : "one root";
}
