/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * lrp_tx_send() when the ground moves: neighbours, routes and devices that
 * change, go away or were never there; full queues; fork.
 */
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "tx_bed.h"

static uint8_t payload[1400];
static struct iovec iov = {payload, 100};
static int capture, shadow4, shadow6;

static bool arrived_from(int fd, uint8_t mac_last)
{
	struct frames frames;
	bool found = false;

	capture_take(fd, &frames, 200);
	for (uint32_t i = 0; i < frames.count; i++)
		found |= frames.bytes[i][5] == mac_last;
	frames_free(&frames);
	return found;
}

static bool arrives(int fd)
{
	struct frames frames;
	bool found;

	capture_take(fd, &frames, 200);
	found = frames.count;
	frames_free(&frames);
	return found;
}

static void never_ours(struct lrp_udp_datagram d)
{
	struct lrp_tx_dest dest = {0};

	for (int i = 0; i < 20; i++) {
		assert_int_equal(tx_one(&dest, &d, 0), 0);
		usleep(1000);
	}
}

static void test_kernels_own(void **state)
{
	(void)state;
	never_ours(datagram(AF_INET, "127.0.0.1", &iov));
	never_ours(datagram(AF_INET, "198.18.1.1", &iov)); /* local */
	never_ours(datagram(AF_INET, "198.18.1.255", &iov));
	never_ours(datagram(AF_INET, "255.255.255.255", &iov));
	never_ours(datagram(AF_INET, "224.0.0.251", &iov));
	never_ours(datagram(AF_INET, "203.0.113.1", &iov)); /* no route */
	never_ours(datagram(AF_INET, "0.0.0.0", &iov));
	never_ours(datagram(AF_INET6, "::1", &iov));
	never_ours(datagram(AF_INET6, "2001:db8:1::1", &iov));
	never_ours(datagram(AF_INET6, "ff02::1", &iov));
	never_ours(datagram(AF_INET6, "::ffff:198.18.1.2", &iov));
	bed_sh("ip route add blackhole 198.18.77.0/24 && ip route add unreachable 198.18.78.0/24");
	never_ours(datagram(AF_INET, "198.18.77.1", &iov));
	never_ours(datagram(AF_INET, "198.18.78.1", &iov));
	/* The neighbour does not exist. */
	never_ours(datagram(AF_INET, "198.18.1.99", &iov));
	never_ours(datagram(AF_INET6, "2001:db8:1::99", &iov));
}

static void test_own_source_and_device(void **state)
{
	struct lrp_udp_datagram d = datagram(AF_INET, "198.18.1.2", &iov);
	struct lrp_tx_dest dest = {0};

	(void)state;
	d.src = address(AF_INET, "198.18.1.1");
	tx_warm(&dest, &d, shadow4);
	d.oif = if_nametoindex("s0");
	tx_warm(&dest, &d, shadow4);
	d.oif = if_nametoindex("lo");
	never_ours(d);
	d = datagram(AF_INET6, "2001:db8:1::2", &iov);
	d.src = address(AF_INET6, "2001:db8:1::1");
	memset(&dest, 0, sizeof(dest));
	tx_warm(&dest, &d, shadow6);
	/* Another's source address, to neighbours that are resolved. */
	d.src = address(AF_INET6, "2001:db8:1::50");
	never_ours(d);
	d = datagram(AF_INET, "198.18.1.2", &iov);
	d.src = address(AF_INET, "198.18.1.50");
	never_ours(d);
	capture_drop(capture);
}

/* One that is asked for by many keys in turn is never sent with another's route. */
static void test_key_mismatch_starts_over(void **state)
{
	struct lrp_udp_datagram a = datagram(AF_INET, "198.18.1.2", &iov);
	struct lrp_udp_datagram b = datagram(AF_INET, "198.18.2.2", &iov);
	struct lrp_tx_dest dest = {0};

	(void)state;
	tx_warm(&dest, &a, shadow4);
	assert_int_equal(tx_one(&dest, &a, 0), 1);
	assert_int_equal(tx_one(&dest, &b, 0), 0);
	tx_warm(&dest, &b, shadow4);
	assert_int_equal(dest.ifindex, if_nametoindex("s1"));
	assert_int_equal(tx_one(&dest, &a, 0), 0);
	capture_drop(capture);
}

/* The peer's MAC as the kernel's table has it: at once when the change is reported, within a
 * second when not. */
