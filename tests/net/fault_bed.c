/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "fault_bed.h"

#include <arpa/inet.h>
#include <grp.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "../lib/bed.h"

#define FRAME_COST 832u /* runtime/dgram/options.c: of SO_RCVBUF */

static uint64_t seed;

/* ---- small things ---------------------------------------------------------------- */

uint64_t fault_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void fault_sleep_ms(unsigned int ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l};

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

uint32_t fault_random(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(((seed >> 33) * below) >> 31);
}

unsigned int fault_soak_s(unsigned int normal)
{
	const char *soak = getenv("LRP_SOAK_SECONDS");
	unsigned int s = soak ? (unsigned int)atoi(soak) : 30;

	/* 30 is what `make check` has: a file's share of it. More: check-long. */
	return s <= 30 ? (s < normal ? s : normal) : normal * s / 30;
}

int fault_sh(const char *format, ...)
{
	char command[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	return system(command);
}

/* ---- bed --------------------------------------------------------------------------- */

void fault_begin(char **argv, const char *attach_options)
{
	const char *given = getenv("LRP_SEED");

	bed_enter(argv);
	bed_needs_lrpd();
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (access("build/bin/lrp", X_OK) || access("build/bin/lrp-load", X_OK)) {
		fprintf(stderr, "build/bin/lrp or lrp-load is missing: make build-all\n");
		exit(77);
	}
	seed = given ? strtoull(given, NULL, 0) : fault_now_ns();
	printf("LRP_SEED=%llu\n", (unsigned long long)seed);
	/* lrpd and we shall get a CPU in time, whatever else the machine does. */
	setpriority(PRIO_PROCESS, 0, -10);
	bed_sh(BED_NET);
	/* Its own ring instead of the CPU's backlog: what is sent back must not get lost. */
	bed_sh("ip netns exec client ethtool -K c0 gro on >/dev/null");
	/* And without our program s0 would refuse what lrp-load sends. */
	bed_sh("ethtool -K s0 gro on >/dev/null");
	bed_sh("ping -c1 -W2 198.18.1.2 >/dev/null");
	if (fault_sh("build/bin/lrp attach s0 %s >/dev/null", attach_options ? attach_options : ""))
		exit(1);
}

int fault_end(void)
{
	/* Nobody here writes nonsense. */
	CHECK(fault_repairs() <= 0, "lrpd has repaired a pool %ld times", fault_repairs());
	CHECK(fault_sh("build/bin/lrp stop >/dev/null") == 0, "lrp stop");
	printf(check_failures ? "%d failures\n" : "all well\n", check_failures);
	return check_failures ? 1 : 0;
}

/* ---- receivers ---------------------------------------------------------------------- */

struct fault_app *fault_app_new(uint16_t port, uint16_t ports)
{
	struct fault_app *app =
		mmap(NULL, sizeof(*app), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (app == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	app->port = port;
	app->ports = ports;
	app->batch = 32;
	return app;
}

void fault_app_free(struct fault_app *app)
{
	munmap(app, sizeof(*app));
}

void fault_note(struct fault_app *app, const void *payload, size_t len)
{
	uint64_t seq, now = fault_now_ns(), last;

	if (!len)
		return; /* lrp-load's, to make the kernel ask for our MAC */
	if (len < sizeof(seq)) {
		atomic_fetch_add(&app->strange, 1);
		return;
	}
	memcpy(&seq, payload, sizeof(seq));
	if (seq % app->ports != (unsigned int)(app->port - FAULT_PORT) ||
	    seq / app->ports >= FAULT_SEQS) {
		atomic_fetch_add(&app->strange, 1);
		return;
	}
	if (atomic_fetch_add(&app->seen[seq / app->ports], 1))
		atomic_fetch_add(&app->doubled, 1);
	last = atomic_exchange(&app->last_ns, now);
	if (last > atomic_load(&app->gap_from_ns) && now > last &&
	    now - last > atomic_load(&app->gap_ns))
		atomic_store(&app->gap_ns, now - last);
	atomic_fetch_add(&app->received, 1);
}

void fault_stats(struct fault_app *app, int fd)
{
	struct lrp_stats stats = {.sz = sizeof(stats)};

	if (lrp_stats(fd, &stats))
		return;
	app->call = stats.call + stats.helper;
	app->kernel = stats.kernel;
	app->dropped = stats.dropped;
	app->channels = stats.channels;
}

int fault_socket(struct fault_app *app)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(app->port)};
	struct timeval timeout = {.tv_usec = 50000};
	int fd = lrp_socket(AF_INET, SOCK_DGRAM, 0);
	int size = (int)(app->frames * FRAME_COST / 2);

	if (fd < 0 || lrp_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) ||
	    (size && lrp_setsockopt(fd, SOL_SOCKET, app->uid ? SO_RCVBUF : SO_RCVBUFFORCE, &size,
				    sizeof(size))) ||
	    lrp_bind(fd, (struct sockaddr *)&any, sizeof(any))) {
		app->last_errno = errno;
		return -1;
	}
	return fd;
}

