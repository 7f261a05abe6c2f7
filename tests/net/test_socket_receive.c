/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_socket_receive.c - what receive calls return, on a kernel socket and on ours. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>

#include "socket_harness.h"

static void basic(struct run *r)
{
	int fd = bound_socket(r);

	peer_text(r, "hello");
	do_recvfrom(r, fd, 100, 0);
	other_text(r, "from another");
	do_recvfrom(r, fd, 100, 0);
	peer_send(r, "", 0);
	do_recvfrom(r, fd, 100, 0);
	peer_text(r, "to a null address");
	note_result(r, "recv", r->ops->recv(fd, (char[64]){0}, 64, 0));
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	note_result(r, "close", r->ops->close(fd));
	note_result(r, "closed: recv", r->ops->recv(fd, (char[64]){0}, 64, 0));
}

static void order(struct run *r)
{
	int fd = bound_socket(r), i;
	char text[32];

	for (i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "datagram %d", i);
		peer_text(r, text);
	}
	for (i = 0; i < 100; i++)
		do_recvfrom(r, fd, 100, 0);
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	r->ops->close(fd);
}

static void truncation(struct run *r)
{
	int fd = bound_socket(r);

	peer_text(r, "a long datagram");
	do_recvfrom(r, fd, 6, 0);
	peer_text(r, "a long datagram");
	do_recvfrom(r, fd, 6, MSG_TRUNC);
	peer_text(r, "a long datagram");
	do_recvmsg(r, fd, 6, 0, 0);
	peer_text(r, "a long datagram");
	do_recvmsg(r, fd, 6, 0, MSG_TRUNC);
	peer_text(r, "a long datagram");
	do_recvmsg(r, fd, 0, 0, 0);
	peer_text(r, "exactly");
	do_recvmsg(r, fd, 7, 0, MSG_TRUNC);
	r->ops->close(fd);
}

static void peek(struct run *r)
{
	int fd = bound_socket(r), i;

	peer_text(r, "first");
	other_text(r, "second");
	arrive();
	for (i = 0; i < 3; i++)
		do_recvfrom(r, fd, 100, MSG_PEEK);
	do_recvfrom(r, fd, 2, MSG_PEEK | MSG_TRUNC);
	do_recvfrom(r, fd, 100, 0);
	do_recvmsg(r, fd, 3, 0, MSG_PEEK);
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	do_recvfrom(r, fd, 100, MSG_PEEK | MSG_DONTWAIT);
	r->ops->close(fd);
}

static void scatter(struct run *r)
{
	int fd = bound_socket(r);
	char a[4] = "", b[3] = "", c[20] = "";
	struct iovec iov[] = {{a, 4}, {b, 0}, {b, 3}, {c, 20}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 4};
	struct sockaddr_storage name;
	long n;

	peer_text(r, "scattered over pieces");
	n = r->ops->recvmsg(fd, &msg, 0);
	note_result(r, "recvmsg", n);
	note_data(r, a, 4);
	note_data(r, b, 3);
	note_data(r, c, n - 7);
	note_msg(r, &msg, n);
	peer_text(r, "readv as well");
	note_result(r, "readv", r->ops->readv(fd, iov, 4));
	note_data(r, c, 6);
	peer_text(r, "read");
	note_result(r, "read", r->ops->read(fd, c, sizeof(c)));
	note_data(r, c, 4);
	/* a name that does not fit is cut, and its length told */
	memset(&name, 0xee, sizeof(name));
	msg.msg_name = &name;
	msg.msg_namelen = 5;
	peer_text(r, "name");
	n = r->ops->recvmsg(fd, &msg, 0);
	note_result(r, "recvmsg", n);
	note(r, "namelen %u, byte 5 %02x", msg.msg_namelen, ((unsigned char *)&name)[5]);
	r->ops->close(fd);
}