static void test_neighbour_replaced(void **state)
{
	struct lrp_udp_datagram d = datagram(AF_INET, "198.18.1.2", &iov);
	struct lrp_tx_dest dest = {0};
	int i;

	(void)state;
	tx_warm(&dest, &d, shadow4);
	bed_sh("ip neigh replace 198.18.1.2 lladdr 02:00:00:00:00:aa dev s0 nud permanent");
	capture_drop(capture);
	epoch++;
	assert_int_equal(tx_one(&dest, &d, 0), 1);
	assert_true(arrived_from(capture, 0xaa));

	bed_sh("ip neigh replace 198.18.1.2 lladdr 02:00:00:00:00:bb dev s0 nud permanent");
	for (i = 0; i < 30; i++) {
		usleep(50000);
		/* Permanent: nothing needs to go through the shadow any more. */
		assert_int_equal(tx_one(&dest, &d, 0), 1);
		if (arrived_from(capture, 0xbb))
			break;
	}
	assert_in_range(i, 0, 25);
	bed_sh("ip neigh del 198.18.1.2 dev s0");
	epoch++;
	capture_drop(capture);
}

/* Not more often than once a second, with changes reported all the time, and not less. */
static void test_one_a_second_through_the_shadow(void **state)
{
	struct lrp_udp_datagram d = datagram(AF_INET6, "2001:db8:1::2", &iov);
	struct lrp_tx_dest dest = {0};
	int kernels = 0;

	(void)state;
	tx_warm(&dest, &d, shadow6);
	for (int i = 0; i < 320; i++) {
		usleep(10000);
		if (i % 5 == 0)
			epoch++;
		kernels += !tx_or_shadow(&dest, &d, shadow6);
	}
	assert_in_range(kernels, 2, 4);
	capture_drop(capture);
}

static void test_route_change(void **state)
{
	struct lrp_udp_datagram d = datagram(AF_INET, "198.18.9.9", &iov);
	int other = capture_open("blaster", "b0");
	struct lrp_tx_dest dest = {0};

	(void)state;
	bed_sh("ip route add 198.18.9.0/24 via 198.18.1.2");
	epoch++;
	tx_warm(&dest, &d, shadow4);
	assert_int_equal(dest.ifindex, if_nametoindex("s0"));
	bed_sh("ping -c1 -W1 198.18.2.2 >/dev/null; ip route replace 198.18.9.0/24 via 198.18.2.2");
	capture_drop(capture);
	capture_drop(other);
	epoch++;
	assert_int_equal(tx_one(&dest, &d, 0), 1);
	assert_true(arrives(other));
	assert_false(arrives(capture));
	/* An IPv4 route with a gateway of IPv6. */
	bed_sh("ping -c1 -W1 2001:db8:1::2 >/dev/null; "
	       "ip route replace 198.18.9.0/24 via inet6 2001:db8:1::2 dev s0");
	epoch++;
	tx_warm(&dest, &d, shadow4);
	assert_int_equal(dest.ifindex, if_nametoindex("s0"));
	assert_true(arrives(capture));
	/* None: the kernel has the error. */
	bed_sh("ip route del 198.18.9.0/24");
	epoch++;
	assert_int_equal(tx_one(&dest, &d, 0), 0);
	assert_int_equal(shadow_send(shadow4, &d), -ENETUNREACH);
	/* Policy routing, by TOS. */
	bed_sh("ip route add 198.18.9.0/24 via 198.18.1.2 && "
	       "ip route add 198.18.9.0/24 via 198.18.2.2 table 7 && ip rule add tos 0x10 table 7");
	epoch++;
	d.tos = 0x10;
	tx_warm(&dest, &d, shadow4);
	assert_int_equal(dest.ifindex, if_nametoindex("s1"));
	d.tos = 0;
	tx_warm(&dest, &d, shadow4);
	assert_int_equal(dest.ifindex, if_nametoindex("s0"));
	bed_sh("ip rule del tos 0x10 table 7 && ip rule add ipproto udp dport 5000 table 7");
	epoch++;
	tx_warm(&dest, &d, shadow4);
	assert_int_equal(dest.ifindex, if_nametoindex("s1"));
	bed_sh("ip rule del ipproto udp dport 5000 table 7 && ip route del 198.18.9.0/24");
	epoch++;
	close(other);
	capture_drop(capture);
}

