/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_fault_lrpd.c - kill -9 of lrpd under load: alone, together with an
 * application, again and again while sockets come and go, and while it reclaims.
 *
 * A socket that is there goes on without a gap: every number, once. The new lrpd knows it,
 * gives channels to new sockets, and finds what the dead left behind.
 */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "fault_bed.h"

#define RATE 100000u

/* Another lrpd than `old` answers. Its pid, or -1. */
static int successor(int old, unsigned int ms)
{
	int pid = -1;

	return FAULT_WAIT((pid = fault_lrpd_pid()) > 0 && pid != old, ms) ? pid : -1;
}

static struct fault_app *bystander(void)
{
	struct fault_app *app = fault_app_new(FAULT_PORT + 1, 2);

	app->frames = 16384;
	app->nice = -10;
	fault_spawn(app);
	return app;
}

static void test_alone(unsigned int rounds)
{
	struct fault_app *other = bystander(), *next;
	struct fault_load load;
	int pid = fault_lrpd_pid();

	fault_load_start(&load, 2, RATE, 60);
	CHECK(fault_receives(other, 3000), "nothing arrives");
	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t killed = fault_now_ns();
		int old = pid;

		atomic_store(&other->gap_ns, 0);
		kill(old, SIGKILL);
		/* Also one that opens its socket while none is there to ask. */
		next = fault_app_new(FAULT_PORT, 2);
		next->nice = -10;
		fault_spawn(next);
		pid = successor(old, 5000);
		CHECK(pid > 0, "no new lrpd");
		printf("a new lrpd answered after %.0f ms, longest gap of traffic %.1f ms\n",
		       (double)(fault_now_ns() - killed) / 1e6, (double)other->gap_ns / 1e6);
		CHECK(fault_channel(FAULT_PORT + 1, "pid") == other->pid[0],
		      "the new lrpd does not know the socket");
		CHECK(FAULT_WAIT(next->call > 0, 3000),
		      "a new socket gets nothing through a channel: channels %llu, kernel %llu",
		      (unsigned long long)next->channels, (unsigned long long)next->kernel);
		CHECK(fault_channel(FAULT_PORT, "pid") == next->pid[0],
		      "the new lrpd does not know the new socket");
		fault_audit_clean("a new lrpd", 3000);
		fault_stop(next);
		CHECK(fault_port_free(FAULT_PORT, 1000) >= 0,
		      "the port of a closed socket is not free");
		fault_app_free(next);
	}
	fault_load_stop(&load);
	fault_check_all(other, &load, 0, "kill -9 of lrpd");
	CHECK(other->kernel == 0, "%llu came through the kernel",
	      (unsigned long long)other->kernel);
	CHECK(fault_channel(FAULT_PORT + 1, "drop_full") == 0, "dropped");
	fault_stop(other);
	fault_nobody_left();
	fault_audit_idle("after kill -9 of lrpd", 5000);
	fault_app_free(other);
}

/* Holds frames: the heir must find them in the frame table. */
static int hoard(struct fault_app *app, int fd)
{
	static struct lrp_zc zc[100];
	int held = 0;

	while (!app->stop) {
		int n = held < 100 ? lrp_zc_recv(fd, zc + held, 100 - (unsigned int)held, 0) : 0;

		held += n > 0 ? n : 0;
		app->step = (uint32_t)held;
		fault_sleep_ms(1);
	}
	return 0;
}