static void nonblocking(struct run *r)
{
	struct sockaddr_storage a;
	int fd = bound_socket(r), fl, one = 1, zero = 0;

	fl = r->ops->fcntl(fd, F_GETFL);
	note(r, "F_GETFL %x", (unsigned int)fl);
	note_result(r, "F_SETFL", r->ops->fcntl(fd, F_SETFL, fl | O_NONBLOCK));
	do_recvfrom(r, fd, 100, 0);
	peer_text(r, "now");
	arrive();
	do_recvfrom(r, fd, 100, 0);
	note_result(r, "F_SETFL", r->ops->fcntl(fd, F_SETFL, fl));
	note_result(r, "FIONBIO", r->ops->ioctl(fd, FIONBIO, &one));
	do_recvfrom(r, fd, 100, 0);
	note_result(r, "FIONBIO", r->ops->ioctl(fd, FIONBIO, &zero));
	r->ops->close(fd);
	fd = r->ops->socket(r->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
	note(r, "F_GETFL %x F_GETFD %x", (unsigned int)r->ops->fcntl(fd, F_GETFL),
	     (unsigned int)r->ops->fcntl(fd, F_GETFD));
	note_result(r, "unbound recv", r->ops->recv(fd, (char[8]){0}, 8, 0));
	note_result(r, "bind", r->ops->bind(fd, (void *)&a, addr_any(r, &a, PORT)));
	note_result(r, "recv", r->ops->recv(fd, (char[8]){0}, 8, 0));
	r->ops->close(fd);
}

static double elapsed(struct timespec since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - since.tv_sec) + (double)(now.tv_nsec - since.tv_nsec) * 1e-9;
}

static void timeouts(struct run *r)
{
	struct timeval tv = {.tv_usec = 150000};
	int fd = bound_socket(r);
	struct timespec start;
	double t;

	note_result(r, "SO_RCVTIMEO",
		    r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	clock_gettime(CLOCK_MONOTONIC, &start);
	do_recvfrom(r, fd, 100, 0);
	t = elapsed(start);
	note(r, "after the timeout: %s", t > 0.14 && t < 0.4 ? "yes" : "no");
	clock_gettime(CLOCK_MONOTONIC, &start);
	do_recvmsg(r, fd, 100, 0, MSG_DONTWAIT);
	note(r, "at once: %s", elapsed(start) < 0.1 ? "yes" : "no");
	peer_text(r, "in time");
	do_recvfrom(r, fd, 100, 0);
	tv.tv_usec = 1000000;
	note_result(r, "bad SO_RCVTIMEO",
		    r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	note_result(r, "short SO_RCVTIMEO",
		    r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, 4));
	r->ops->close(fd);
}

static volatile int alarms;
static struct run *alarm_run;

static void on_alarm(int sig)
{
	(void)sig;
	/* the second one brings what is waited for */
	if (++alarms == 2)
		peer_text(alarm_run, "after a signal");
}

static void interrupted(struct run *r, int flags, bool timed)
{
	struct sigaction act = {.sa_handler = on_alarm, .sa_flags = flags}, was;
	struct itimerval it = {.it_value.tv_usec = 50000, .it_interval.tv_usec = 50000}, off = {0};
	struct timeval none = {0};
	int fd = bound_socket(r);

	if (!timed)
		r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
	alarm_run = r;
	alarms = 0;
	sigaction(SIGALRM, &act, &was);
	setitimer(ITIMER_REAL, &it, NULL);
	do_recvfrom(r, fd, 100, 0);
	setitimer(ITIMER_REAL, &off, NULL);
	sigaction(SIGALRM, &was, NULL);
	note(r, "alarms %d", alarms);
	r->ops->close(fd);
}

static void signals(struct run *r)
{
	interrupted(r, 0, false);
	interrupted(r, SA_RESTART, false);
	interrupted(r, SA_RESTART, true);
}

static void many(struct run *r, int fd, unsigned int count, int flags, long timeout_ms)
{
	struct timespec ts = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000};
	struct sockaddr_storage name[8];
	struct mmsghdr msgs[8];
	struct iovec iov[8];
	char buf[8][32];
	int n, i;

	memset(msgs, 0, sizeof(msgs));
	for (i = 0; i < 8; i++) {
		iov[i] = (struct iovec){buf[i], sizeof(buf[i])};
		msgs[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i],
						  .msg_iovlen = 1,
						  .msg_name = &name[i],
						  .msg_namelen = sizeof(name[i])};
	}
	n = r->ops->recvmmsg(fd, msgs, count, flags, timeout_ms >= 0 ? &ts : NULL);
	note_result(r, "recvmmsg", n);
	for (i = 0; i < n; i++) {
		note(r, " len %u", msgs[i].msg_len);
		note_data(r, buf[i], msgs[i].msg_len < 32 ? msgs[i].msg_len : 32);
		note_msg(r, &msgs[i].msg_hdr, 0);
	}
}

