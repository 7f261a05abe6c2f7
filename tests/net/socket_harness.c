/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "socket_harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lrp/lrp.h>

#include "../lib/bed.h"

static ssize_t kernel_recvfrom(int fd, void *b, size_t n, int f, struct sockaddr *a, socklen_t *l)
{
	return recvfrom(fd, b, n, f, a, l);
}

static ssize_t kernel_sendto(int fd, const void *b, size_t n, int f, const struct sockaddr *a,
			     socklen_t l)
{
	return sendto(fd, b, n, f, a, l);
}

static int kernel_bind(int fd, const struct sockaddr *a, socklen_t l)
{
	return bind(fd, a, l);
}

static int kernel_connect(int fd, const struct sockaddr *a, socklen_t l)
{
	return connect(fd, a, l);
}

static int kernel_getsockname(int fd, struct sockaddr *a, socklen_t *l)
{
	return getsockname(fd, a, l);
}

static int kernel_getpeername(int fd, struct sockaddr *a, socklen_t *l)
{
	return getpeername(fd, a, l);
}

static int kernel_accept(int fd, struct sockaddr *a, socklen_t *l)
{
	return accept(fd, a, l);
}

static int kernel_accept4(int fd, struct sockaddr *a, socklen_t *l, int f)
{
	return accept4(fd, a, l, f);
}

const struct ops kernel_ops = {
	.name = "kernel",
	.socket = socket,
	.bind = kernel_bind,
	.connect = kernel_connect,
	.listen = listen,
	.accept = kernel_accept,
	.accept4 = kernel_accept4,
	.shutdown = shutdown,
	.close = close,
	.getsockname = kernel_getsockname,
	.getpeername = kernel_getpeername,
	.setsockopt = setsockopt,
	.getsockopt = getsockopt,
	.fcntl = fcntl,
	.ioctl = ioctl,
	.dup = dup,
	.send = send,
	.sendto = kernel_sendto,
	.sendmsg = sendmsg,
	.sendmmsg = sendmmsg,
	.write = write,
	.writev = writev,
	.recv = recv,
	.recvfrom = kernel_recvfrom,
	.recvmsg = recvmsg,
	.recvmmsg = recvmmsg,
	.read = read,
	.readv = readv,
	.poll = poll,
};

const struct ops lrp_ops = {
	.name = "lrp",
	.socket = lrp_socket,
	.bind = lrp_bind,
	.connect = lrp_connect,
	.listen = lrp_listen,
	.accept = lrp_accept,
	.accept4 = lrp_accept4,
	.shutdown = lrp_shutdown,
	.close = lrp_close,
	.getsockname = lrp_getsockname,
	.getpeername = lrp_getpeername,
	.setsockopt = lrp_setsockopt,
	.getsockopt = lrp_getsockopt,
	.fcntl = lrp_fcntl,
	.ioctl = lrp_ioctl,
	.dup = lrp_dup,
	.send = lrp_send,
	.sendto = lrp_sendto,
	.sendmsg = lrp_sendmsg,
	.sendmmsg = lrp_sendmmsg,
	.write = lrp_write,
	.writev = lrp_writev,
	.recv = lrp_recv,
	.recvfrom = lrp_recvfrom,
	.recvmsg = lrp_recvmsg,
	.recvmmsg = lrp_recvmmsg,
	.read = lrp_read,
	.readv = lrp_readv,
	.poll = lrp_poll,
};

/* ---- addresses and peers ---------------------------------------------------- */

static socklen_t make_addr(int family, const char *v4, const char *v6, int port,
			   struct sockaddr_storage *a)
{
	struct sockaddr_in *in = (void *)a;
	struct sockaddr_in6 *in6 = (void *)a;

	memset(a, 0, sizeof(*a));
	if (family == AF_INET) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		inet_pton(AF_INET, v4, &in->sin_addr);
		return sizeof(*in);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons((uint16_t)port);
	inet_pton(AF_INET6, v6, &in6->sin6_addr);
	return sizeof(*in6);
}

socklen_t addr_server(const struct run *r, struct sockaddr_storage *a, int port)
{
	return make_addr(r->family, "198.18.1.1", "2001:db8:1::1", port, a);
}

socklen_t addr_client(const struct run *r, struct sockaddr_storage *a, int port)
{
	return make_addr(r->family, "198.18.1.2", "2001:db8:1::2", port, a);
}

socklen_t addr_any(const struct run *r, struct sockaddr_storage *a, int port)
{
	return make_addr(r->family, "0.0.0.0", "::", port, a);
}

