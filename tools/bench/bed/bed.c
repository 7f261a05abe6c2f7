// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * bed.c - namespaces, veth pairs and processes of the measuring bed.
 */
#include "bed.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

const char *const bed_placement_name[BED_PLACEMENTS] = {"ni", "strict", "softirq", "fair"};

uint64_t bed_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void bed_sleep(double seconds)
{
	struct timespec ts = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

int bed_fail(struct bed *bed, int err, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(bed->error, sizeof(bed->error), format, ap);
	va_end(ap);
	return err;
}

/* ---- process 1, and what holds the namespaces --------------------------------- */

/* Dies with its parent, even if the parent is gone already: `life` then reads end of file. */
static void die_with_parent(int life_read)
{
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (life_read >= 0 && read(life_read, &byte, 1) != 1)
		_exit(1);
}

static void init_main(int life_read)
{
	die_with_parent(life_read);
	for (;;) {
		siginfo_t info;

		if (waitid(P_ALL, 0, &info, WEXITED) < 0)
			pause();
	}
}

static int holder_mounts(void)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("proc", "/proc", "proc", 0, NULL) ||
	    mount("tmpfs", "/run", "tmpfs", 0, "mode=755") ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL) || mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL))
		return -errno;
	return 0;
}

static void holder_main(int ready)
{
	int err = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWNET | CLONE_NEWNS))
		err = -errno;
	else
		err = holder_mounts();
	if (write(ready, &err, sizeof(err)) != sizeof(err) || err)
		_exit(1);
	for (;;)
		pause();
}

static int start_holder(struct bed *bed, enum bed_ns ns)
{
	char path[64];
	int ready[2], err = -EIO;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid == 0)
		holder_main(ready[1]);
	close(ready[1]);
	if (pid < 0 || read(ready[0], &err, sizeof(err)) != sizeof(err) || err) {
		close(ready[0]);
		return bed_fail(bed, err, "a network and mount namespace: %s (this needs root)",
				strerror(-err));
	}
	close(ready[0]);
	bed->holder[ns] = pid;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	bed->netns[ns] = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
	bed->mntns[ns] = open(path, O_RDONLY | O_CLOEXEC);
	if (bed->netns[ns] < 0 || bed->mntns[ns] < 0)
		return bed_fail(bed, -errno, "%s: %s", path, strerror(errno));
	return 0;
}

int bed_netns_enter(struct bed *bed, enum bed_ns ns)
{
	if (setns(bed->netns[ns], CLONE_NEWNET))
		return bed_fail(bed, -errno, "setns: %s", strerror(errno));
	return 0;
}

void bed_netns_leave(struct bed *bed)
{
	if (setns(bed->own_netns, CLONE_NEWNET))
		abort(); /* going on in the wrong namespace would be worse */
}

/* ---- processes ------------------------------------------------------------------ */

static int pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

/* In a child: into the namespaces and onto the CPU. */
static void child_enter(struct bed *bed, enum bed_ns ns, int cpu, int priority)
{
	struct sched_param param = {.sched_priority = priority};
	char cwd[4096];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!getcwd(cwd, sizeof(cwd)))
		snprintf(cwd, sizeof(cwd), "/");
	if (setns(bed->netns[ns], CLONE_NEWNET) || setns(bed->mntns[ns], CLONE_NEWNS)) {
		perror("bed: setns");
		_exit(1);
	}
	if (chdir(cwd) != 0 && chdir("/") != 0)
		_exit(1);
	setenv("LRP_BED", "1", 1);
	/* A session of its own: where the kernel groups processes by session (autogroup), each then
	 * competes as one process with the others and with the NAPI threads, as it should. */
	setsid();
	if (cpu >= 0 && pin(cpu)) {
		perror("bed: sched_setaffinity");
		_exit(1);
	}
	if (sched_setscheduler(0, priority ? SCHED_FIFO : SCHED_OTHER, &param)) {
		perror("bed: sched_setscheduler");
		_exit(1);
	}
	if (!priority)
		setpriority(PRIO_PROCESS, 0, 0);
}

pid_t bed_fork(struct bed *bed, enum bed_ns ns, int cpu, int priority, int (*fn)(void *), void *arg)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		child_enter(bed, ns, cpu, priority);
		_exit(fn(arg));
	}
	if (pid < 0)
		bed_fail(bed, -errno, "fork: %s", strerror(errno));
	return pid;
}

