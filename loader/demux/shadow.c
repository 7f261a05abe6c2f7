/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * shadow.c - what the kernel knows of a shadow: to what it is bound and connected,
 * and, from its cookie, whether it is still there, whatever process has it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "shadow.h"

#define STATE_LISTEN 10 /* include/net/tcp_states.h */

static int get_int(int fd, int level, int name, int *value)
{
	socklen_t len = sizeof(*value);

	*value = 0;
	return getsockopt(fd, level, name, value, &len) ? -errno : 0;
}

static int get_u64(int fd, int name, __u64 *value)
{
	socklen_t len = sizeof(*value);

	return getsockopt(fd, SOL_SOCKET, name, value, &len) ? -errno : 0;
}

static void set_addr(struct lrp_addr6 *to, __be16 *port, const struct sockaddr_storage *from)
{
	memset(to, 0, sizeof(*to));
	if (from->ss_family == AF_INET) {
		const struct sockaddr_in *sin = (const struct sockaddr_in *)from;

		to->byte[10] = to->byte[11] = 0xff;
		memcpy(&to->byte[12], &sin->sin_addr, 4);
		*port = sin->sin_port;
	} else {
		const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)from;

		memcpy(to->byte, &sin6->sin6_addr, 16);
		*port = sin6->sin6_port;
	}
}

static bool is_mapped(const struct lrp_addr6 *addr)
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(addr->byte, prefix, sizeof(prefix));
}

static bool is_wildcard(const struct lrp_addr6 *addr)
{
	static const uint8_t zeros[16];

	return !memcmp(addr->byte, zeros, 16) ||
	       (is_mapped(addr) && !memcmp(addr->byte + 12, zeros, 4));
}

/* Demultiplexing knows no device; only a link-local address implies one. */
static int check_device(int fd, const struct lrp_published *pub)
{
	char name[IFNAMSIZ] = "";
	socklen_t len = sizeof(name);

	if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) || !len || !name[0])
		return 0;
	if (pub->laddr.byte[0] == 0xfe && (pub->laddr.byte[1] & 0xc0) == 0x80)
		return 0;
	return -EOPNOTSUPP;
}

static int read_addresses(int fd, struct lrp_published *pub)
{
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);
	int only = 0;

	if (getsockname(fd, (struct sockaddr *)&addr, &len))
		return -errno;
	set_addr(&pub->laddr, &pub->lport, &addr);
	if (!pub->lport)
		return -EDESTADDRREQ; /* not bound */
	pub->wildcard = is_wildcard(&pub->laddr);
	if (addr.ss_family == AF_INET) {
		pub->v4 = 1;
	} else {
		get_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only);
		pub->v6 = !is_mapped(&pub->laddr);
		pub->v4 = is_mapped(&pub->laddr) || (pub->wildcard && !only);
	}
	len = sizeof(addr);
	memset(&addr, 0, sizeof(addr));
	if (getpeername(fd, (struct sockaddr *)&addr, &len))
		return errno == ENOTCONN ? 0 : -errno;
	set_addr(&pub->raddr, &pub->rport, &addr);
	pub->connected = 1;
	pub->v4 = is_mapped(&pub->raddr);
	pub->v6 = !pub->v4;
	return 0;
}

int lrp_core_shadow_read(struct lrp_core *core, int fd, struct lrp_published *pub)
{
	int domain, type, protocol, reuse = 0, listens = 0, err;
	__u64 cookie;

	memset(pub, 0, sizeof(*pub));
	err = get_u64(fd, SO_NETNS_COOKIE, &cookie);
	if (err)
		return err;
	if (cookie != core->netns_cookie)
		return -EXDEV;
	err = get_int(fd, SOL_SOCKET, SO_DOMAIN, &domain);
	if (!err)
		err = get_int(fd, SOL_SOCKET, SO_TYPE, &type);
	if (!err)
		err = get_int(fd, SOL_SOCKET, SO_PROTOCOL, &protocol);
	if (!err)
		err = get_u64(fd, SO_COOKIE, &pub->cookie);
	if (err)
		return err;
	if (domain != AF_INET && domain != AF_INET6)
		return -EAFNOSUPPORT;
	if (!(type == SOCK_DGRAM && protocol == IPPROTO_UDP) &&
	    !(type == SOCK_STREAM && protocol == IPPROTO_TCP))
		return -EPROTONOSUPPORT;
	pub->proto = (__u8)protocol;
	get_int(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens);
	pub->listens = listens != 0;
	get_int(fd, SOL_SOCKET, SO_REUSEPORT, &reuse);
	pub->reuseport = reuse != 0;
	err = read_addresses(fd, pub);
	return err ? err : check_device(fd, pub);
}

bool lrp_core_shadow_member(int fd, const struct lrp_membership_request *membership)
{
	struct group_filter filter = {.gf_interface = membership->ifindex};
	struct sockaddr_in *sin = (struct sockaddr_in *)&filter.gf_group;
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&filter.gf_group;
	socklen_t len = sizeof(filter);
	bool v4 = is_mapped(&membership->group);

	if (v4) {
		sin->sin_family = AF_INET;
		memcpy(&sin->sin_addr, &membership->group.byte[12], 4);
	} else {
		sin6->sin6_family = AF_INET6;
		memcpy(&sin6->sin6_addr, &membership->group, 16);
	}
	return !getsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, MCAST_MSFILTER, &filter, &len) &&
	       filter.gf_fmode == MCAST_EXCLUDE && !filter.gf_numsrc;
}

/* ---- sock_diag --------------------------------------------------------------------- */

struct search {
	const struct lrp_published *const *pub;
	bool *alive;
	size_t count;
};

