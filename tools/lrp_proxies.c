/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* lrp_proxies.c - see lrp_proxies.h. */
#include "lrp_proxies.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lrp_client.h"
#include "lrp_print.h"

static const char usage[] =
	"Usage: lrp proxies [--json]              list: priority, CPU time, queue, drops\n"
	"       lrp proxies on|off KIND...\n"
	"       lrp proxies set KIND... [--nice N] [--limit FRAMES] [--cgroup PATH|own]\n"
	"                                [--ports PORT,...]\n"
	"KIND: arp, icmp, forward, host, or all (arp, icmp and forward)\n";

static const char *const kind_name[LRP_PROXY_COUNT] = {
#define X(NAME, name, text) #name,
	LRP_PROXY_KINDS(X)
#undef X
};

static int wrong(const char *format, const char *what)
{
	fputs("lrp: proxies: ", stderr);
	fprintf(stderr, format, what);
	fputs("\n", stderr);
	fputs(usage, stderr);
	return 2;
}

/* The whole text is a number in these bounds. */
static bool parse_number(const char *text, long least, long most, long *value)
{
	char *end;

	errno = 0;
	*value = strtol(text, &end, 10);
	return !errno && *text && !*end && *value >= least && *value <= most;
}

static bool parse_kind(const char *text, __u32 *kinds)
{
	if (!strcmp(text, "all")) {
		*kinds |= 1u << LRP_PROXY_ARP | 1u << LRP_PROXY_ICMP | 1u << LRP_PROXY_FORWARD;
		return true;
	}
	for (int k = 0; k < LRP_PROXY_COUNT; k++)
		if (!strcmp(text, kind_name[k])) {
			*kinds |= 1u << k;
			return true;
		}
	return false;
}

static bool parse_ports(char *list, struct lrp_proxy_request *request)
{
	char *save = NULL;
	long port;

	for (char *one = strtok_r(list, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		if (request->ports == LRP_PROXY_PORTS || !parse_number(one, 1, 65535, &port))
			return false;
		request->port[request->ports++] = (__u16)port;
	}
	return true;
}

static int change(int fd, const struct lrp_proxy_request *proxy)
{
	struct lrp_request request = {.type = LRP_REQ_PROXY_SET};
	struct lrp_reply reply = {0};
	int passed, err;

	request.proxy = *proxy;
	err = lrp_client_call(fd, &request, &reply, &passed);
	if (passed >= 0)
		close(passed);
	if (err && reply.error)
		fprintf(stderr, "lrp: proxies: %s\n",
			reply.length ? reply.error_text : strerror(-err));
	else if (!err && reply.length)
		fprintf(stderr, "lrp: proxies: %s\n", reply.error_text);
	return err ? 1 : 0;
}

static int change_now(const struct lrp_proxy_request *proxy)
{
	int fd = lrp_client_connect(false, NULL), result;

	if (fd < 0)
		return 1;
	result = change(fd, proxy);
	close(fd);
	return result;
}

int lrp_proxies_default(int fd)
{
	struct lrp_proxy_request request = {.changes = LRP_PROXY_CHANGE_ON};

	parse_kind("all", &request.kinds);
	return change(fd, &request);
}

static int turn(int argc, char **argv, __u32 to)
{
	struct lrp_proxy_request request = {.changes = to};

	for (int i = 1; i < argc; i++)
		if (!parse_kind(argv[i], &request.kinds))
			return wrong("%s: no such kind", argv[i]);
	if (!request.kinds)
		return wrong("%s: which ones?", argv[0]);
	return change_now(&request);
}

static int set_path(struct lrp_proxy_request *request, const char *path)
{
	/* Below the root, whether it is written with a slash or not. */
	while (*path == '/')
		path++;
	if (!strcmp(path, "own"))
		path = "";
	else if (!*path)
		return wrong("--cgroup: a path below the root of the hierarchy, or own%s", "");
	if (strlen(path) >= sizeof(request->cgroup))
		return wrong("--cgroup %s: too long", path);
	memcpy(request->cgroup, path, strlen(path) + 1);
	return 0;
}

static int set(int argc, char **argv)
{
	static const struct option options[] = {
		{"nice", required_argument, NULL, 'n'},
		{"limit", required_argument, NULL, 'l'},
		{"cgroup", required_argument, NULL, 'c'},
		{"ports", required_argument, NULL, 'p'},
		{0},
	};
	struct lrp_proxy_request request = {0};
	long value;
	int c;

	optind = 0; /* once more from the beginning */
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'n':
			if (!parse_number(optarg, -20, 19, &value))
				return wrong("--nice %s: -20 to 19 are possible", optarg);
			request.nice = (__s32)value;
			request.changes |= LRP_PROXY_CHANGE_NICE;
			break;
		case 'l':
			if (!parse_number(optarg, 1, 1 << 20, &value))
				return wrong("--limit %s: not a number of frames", optarg);
			request.limit = (__u32)value;
			request.changes |= LRP_PROXY_CHANGE_LIMIT;
			break;
		case 'c':
			c = set_path(&request, optarg);
			if (c)
				return c;
			request.changes |= LRP_PROXY_CHANGE_CGROUP;
			break;
		case 'p':
			if (!parse_ports(optarg, &request))
				return wrong("--ports %s: up to 16 ports with commas between",
					     optarg);
			request.changes |= LRP_PROXY_CHANGE_PORTS;
			break;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	for (; optind < argc; optind++)
		if (!parse_kind(argv[optind], &request.kinds))
			return wrong("%s: no such kind", argv[optind]);
	if (!request.kinds || !request.changes)
		return wrong("set: which ones, and what?%s", "");
	return change_now(&request);
}

static int list(bool json)
{
	int fd = lrp_client_connect(false, NULL);
	struct json_object *root;

	if (fd < 0)
		return 1;
	root = lrp_client_json(fd, LRP_REQ_PROXIES);
	close(fd);
	if (!root)
		return 1;
	if (json)
		puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
								  JSON_C_TO_STRING_SPACED));
	else
		lrp_print_proxies(root);
	json_object_put(root);
	return 0;
}

int lrp_proxies(int argc, char **argv)
{
	if (argc == 1)
		return list(false);
	if (argc == 2 && !strcmp(argv[1], "--json"))
		return list(true);
	if (!strcmp(argv[1], "on"))
		return turn(argc - 1, argv + 1, LRP_PROXY_CHANGE_ON);
	if (!strcmp(argv[1], "off"))
		return turn(argc - 1, argv + 1, LRP_PROXY_CHANGE_OFF);
	if (!strcmp(argv[1], "set"))
		return set(argc - 1, argv + 1);
	return wrong("%s: list, on, off or set?", argv[1]);
}
