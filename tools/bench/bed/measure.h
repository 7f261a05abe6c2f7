/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * measure.h - one measured window: what was sent, what reached the program,
 * what was delivered, who used the CPUs meanwhile.
 */
#ifndef LRP_BENCH_MEASURE_H
#define LRP_BENCH_MEASURE_H

#include "bed.h"

struct bed_window {
	double seconds;
	/* packets a second */
	double sent;	  /* by the generator */
	double offered;	  /* counted by the program; without one that counts: sent */
	double delivered; /* by the receiver; 0 without one */
	double link;	  /* sent, but dropped before the program (veth's 256-frame ring) */
	double late;	  /* out of order or twice */
	/* fractions of a CPU */
	double left[2];	 /* what the spinner of CPU S and of CPU N still got; 0 without spinners */
	double receiver; /* CPU time of the receiver, all threads */
	double napi;	 /* of the NAPI thread, where there is one */
	double steal;	 /* taken by the hypervisor, of both CPUs */
	double foreign;	 /* used by processes that are not the bed's, of both CPUs */
	bool disturbed;	 /* steal or foreign above their limits */
};

#define BED_STEAL_LIMIT	  0.01
#define BED_FOREIGN_LIMIT 0.03

/* Measures what is going on for so many seconds. proc may be NULL. */
void bed_measure(struct bed *bed, enum bed_program program, const struct bed_proc *proc,
		 double seconds, struct bed_window *window);

/*
 * What the kernel accounts for one of the generator's datagrams against SO_RCVBUF, in the
 * placement that is set; BED_PASS must be placed. 0 or -errno.
 */
int bed_truesize(struct bed *bed, uint32_t *truesize);

/* SO_RCVBUF, as given to setsockopt, for a queue of `capacity` datagrams: of a kernel socket with
 * that truesize, or of an LRP socket. */
uint32_t bed_rcvbuf(enum bed_program program, uint32_t capacity, uint32_t truesize);

/* CPU time of all threads of a process so far, ns. */
uint64_t bed_cpu_ns(pid_t pid);

/* For measurements of other kinds: begin, do it, end: were we alone? */
struct bed_quiet {
	uint64_t t_ns, steal, foreign_ns;
};
void bed_quiet_begin(struct bed *bed, struct bed_quiet *quiet);
bool bed_quiet_end(struct bed *bed, const struct bed_quiet *quiet, double *steal, double *foreign);

#endif
