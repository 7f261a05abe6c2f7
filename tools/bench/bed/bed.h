/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * bed.h - the measuring bed: namespaces, veth pairs, placements of receive
 * processing, spinners, a load generator that is ready to go.
 *
 *        namespace "client" (CPU N)                namespace "server" (CPU S)
 *     clients ──┐
 *               ├── c<a> ═══════ veth ═══════ s<a>   stock: pass-through program
 *     generator ┼── c<b> ═══════ veth ═══════ s<b>   LRP
 *               ├── c<c> ═══════ veth ═══════ s<c>   control: drops everything
 *               ├── c<d> ═══════ veth ═══════ s<d>   raw: bare AF_XDP
 *               └── c<e> ═══════ veth ═══════ s<e>   vendor: no program
 *
 * One pair per system, alike in everything but the program, so that systems
 * alternate without an attach in between. On each pair the client's traffic and
 * the generator's reach the server through its one interface and its one queue: the generator
 * puts its frames on the client's end of the same wire, with other source addresses. A
 * third namespace behind a bridge would look the same to the server and cost CPU N a
 * forwarding step per packet.
 *
 * Nothing survives the process, kill -9 included: all namespaces are held by
 * processes of one pid namespace whose process 1 dies with its parent; nothing has a name outside.
 *
 * The caller stays in the machine's namespaces (it pins the kernel's NAPI threads, which
 * only the first pid namespace sees) and forks what runs in the bed. One bed per process.
 */
#ifndef LRP_BENCH_BED_H
#define LRP_BENCH_BED_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "counters.h"

enum bed_placement { BED_NI, BED_STRICT, BED_SOFTIRQ, BED_FAIR, BED_PLACEMENTS };
extern const char *const bed_placement_name[BED_PLACEMENTS];

enum bed_program { BED_PASS, BED_LRP, BED_DROP, BED_RAW, BED_BARE, BED_PROGRAMS };
enum bed_ns { BED_SERVER, BED_CLIENT };

struct bed_relay;
struct bench_bpf;
struct raw_xsk_bpf;
struct lrp_inject;

struct bed_pair {
	enum bed_program program;
	char server[16], client[16]; /* device names */
	unsigned int server_ifindex, client_ifindex;
	uint8_t server_mac[6], client_mac[6];
	struct in_addr server_addr, client_addr;
	struct in_addr flood_addr; /* first source of the generator: routed to the client */
	struct bench_bpf *skel;
	struct raw_xsk_bpf *raw;
	int link_fd;
	int seen_fd; /* per-CPU counters of packets, or -1 */
	uint32_t seen_entries;
	pid_t napi, client_napi; /* kernel threads, 0: not threaded */
	bool attached;
};

/* What the generator is told and what it says; shared memory. */
struct bed_load {
	/* written by the bed */
	uint32_t command; /* counts changes */
	uint32_t pair;	  /* enum bed_program */
	uint64_t rate;	  /* packets a second, 0: none, UINT64_MAX: as many as possible */
	uint32_t dport, dports, sources;
	/* written by the generator */
	uint32_t done; /* the last command that it obeys */
	char error[256];
};

struct bed_shared {
	struct bed_load load;
	struct {
		uint64_t count;
	} __attribute__((aligned(64))) spin[2]; /* [0]: CPU S, [1]: CPU N */
};

struct bed {
	int cpu_server, cpu_load;
	bool spinners;
	bool same; /* the pair of LRP gets stock's program too: a comparison of stock with itself */
	enum bed_placement placement;
	bool placed;
	struct bed_pair pair[BED_PROGRAMS];
	struct lrp_inject *inject[BED_PROGRAMS]; /* used by the generator's process */
	struct bed_shared *shared;
	pid_t init, holder[2], generator, spinner[2];
	int netns[2], mntns[2], own_netns;
	int latency_fd; /* of bed_poll_idle(), or -1 */
	struct bed_relay *relay;
	int life;		/* pipe: closed when this process dies */
	uint64_t spin_per_s[2]; /* unloaded */
	char bin[4096];		/* directory of the programs */
	char inner_pidns[64];
	char error[512]; /* one line: what failed and the way out */
};

/* A process in the bed. */
struct bed_proc {
	pid_t pid;
	enum bed_program program;
	int memfd;
	struct bench_counters *counters; /* NULL: none */
};

