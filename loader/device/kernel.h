/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* kernel.h - can this kernel, and this process, do what an attachment needs? Asked before the
 * interface is touched. */
#ifndef LRP_CORE_KERNEL_H
#define LRP_CORE_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What was found out. */
struct lrp_kernel_facts {
	char release[65];      /* uname -r */
	char missing[64];      /* a feature that is not there, with its configuration option; "" */
	uint64_t capabilities; /* effective, a bit each */
	uint64_t memlock;      /* RLIMIT_MEMLOCK in bytes, UINT64_MAX: none */
	bool btf;	       /* of the kernel itself */
};

/* What the attachment needs. */
struct lrp_kernel_needs {
	bool embedded, libxdp;
	bool several_frames;   /* a packet does not fit one frame */
	uint64_t locked_bytes; /* memory of the pools */
};

void lrp_kernel_ask(struct lrp_kernel_facts *facts);

/* 0, or -errno and one line: what is missing, what runs, and what to do. */
int lrp_kernel_judge(const struct lrp_kernel_facts *facts, const struct lrp_kernel_needs *needs,
		     char *text);

/* The last lines that the verifier wrote, joined to one; "" if there is no log in it. */
void lrp_verifier_end(const char *log, char *line, size_t size);

/* Who holds a BPF program, as "name (pid N)"; "" if this process can see nobody. */
void lrp_program_holder(uint32_t prog_id, char *who, size_t size);

#endif
