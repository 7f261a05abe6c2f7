/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* lrp_guard.c - see lrp_guard.h. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lrp_client.h"
#include "lrp_guard.h"

static const char usage[] =
	"Usage: lrp guard IFACE [--port N[-M][,...]] [--shadow] [--trust] [--mode "
	"auto|native|skb]\n"
	"       lrp guard IFACE --off\n"
	"       lrp guard status [--json]\n"
	"  drops on IFACE, before the kernel works for it, what the kernel would drop because its\n"
	"  socket's queue is full\n"
	"  --port    only these ports\n"
	"  --shadow  drop nothing, compare with what the kernel does\n"
	"  --trust   nothing changes where packets for --port go: no NAT, TPROXY, IPVS, IPsec, "
	"tc\n";

static int wrong(const char *what, const char *why)
{
	fprintf(stderr, "lrp: guard: %s%s\n%s", what, why, usage);
	return 2;
}

static int parse_port(const char **at)
{
	unsigned long port;
	char *end;

	if (**at < '0' || **at > '9')
		return -1;
	port = strtoul(*at, &end, 10);
	*at = end;
	return port >= 1 && port <= 65535 ? (int)port : -1;
}

/* "53,5000-5010"; false: not a list of ports. */
static bool parse_ports(const char *text, struct lrp_guard_request *guard)
{
	for (;;) {
		int first = parse_port(&text), last = first;

		if (*text == '-') {
			text++;
			last = parse_port(&text);
		}
		if (first < 0 || last < first || guard->ranges == LRP_GUARD_RANGES)
			return false;
		guard->range[guard->ranges].first = (__u16)first;
		guard->range[guard->ranges++].last = (__u16)last;
		if (!*text)
			return true;
		if (*text++ != ',')
			return false;
	}
}