static void test_with_application(unsigned int rounds)
{
	struct fault_app *other = bystander(), *victim;
	long others = fault_endpoints_used();
	struct fault_load load;

	fault_load_start(&load, 2, RATE, 60);
	CHECK(fault_receives(other, 3000), "nothing arrives");
	for (unsigned int i = 0; i < rounds; i++) {
		int pid = fault_lrpd_pid(), free_ms;
		struct fault_pool sum;
		uint64_t killed;

		victim = fault_app_new(FAULT_PORT, 2);
		if (i % 2)
			victim->body = hoard;
		victim->children = i % 3;
		fault_spawn(victim);
		if (i % 2)
			CHECK(FAULT_WAIT(victim->step == 100, 2000), "holds %u", victim->step);
		else
			CHECK(FAULT_WAIT(victim->received > 100, 2000), "receives nothing");
		killed = fault_now_ns();
		if (i % 4 < 2) {
			kill(pid, SIGKILL);
			fault_kill(victim);
		} else {
			/* lrpd dies while it reclaims */
			fault_kill(victim);
			usleep(fault_random(4000));
			kill(pid, SIGKILL);
		}
		free_ms = fault_port_free(FAULT_PORT, 1000);
		CHECK(free_ms >= 0, "the port is not free after a second");
		CHECK(successor(pid, 5000) > 0, "no new lrpd");
		/* It gives those who live a second to come forward; and `lrp` may have asked the one that
		 * died, and waits for it. */
		CHECK(FAULT_WAIT(fault_endpoints_used() == others, 6000),
		      "%ld endpoints are used, not %ld", fault_endpoints_used(), others);
		printf("lrpd and application: port free after %d ms, all back after %.0f ms\n",
		       free_ms, (double)(fault_now_ns() - killed) / 1e6);
		CHECK(fault_audit(&sum) && sum.ok && !sum.lost && !sum.doubled && !sum.held,
		      "lost %ld doubled %ld held %ld", sum.lost, sum.doubled, sum.held);
		fault_app_free(victim);
	}
	fault_load_stop(&load);
	fault_check_all(other, &load, 0, "kill -9 of lrpd and an application");
	fault_audit_idle("after kill -9 of lrpd and applications", 5000);
	fault_stop(other);
	fault_nobody_left();
	fault_app_free(other);
}

/* Opens and closes sockets, receives a little on each. */
static int churn(struct fault_app *app, int unused)
{
	char buf[64];

	(void)unused;
	while (!app->stop) {
		struct sockaddr_in any = {.sin_family = AF_INET,
					  .sin_port = htons((uint16_t)(app->port + 100))};
		struct timeval timeout = {.tv_usec = 1000};
		int fd = lrp_socket(AF_INET, SOCK_DGRAM, 0);

		if (fd < 0 ||
		    lrp_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) ||
		    lrp_bind(fd, (struct sockaddr *)&any, sizeof(any))) {
			app->last_errno = errno;
			atomic_fetch_add(&app->errors, 1);
		}
		lrp_recv(fd, buf, sizeof(buf), 0);
		if (fd < 0 || lrp_close(fd)) {
			app->last_errno = errno;
			atomic_fetch_add(&app->errors, 1);
		}
		atomic_fetch_add(&app->step, 1);
	}
	return 0;
}

static void test_again_and_again(unsigned int seconds)
{
	struct fault_app *other = bystander(), *churner = fault_app_new(FAULT_PORT + 2, 2), *next;
	uint64_t until = fault_now_ns() + seconds * 1000000000ull;
	struct fault_load load;
	unsigned int kills = 0;

	churner->body = churn;
	fault_spawn(churner);
	fault_load_start(&load, 2, RATE, 60);
	CHECK(fault_receives(other, 3000), "nothing arrives");
	while (fault_now_ns() < until) {
		int pid = successor(0, 8000);

		CHECK(pid > 0, "no lrpd after %u kills", kills);
		if (pid < 0)
			break;
		usleep(fault_random(60000));
		kill(pid, SIGKILL);
		kills++;
		CHECK(fault_receives(other, 500), "traffic has stopped after %u kills", kills);
	}
	CHECK(successor(0, 8000) > 0, "no lrpd after %u kills", kills);
	next = fault_app_new(FAULT_PORT, 2);
	fault_spawn(next);
	CHECK(FAULT_WAIT(next->call > 0, 3000), "a new socket gets nothing through a channel");
	fault_stop(next);
	CHECK(churner->step > 3 * seconds, "only %u sockets were opened", churner->step);
	CHECK(!churner->errors, "socket calls failed: %s", strerror(churner->last_errno));
	printf("%u kills, %u sockets opened and closed\n", kills, churner->step);
	fault_stop(churner);
	fault_load_stop(&load);
	fault_check_all(other, &load, 0, "kill -9 of lrpd again and again");
	fault_stop(other);
	/* Whose sockets and stocks are gone has nothing left. */
	fault_nobody_left();
	fault_audit_idle("after killing lrpd again and again", 5000);
	fault_app_free(next);
	fault_app_free(churner);
	fault_app_free(other);
}

int main(int argc, char **argv)
{
	(void)argc;
	fault_begin(argv, NULL);
	test_alone(3);
	test_with_application(fault_soak_s(4));
	test_again_and_again(fault_soak_s(8));
	return fault_end();
}
