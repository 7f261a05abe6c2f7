/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * store.h - lrpd's side of the keeper, and what the two say to each other.
 *
 * SOCK_SEQPACKET on LRP_KEEPER_FILE in the directory of the network
 * namespace [runtime/base/rundir.h], both ends uid 0. The keeper holds descriptors by name, serves
 * one lrpd at a time, and understands nothing else. When that lrpd's connection closes without
 * LRP_KEEPER_BYE and no other lrpd connects within the grace time, it starts one. One that ends
 * before it said LRP_KEEPER_READY has failed: the next comes later and later, and after some the
 * keeper only holds what it has and waits for somebody to start one.
 */
#ifndef LRP_CORE_STORE_H
#define LRP_CORE_STORE_H

#include "../core/core.h"

#define LRP_KEEPER_MAGIC 0x4b50524cu
#define LRP_KEEPER_FD	 3 /* where a new keeper finds its listening socket */

enum lrp_keeper_op {
	LRP_KEEPER_PUT = 1, /* name, descriptor; replaces */
	LRP_KEEPER_DROP,    /* name */
	LRP_KEEPER_CLEAR,   /* drops all */
	LRP_KEEPER_LIST,    /* -> a PUT for each, then END */
	LRP_KEEPER_END,
	LRP_KEEPER_BYE,	   /* lrpd ends in order: drop all and end */
	LRP_KEEPER_EXEC,   /* text: arguments of lrpd, each with its NUL */
	LRP_KEEPER_BUSY,   /* keeper: another lrpd is connected; value: its pid */
	LRP_KEEPER_READY,  /* lrpd serves */
	LRP_KEEPER_FAILED, /* text: why this lrpd cannot take over; it has touched nothing */
	LRP_KEEPER_ASK,	   /* `lrp`, not lrpd -> TEXT: how it stands, a line */
	LRP_KEEPER_TEXT,
	/* `lrp` -> TEXT, and with value 0 the keeper drops all and ends. CAP_NET_ADMIN */
	LRP_KEEPER_STOP,
};

struct lrp_keeper_message {
	__u32 magic;
	__u32 op;
	__u32 value; /* EXEC: bytes of text, BUSY: pid */
	__u32 pad;
	char name[48];
	char text[4096 - 64]; /* sent only as far as it is used */
};
_Static_assert(sizeof(struct lrp_keeper_message) == 4096, "keeper");
#define LRP_KEEPER_SHORT offsetof(struct lrp_keeper_message, text)

/* Connects. The descriptor, -ECONNREFUSED (no keeper), -EBUSY with *pid of the lrpd that has it,
 * or -errno. */
int lrp_store_connect(pid_t *pid);

/* Starts a keeper (`path`) and connects. The keeper leads a session of its own. */
int lrp_store_start(const char *path, unsigned int grace_ms);

/* All that the keeper has. *kept is malloc'ed. 0 or -errno. */
int lrp_store_list(int fd, struct lrp_core_kept **kept, size_t *count);

/* 0 or -errno: EAGAIN means that the keeper does not read. Never blocks. */
int lrp_store_send(int fd, enum lrp_keeper_op op, const char *name, int pass);
int lrp_store_exec(int fd, char *const argv[]);
int lrp_store_failed(int fd, const char *why);

/*
 * For `lrp` while no lrpd is there: LRP_KEEPER_ASK or LRP_KEEPER_STOP. 0: text is the answer.
 * -EBUSY: there is a lrpd, *pid. -EPERM: text says why not. Else -errno: no keeper.
 */
int lrp_store_ask(enum lrp_keeper_op op, char *text, size_t size, pid_t *pid);

#endif