static void test_device_down_and_gone(void **state)
{
	struct lrp_udp_datagram d = datagram(AF_INET, "198.18.3.2", &iov);
	struct lrp_tx_dest dest = {0};
	int there;

	(void)state;
	bed_sh("bash -c '. tools/testbed/bed.sh; bed_pair third t0 d0 3'");
	epoch++;
	tx_warm(&dest, &d, shadow4);
	/* Nothing is reported: the device itself says so. */
	bed_sh("ip link set t0 down");
	assert_int_equal(tx_one(&dest, &d, 0), 0);
	assert_int_equal(shadow_send(shadow4, &d), -ENETUNREACH);
	bed_sh("ip link set t0 up");
	epoch++;
	tx_warm(&dest, &d, shadow4);
	bed_sh("ip link del t0");
	assert_int_equal(tx_one(&dest, &d, 0), 0);
	assert_int_equal(shadow_send(shadow4, &d), -ENETUNREACH);
	/* Another of the same name. */
	bed_sh("bash -c '. tools/testbed/bed.sh; bed_pair third t0 d0 3'");
	epoch++;
	there = capture_open("third", "d0");
	tx_warm(&dest, &d, shadow4);
	assert_int_equal(dest.ifindex, if_nametoindex("t0"));
	assert_true(arrives(there));
	/* A smaller MTU that nobody reported. */
	iov.iov_len = d.length = 1400;
	bed_sh("ip link set t0 mtu 1000");
	assert_int_equal(tx_one(&dest, &d, 0), 0);
	assert_int_equal(tx_one(&dest, &d, 0), 1);
	assert_int_equal(dest.mtu, 1000);
	iov.iov_len = 100;
	close(there);
	bed_sh("ip link del t0");
	epoch++;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void test_local_congestion(void **state)
{
	struct lrp_udp_datagram d = datagram(AF_INET, "198.18.1.2", &iov);
	struct lrp_tx_dest dest = {0};
	uint64_t start;
	int n, sent = 0;

	(void)state;
	/* A short queue: what it drops is reported. */
	bed_sh("tc qdisc add dev s0 root tbf rate 1mbit burst 2000 limit 3000");
	tx_warm(&dest, &d, shadow4);
	do {
		n = tx_one(&dest, &d, 0);
		sent += n == 1;
	} while (n >= 0 && sent < 1000);
	assert_int_equal(n, -ENOBUFS);
	assert_in_range(sent, 1, 200);
	/* A long one: the send buffer fills; who does not want to wait is told, who waits gets through. */
	bed_sh("tc qdisc replace dev s0 root tbf rate 8mbit burst 2000 limit 100000000");
	iov.iov_len = d.length = 1400;
	sent = 0;
	do {
		n = tx_one(&dest, &d, MSG_DONTWAIT);
		if (!n)
			shadow_send(shadow4, &d);
		sent += n == 1;
	} while (n >= 0 && sent < 10000);
	assert_int_equal(n, -EAGAIN);
	assert_in_range(sent, 10, 1000);
	start = now_ms();
	for (int i = 0; i < 100; i++)
		assert_true(tx_one(&dest, &d, 0) >= 0);
	assert_in_range(now_ms() - start, 50, 2000);
	iov.iov_len = 100;
	bed_sh("tc qdisc del dev s0 root");
	capture_drop(capture);
}

/* IP_TOS stands for a priority that classful queues look at. */
static void test_priority_of_tos(void **state)
{
	struct lrp_udp_datagram d = datagram(AF_INET, "198.18.1.2", &iov);
	struct lrp_tx_dest dest = {0};
	int priority = -1;
	socklen_t len = sizeof(priority);

	(void)state;
	d.tos = 0x10;
	tx_warm(&dest, &d, shadow4);
	assert_int_equal(
		getsockopt(lrp_tx_devices[dest.slot].fd, SOL_SOCKET, SO_PRIORITY, &priority, &len),
		0);
	assert_int_equal(priority, 6);
	capture_drop(capture);
}

/* The socket hears nothing, and cannot be made to. */
static void test_deaf(void **state)
{
	struct lrp_udp_datagram d = datagram(AF_INET, "198.18.1.2", &iov);
	struct sockaddr_ll all = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct lrp_tx_dest dest = {0};
	char buf[64];
	int zero = 0;

	(void)state;
	tx_warm(&dest, &d, shadow4);
	for (int i = 0; i < 2; i++) {
		const struct lrp_tx_device *device = &lrp_tx_devices[dest.slot];
		int fd = i ? device->bare_fd : device->fd;

		all.sll_ifindex = (int)dest.ifindex;
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &zero, sizeof(zero)),
				 -1);
		assert_int_equal(errno, EPERM);
		assert_int_equal(bind(fd, (struct sockaddr *)&all, sizeof(all)), 0);
		bed_sh("ip netns exec client ping -c1 -W1 198.18.1.1 >/dev/null");
		assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), -1);
		assert_int_equal(errno, EAGAIN);
	}
	capture_drop(capture);
}