static void enter_client(int *back)
{
	int ns = open("/run/netns/client", O_RDONLY | O_CLOEXEC);

	*back = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (ns < 0 || *back < 0 || setns(ns, CLONE_NEWNET)) {
		perror("namespace client");
		exit(1);
	}
	close(ns);
}

static void leave_client(int back)
{
	if (setns(back, CLONE_NEWNET))
		exit(1);
	close(back);
}

int client_socket(int family, int type, int protocol)
{
	int back, fd;

	enter_client(&back);
	fd = socket(family, type | SOCK_CLOEXEC, protocol);
	leave_client(back);
	if (fd < 0) {
		perror("socket in the client's namespace");
		exit(1);
	}
	return fd;
}

int client_run(const char *command)
{
	int back, status;

	enter_client(&back);
	status = system(command);
	leave_client(back);
	return status;
}

static int make_peer(const struct run *r, int port)
{
	struct sockaddr_storage a;
	int fd = client_socket(r->family, SOCK_DGRAM, 0), one = 1;
	struct timeval second = {.tv_sec = 1};

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	if (bind(fd, (void *)&a, addr_client(r, &a, port)) ||
	    connect(fd, (void *)&a, addr_server(r, &a, PORT))) {
		perror("peer");
		exit(1);
	}
	return fd;
}

int new_socket(struct run *r)
{
	struct timeval second = {.tv_sec = 1};
	int fd = r->ops->socket(r->family, SOCK_DGRAM, 0);

	if (fd < 0) {
		fprintf(stderr, "%s: socket: %s\n", r->ops->name, strerror(errno));
		exit(1);
	}
	r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	return fd;
}

int bound_socket(struct run *r)
{
	struct sockaddr_storage a;
	int fd = new_socket(r);

	note_result(r, "bind", r->ops->bind(fd, (void *)&a, addr_any(r, &a, PORT)));
	return fd;
}

/* An ICMP error for an earlier datagram may be pending: send again. */
static void send_all(int fd, const void *data, size_t len)
{
	if (send(fd, data, len, 0) < 0 && send(fd, data, len, 0) < 0) {
		perror("peer: send");
		exit(1);
	}
}

void peer_send(struct run *r, const void *data, size_t len)
{
	send_all(r->peer, data, len);
}

void peer_text(struct run *r, const char *text)
{
	send_all(r->peer, text, strlen(text));
}

void other_text(struct run *r, const char *text)
{
	send_all(r->other, text, strlen(text));
}

void arrive(void)
{
	usleep(20000);
}

/* ---- transcript --------------------------------------------------------------- */

void note(struct run *r, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vfprintf(r->out, format, ap);
	va_end(ap);
	fputc('\n', r->out);
}

void note_result(struct run *r, const char *what, long result)
{
	if (result < 0)
		note(r, "%s = %ld %s", what, result, strerrorname_np(errno));
	else
		note(r, "%s = %ld", what, result);
}

void note_data(struct run *r, const void *data, long len)
{
	const unsigned char *p = data;
	unsigned int hash = 2166136261u;
	long i;

	fprintf(r->out, "  data ");
	for (i = 0; i < len && i < 32; i++)
		fprintf(r->out, p[i] >= 32 && p[i] < 127 ? "%c" : "\\%02x", p[i]);
	for (i = 0; i < len; i++)
		hash = (hash ^ p[i]) * 16777619u;
	note(r, " hash %08x", hash);
}

void note_addr(struct run *r, const void *addr, socklen_t len)
{
	struct sockaddr_storage a = {0};
	char text[64] = "?";

	memcpy(&a, addr, len < sizeof(a) ? len : sizeof(a));
	if (a.ss_family == AF_INET) {
		struct sockaddr_in *in = (void *)&a;
		uint64_t zero = 0;

		inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
		note(r, "  addr len %u %s port %u%s", len, text, ntohs(in->sin_port),
		     memcmp(in->sin_zero, &zero, 8) ? " dirty" : "");
	} else if (a.ss_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (void *)&a;

		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		note(r, "  addr len %u %s port %u flow %x scope %u", len, text,
		     ntohs(in6->sin6_port), in6->sin6_flowinfo, in6->sin6_scope_id);
	} else {
		note(r, "  addr len %u family %u", len, a.ss_family);
	}
}