int bed_wait(pid_t pid, int timeout_ms)
{
	uint64_t until = bed_now() + (uint64_t)timeout_ms * 1000000u;
	int status;

	for (;;) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		if (got < 0)
			return -1;
		if (bed_now() > until) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return -1;
		}
		usleep(500);
	}
}

int bed_run(struct bed *bed, enum bed_ns ns, char *const argv[])
{
	char out[400] = "", *end;
	int fds[2], status;
	size_t length = 0;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return bed_fail(bed, -errno, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		child_enter(bed, ns, -1, 0);
		execvp(argv[0], argv);
		fprintf(stderr, "%s: %s", argv[0], strerror(errno));
		_exit(127);
	}
	close(fds[1]);
	/* Until the program itself has ended: a daemon that it leaves behind may keep the pipe. */
	for (;;) {
		struct pollfd p = {.fd = fds[0], .events = POLLIN};
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (poll(&p, 1, got == pid ? 0 : 20) > 0) {
			ssize_t n = read(fds[0], out + length, sizeof(out) - 1 - length);

			if (n > 0)
				length += (size_t)n;
			if (length == sizeof(out) - 1)
				length = sizeof(out) / 2;
			if (n > 0 && got != pid)
				continue;
		}
		if (got == pid || got < 0)
			break;
		usleep(1000);
	}
	close(fds[0]);
	out[length] = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	for (end = out + strlen(out); end > out && end[-1] == '\n';)
		*--end = 0;
	return bed_fail(bed, -EIO, "%s %s: %s", argv[0], argv[1] ? argv[1] : "", out);
}

int bed_sh(struct bed *bed, enum bed_ns ns, const char *format, ...)
{
	char command[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	return bed_run(bed, ns, (char *[]){"/bin/sh", "-ec", command, NULL});
}

int bed_start(struct bed *bed, struct bed_proc *proc, enum bed_program program, char *const argv[],
	      char *const env[])
{
	uint64_t until;
	char path[4200];
	int i, status;

	memset(proc, 0, sizeof(*proc));
	proc->program = program;
	proc->memfd = memfd_create("bench-counters", MFD_CLOEXEC);
	if (proc->memfd < 0 || ftruncate(proc->memfd, 4096))
		return bed_fail(bed, -errno, "memfd: %s", strerror(errno));
	proc->counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, proc->memfd, 0);
	if (proc->counters == MAP_FAILED)
		return bed_fail(bed, -errno, "mmap: %s", strerror(errno));
	snprintf(path, sizeof(path), "%s/%s", bed->bin, argv[0]);
	fflush(NULL);
	proc->pid = fork();
	if (proc->pid == 0) {
		child_enter(bed, BED_SERVER, bed->cpu_server, 0);
		for (i = 0; env && env[i]; i++)
			putenv(env[i]);
		if (program == BED_LRP && bed_embedded() && !bed->same) {
			setenv("LRP_BENCH_EMBED", bed->pair[program].server, 1);
			setenv("LRP_BENCH_EMBED_MODE",
			       bed->placement == BED_SOFTIRQ ? "skb" : "native", 1);
		}
		/* dup2 clears close-on-exec; all else is closed by it */
		if (proc->memfd == BENCH_COUNTERS_FD ? fcntl(proc->memfd, F_SETFD, 0)
						     : dup2(proc->memfd, BENCH_COUNTERS_FD) < 0)
			_exit(1);
		syscall(SYS_close_range, BENCH_COUNTERS_FD + 1, ~0u, 0);
		execv(path, argv);
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		_exit(127);
	}
	for (until = bed_now() + 30000000000u; bed_now() < until; usleep(1000)) {
		if (__atomic_load_n(&proc->counters->ready, __ATOMIC_ACQUIRE)) {
			if (program != BED_LRP || !bed_embedded() || bed->same)
				return 0;
			i = bed_place_embedded(bed, program);
			if (i)
				bed_stop(proc);
			return i;
		}
		if (waitpid(proc->pid, &status, WNOHANG) == proc->pid) {
			proc->pid = 0;
			break;
		}
	}
	bed_stop(proc);
	return bed_fail(bed, -EIO, "%s did not get ready", argv[0]);
}

