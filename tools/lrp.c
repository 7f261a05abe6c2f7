/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * lrp.c - the command: attach, detach, look. It asks lrpd, which it starts if need
 * be. Exit codes: 0 done, 1 failed (one line on stderr says what and the way
 * out), 2 wrong usage.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lrp_client.h"
#include "lrp_guard.h"
#include "lrp_print.h"
#include "lrp_proxies.h"

static const char usage[] =
	"Usage: lrp COMMAND\n"
	"  attach IFACE [--mode auto|native|skb] [--frames N] [--frame-size 2048|4096] [--libxdp]\n"
	"         [--proxies]\n"
	"                      receive on IFACE through LRP; again: replace the program\n"
	"  detach IFACE|--all  give IFACE back to the kernel\n"
	"  status [--json] [--audit]\n"
	"                      interfaces, pools, packets by reason; --audit: is every frame "
	"there\n"
	"  channels [--json]   sockets and their channels\n"
	"  proxies [on|off|set ...]\n"
	"                      who takes what no socket of LRP owns: lrp-proxies(8)\n"
	"  guard IFACE [--port N[-M][,...]] [--shadow] [--off] [--trust]; guard status [--json]\n"
	"                      early discard for kernel sockets: drop what their full queues "
	"would\n"
	"  stop                detach everything, end lrpd\n"
	"  help, version\n";

static int wrong(const char *format, const char *what)
{
	fputs("lrp: ", stderr);
	fprintf(stderr, format, what);
	fputs("\n", stderr);
	fputs(usage, stderr);
	return 2;
}

static bool parse_number(const char *text, __u32 *value)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || !*text || *end || text[0] == '-' || n > UINT32_MAX)
		return false;
	*value = (__u32)n;
	return true;
}

static bool set_ifname(struct lrp_request *request, const char *name)
{
	if (!*name || strlen(name) >= sizeof(request->attach.ifname))
		return false;
	memset(request->attach.ifname, 0, sizeof(request->attach.ifname));
	memcpy(request->attach.ifname, name, strlen(name));
	return true;
}

/* A request that is answered by a line. */
static int call_line(int fd, struct lrp_request *request)
{
	struct lrp_reply reply = {0};
	int passed, err = lrp_client_call(fd, request, &reply, &passed);

	if (passed >= 0)
		close(passed);
	if (err && reply.error)
		fprintf(stderr, "lrp: %s\n", reply.length ? reply.error_text : strerror(-err));
	else if (!err && reply.length)
		puts(reply.error_text);
	return err ? 1 : 0;
}

static int ask_to_stop(int fd)
{
	struct lrp_request request = {.type = LRP_REQ_STOP};
	int result = call_line(fd, &request);
	char byte;

	/* Its end closes the connection: then all is detached. */
	while (!result && read(fd, &byte, 1) > 0)
		;
	return result;
}

static int attach(int argc, char **argv)
{
	static const struct option options[] = {
		{"mode", required_argument, NULL, 'm'},
		{"frames", required_argument, NULL, 'n'},
		{"frame-size", required_argument, NULL, 's'},
		{"libxdp", no_argument, NULL, 'x'},
		{"proxies", no_argument, NULL, 'p'},
		{0},
	};
	struct lrp_request request = {.type = LRP_REQ_ATTACH};
	bool started = false, proxies = false;
	int c, fd, result;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			proxies = true;
			break;
		case 'm':
			if (!strcmp(optarg, "auto"))
				request.attach.mode = LRP_MODE_AUTO;
			else if (!strcmp(optarg, "native"))
				request.attach.mode = LRP_MODE_NATIVE;
			else if (!strcmp(optarg, "skb"))
				request.attach.mode = LRP_MODE_SKB;
			else
				return wrong("--mode %s: auto, native or skb", optarg);
			break;
		case 'n':
			if (!parse_number(optarg, &request.attach.frames))
				return wrong("--frames %s: not a number", optarg);
			break;
		case 's':
			if (!parse_number(optarg, &request.attach.frame_size))
				return wrong("--frame-size %s: not a number", optarg);
			break;
		case 'x':
			request.attach.libxdp = 1;
			break;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc - 1)
		return wrong("attach: which interface?%s", "");
	if (!set_ifname(&request, argv[optind]))
		return wrong("%s: not a name of an interface", argv[optind]);
	fd = lrp_client_connect(true, &started);
	if (fd < 0)
		return 1;
	result = call_line(fd, &request);
	if (!result && proxies)
		result = lrp_proxies_default(fd);
	if (result && started)
		ask_to_stop(fd); /* leave no daemon behind that nobody needs */
	close(fd);
	return result;
}