static ino_t inode(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_ino;
}

static int in_child(int (*run)(void *), void *arg)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(run(arg));
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

struct child {
	struct lrp_tx_dest dest;
	struct lrp_udp_datagram d;
	ino_t parents;
	bool unprivileged;
};

static int child_sends(void *arg)
{
	struct child *c = arg;
	int n;

	if (c->unprivileged && setresuid(65534, 65534, 65534))
		return 10;
	/* What the parent had is closed, whatever the child does next. */
	for (int fd = 3; fd < 1024; fd++)
		if (inode(fd) == c->parents)
			return 11;
	n = tx_one(&c->dest, &c->d, 0);
	if (c->unprivileged)
		return n == 0 && tx_one(&c->dest, &c->d, 0) == 0 ? 0 : 12;
	if (n == 0) /* the one of the second */
		n = tx_one(&c->dest, &c->d, 0);
	if (n != 1)
		return 13;
	return inode(lrp_tx_devices[c->dest.slot].fd) != c->parents ? 0 : 14;
}

static void test_fork(void **state)
{
	struct child c = {.d = datagram(AF_INET, "198.18.1.2", &iov)};

	(void)state;
	tx_warm(&c.dest, &c.d, shadow4);
	c.parents = inode(lrp_tx_devices[c.dest.slot].fd);
	assert_true(c.parents);
	capture_drop(capture);
	assert_int_equal(in_child(child_sends, &c), 0);
	assert_true(arrives(capture));
	/* A child that gave up its privilege has not inherited it in a descriptor. */
	c.unprivileged = true;
	assert_int_equal(in_child(child_sends, &c), 0);
	/* The parent's is as it was. */
	assert_true(tx_one(&c.dest, &c.d, 0) == 1 || tx_one(&c.dest, &c.d, 0) == 1);
	assert_int_equal(inode(lrp_tx_devices[c.dest.slot].fd), c.parents);
	capture_drop(capture);
}

/* Daemons close what they did not open. */
static void test_descriptors_closed_by_others(void **state)
{
	struct lrp_udp_datagram d = datagram(AF_INET, "198.18.1.2", &iov);
	struct lrp_tx_dest dest = {0};

	(void)state;
	tx_warm(&dest, &d, shadow4);
	for (int fd = 100; fd < 10000; fd++)
		close(fd);
	assert_int_equal(tx_one(&dest, &d, 0), 0);
	tx_warm(&dest, &d, shadow4);
	capture_drop(capture);
}

/* IPsec is the kernel's: nothing may go past a policy in the clear. */
static void test_ipsec_policy(void **state)
{
	struct lrp_udp_datagram d = datagram(AF_INET, "198.18.1.2", &iov);
	struct lrp_tx_dest dest = {0};

	(void)state;
	if (system("ip xfrm policy add src 198.18.1.1 dst 198.18.1.2 proto udp dir out "
		   "tmpl proto esp reqid 1 mode transport 2>/dev/null"))
		skip();
	usleep(1100000);
	epoch++;
	never_ours(d);
	bed_sh("ip xfrm policy flush");
	usleep(1100000);
	tx_warm(&dest, &d, shadow4);
	capture_drop(capture);
}

static int setup(void **state)
{
	(void)state;
	bed_sh(BED_NET);
	capture = capture_open("client", "c0");
	shadow4 = shadow_open(AF_INET);
	shadow6 = shadow_open(AF_INET6);
	lrp_tx_epoch_from(&epoch);
	if (!lrp_tx_ready()) {
		fprintf(stderr, "no packet socket: CAP_NET_RAW is missing\n");
		exit(77);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernels_own),
		cmocka_unit_test(test_own_source_and_device),
		cmocka_unit_test(test_key_mismatch_starts_over),
		cmocka_unit_test(test_neighbour_replaced),
		cmocka_unit_test(test_one_a_second_through_the_shadow),
		cmocka_unit_test(test_route_change),
		cmocka_unit_test(test_device_down_and_gone),
		cmocka_unit_test(test_local_congestion),
		cmocka_unit_test(test_priority_of_tos),
		cmocka_unit_test(test_deaf),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_descriptors_closed_by_others),
		cmocka_unit_test(test_ipsec_policy),
	};

	(void)argc;
	bed_enter(argv);
	return cmocka_run_group_tests(tests, setup, NULL) ? 1 : 0;
}