static void batches(struct run *r)
{
	int fd = bound_socket(r), i;

	for (i = 0; i < 5; i++)
		peer_text(r, i & 1 ? "odd, and longer than the buffer of thirty-two" : "even");
	arrive();
	many(r, fd, 3, 0, -1);
	many(r, fd, 8, MSG_WAITFORONE, -1);
	many(r, fd, 8, MSG_DONTWAIT, -1);
	peer_text(r, "one");
	many(r, fd, 8, MSG_WAITFORONE, -1);
	for (i = 0; i < 3; i++)
		peer_text(r, "timed");
	arrive();
	many(r, fd, 8, 0, 0);
	many(r, fd, 2, 0, 5000);
	/* a receive timeout ends a batch that has begun */
	peer_text(r, "lonely");
	many(r, fd, 8, 0, -1);
	many(r, fd, 0, 0, -1);
	many(r, fd, 8, MSG_TRUNC | MSG_DONTWAIT, -1);
	r->ops->close(fd);
}

static void sizes(struct run *r)
{
	static const unsigned int len[] = {1,	 13,   14,   18,   100,	 508,  1000,  1400,
					   1452, 1472, 1473, 2000, 4000, 9000, 16000, 65507};
	static unsigned char data[65536];
	int fd = bound_socket(r);
	size_t i, j;

	for (i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		unsigned int n = len[i];

		if (r->family == AF_INET6 && n == 65507)
			n = 65527;
		for (j = 0; j < n && j < sizeof(data); j++)
			data[j] = (unsigned char)(i + j * 7);
		if (n > sizeof(data))
			continue;
		peer_send(r, data, n);
		do_recvfrom(r, fd, 70000, 0);
	}
	r->ops->close(fd);
}

static void lengths(struct run *r)
{
	int fd = bound_socket(r), n = -1;

	note_result(r, "FIONREAD", r->ops->ioctl(fd, FIONREAD, &n));
	note(r, " %d", n);
	peer_text(r, "twelve bytes");
	peer_text(r, "five!");
	arrive();
	note_result(r, "FIONREAD", r->ops->ioctl(fd, FIONREAD, &n));
	note(r, " %d", n);
	do_recvfrom(r, fd, 100, 0);
	note_result(r, "FIONREAD", r->ops->ioctl(fd, FIONREAD, &n));
	note(r, " %d", n);
	do_recvfrom(r, fd, 100, 0);
	note_result(r, "FIONREAD", r->ops->ioctl(fd, FIONREAD, &n));
	note(r, " %d", n);
	note_result(r, "SIOCOUTQ", r->ops->ioctl(fd, TIOCOUTQ, &n));
	note(r, " %d", n);
	r->ops->close(fd);
}

static void note_poll(struct run *r, struct pollfd *fds, int count, int timeout)
{
	int i;

	note_result(r, "poll", r->ops->poll(fds, (nfds_t)count, timeout));
	for (i = 0; i < count; i++)
		note(r, "  revents %x", (unsigned int)fds[i].revents);
}