/* All: 0 or -errno, bed->error then says what and why. */

/* Builds namespaces and pairs; nothing is attached yet. */
int bed_open(struct bed *bed, bool spinners);
void bed_close(struct bed *bed);

/*
 * Attaches the programs in the mode that the placement needs, puts receive processing
 * where it says, and verifies with packets that it is there; fails loudly if not. `programs`:
 * bit per enum bed_program. Receivers of an earlier placement must be gone.
 */
int bed_place(struct bed *bed, enum bed_placement placement, unsigned int programs);
/* Detaches LRP and the raw program, so that the next bed_place() attaches them anew. */
void bed_unplace(struct bed *bed);

/* lrpd needs Linux 6.6. Before it the first LRP process that is started attaches the pair's device
 * itself, and there can be one such process at a time. */
bool bed_embedded(void);

/*
 * Starts a program of the same directory in the server's namespace on CPU S with counters
 * and waits (10 s) until it is ready. argv[0] is its name. env: NULL-terminated, may be NULL.
 */
int bed_start(struct bed *bed, struct bed_proc *proc, enum bed_program program, char *const argv[],
	      char *const env[]);
void bed_stop(struct bed_proc *proc);

/* Runs `fn` in a process of its own in a namespace, on a CPU; priority 0: SCHED_OTHER, above:
 * SCHED_FIFO. */
pid_t bed_fork(struct bed *bed, enum bed_ns ns, int cpu, int priority, int (*fn)(void *),
	       void *arg);
/* Waits; kills after timeout_ms. Exit status, or -1. */
int bed_wait(pid_t pid, int timeout_ms);
/* Runs a program in a namespace to its end, with its output in bed->error on failure. */
int bed_run(struct bed *bed, enum bed_ns ns, char *const argv[]);

/* Sets the generator going (rate 0: stops it) and returns once it obeys. */
int bed_load(struct bed *bed, enum bed_program program, uint64_t rate, uint16_t dport,
	     uint32_t dports, uint32_t sources);

/* Packets that the generator gave to the pair so far. */
uint64_t bed_sent(const struct bed *bed, enum bed_program program);

/* Packets that the pair's program saw, per CPU; the sum of both. Cheap. */
uint64_t bed_seen(const struct bed *bed, enum bed_program program, uint64_t per_cpu[2]);

/*
 * Keeps CPU S awake without its spinner (true), or with it again: idle, it polls, as PM QoS has
 * it for a latency of 0; the request ends with this process. For what is measured in microseconds: EEVDF
 * remembers what it owes the spinner, and makes processes that wake wait for it, for a
 * millisecond now and then. What is left of CPU S is not measured meanwhile.
 */
void bed_poll_idle(struct bed *bed, bool poll);

/*
 * A long way between client and server, beside the wires of the pairs of stock and LRP, which both
 * take: what the server sends to bed_far(program, BED_CLIENT) passes a relay, which is a process on CPU N,
 * and so does the answer to bed_far(program, BED_SERVER). The server's interfaces send frames of the MTU with
 * complete checksums meanwhile.
 *
 *     client ── TAP ── relay ─┬─ c<a> ═══ veth ═══ s<a>
 *                             └─ c<b> ═══ veth ═══ s<b>
 */
struct bed_relay_spec {
	double delay_s;	     /* each way */
	double loss;	     /* of frames from the server, 0..1 */
	double bit_per_s;    /* from the server, both pairs together; 0: no limit */
	double queue_s;	     /* what waits for that at most; the rest is dropped */
	double queue_varies; /* the limit is drawn for each frame, this part of it either way */
	uint64_t seed;	     /* of the losses */
};
int bed_relay_start(struct bed *bed, const struct bed_relay_spec *spec);
void bed_relay_stop(struct bed *bed);
struct in_addr bed_far(enum bed_program program, enum bed_ns ns);
/* Frames from the server: those that came, those lost at random, those that found the queue full. */
void bed_relay_count(const struct bed *bed, uint64_t *frames, uint64_t *lost, uint64_t *dropped);

/* Turns of CPU S's (0) or CPU N's (1) spinner so far. */
uint64_t bed_spun(const struct bed *bed, int which);

uint64_t bed_now(void);
void bed_sleep(double seconds);

#endif