static void note_cmsg(struct run *r, const struct cmsghdr *c)
{
	const unsigned char *p = CMSG_DATA(c);
	size_t len = c->cmsg_len - CMSG_LEN(0), i;
	struct timespec now;
	int64_t sec;

	fprintf(r->out, "  cmsg %d/%d len %zu:", c->cmsg_level, c->cmsg_type, c->cmsg_len);
	if (c->cmsg_level == SOL_SOCKET &&
	    (c->cmsg_type == SO_TIMESTAMP || c->cmsg_type == SO_TIMESTAMPNS ||
	     c->cmsg_type == SO_TIMESTAMPING || (c->cmsg_type >= 63 && c->cmsg_type <= 65))) {
		if (len < sizeof(sec)) {
			note(r, " cut");
			return;
		}
		memcpy(&sec, p, 8);
		clock_gettime(CLOCK_REALTIME, &now);
		note(r, sec >= now.tv_sec - 3 && sec <= now.tv_sec ? " now" : " another time");
		return;
	}
	if ((c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) ||
	    (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
		const struct sock_extended_err *ee = (const void *)p;

		note(r, " errno %s origin %u type %u code %u info %u data %u",
		     strerrorname_np((int)ee->ee_errno), ee->ee_origin, ee->ee_type, ee->ee_code,
		     ee->ee_info, ee->ee_data);
		note_addr(r, p + sizeof(*ee), (socklen_t)(len - sizeof(*ee)));
		return;
	}
	for (i = 0; i < len; i++)
		fprintf(r->out, " %02x", p[i]);
	fputc('\n', r->out);
}

void note_msg(struct run *r, const struct msghdr *msg, long result)
{
	struct cmsghdr *c;

	note(r, "  flags %x namelen %u controllen %zu", (unsigned int)msg->msg_flags,
	     msg->msg_name ? msg->msg_namelen : 0, msg->msg_control ? msg->msg_controllen : 0);
	if (result < 0)
		return;
	if (msg->msg_name)
		note_addr(r, msg->msg_name, msg->msg_namelen);
	for (c = CMSG_FIRSTHDR(msg); c && msg->msg_control;
	     c = CMSG_NXTHDR((struct msghdr *)msg, c))
		note_cmsg(r, c);
}

long do_recvfrom(struct run *r, int fd, size_t len, int flags)
{
	struct sockaddr_storage a;
	socklen_t alen = sizeof(a);
	static char buf[70000];
	long n;

	memset(&a, 0xee, sizeof(a));
	n = r->ops->recvfrom(fd, buf, len, flags, (void *)&a, &alen);
	note_result(r, "recvfrom", n);
	if (n >= 0) {
		note_data(r, buf, n < (long)len ? n : (long)len);
		note_addr(r, &a, alen);
	}
	return n;
}

long do_recvmsg(struct run *r, int fd, size_t len, size_t control, int flags)
{
	static char buf[70000];
	struct sockaddr_storage a;
	char cbuf[1024] __attribute__((aligned(8)));
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct msghdr msg = {.msg_name = &a,
			     .msg_namelen = sizeof(a),
			     .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control ? cbuf : NULL,
			     .msg_controllen = control};
	long n;

	memset(&a, 0, sizeof(a));
	memset(cbuf, 0, sizeof(cbuf));
	n = r->ops->recvmsg(fd, &msg, flags);
	note_result(r, "recvmsg", n);
	if (n >= 0) {
		note_data(r, buf, n < (long)len ? n : (long)len);
		note_msg(r, &msg, n);
	}
	return n;
}

/* ---- running ------------------------------------------------------------------ */

static uint64_t channel_total; /* of sockets closed by our wrapper */

static int counting_close(int fd)
{
	struct lrp_stats st = {.sz = sizeof(st)};

	if (lrp_stats(fd, &st) == 0)
		channel_total += st.call + st.helper + st.eager + st.app;
	return lrp_close(fd);
}

static char *transcript(const struct test_case *c, const struct ops *ops, int family)
{
	struct run r = {.ops = ops, .family = family, .lrp = ops != &kernel_ops};

	r.out = open_memstream(&r.text, &r.size);
	r.peer = make_peer(&r, PEER_PORT);
	r.other = make_peer(&r, OTHER_PORT);
	c->run(&r);
	fclose(r.out);
	close(r.peer);
	close(r.other);
	return r.text;
}

static void show(const char *name, const char *text, const char *path)
{
	FILE *f = fopen(path, "w");

	(void)name;
	if (f) {
		fputs(text, f);
		fclose(f);
	}
}

static int run_case_once(const struct test_case *c, int family, const char *mode)
{
	struct ops ours = lrp_ops;
	char *kernel, *lrp;
	int bad = 0;

	ours.close = counting_close;
	channel_total = 0;
	kernel = transcript(c, &kernel_ops, family);
	lrp = transcript(c, &ours, family);
	if (getenv("V"))
		printf("---- %s %s\n%s", c->name, family == AF_INET ? "IPv4" : "IPv6", lrp);
	if (strcmp(kernel, lrp)) {
		printf("FAIL %s (%s, %s): transcripts differ (< kernel, > lrp)\n", c->name,
		       family == AF_INET ? "IPv4" : "IPv6", mode);
		show("kernel", kernel, "/tmp/lrp-test-kernel");
		show("lrp", lrp, "/tmp/lrp-test-lrp");
		fflush(stdout);
		if (system("diff -U2 /tmp/lrp-test-kernel /tmp/lrp-test-lrp") < 0)
			perror("diff");
		unlink("/tmp/lrp-test-kernel");
		unlink("/tmp/lrp-test-lrp");
		bad = 1;
	} else if (channel_total < (uint64_t)c->through_channel) {
		printf("FAIL %s (%s, %s): only %lu packets came through a channel, not %d\n",
		       c->name, family == AF_INET ? "IPv4" : "IPv6", mode,
		       (unsigned long)channel_total, c->through_channel);
		bad = 1;
	}
	free(kernel);
	free(lrp);
	return bad;
}

/* On a machine with other work a datagram can be later than arrive() waits: once is forgiven if it
 * does not happen again. What is wrong is wrong three times. */
static int run_case(const struct test_case *c, int family, const char *mode)
{
	int tries;

	for (tries = 0; tries < 3; tries++) {
		if (!run_case_once(c, family, mode))
			return 0;
		if (tries < 2)
			printf("once more: %s\n", c->name);
	}
	return 1;
}

static int run_all(const struct test_case *cases, int count, const char *mode, const char *only)
{
	int i, bad = 0, ran = 0;

	for (i = 0; i < count; i++) {
		if (only && strcmp(only, cases[i].name))
			continue;
		if (cases[i].ipv4)
			bad += run_case(&cases[i], AF_INET, mode);
		if (cases[i].ipv6)
			bad += run_case(&cases[i], AF_INET6, mode);
		ran += cases[i].ipv4 + cases[i].ipv6;
	}
	printf("%s: %d of %d cases equal\n", mode, ran - bad, ran);
	fflush(stdout);
	return bad ? 1 : 0;
}

static int in_child(const struct test_case *cases, int count, bool embedded, const char *only)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if (embedded && lrp_embed("s0", &(struct lrp_embed_opts){
							.sz = sizeof(struct lrp_embed_opts)})) {
			printf("lrp_embed: %s\n", lrp_embed_error());
			_exit(1);
		}
		_exit(run_all(cases, count, embedded ? "embedded" : "lrpd", only));
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return 1;
	if (WIFSIGNALED(status)) {
		printf("killed by signal %d (%s)\n", WTERMSIG(status),
		       embedded ? "embedded" : "lrpd");
		return 1;
	}
	return WEXITSTATUS(status);
}

