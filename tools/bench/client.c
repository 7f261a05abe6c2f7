// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "client.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/load/inject.h"

#define PRIORITY 10 /* above the blaster */

static void *share(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* ---- ping-pong ------------------------------------------------------------------- */

struct client_ping *client_ping_new(void)
{
	return share(sizeof(struct client_ping));
}

void client_ping_free(struct client_ping *ping)
{
	if (ping)
		munmap(ping, sizeof(*ping));
}

static int ping_main(void *arg)
{
	struct client_ping *p = arg;
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(p->port), .sin_addr = p->addr};
	struct timeval timeout = {p->timeout_ms / 1000, (p->timeout_ms % 1000) * 1000};
	uint8_t buf[2048] = {0}, answer[2048];
	size_t seq_length = p->length < 8 ? p->length : 8;
	uint64_t seq = 0, start, end, t;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ssize_t n;

	if (p->length < 1 || p->length > sizeof(buf) || fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		p->error = errno ? errno : EINVAL;
		return 1;
	}
	start = t = bed_now();
	end = p->count ? UINT64_MAX : start + (uint64_t)(p->seconds * 1e9);
	while ((p->count ? p->done + p->lost < p->count : t < end) && p->done < CLIENT_SAMPLES) {
		uint64_t sent = t;

		seq++;
		memcpy(buf, &seq, seq_length);
		if (send(fd, buf, p->length, 0) < 0 && errno != ECONNREFUSED && errno != ENOBUFS) {
			p->error = errno;
			return 1;
		}
		for (;;) {
			n = recv(fd, answer, sizeof(answer), 0);
			t = bed_now();
			if (n < 0) {
				if (errno == EINTR || errno == ECONNREFUSED)
					continue;
				p->lost++;
				break;
			}
			/* An answer to an earlier one: it was counted as lost and is late. */
			if ((size_t)n < seq_length || memcmp(answer, buf, seq_length) != 0) {
				p->late++;
				continue;
			}
			p->rtt_ns[p->done++] = (uint32_t)(t - sent);
			break;
		}
	}
	p->elapsed_ns = t - start;
	return 0;
}