/* Its cookie is not all: a socket may leave its port and live on. */
static bool is_there(const struct lrp_published *pub, const struct inet_diag_msg *msg)
{
	struct lrp_addr6 addr = {.byte = {[10] = 0xff, [11] = 0xff}};

	if (msg->id.idiag_sport != pub->lport)
		return false;
	if (pub->proto == IPPROTO_TCP && pub->listens && msg->idiag_state != STATE_LISTEN)
		return false;
	if (msg->idiag_family == AF_INET6)
		memcpy(&addr, msg->id.idiag_src, sizeof(addr));
	else
		memcpy(&addr.byte[12], msg->id.idiag_src, 4);
	return pub->wildcard ? is_wildcard(&addr) : !memcmp(&addr, &pub->laddr, sizeof(addr));
}

static int on_socket(const struct nlmsghdr *nlh, void *data)
{
	const struct inet_diag_msg *msg = mnl_nlmsg_get_payload(nlh);
	struct search *search = data;
	uint64_t cookie;

	if (nlh->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return MNL_CB_OK;
	cookie = msg->id.idiag_cookie[0] | (uint64_t)msg->id.idiag_cookie[1] << 32;
	/* Sorted: a family may have thousands. */
	for (size_t low = 0, high = search->count; low < high;) {
		size_t mid = low + (high - low) / 2;

		if (search->pub[mid]->cookie == cookie) {
			search->alive[mid] = is_there(search->pub[mid], msg);
			break;
		}
		if (search->pub[mid]->cookie < cookie)
			low = mid + 1;
		else
			high = mid;
	}
	return MNL_CB_OK;
}

static int dump(struct mnl_socket *nl, uint8_t family, uint8_t protocol, uint32_t states,
		__be16 port, mnl_cb_t callback, void *data)
{
	char buffer[32768];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
	struct inet_diag_req_v2 *req;
	static unsigned int seq;
	int more = MNL_CB_OK;

	nlh->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = ++seq;
	req = mnl_nlmsg_put_extra_header(nlh, sizeof(*req));
	req->sdiag_family = family;
	req->sdiag_protocol = protocol;
	req->idiag_states = states;
	req->id.idiag_sport = port;
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (more > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(nl, buffer, sizeof(buffer));

		if (n < 0)
			return -errno;
		more = mnl_cb_run(buffer, (size_t)n, seq, mnl_socket_get_portid(nl), callback,
				  data);
		if (more < 0)
			return -errno;
	}
	return 0;
}

int lrp_core_diag_dump(uint8_t family, uint8_t protocol, uint32_t states, __be16 port,
		       int (*callback)(const struct nlmsghdr *nlh, void *data), void *data)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	int err;

	if (!nl)
		return -errno;
	err = mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0
		      ? -errno
		      : dump(nl, family, protocol, states, port, callback, data);
	mnl_socket_close(nl);
	return err;
}

static int on_state(const struct nlmsghdr *nlh, void *data)
{
	const struct inet_diag_msg *msg = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_type == SOCK_DIAG_BY_FAMILY)
		*(uint32_t *)data = msg->idiag_state;
	return MNL_CB_STOP;
}

uint32_t lrp_core_diag_state(uint8_t family, const struct inet_diag_sockid *id)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	char buffer[8192];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
	struct inet_diag_req_v2 *req;
	uint32_t state = 0;
	ssize_t n;

	if (!nl)
		return 0;
	nlh->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	req = mnl_nlmsg_put_extra_header(nlh, sizeof(*req));
	req->sdiag_family = family;
	req->sdiag_protocol = IPPROTO_TCP;
	req->idiag_states = ~0u;
	req->id = *id;
	req->id.idiag_cookie[0] = req->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) >= 0 &&
	    mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) >= 0) {
		n = mnl_socket_recvfrom(nl, buffer, sizeof(buffer));
		if (n > 0)
			mnl_cb_run(buffer, (size_t)n, 0, 0, on_state, &state);
	}
	mnl_socket_close(nl);
	return state;
}

int lrp_core_shadows_find(const struct lrp_published *const *pub, bool *alive, size_t count,
			  __be16 port)
{
	struct search search = {.pub = pub, .alive = alive, .count = count};
	int err = 0;

	memset(alive, 0, count * sizeof(*alive));
	/* All states: bound and no more, too (Linux 6.8). */
	for (size_t i = 0; !err && i < 4; i++)
		err = lrp_core_diag_dump(i & 1 ? AF_INET6 : AF_INET,
					 i & 2 ? IPPROTO_TCP : IPPROTO_UDP, ~0u, port, on_socket,
					 &search);
	if (err)
		lrp_log_once(
			LRP_LOG_WARN,
			"lrpd: sock_diag: %s: sockets of a family are reclaimed only when all of "
			"it is gone (CONFIG_INET_UDP_DIAG)",
			strerror(-err));
	return err;
}

/* Before Linux 6.8 sock_diag is silent about TCP sockets that are bound and neither listen nor are
 * connected. */
bool lrp_core_shadow_visible(const struct lrp_published *pub)
{
	static int shown = -1;
	unsigned int major = 0, minor = 0;
	struct utsname name;

	if (pub->proto != IPPROTO_TCP || pub->listens)
		return true;
	if (shown < 0)
		shown = !uname(&name) && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
			(major > 6 || (major == 6 && minor >= 8));
	return shown;
}

bool lrp_core_shadow_alive(struct lrp_core *core, uint32_t endpoint)
{
	const struct lrp_published *pub = &core->state->endpoint[endpoint].pub;
	bool alive = false;

	return pub->on && !lrp_core_shadows_find(&pub, &alive, 1, pub->lport) && alive;
}
