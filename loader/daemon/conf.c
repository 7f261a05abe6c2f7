/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* conf.c - see conf.h. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf.h"

void lrp_conf_init(struct lrp_conf *conf)
{
	*conf = (struct lrp_conf){
		.group = "lrp",
		.connections = LRP_CONF_CONNECTIONS,
		.cpu_ms = LRP_CONF_CPU_MS,
	};
}

static bool parse_number(const char *text, uint32_t most, uint32_t *value)
{
	unsigned long long n;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end || n > most)
		return false;
	*value = (uint32_t)n;
	return true;
}

int lrp_conf_set(struct lrp_conf *conf, const char *key, const char *value, char *error,
		 size_t error_size)
{
	const struct {
		const char *key;
		uint32_t *value, least, most;
	} number[] = {
		{"endpoints", &conf->endpoints, 2, 1u << 20},
		{"quota", &conf->quota, 1, 1u << 20},
		{"ring-memory", &conf->ring_mib, 1, 1u << 20},
		{"frames", &conf->frames, 1, UINT32_MAX},
		{"connections", &conf->connections, 1, 1u << 20},
		{"cpu", &conf->cpu_ms, 1, 1000},
	};
	uint32_t uid;

	if (!strcmp(key, "group")) {
		if (strlen(value) >= sizeof(conf->group)) {
			snprintf(error, error_size, "group: no group has so long a name");
			return -EINVAL;
		}
		strcpy(conf->group, value);
		return 0;
	}
	if (!strcmp(key, "allow-uid")) {
		/* The largest value means "no user" in the kernel. */
		if (!parse_number(value, UINT32_MAX - 1, &uid)) {
			snprintf(error, error_size, "allow-uid %.32s: not a number of a user",
				 value);
			return -EINVAL;
		}
		for (uint32_t i = 0; i < conf->uids; i++)
			if (conf->uid[i] == uid)
				return 0;
		if (conf->uids == LRP_CONF_UIDS) {
			snprintf(error, error_size,
				 "allow-uid: more than %u users: make them members of the group",
				 LRP_CONF_UIDS);
			return -EINVAL;
		}
		conf->uid[conf->uids++] = uid;
		return 0;
	}
	for (size_t i = 0; i < sizeof(number) / sizeof(number[0]); i++) {
		uint32_t n;

		if (strcmp(key, number[i].key))
			continue;
		if (!parse_number(value, number[i].most, &n) || n < number[i].least) {
			snprintf(error, error_size, "%s %.32s: %u to %u are possible", key, value,
				 number[i].least, number[i].most);
			return -EINVAL;
		}
		*number[i].value = n;
		return 0;
	}
	snprintf(error, error_size, "%.32s: no such setting", key);
	return -EINVAL;
}

/* Cuts white space off both ends, in place. */
static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (isspace((unsigned char)*text))
		text++;
	while (end > text && isspace((unsigned char)end[-1]))
		*--end = 0;
	return text;
}

int lrp_conf_parse(struct lrp_conf *conf, const char *text, size_t length, char *error,
		   size_t error_size)
{
	unsigned int number = 0;

	while (length) {
		const char *end = memchr(text, '\n', length);
		size_t size = end ? (size_t)(end - text) : length;
		char line[256], why[128], *key, *value;

		number++;
		if (size >= sizeof(line) || memchr(text, 0, size)) {
			snprintf(error, error_size, "line %u: not a line of text", number);
			return -EINVAL;
		}
		memcpy(line, text, size);
		line[size] = 0;
		text += end ? size + 1 : size;
		length -= end ? size + 1 : size;
		line[strcspn(line, "#")] = 0;
		key = trim(line);
		if (!*key)
			continue;
		value = strchr(key, '=');
		if (!value) {
			snprintf(error, error_size, "line %u: key = value", number);
			return -EINVAL;
		}
		*value++ = 0;
		if (lrp_conf_set(conf, trim(key), trim(value), why, sizeof(why))) {
			snprintf(error, error_size, "line %u: %s", number, why);
			return -EINVAL;
		}
	}
	return 0;
}

int lrp_conf_read(struct lrp_conf *conf, const char *path, char *error, size_t error_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = 0;
	char *text = NULL;
	struct stat st;
	ssize_t n = 0;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st)) {
		err = -errno;
		snprintf(error, error_size, "%s", strerror(errno));
	} else if (!S_ISREG(st.st_mode) || st.st_uid || st.st_mode & (S_IWGRP | S_IWOTH)) {
		err = -EPERM;
		snprintf(error, error_size, "must be a file that only root can write");
	} else if (st.st_size > (off_t)LRP_CONF_MAX) {
		err = -EFBIG;
		snprintf(error, error_size, "larger than %u bytes", LRP_CONF_MAX);
	} else {
		text = malloc(LRP_CONF_MAX);
		n = text ? read(fd, text, LRP_CONF_MAX) : -1;
		err = n < 0 ? -EIO : lrp_conf_parse(conf, text, (size_t)n, error, error_size);
		if (n < 0)
			snprintf(error, error_size, "cannot be read");
	}
	free(text);
	if (fd >= 0)
		close(fd);
	return err;
}