static void polling(struct run *r)
{
	int fd = bound_socket(r), pair[2];
	struct pollfd one = {.fd = fd, .events = POLLIN};
	struct pollfd mixed[4] = {{.fd = fd, .events = POLLIN | POLLOUT},
				  {.fd = -1, .events = POLLIN}};
	struct timespec start;

	if (pipe(pair))
		exit(1);
	mixed[2] = (struct pollfd){.fd = pair[0], .events = POLLIN};
	mixed[3] = (struct pollfd){.fd = fd, .events = POLLIN | POLLRDNORM | POLLPRI};
	note_poll(r, &one, 1, 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	note_poll(r, &one, 1, 100);
	note(r, "waited: %s", elapsed(start) > 0.09 ? "yes" : "no");
	note_poll(r, mixed, 4, 0);
	peer_text(r, "readable");
	note_poll(r, &one, 1, 1000);
	note_poll(r, &one, 1, 0);
	note_poll(r, mixed, 4, -1);
	do_recvfrom(r, fd, 100, 0);
	note_poll(r, &one, 1, 0);
	mixed[0].events = POLLIN;
	if (write(pair[1], "x", 1) != 1)
		exit(1);
	note_poll(r, mixed, 4, 1000);
	if (read(pair[0], &start, 1) != 1)
		exit(1);
	note_poll(r, mixed, 4, 50);
	peer_text(r, "readable again");
	note_poll(r, mixed, 4, 1000);
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	r->ops->close(fd);
	mixed[0].events = POLLIN;
	one.fd = 99;
	note_poll(r, &one, 1, 0);
	close(pair[0]);
	close(pair[1]);
}

/* SO_RXQ_OVFL: a datagram says how many were lost before it, wherever they were dropped. */
static void overflow(struct run *r)
{
	enum { SENT = 900 };
	int fd = bound_socket(r), one = 1, small = 20000, received = 0, i;
	char data[16], control[128];
	struct iovec iov = {data, sizeof(data)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control};
	struct cmsghdr *c;
	uint32_t lost = 0;

	r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	note_result(r, "SO_RXQ_OVFL",
		    r->ops->setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof(one)));
	for (i = 0; i < SENT; i++)
		peer_send(r, &i, sizeof(i));
	arrive();
	while (r->ops->recv(fd, data, sizeof(data), MSG_DONTWAIT) >= 0)
		received++;
	note(r, "lost some: %d", received > 0 && received < SENT);
	peer_text(r, "last");
	msg.msg_controllen = sizeof(control);
	note_result(r, "recvmsg", r->ops->recvmsg(fd, &msg, 0));
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL)
			memcpy(&lost, CMSG_DATA(c), sizeof(lost));
	note(r, "all that was lost is counted: %d", (int)lost == SENT - received);
	r->ops->close(fd);
}

static void duplicates(struct run *r)
{
	int fd = bound_socket(r), fd2 = r->ops->dup(fd), fd3;

	peer_text(r, "one");
	do_recvfrom(r, fd2, 100, 0);
	fd3 = r->ops->fcntl(fd2, F_DUPFD_CLOEXEC, 50);
	note(r, "F_DUPFD_CLOEXEC %s, F_GETFD %d", fd3 >= 50 ? "high" : "low",
	     r->ops->fcntl(fd3, F_GETFD));
	r->ops->close(fd);
	peer_text(r, "two");
	do_recvfrom(r, fd3, 100, 0);
	r->ops->close(fd2);
	peer_text(r, "three");
	do_recvfrom(r, fd3, 100, 0);
	r->ops->close(fd3);
	note_result(r, "recv", r->ops->recv(fd3, (char[8]){0}, 8, 0));
}

static void local_traffic(struct run *r)
{
	struct sockaddr_storage a;
	int fd = bound_socket(r), self = socket(r->family, SOCK_DGRAM, 0);

	bind(self, (void *)&a, addr_any(r, &a, 5555));
	/* through loopback, to an address of an attached interface */
	note_result(r, "sendto",
		    sendto(self, "to myself", 9, 0, (void *)&a, addr_server(r, &a, PORT)));
	do_recvfrom(r, fd, 100, 0);
	peer_text(r, "from outside");
	do_recvfrom(r, fd, 100, 0);
	note_result(r, "sendto", sendto(self, "again", 5, 0, (void *)&a, addr_server(r, &a, PORT)));
	do_recvfrom(r, fd, 100, MSG_PEEK);
	peer_text(r, "must come second");
	arrive();
	do_recvfrom(r, fd, 100, 0);
	do_recvfrom(r, fd, 100, 0);
	close(self);
	r->ops->close(fd);
}

static const struct test_case cases[] = {
	CASE(basic, 4),	     CASE(order, 100),	     CASE(truncation, 6), CASE(peek, 2),
	CASE(scatter, 4),    CASE(nonblocking, 1),   CASE(timeouts, 1),	  CASE(signals, 1),
	CASE(batches, 10),   CASE(sizes, 16),	     CASE(lengths, 2),	  CASE(polling, 2),
	CASE(duplicates, 3), CASE(local_traffic, 2), CASE(overflow, 2),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