static int self_of(struct fault_app *app)
{
	for (int i = 0; i < FAULT_FAMILY; i++)
		if (app->pid[i] == getpid())
			return i;
	return 0;
}

int fault_receive(struct fault_app *app, int fd)
{
	static char buf[64][2048];
	struct sockaddr_in peer[64];
	struct mmsghdr msg[64] = {0};
	struct iovec iov[64];
	uint64_t next_stats = 0;
	int self = self_of(app);

	while (!atomic_load(&app->stop)) {
		int n;

		for (uint32_t i = 0; i < app->batch; i++) {
			iov[i] = (struct iovec){buf[i], sizeof(buf[i])};
			msg[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i],
							 .msg_iovlen = 1,
							 .msg_name = &peer[i],
							 .msg_namelen = sizeof(peer[i])};
		}
		n = lrp_recvmmsg(fd, msg, app->batch, MSG_WAITFORONE, NULL);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			app->last_errno = errno;
			atomic_fetch_add(&app->errors, 1);
			fault_sleep_ms(1);
		}
		for (int i = 0; i < n; i++) {
			fault_note(app, buf[i], msg[i].msg_len);
			iov[i].iov_len = msg[i].msg_len;
		}
		if (n > 0)
			atomic_fetch_add(&app->of[self], (uint64_t)n);
		if (n > 0 && app->echo)
			(void)!lrp_sendmmsg(fd, msg, (unsigned int)n, 0);
		if (self == 0 && fault_now_ns() >= next_stats) {
			fault_stats(app, fd);
			next_stats = fault_now_ns() + 20000000u;
		}
	}
	if (self == 0)
		fault_stats(app, fd);
	return 0;
}

static int drop_privileges(uid_t uid)
{
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
		return -1;
	/* Nor any to be had again. */
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static _Noreturn void run(struct fault_app *app)
{
	int fd, result;

	if (setpriority(PRIO_PROCESS, 0, app->nice))
		perror("setpriority");
	if (app->uid && drop_privileges(app->uid)) {
		app->last_errno = errno;
		_exit(2);
	}
	app->pid[0] = getpid();
	fd = fault_socket(app);
	if (fd < 0) {
		app->ready = -1;
		_exit(2);
	}
	fault_stats(app, fd);
	for (uint32_t i = 1; i <= app->children; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			app->pid[i] = getpid();
			atomic_fetch_add(&app->ready, 1);
			_exit((app->body ? app->body : fault_receive)(app, fd) ? 3 : 0);
		}
		if (pid < 0)
			_exit(2);
	}
	atomic_fetch_add(&app->ready, 1);
	result = (app->body ? app->body : fault_receive)(app, fd);
	if (lrp_close(fd) && !result)
		result = -errno;
	app->done = result ? 2 : 1;
	_exit(result ? 3 : 0);
}