void bed_stop(struct bed_proc *proc)
{
	int status;

	if (proc->pid > 0) {
		kill(proc->pid, SIGKILL);
		waitpid(proc->pid, &status, 0);
	}
	if (proc->counters && proc->counters != MAP_FAILED)
		munmap(proc->counters, 4096);
	if (proc->memfd > 0)
		close(proc->memfd);
	memset(proc, 0, sizeof(*proc));
}

/* ---- devices -------------------------------------------------------------------- */

int bed_write(struct bed *bed, enum bed_ns ns, const char *path, const char *text)
{
	char full[512];
	int fd, err = 0;

	snprintf(full, sizeof(full), "/proc/%d/root%s", bed->holder[ns], path);
	fd = open(full, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return bed_fail(bed, -errno, "%s: %s", path, strerror(errno));
	if (write(fd, text, strlen(text)) < 0)
		err = bed_fail(bed, -errno, "%s: cannot write %s: %s", path, text, strerror(errno));
	close(fd);
	return err;
}

static int read_text(struct bed *bed, enum bed_ns ns, const char *device, const char *what,
		     char *buf, size_t size)
{
	char full[512];
	ssize_t n;
	int fd;

	snprintf(full, sizeof(full), "/proc/%d/root/sys/class/net/%s/%s", bed->holder[ns], device,
		 what);
	fd = open(full, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, size - 1);
	if (n < 0)
		return bed_fail(bed, -errno, "%s %s: %s", device, what, strerror(errno));
	close(fd);
	buf[n] = 0;
	return 0;
}

static int read_device(struct bed *bed, enum bed_ns ns, const char *device, unsigned int *ifindex,
		       uint8_t mac[6])
{
	char buf[64];
	int err = read_text(bed, ns, device, "ifindex", buf, sizeof(buf));

	if (err)
		return err;
	*ifindex = (unsigned int)atoi(buf);
	err = read_text(bed, ns, device, "address", buf, sizeof(buf));
	if (err)
		return err;
	if (sscanf(buf, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5]) != 6)
		return bed_fail(bed, -EIO, "%s: address %s", device, buf);
	return 0;
}

/* The pid of a process as the bed's own pid namespace sees it. */
static int inner_pid(pid_t pid)
{
	char path[64], line[256];
	int inner = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		char *last = strrchr(line, '\t');

		if (strncmp(line, "NSpid:", 6) == 0 && last)
			inner = atoi(last);
	}
	if (f)
		fclose(f);
	return inner;
}

/*
 * One pair. Neighbours are permanent, so that a flood cannot starve the resolution of
 * addresses; the server answers everybody through the client. The client sends frames of the MTU in
 * every placement: a native program at the other end would take its segmentation offload away, a generic
 * one would not.
 */
