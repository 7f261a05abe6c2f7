/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* lrp_print.c - see lrp_print.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lrp/abi.h>

#include "lrp_print.h"

static const struct {
	const char *name, *text;
} reason[] = {
#define X(NAME, name, text) {#name, text},
	LRP_XDP_REASONS(X)
#undef X
};

static struct json_object *member(struct json_object *from, const char *name)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(from, name, &value);
	return value;
}

static long long number(struct json_object *from, const char *name)
{
	return (long long)json_object_get_int64(member(from, name));
}

static const char *text(struct json_object *from, const char *name)
{
	const char *value = json_object_get_string(member(from, name));

	return value ? value : "-";
}

static bool truth(struct json_object *from, const char *name)
{
	return json_object_get_boolean(member(from, name));
}

static size_t length(struct json_object *array)
{
	return array ? json_object_array_length(array) : 0;
}

/* ---- tables ---------------------------------------------------------------------------- */

#define COLUMNS 16

struct table {
	char (*cell)[48];
	size_t rows, columns, room;
	bool right[COLUMNS]; /* numbers to the right */
};

static char *cell(struct table *table, size_t row, size_t column)
{
	while (row >= table->rows) {
		if (table->rows == table->room) {
			size_t room = table->room ? 2 * table->room : 64;
			void *grown =
				realloc(table->cell, room * table->columns * sizeof(*table->cell));

			if (!grown) {
				fprintf(stderr, "lrp: out of memory\n");
				exit(1);
			}
			table->cell = grown;
			table->room = room;
		}
		memset(table->cell + table->rows * table->columns, 0,
		       table->columns * sizeof(*table->cell));
		table->rows++;
	}
	return table->cell[row * table->columns + column];
}

static void print_table(struct table *table, const char *indent)
{
	size_t width[COLUMNS] = {0};

	for (size_t r = 0; r < table->rows; r++)
		for (size_t c = 0; c < table->columns; c++)
			if (strlen(cell(table, r, c)) > width[c])
				width[c] = strlen(cell(table, r, c));
	for (size_t r = 0; r < table->rows; r++) {
		fputs(indent, stdout);
		for (size_t c = 0; c < table->columns; c++) {
			if (table->right[c])
				printf("%*s", (int)width[c], cell(table, r, c));
			else if (c + 1 < table->columns)
				printf("%-*s", (int)width[c], cell(table, r, c));
			else
				fputs(cell(table, r, c), stdout);
			if (c + 1 < table->columns)
				fputs("  ", stdout);
		}
		putchar('\n');
	}
	free(table->cell);
}

static void set(struct table *table, size_t row, size_t column, const char *value)
{
	snprintf(cell(table, row, column), sizeof(*table->cell), "%s", value);
}

static void set_number(struct table *table, size_t row, size_t column, long long value)
{
	table->right[column] = true;
	snprintf(cell(table, row, column), sizeof(*table->cell), "%lld", value);
}

/* ---- status -------------------------------------------------------------------------------- */

static void print_pools(struct json_object *pools)
{
	static const char *const head[] = {"queue",   "frames",	 "size", "guaranteed",
					   "reserve", "surplus", "lent", "mode"};
	struct table table = {.columns = 8};

	for (size_t c = 0; c < table.columns; c++)
		set(&table, 0, c, head[c]);
	for (size_t i = 0; i < length(pools); i++) {
		struct json_object *pool = json_object_array_get_idx(pools, i);

		set_number(&table, i + 1, 0, number(pool, "queue"));
		set_number(&table, i + 1, 1, number(pool, "frames"));
		set_number(&table, i + 1, 2, number(pool, "frame_size"));
		set_number(&table, i + 1, 3, number(pool, "guaranteed"));
		set_number(&table, i + 1, 4, number(pool, "reserve"));
		set_number(&table, i + 1, 5, number(pool, "surplus"));
		set_number(&table, i + 1, 6, number(pool, "lent"));
		set(&table, i + 1, 7, truth(pool, "zerocopy") ? "zero-copy" : "copy");
	}
	print_table(&table, "  ");
}