/* Neighbours find each other before anything is compared. */
static void warm_up(void)
{
	struct run r = {.family = AF_INET};
	struct sockaddr_storage a;
	socklen_t len;
	int i, fd;

	for (i = 0; i < 2; i++, r.family = AF_INET6) {
		fd = socket(r.family, SOCK_DGRAM, 0);
		len = addr_client(&r, &a, CLOSED_PORT);
		sendto(fd, "?", 1, 0, (void *)&a, len);
		usleep(200000);
		close(fd);
	}
}

int harness_main(int argc, char **argv, const struct test_case *cases, int count)
{
	const char *lrp = getenv("LRP_BIN") ? getenv("LRP_BIN") : "build/bin";
	const char *only = argc > 1 ? argv[1] : NULL;
	char command[256];
	int bad;

	setvbuf(stdout, NULL, _IOLBF, 0);
	bed_enter(argv);
	bed_sh(BED_NET);
	/* Every error is to be heard of. */
	if (client_run("sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0"))
		return 1;
	warm_up();
	signal(SIGPIPE, SIG_IGN);
	bad = in_child(cases, count, true, only);
	snprintf(command, sizeof(command), "%s/lrp", lrp);
	if (access(command, X_OK)) {
		printf("lrpd: %s is not built, embedded mode only\n", command);
		return bad;
	}
	if (!bed_has_lrpd()) {
		printf("lrpd: needs Linux 6.6 or later, embedded mode only\n");
		return bad;
	}
	snprintf(command, sizeof(command), "%s/lrp attach s0", lrp);
	bed_sh(command);
	bad |= in_child(cases, count, false, only);
	return bad;
}