static int parse(int argc, char **argv, struct lrp_guard_request *guard)
{
	static const struct option options[] = {
		{"port", required_argument, NULL, 'p'}, {"shadow", no_argument, NULL, 's'},
		{"trust", no_argument, NULL, 't'},	{"off", no_argument, NULL, 'o'},
		{"mode", required_argument, NULL, 'm'}, {0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			if (!parse_ports(optarg, guard))
				return wrong(optarg, ": not ports 1 to 65535, N or N-M, at most "
						     "64 of them");
			break;
		case 's':
			guard->flags |= LRP_GUARD_SET_SHADOW;
			break;
		case 't':
			guard->flags |= LRP_GUARD_SET_TRUST;
			break;
		case 'o':
			guard->flags |= LRP_GUARD_SET_OFF;
			break;
		case 'm':
			if (!strcmp(optarg, "auto"))
				guard->mode = LRP_MODE_AUTO;
			else if (!strcmp(optarg, "native"))
				guard->mode = LRP_MODE_NATIVE;
			else if (!strcmp(optarg, "skb"))
				guard->mode = LRP_MODE_SKB;
			else
				return wrong(optarg, ": --mode is auto, native or skb");
			break;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc - 1)
		return wrong("which interface?", "");
	if (!*argv[optind] || strlen(argv[optind]) >= sizeof(guard->ifname))
		return wrong(argv[optind], ": not a name of an interface");
	memcpy(guard->ifname, argv[optind], strlen(argv[optind]));
	if (guard->flags & LRP_GUARD_SET_OFF &&
	    (guard->flags & ~LRP_GUARD_SET_OFF || guard->ranges || guard->mode))
		return wrong("--off takes no other option", "");
	if (guard->flags & LRP_GUARD_SET_TRUST && !guard->ranges)
		return wrong("--trust needs --port", "");
	return 0;
}

static int change(int argc, char **argv)
{
	struct lrp_request request = {.type = LRP_REQ_GUARD}, end = {.type = LRP_REQ_STOP};
	struct lrp_reply reply = {0};
	bool off, started = false;
	int err = parse(argc, argv, &request.guard), fd, passed;

	if (err)
		return err;
	off = request.guard.flags & LRP_GUARD_SET_OFF;
	fd = lrp_client_connect(!off, &started);
	if (fd < 0)
		return 1;
	err = lrp_client_call(fd, &request, &reply, &passed);
	if (passed >= 0)
		close(passed);
	if (err && reply.error)
		fprintf(stderr, "lrp: %s\n", reply.length ? reply.error_text : strerror(-err));
	else if (!err && reply.length)
		puts(reply.error_text);
	if (err && started && !lrp_client_call(fd, &end, &reply, &passed)) {
		char byte;

		/* Leave no daemon behind that nobody needs; its end closes the connection. */
		while (read(fd, &byte, 1) > 0)
			;
	}
	close(fd);
	return err ? 1 : 0;
}

/* ---- status ------------------------------------------------------------------------------------ */

static int64_t number(struct json_object *of, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(of, name, &value) ? json_object_get_int64(value) : 0;
}

static const char *text(struct json_object *of, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(of, name, &value) ? json_object_get_string(value) : "";
}

static void print_socket(struct json_object *socket)
{
	char place[80];

	snprintf(place, sizeof(place), strchr(text(socket, "address"), ':') ? "[%s]:%d" : "%s:%d",
		 text(socket, "address"), (int)number(socket, "port"));
	printf("  %s %s  ", text(socket, "protocol"), place);
	if (number(socket, "pid"))
		printf("%s (pid %d, uid %d)  %s\n", text(socket, "comm"),
		       (int)number(socket, "pid"), (int)number(socket, "uid"),
		       *text(socket, "unit") ? text(socket, "unit") : text(socket, "cgroup"));
	else
		printf("%s, uid %d\n",
		       number(socket, "open") ? "no process found" : "closed meanwhile",
		       (int)number(socket, "uid"));
	printf("    dropped %" PRId64 " by the guard, %" PRId64 " by the kernel; %" PRId64
	       " found room%s\n",
	       number(socket, "dropped"), number(socket, "kernel_drops"), number(socket, "room"),
	       number(socket, "engaged") ? "; watched now" : "");
	printf("    compared %" PRId64 ": the kernel dropped %" PRId64 ", the reader made room for "
	       "%" PRId64 ", wrong %" PRId64 "\n",
	       number(socket, "compared"), number(socket, "confirmed"), number(socket, "emptied"),
	       number(socket, "wrong"));
}

static void print_guard(struct json_object *guard)
{
	struct json_object *reasons, *sockets;

	printf("%s: guarded, %s mode%s%s%s\n", text(guard, "ifname"), text(guard, "mode"),
	       number(guard, "beside_lrp") ? ", behind LRP's program" : "",
	       number(guard, "shadow") ? ", shadow: drops nothing" : "",
	       number(guard, "all_ports") ? "" : ", some ports only");
	if (*text(guard, "suspended"))
		printf("  everything passes: %s\n", text(guard, "suspended"));
	if (json_object_object_get_ex(guard, "reasons", &reasons)) {
		printf("  packets:");
		json_object_object_foreach(reasons, name, value) if (json_object_get_int64(value))
			printf(" %s %" PRId64, name, json_object_get_int64(value));
		putchar('\n');
	}
	if (!json_object_object_get_ex(guard, "sockets", &sockets))
		return;
	for (size_t i = 0; i < json_object_array_length(sockets); i++)
		print_socket(json_object_array_get_idx(sockets, i));
}

static int status(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
	struct json_object *root, *guards;
	bool json = false;
	int c, fd;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'j') {
			fputs(usage, stderr);
			return 2;
		}
		json = true;
	}
	if (optind != argc)
		return wrong(argv[optind], ": unknown argument of status");
	fd = lrp_client_connect(false, NULL);
	if (fd < 0)
		return 1;
	root = lrp_client_json(fd, LRP_REQ_GUARD_STATUS);
	close(fd);
	if (!root)
		return 1;
	if (json) {
		puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
								  JSON_C_TO_STRING_SPACED));
	} else if (json_object_object_get_ex(root, "guards", &guards)) {
		size_t count = json_object_array_length(guards);

		for (size_t i = 0; i < count; i++)
			print_guard(json_object_array_get_idx(guards, i));
		if (!count)
			puts("no interface is guarded: lrp guard IFACE");
	}
	json_object_put(root);
	return 0;
}

int lrp_guard_command(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "status"))
		return status(argc - 1, argv + 1);
	return change(argc, argv);
}