static void print_reasons(struct json_object *reasons)
{
	struct table table = {.columns = 3};
	size_t rows = 0;

	for (size_t i = 0; i < sizeof(reason) / sizeof(reason[0]); i++) {
		long long count = number(reasons, reason[i].name);

		if (!count && i)
			continue;
		set(&table, rows, 0, reason[i].name);
		set_number(&table, rows, 1, count);
		set(&table, rows++, 2, "");
		/* Longer than a cell: behind the table's last column. */
		snprintf(cell(&table, rows - 1, 2), sizeof(*table.cell), "%zu", i);
	}
	for (size_t r = 0; r < rows; r++) {
		size_t i = (size_t)atoi(cell(&table, r, 2));

		printf("  %-19s %12s  %s\n", cell(&table, r, 0), cell(&table, r, 1),
		       reason[i].text);
	}
	free(table.cell);
}

void lrp_print_status(struct json_object *status)
{
	struct json_object *devices = member(status, "devices"), *owners = member(status, "owners");

	printf("lrpd: pid %lld, %lld of %lld sockets in use\n", number(status, "pid"),
	       number(status, "endpoints_used"), number(status, "endpoints"));
	if (!length(devices))
		printf("no interface is attached: lrp attach IFACE\n");
	for (size_t i = 0; i < length(devices); i++) {
		struct json_object *device = json_object_array_get_idx(devices, i);

		printf("\n%s: %s mode, by %s, MTU %lld, %lld queue%s, program %lld\n",
		       text(device, "ifname"), text(device, "mode"), text(device, "attached_by"),
		       number(device, "mtu"), number(device, "queues"),
		       number(device, "queues") == 1 ? "" : "s", number(device, "program"));
		print_pools(member(device, "pools"));
		print_reasons(member(device, "reasons"));
	}
	if (length(owners)) {
		struct table table = {.columns = 5};
		static const char *const head[] = {"owner", "pid", "uid", "sockets", "command"};

		putchar('\n');
		for (size_t c = 0; c < table.columns; c++)
			set(&table, 0, c, head[c]);
		for (size_t i = 0; i < length(owners); i++) {
			struct json_object *owner = json_object_array_get_idx(owners, i);

			set_number(&table, i + 1, 0, number(owner, "owner"));
			set_number(&table, i + 1, 1, number(owner, "pid"));
			set_number(&table, i + 1, 2, number(owner, "uid"));
			set_number(&table, i + 1, 3, number(owner, "endpoints"));
			set(&table, i + 1, 4, text(owner, "comm"));
		}
		print_table(&table, "");
	}
}

/* ---- channels ----------------------------------------------------------------------------------
 */

static long long sum(struct json_object *counters)
{
	long long total = 0;

	json_object_object_foreach(counters, key, value)
	{
		(void)key;
		total += (long long)json_object_get_int64(value);
	}
	return total;
}

static void add_channel(struct table *table, size_t row, struct json_object *channel)
{
	struct json_object *processed = member(channel, "processed");
	struct json_object *dropped = member(channel, "dropped");

	set_number(table, row, 0, number(channel, "endpoint"));
	set(table, row, 1, text(channel, "device"));
	set_number(table, row, 2, number(channel, "queue"));
	set_number(table, row, 3, number(channel, "pid"));
	set(table, row, 4, text(channel, "local"));
	set(table, row, 5, text(channel, "peer"));
	set_number(table, row, 6, number(channel, "occupancy"));
	set_number(table, row, 7, number(channel, "limit"));
	set_number(table, row, 8, number(channel, "packets"));
	set_number(table, row, 9, processed ? number(processed, "call") : 0);
	set_number(table, row, 10, processed ? number(processed, "helper") : 0);
	set_number(table, row, 11, processed ? number(processed, "app") : 0);
	set_number(table, row, 12, processed ? number(processed, "eager") : 0);
	set_number(table, row, 13,
		   number(channel, "drop_full") + number(channel, "drop_surplus") +
			   number(channel, "drop_closed") + number(channel, "drop_backlog"));
	set_number(table, row, 14, dropped ? sum(dropped) : 0);
	set(table, row, 15, text(channel, "comm"));
}

void lrp_print_channels(struct json_object *root)
{
	static const char *const head[] = {
		"socket",  "device", "queue",  "pid", "local", "peer",	  "frames", "limit",
		"packets", "call",   "helper", "app", "eager", "discard", "drop",   "command"};
	struct json_object *channels = member(root, "channels");
	struct table table = {.columns = 16};
	size_t rows = 0, spare = 0;

	for (size_t c = 0; c < table.columns; c++)
		set(&table, 0, c, head[c]);
	for (size_t i = 0; i < length(channels); i++) {
		struct json_object *channel = json_object_array_get_idx(channels, i);

		if (truth(channel, "spare"))
			spare++;
		else
			add_channel(&table, ++rows, channel);
	}
	print_table(&table, "");
	if (spare)
		printf("%zu more are kept ready for sockets and connections to come (--json has "
		       "them)\n",
		       spare);
}