static int make_pair(struct bed *bed, enum bed_program program)
{
	struct bed_pair *pair = &bed->pair[program];
	unsigned int net = 16 + program;
	char smac[18], cmac[18];
	int err;

	pair->program = program;
	pair->link_fd = pair->seen_fd = -1;
	snprintf(pair->server, sizeof(pair->server), "s%x%c", getpid(), 'a' + (int)program);
	snprintf(pair->client, sizeof(pair->client), "c%x%c", getpid(), 'a' + (int)program);
	pair->server_addr.s_addr = htonl(0xc6120000u | net << 8 | 1);
	pair->client_addr.s_addr = htonl(0xc6120000u | net << 8 | 2);
	/* 198.19.NET.x and up: sources of the flood */
	pair->flood_addr.s_addr = htonl(0xc6130000u | net << 8);
	err = bed_sh(bed, BED_SERVER,
		     "ip link add %s mtu 1500 numrxqueues 1 numtxqueues 1 type veth "
		     "peer name %s mtu 1500 numrxqueues 1 numtxqueues 1 netns %d; "
		     "ip addr add 198.18.%u.1/24 dev %s; ip link set %s up",
		     pair->server, pair->client, inner_pid(bed->holder[BED_CLIENT]), net,
		     pair->server, pair->server);
	if (!err)
		err = bed_sh(bed, BED_CLIENT,
			     "ip addr add 198.18.%u.2/24 dev %s; ip link set %s up", net,
			     pair->client, pair->client);
	if (!err)
		err = read_device(bed, BED_SERVER, pair->server, &pair->server_ifindex,
				  pair->server_mac);
	if (!err)
		err = read_device(bed, BED_CLIENT, pair->client, &pair->client_ifindex,
				  pair->client_mac);
	if (err)
		return err;
	snprintf(smac, sizeof(smac), "%02x:%02x:%02x:%02x:%02x:%02x", pair->server_mac[0],
		 pair->server_mac[1], pair->server_mac[2], pair->server_mac[3], pair->server_mac[4],
		 pair->server_mac[5]);
	snprintf(cmac, sizeof(cmac), "%02x:%02x:%02x:%02x:%02x:%02x", pair->client_mac[0],
		 pair->client_mac[1], pair->client_mac[2], pair->client_mac[3], pair->client_mac[4],
		 pair->client_mac[5]);
	err = bed_sh(bed, BED_SERVER,
		     "ip neigh replace 198.18.%u.2 lladdr %s nud permanent dev %s; "
		     "ip route add 198.19.%u.0/24 via 198.18.%u.2 dev %s; ethtool -K %s gro on",
		     net, cmac, pair->server, net, net, pair->server, pair->server);
	if (!err)
		err = bed_sh(
			bed, BED_CLIENT,
			"ip neigh replace 198.18.%u.1 lladdr %s nud permanent dev %s; ethtool -K "
			"%s gro on tso off gso off",
			net, smac, pair->client, pair->client);
	return err;
}

/* ---- the whole ------------------------------------------------------------------- */

static int check_machine(struct bed *bed)
{
	cpu_set_t set;
	int cpu, cpus[CPU_SETSIZE], n = 0;

	if (geteuid() != 0)
		return bed_fail(bed, -EPERM, "the measuring bed needs root: run it with sudo");
	if (sched_getaffinity(0, sizeof(set), &set))
		return bed_fail(bed, -errno, "sched_getaffinity: %s", strerror(errno));
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[n++] = cpu;
	if (n < 2)
		return bed_fail(bed, -ENODEV,
				"the measuring bed needs two CPUs: one for the server, one for "
				"load and clients");
	/* The first CPU has the machine's own interrupts and chores: that is the load's. */
	bed->cpu_load = cpus[0];
	bed->cpu_server = cpus[1];
	return 0;
}