static int detach_all(int fd)
{
	struct json_object *status = lrp_client_json(fd, LRP_REQ_STATUS), *devices;
	int result = 0;

	if (!status || !json_object_object_get_ex(status, "devices", &devices))
		return 1;
	for (size_t i = 0; i < json_object_array_length(devices); i++) {
		struct lrp_request request = {.type = LRP_REQ_DETACH};
		struct json_object *name;

		json_object_object_get_ex(json_object_array_get_idx(devices, i), "ifname", &name);
		set_ifname(&request, json_object_get_string(name));
		result |= call_line(fd, &request);
	}
	json_object_put(status);
	return result;
}

static int detach(int argc, char **argv)
{
	static const struct option options[] = {{"all", no_argument, NULL, 'a'}, {0}};
	struct lrp_request request = {.type = LRP_REQ_DETACH};
	bool all = false;
	int c, fd, result;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'a') {
			fputs(usage, stderr);
			return 2;
		}
		all = true;
	}
	if (optind != argc - !all)
		return wrong("detach: which interface?%s", "");
	if (!all && !set_ifname(&request, argv[optind]))
		return wrong("%s: not a name of an interface", argv[optind]);
	fd = lrp_client_connect(false, NULL);
	if (fd < 0)
		return 1;
	result = all ? detach_all(fd) : call_line(fd, &request);
	close(fd);
	return result;
}

static void print_json(struct json_object *json)
{
	puts(json_object_to_json_string_ext(json,
					    JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED));
}

static int status(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"audit", no_argument, NULL, 'a'},
		{0},
	};
	struct json_object *root, *audit = NULL, *ok = NULL;
	bool json = false, with_audit = false, clean = true;
	int c, fd;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'j')
			json = true;
		else if (c == 'a')
			with_audit = true;
		else
			return wrong("status: unknown option%s", "");
	}
	if (optind != argc)
		return wrong("status: unknown argument %s", argv[optind]);
	fd = lrp_client_connect(false, NULL);
	if (fd < 0)
		return 1;
	root = lrp_client_json(fd, LRP_REQ_STATUS);
	if (root && with_audit) {
		audit = lrp_client_json(fd, LRP_REQ_AUDIT);
		clean = audit && json_object_object_get_ex(audit, "ok", &ok) &&
			json_object_get_boolean(ok);
	}
	close(fd);
	if (!root || (with_audit && !audit))
		return 1;
	if (json) {
		if (audit)
			json_object_object_add(root, "audit", json_object_get(audit));
		print_json(root);
	} else {
		lrp_print_status(root);
		if (audit)
			lrp_print_audit(audit);
	}
	json_object_put(audit);
	json_object_put(root);
	return clean ? 0 : 1;
}

static int channels(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
	struct json_object *root;
	bool json = false;
	int c, fd;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'j')
			return wrong("channels: unknown option%s", "");
		json = true;
	}
	if (optind != argc)
		return wrong("channels: unknown argument %s", argv[optind]);
	fd = lrp_client_connect(false, NULL);
	if (fd < 0)
		return 1;
	root = lrp_client_json(fd, LRP_REQ_CHANNELS);
	close(fd);
	if (!root)
		return 1;
	if (json)
		print_json(root);
	else
		lrp_print_channels(root);
	json_object_put(root);
	return 0;
}

static int stop(int argc, char **argv)
{
	int fd, result;

	if (argc > 1)
		return wrong("stop: unknown argument %s", argv[1]);
	/* First the keeper: without a lrpd it is the one to end. */
	result = lrp_client_keeper(true);
	if (result < 2)
		return result;
	fd = lrp_client_connect(false, NULL);
	if (fd < 0)
		return 1;
	result = ask_to_stop(fd);
	close(fd);
	return result;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} command[] = {
		{"attach", attach},	{"detach", detach},	  {"status", status},
		{"channels", channels}, {"proxies", lrp_proxies}, {"guard", lrp_guard_command},
		{"stop", stop},
	};

	if (argc < 2)
		return wrong("which command?%s", "");
	if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help")) {
		fputs(usage, stdout);
		return 0;
	}
	if (!strcmp(argv[1], "version") || !strcmp(argv[1], "--version")) {
		printf("lrp %s\n", LRP_VERSION);
		return 0;
	}
	for (size_t i = 0; i < sizeof(command) / sizeof(command[0]); i++)
		if (!strcmp(argv[1], command[i].name))
			return command[i].run(argc - 1, argv + 1);
	return wrong("unknown command %s", argv[1]);
}