pid_t fault_spawn(struct fault_app *app)
{
	pid_t pid;

	fflush(stdout);
	app->ready = app->done = 0;
	app->stop = false;
	memset(app->pid, 0, sizeof(app->pid));
	pid = fork();
	if (pid == 0)
		run(app);
	CHECK(pid > 0, "fork: %s", strerror(errno));
	FAULT_WAIT(app->ready < 0 || app->ready == (int)app->children + 1, 5000);
	CHECK(app->ready == (int)app->children + 1, "receiver on port %u: %s", app->port,
	      strerror(app->last_errno));
	return pid;
}

/* Or a zombie, whose parent does not care. */
static bool dead(pid_t pid)
{
	char path[64], state = 'Z';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f && fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 'Z';
	if (f)
		fclose(f);
	return state == 'Z' || state == 'X';
}

void fault_nobody_left(void)
{
	long used = -1;

	CHECK(FAULT_WAIT((used = fault_endpoints_used()) == 0, 4000),
	      "%ld endpoints are used by nobody", used);
}

void fault_stop(struct fault_app *app)
{
	atomic_store(&app->stop, true);
	CHECK(FAULT_WAIT(app->done, 5000), "receiver on port %u does not end, or has crashed",
	      app->port);
	CHECK(app->done <= 1, "receiver on port %u failed (%s)", app->port,
	      strerror(app->last_errno));
	for (int i = 1; i < FAULT_FAMILY; i++)
		if (app->pid[i])
			CHECK(FAULT_WAIT(dead(app->pid[i]), 2000), "process %d does not end",
			      app->pid[i]);
}

void fault_kill(struct fault_app *app)
{
	for (int i = 0; i < FAULT_FAMILY; i++)
		if (app->pid[i])
			kill(app->pid[i], SIGKILL);
	memset(app->pid, 0, sizeof(app->pid));
}

bool fault_receives(struct fault_app *app, unsigned int ms)
{
	uint64_t before = app->received;

	return FAULT_WAIT(app->received > before, ms);
}

int fault_port_free(uint16_t port, unsigned int ms)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
	uint64_t start = fault_now_ns();
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = FAULT_WAIT(bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0, ms);

	close(fd);
	return ok ? (int)((fault_now_ns() - start) / 1000000u) : -1;
}

/* ---- load ------------------------------------------------------------------------------ */

/* What the veth itself refused: its ring was full. */
static uint64_t link_drops(void)
{
	FILE *f = popen("{ ip netns exec client ethtool -S c0 2>/dev/null; "
			"ip -n client -s -s -j link show c0 2>/dev/null | "
			"jq -r '\"tx_dropped: \\(.[0].stats64.tx.dropped)\"'; } | "
			"awk '/xdp_xmit_errors|tx_dropped/ { n += $2 } END { print n + 0 }'",
			"r");
	unsigned long long n = 0;

	if (!f || fscanf(f, "%llu", &n) != 1)
		n = 0;
	if (f)
		pclose(f);
	return n;
}

void fault_load_start(struct fault_load *load, uint16_t ports, unsigned int rate,
		      unsigned int seconds)
{
	char arg[5][16];
	int out[2];

	memset(load, 0, sizeof(*load));
	load->ports = ports;
	load->link_drops = link_drops();
	CHECK((uint64_t)rate * seconds / ports < FAULT_SEQS, "more numbers than there is room for");
	snprintf(arg[0], 16, "%u", FAULT_PORT);
	snprintf(arg[1], 16, "%u", ports);
	snprintf(arg[2], 16, "%u", rate);
	snprintf(arg[3], 16, "%u", seconds);
	if (pipe(out))
		exit(1);
	fflush(stdout);
	load->pid = fork();
	if (load->pid == 0) {
		setpriority(PRIO_PROCESS, 0, 0);
		dup2(out[1], 1);
		close(out[0]);
		close(out[1]);
		execlp("ip", "ip", "netns", "exec", "client", "build/bin/lrp-load", "--device",
		       "c0", "--to", "198.18.1.1", "--port", arg[0], "--ports", arg[1], "--rate",
		       arg[2], "--seconds", arg[3], NULL);
		_exit(127);
	}
	close(out[1]);
	load->out = fdopen(out[0], "r");
}