int bed_open(struct bed *bed, bool spinners)
{
	ssize_t length;
	char *slash, path[64];
	uint64_t from[2], t;
	int life[2], err, i;

	memset(bed, 0, sizeof(*bed));
	bed->life = bed->latency_fd = -1;
	bed->spinners = spinners;
	err = check_machine(bed);
	if (err)
		return err;
	length = readlink("/proc/self/exe", bed->bin, sizeof(bed->bin) - 1);
	slash = length > 0 ? strrchr(bed->bin, '/') : NULL;
	if (!slash)
		return bed_fail(bed, -ENOENT, "/proc/self/exe: cannot tell where the programs are");
	*slash = 0;
	bed->shared = mmap(NULL, sizeof(*bed->shared), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bed->own_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (bed->shared == MAP_FAILED || bed->own_netns < 0 || pipe2(life, O_CLOEXEC))
		return bed_fail(bed, -errno, "memory or descriptors: %s", strerror(errno));
	if (unshare(CLONE_NEWPID))
		return bed_fail(bed, -errno, "a pid namespace: %s", strerror(errno));
	bed->init = fork();
	if (bed->init == 0) {
		close(life[1]);
		init_main(life[0]);
	}
	close(life[0]);
	bed->life = life[1];
	if (bed->init < 0 || write(bed->life, "", 1) != 1)
		return bed_fail(bed, -errno, "process 1 of the bed: %s", strerror(errno));
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", bed->init);
	length = readlink(path, bed->inner_pidns, sizeof(bed->inner_pidns) - 1);
	if (length < 0)
		return bed_fail(bed, -errno, "%s: %s", path, strerror(errno));
	for (i = 0; i < 2 && !err; i++) {
		err = start_holder(bed, (enum bed_ns)i);
		if (!err)
			err = bed_sh(
				bed, (enum bed_ns)i,
				"ip link set lo up; echo 0 > "
				"/proc/sys/net/ipv6/conf/all/router_solicitations; "
				"echo 0 > /proc/sys/net/ipv6/conf/default/router_solicitations; "
				"echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; "
				"echo 0 > /proc/sys/net/ipv4/icmp_ratelimit; "
				"echo 4096 131072 6291456 > /proc/sys/net/ipv4/tcp_rmem; "
				"echo 4096 16384 4194304 > /proc/sys/net/ipv4/tcp_wmem; "
				"echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range");
	}
	for (i = 0; i < BED_PROGRAMS && !err; i++)
		err = make_pair(bed, (enum bed_program)i);
	if (err)
		return err;
	for (i = 0; i < 2 && spinners; i++) {
		bed->spinner[i] = bed_fork(bed, BED_SERVER, i ? bed->cpu_load : bed->cpu_server, 0,
					   bed_spinner_main, &bed->shared->spin[i].count);
		if (bed->spinner[i] < 0)
			return -EAGAIN;
	}
	err = bed_generator_open(bed);
	if (err)
		return err;
	bed->generator = bed_fork(bed, BED_CLIENT, bed->cpu_load, 0, bed_generator_main, bed);
	if (bed->generator < 0)
		return -EAGAIN;
	/* What a CPU does when nothing else does: the measure of what is left. */
	bed_sleep(0.05);
	from[0] = bed_spun(bed, 0);
	from[1] = bed_spun(bed, 1);
	t = bed_now();
	bed_sleep(0.2);
	t = bed_now() - t;
	for (i = 0; i < 2; i++)
		bed->spin_per_s[i] =
			(uint64_t)((double)(bed_spun(bed, i) - from[i]) * 1e9 / (double)t);
	return bed_load(bed, BED_PASS, 0, 9, 1, 1);
}

void bed_close(struct bed *bed)
{
	int status, i;

	bed_relay_stop(bed);
	bed_unplace(bed);
	bed_poll_idle(bed, false);
	/* Process 1 takes all others with it, and ends when we have reaped them. */
	if (bed->init > 0) {
		kill(bed->init, SIGKILL);
		while (waitpid(-1, &status, 0) > 0)
			;
	}
	for (i = 0; i < 2; i++) {
		if (bed->netns[i] > 0)
			close(bed->netns[i]);
		if (bed->mntns[i] > 0)
			close(bed->mntns[i]);
	}
	if (bed->life >= 0)
		close(bed->life);
	if (bed->own_netns > 0)
		close(bed->own_netns);
	bed->init = 0;
}

void bed_poll_idle(struct bed *bed, bool poll)
{
	int32_t none = 0;

	if (bed->spinner[0] <= 0 || poll == (bed->latency_fd >= 0))
		return;
	if (!poll) {
		close(bed->latency_fd);
		bed->latency_fd = -1;
		kill(bed->spinner[0], SIGCONT);
		return;
	}
	/* Without the device the spinner is the better choice. */
	bed->latency_fd = open("/dev/cpu_dma_latency", O_WRONLY | O_CLOEXEC);
	if (bed->latency_fd >= 0 && write(bed->latency_fd, &none, sizeof(none)) == sizeof(none))
		kill(bed->spinner[0], SIGSTOP);
}

uint64_t bed_spun(const struct bed *bed, int which)
{
	return __atomic_load_n(&bed->shared->spin[which].count, __ATOMIC_RELAXED);
}

int bed_load(struct bed *bed, enum bed_program program, uint64_t rate, uint16_t dport,
	     uint32_t dports, uint32_t sources)
{
	struct bed_load *load = &bed->shared->load;
	uint64_t until = bed_now() + 10000000000u;
	int status;

	load->pair = program;
	load->rate = rate;
	load->dport = dport;
	load->dports = dports;
	load->sources = sources;
	__atomic_add_fetch(&load->command, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&load->done, __ATOMIC_ACQUIRE) != load->command) {
		if (load->error[0])
			return bed_fail(bed, -EIO, "generator: %s", load->error);
		if (waitpid(bed->generator, &status, WNOHANG) != 0 || bed_now() > until)
			return bed_fail(bed, -EIO, "generator: it ended or does not answer");
		usleep(100);
	}
	return 0;
}
