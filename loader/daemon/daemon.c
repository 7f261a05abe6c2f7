/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* daemon.c - see daemon.h. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "daemon.h"

#define DESCRIPTORS 1048576u /* fs.nr_open is as large by default */

void lrp_daemon_descriptors(void)
{
	struct rlimit limit, wanted;
	FILE *file = fopen("/proc/sys/fs/nr_open", "re");
	unsigned long long most = DESCRIPTORS;

	if (file && fscanf(file, "%llu", &most) != 1)
		most = DESCRIPTORS;
	if (file)
		fclose(file);
	wanted.rlim_cur = wanted.rlim_max = most < DESCRIPTORS ? most : DESCRIPTORS;
	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_max >= wanted.rlim_max)
		return;
	if (setrlimit(RLIMIT_NOFILE, &wanted))
		lrp_log(LRP_LOG_INFO, "lrpd: %llu descriptors can be open (LimitNOFILE)",
			(unsigned long long)limit.rlim_max);
}

/* sd_notify(3) without its library. */
void lrp_daemon_notify(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char text[64];
	int fd;

	if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(addr.sun_path))
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	memcpy(addr.sun_path, path, strlen(path));
	if (path[0] == '@')
		addr.sun_path[0] = 0;
	snprintf(text, sizeof(text), "READY=1\nMAINPID=%d", (int)getpid());
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&addr,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))) < 0)
		lrp_log(LRP_LOG_WARN, "lrpd: NOTIFY_SOCKET: %s", strerror(errno));
	close(fd);
}

void lrp_daemon_log_to(const char *path)
{
	int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);

	if (file < 0)
		lrp_log(LRP_LOG_ERROR, "lrpd: %s: %s", path, strerror(errno));
	else
		dup2(file, 2);
}

int lrp_daemon_start(const char *log)
{
	unsigned char status = 1;
	int ready[2], null;
	pid_t child;

	if (pipe2(ready, O_CLOEXEC))
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (child) {
		close(ready[1]);
		if (read(ready[0], &status, 1) != 1)
			status = 1;
		exit(status);
	}
	close(ready[0]);
	setsid();
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
	}
	if (log)
		lrp_daemon_log_to(log);
	return ready[1];
}

void lrp_daemon_ready(int ready_fd, bool keep_stderr, unsigned char status)
{
	int null;

	if (ready_fd < 0)
		return;
	if (!keep_stderr) {
		/* Only now: errors of the start go to whoever started us. */
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null >= 0)
			dup2(null, 2);
	}
	if (write(ready_fd, &status, 1) != 1)
		status = 1; /* nobody waits any more */
	close(ready_fd);
}