void fault_load_stop(struct fault_load *load)
{
	char line[512];
	const char *sent;

	kill(load->pid, SIGINT);
	while (fgets(line, sizeof(line), load->out))
		if ((sent = strstr(line, "\"sent\": ")))
			load->sent = strtoull(sent + 8, NULL, 10);
	fclose(load->out);
	waitpid(load->pid, NULL, 0);
	CHECK(load->sent > 0, "lrp-load sent nothing");
	load->link_drops = link_drops() - load->link_drops;
}

void fault_check_all(struct fault_app *app, struct fault_load *load, uint64_t may_miss,
		     const char *what)
{
	uint64_t k = (uint64_t)(app->port - FAULT_PORT), missed = 0, doubled = 0, first = 0,
		 last = 0;
	uint64_t share = load->sent / load->ports + (k < load->sent % load->ports), was;

	/* Until nothing more comes. */
	do {
		was = app->received;
		fault_sleep_ms(200);
	} while (app->received != was);
	for (uint64_t i = 0; i < share && i < FAULT_SEQS; i++) {
		unsigned char n = app->seen[i];

		if (!n && !missed++)
			first = i;
		if (!n)
			last = i;
		doubled += n > 1;
	}
	printf("%s: port %u: %llu sent, %llu received (%llu through the kernel), %llu missing, "
	       "link lost "
	       "%llu of all, longest gap %.1f ms\n",
	       what, app->port, (unsigned long long)share, (unsigned long long)app->received,
	       (unsigned long long)app->kernel, (unsigned long long)missed,
	       (unsigned long long)load->link_drops, (double)app->gap_ns / 1e6);
	CHECK(missed <= may_miss + load->link_drops,
	      "%s: port %u: %llu numbers missing, from %llu to %llu", what, app->port,
	      (unsigned long long)missed, (unsigned long long)first, (unsigned long long)last);
	CHECK(load->link_drops <= load->sent / 20, "%s: the link lost too much for a verdict",
	      what);
	CHECK(!doubled && !app->doubled, "%s: port %u: %llu numbers received more than once", what,
	      app->port, (unsigned long long)app->doubled);
	CHECK(!app->strange, "%s: port %u: %llu datagrams that are not its own", what, app->port,
	      (unsigned long long)app->strange);
	CHECK(!app->errors, "%s: port %u: receive calls failed: %s", what, app->port,
	      strerror(app->last_errno));
}

/* ---- lrpd -------------------------------------------------------------------------------- */

static struct json_object *ask(const char *arguments)
{
	char command[128];
	struct json_object *json;
	size_t size = 4 << 20, length;
	char *text = malloc(size);
	FILE *f;

	snprintf(command, sizeof(command), "build/bin/lrp %s 2>/dev/null", arguments);
	f = popen(command, "r");
	if (!f || !text)
		exit(1);
	length = fread(text, 1, size - 1, f);
	text[length] = 0;
	pclose(f);
	json = length ? json_tokener_parse(text) : NULL;
	free(text);
	return json;
}

static long number(struct json_object *o, const char *name)
{
	struct json_object *v;

	return o && json_object_object_get_ex(o, name, &v) ? (long)json_object_get_int64(v) : -1;
}

int fault_lrpd_pid(void)
{
	struct json_object *status = ask("status --json");
	int pid = (int)number(status, "pid");

	json_object_put(status);
	return pid;
}

long fault_endpoints_used(void)
{
	struct json_object *status = ask("status --json");
	long n = number(status, "endpoints_used");

	json_object_put(status);
	return n;
}