int client_ping_run(struct bed *bed, struct client_ping *p)
{
	int budget = p->count ? 60000 : (int)(p->seconds * 1000) + 10000;
	pid_t pid;

	p->done = p->lost = p->late = 0;
	p->elapsed_ns = 0;
	p->error = 0;
	pid = bed_fork(bed, BED_CLIENT, bed->cpu_load, PRIORITY, ping_main, p);
	if (pid < 0)
		return -errno;
	if (bed_wait(pid, budget) != 0) {
		snprintf(bed->error, sizeof(bed->error), "ping-pong client: %s",
			 p->error ? strerror(p->error) : "it did not end");
		return -EIO;
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

double client_ping_quantile(struct client_ping *p, double q)
{
	uint32_t i;

	if (!p->done)
		return 0;
	qsort(p->rtt_ns, p->done, sizeof(*p->rtt_ns), compare);
	i = (uint32_t)(q * (double)(p->done - 1) + 0.5);
	return p->rtt_ns[i];
}

/* ---- sliding window ---------------------------------------------------------------- */

/*
 * Datagrams go out through the injector, which costs this CPU far less than a socket would, so that
 * the receiver is what limits. Acknowledgements (the receiver's count so far) come back to a
 * socket; they raise the limit up to which a second process sends.
 */
struct window_job {
	const struct bed_pair *pair;
	const volatile struct bench_counters *counters;
	struct client_window w;
};

#define ACK_PORT 20001
#define STALL_MS 50

static int window_open(struct window_job *job, struct lrp_inject **inject, int *fd)
{
	struct client_window *w = &job->w;
	struct sockaddr_in own = {.sin_family = AF_INET,
				  .sin_port = htons(ACK_PORT),
				  .sin_addr = job->pair->client_addr};
	struct lrp_inject_spec spec = {.family = AF_INET,
				       .kind = LRP_INJECT_UDP,
				       .payload = w->payload,
				       .sport = ACK_PORT,
				       .dport = w->port,
				       .no_checksum = true};

	*fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (*fd < 0 || bind(*fd, (struct sockaddr *)&own, sizeof(own))) {
		snprintf(w->text, sizeof(w->text), "socket for acknowledgements: %s",
			 strerror(errno));
		return -errno;
	}
	snprintf(spec.device, sizeof(spec.device), "%s", job->pair->client);
	memcpy(spec.dmac, job->pair->server_mac, 6);
	spec.src.v4 = job->pair->client_addr;
	spec.dst.v4 = job->pair->server_addr;
	return lrp_inject_open(inject, &spec, w->text, sizeof(w->text));
}

static int window_sender(struct lrp_inject *inject)
{
	struct sched_param param = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sched_setscheduler(0, SCHED_OTHER, &param);
	for (;;) {
		int err = lrp_inject_run(inject);

		if (err && err != -EINTR)
			return 1;
	}
}

static int window_main(void *arg)
{
	struct window_job *job = arg;
	struct client_window *w = &job->w;
	struct lrp_inject *inject;
	/* base: what the receiver had counted when nothing was under way; sequence numbers: what
	 * the sender had sent by then */
	uint64_t base = job->counters->received, first = 0, acked = 0, count, end, t;
	struct timeval timeout = {0, STALL_MS * 1000};
	int fd, status, err = window_open(job, &inject, &fd);
	pid_t sender;

	if (err) {
		w->error = -err;
		return 1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	lrp_inject_limit(inject, w->window);
	sender = fork();
	if (sender == 0)
		_exit(window_sender(inject));
	t = bed_now();
	for (end = t + (uint64_t)(w->seconds * 1e9); t < end; t = bed_now()) {
		uint64_t before = t;
		ssize_t n = recv(fd, &count, sizeof(count), 0);

		if (n == sizeof(count) && count > base + acked) {
			/* All that was sent has come: the sender, not the receiver, is what was
			 * waited for. */
			if (count - base + first >= lrp_inject_sequence(inject))
				w->starved_ns += bed_now() - before;
			acked = count - base;
		} else if (n < 0 && errno == EAGAIN) {
			/* What was lost never comes: start again with nothing under way. */
			w->timeouts++;
			base = job->counters->received;
			first = lrp_inject_sequence(inject);
			acked = 0;
		}
		lrp_inject_limit(inject, first + acked + w->window);
	}
	w->elapsed_ns = (uint64_t)(w->seconds * 1e9);
	kill(sender, SIGKILL);
	waitpid(sender, &status, 0);
	lrp_inject_close(inject);
	return 0;
}

int client_window_run(struct bed *bed, struct client_window *w, const struct bed_proc *receiver,
		      double warm_s, struct bed_window *window)
{
	struct window_job *job = share(sizeof(*job));
	uint64_t bytes, t;
	pid_t pid;
	int err = 0;

	if (!job)
		return -ENOMEM;
	job->pair = &bed->pair[receiver->program];
	job->counters = receiver->counters;
	job->w = *w;
	pid = bed_fork(bed, BED_CLIENT, bed->cpu_load, PRIORITY, window_main, job);
	if (pid < 0) {
		munmap(job, sizeof(*job));
		return -errno;
	}
	bed_sleep(warm_s);
	bytes = receiver->counters->bytes;
	t = bed_now();
	bed_measure(bed, receiver->program, receiver, w->seconds - warm_s - 0.05, window);
	job->w.mbit = (double)(receiver->counters->bytes - bytes) * 8e3 / (double)(bed_now() - t);
	if (bed_wait(pid, 10000) != 0) {
		snprintf(bed->error, sizeof(bed->error), "sliding-window client: %s",
			 job->w.text[0] ? job->w.text
			 : job->w.error ? strerror(job->w.error)
					: "it did not end");
		err = -EIO;
	}
	*w = job->w;
	munmap(job, sizeof(*job));
	return err;
}