/* ---- proxies ---------------------------------------------------------------------------- */

static const char *proxy_state(struct json_object *proxy)
{
	if (!truth(proxy, "on"))
		return "off";
	return truth(proxy, "serving") ? "serves" : "direct";
}

void lrp_print_proxies(struct json_object *root)
{
	static const char *const head[] = {"proxy",  "state",	"pid",	   "nice",
					   "CPU ms", "packets", "queue",   "limit",
					   "drops",  "direct",	"restarts"};
	struct json_object *proxies = member(root, "proxies"), *devices = member(root, "devices");
	struct table table = {.columns = 11};

	for (size_t c = 0; c < table.columns; c++)
		set(&table, 0, c, head[c]);
	for (size_t i = 0; i < length(proxies); i++) {
		struct json_object *proxy = json_object_array_get_idx(proxies, i);
		struct json_object *first = member(proxy, "first"), *rest = member(proxy, "rest");

		set(&table, i + 1, 0, text(proxy, "kind"));
		set(&table, i + 1, 1, proxy_state(proxy));
		set_number(&table, i + 1, 2, number(proxy, "pid"));
		set_number(&table, i + 1, 3, number(proxy, "nice"));
		set_number(&table, i + 1, 4, number(proxy, "cpu_us") / 1000);
		set_number(&table, i + 1, 5, number(first, "packets") + number(rest, "packets"));
		set_number(&table, i + 1, 6, number(first, "queued") + number(rest, "queued"));
		set_number(&table, i + 1, 7, number(proxy, "limit"));
		set_number(&table, i + 1, 8, number(first, "drops") + number(rest, "drops"));
		set_number(&table, i + 1, 9, number(proxy, "direct"));
		set_number(&table, i + 1, 10, number(proxy, "restarts"));
	}
	print_table(&table, "");
	for (size_t i = 0; i < length(devices); i++) {
		struct json_object *device = json_object_array_get_idx(devices, i);

		if (member(device, "refusal"))
			printf("%s: no proxies: %s\n", text(device, "ifname"),
			       text(device, "refusal"));
		else if (truth(device, "served") && truth(device, "steered"))
			printf("%s: receive packet steering (rps_cpus) moves the work of proxies "
			       "to other CPUs, out of their control\n",
			       text(device, "ifname"));
	}
}

/* ---- audit ------------------------------------------------------------ */

void lrp_print_audit(struct json_object *audit)
{
	static const char *const head[] = {"device", "queue", "frames",	     "free",
					   "queued", "held",  "quarantined", "kernel",
					   "bound",  "lost",  "doubled",     ""};
	struct json_object *pools = member(audit, "pools");
	struct table table = {.columns = 12};

	for (size_t c = 0; c < table.columns; c++)
		set(&table, 0, c, head[c]);
	for (size_t i = 0; i < length(pools); i++) {
		struct json_object *pool = json_object_array_get_idx(pools, i);

		set(&table, i + 1, 0, text(pool, "device"));
		set_number(&table, i + 1, 1, number(pool, "queue"));
		set_number(&table, i + 1, 2, number(pool, "frames"));
		set_number(&table, i + 1, 3, number(pool, "free"));
		set_number(&table, i + 1, 4, number(pool, "queued"));
		set_number(&table, i + 1, 5, number(pool, "held"));
		set_number(&table, i + 1, 6, number(pool, "quarantined"));
		set_number(&table, i + 1, 7, number(pool, "kernel"));
		set_number(&table, i + 1, 8, number(pool, "kernel_bound"));
		set_number(&table, i + 1, 9, number(pool, "lost"));
		set_number(&table, i + 1, 10, number(pool, "doubled"));
		set(&table, i + 1, 11, truth(pool, "ok") ? "ok" : "WRONG");
	}
	printf("\naudit: %s\n", truth(audit, "ok") ? "every frame is accounted for"
						   : "frames are missing or doubled");
	print_table(&table, "  ");
}