bool fault_audit(struct fault_pool *sum)
{
	struct json_object *status = ask("status --audit --json"), *audit, *pools, *ok;

	memset(sum, 0, sizeof(*sum));
	if (!status || !json_object_object_get_ex(status, "audit", &audit) ||
	    !json_object_object_get_ex(audit, "pools", &pools) ||
	    !json_object_object_get_ex(audit, "ok", &ok)) {
		json_object_put(status);
		return false;
	}
	sum->ok = json_object_get_boolean(ok);
	for (size_t i = 0; i < json_object_array_length(pools); i++) {
		struct json_object *pool = json_object_array_get_idx(pools, i);

		sum->frames += number(pool, "frames");
		sum->free += number(pool, "free");
		sum->queued += number(pool, "queued");
		sum->held += number(pool, "held");
		sum->quarantined += number(pool, "quarantined");
		sum->kernel += number(pool, "kernel");
		sum->lost += number(pool, "lost");
		sum->doubled += number(pool, "doubled");
	}
	json_object_put(status);
	return true;
}

static void audit_until(const char *what, unsigned int ms, bool idle)
{
	uint64_t until = fault_now_ns() + (uint64_t)ms * 1000000u;
	struct fault_pool sum = {0};
	bool answered, good;

	do {
		answered = fault_audit(&sum);
		good = answered && sum.ok && !sum.lost && !sum.doubled && !sum.quarantined &&
		       sum.frames > 0 && (!idle || (!sum.queued && !sum.held));
		/* Lost or doubled is never excused by a later look. */
		if (good || (answered && (sum.lost || sum.doubled || !sum.ok)))
			break;
		fault_sleep_ms(50);
	} while (fault_now_ns() < until);
	printf("audit %s: %ld frames: free %ld queued %ld held %ld quarantined %ld kernel %ld lost "
	       "%ld doubled %ld\n",
	       what, sum.frames, sum.free, sum.queued, sum.held, sum.quarantined, sum.kernel,
	       sum.lost, sum.doubled);
	CHECK(answered, "%s: no lrpd answers", what);
	CHECK(good, "%s: audit is not clean", what);
}

void fault_audit_clean(const char *what, unsigned int ms)
{
	audit_until(what, ms, false);
}

void fault_audit_idle(const char *what, unsigned int ms)
{
	audit_until(what, ms, true);
}

long fault_channel(uint16_t port, const char *name)
{
	struct json_object *root = ask("channels --json"), *channels, *local;
	char suffix[16];
	long sum = -1;

	snprintf(suffix, sizeof(suffix), ":%u", port);
	if (!root || !json_object_object_get_ex(root, "channels", &channels)) {
		json_object_put(root);
		return -1;
	}
	for (size_t i = 0; i < json_object_array_length(channels); i++) {
		struct json_object *channel = json_object_array_get_idx(channels, i);
		const char *text, *colon;

		if (!json_object_object_get_ex(channel, "local", &local))
			continue;
		text = json_object_get_string(local);
		colon = strrchr(text, ':');
		if (colon && !strcmp(colon, suffix))
			sum = (sum < 0 ? 0 : sum) + number(channel, name);
	}
	json_object_put(root);
	return sum;
}

long fault_reason(const char *device, const char *reason)
{
	struct json_object *root = ask("status --json"), *devices, *reasons, *name;
	long n = -1;

	if (root && json_object_object_get_ex(root, "devices", &devices))
		for (size_t i = 0; i < json_object_array_length(devices); i++) {
			struct json_object *d = json_object_array_get_idx(devices, i);

			if (json_object_object_get_ex(d, "ifname", &name) &&
			    !strcmp(json_object_get_string(name), device) &&
			    json_object_object_get_ex(d, "reasons", &reasons))
				n = number(reasons, reason);
		}
	json_object_put(root);
	return n;
}

long fault_repairs(void)
{
	struct json_object *root = ask("status --json"), *devices, *pools;
	long n = -1;

	if (root && json_object_object_get_ex(root, "devices", &devices)) {
		n = 0;
		for (size_t i = 0; i < json_object_array_length(devices); i++) {
			json_object_object_get_ex(json_object_array_get_idx(devices, i), "pools",
						  &pools);
			for (size_t p = 0; p < json_object_array_length(pools); p++)
				n += number(json_object_array_get_idx(pools, p), "repairs");
		}
	}
	json_object_put(root);
	return n;
}
