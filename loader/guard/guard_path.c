/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * guard_path.c - what may change where packets go between XDP and the socket: NAT and TPROXY at
 * netfilter's prerouting, IPVS, IPsec policies, tc's ingress. The guard looks the socket up by the
 * packet as it is on the wire, so it passes everything while one of these is there.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guard_internal.h"

/* One dump. 0 or -errno. */
static int dump(int protocol, struct nlmsghdr *nlh, mnl_cb_t each, void *data)
{
	char buffer[16384];
	struct mnl_socket *nl = mnl_socket_open2(protocol, SOCK_CLOEXEC);
	ssize_t n;
	int err = 0;

	if (!nl)
		return -errno;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = 1;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		err = -errno;
	while (!err && (n = mnl_socket_recvfrom(nl, buffer, sizeof(buffer))) > 0) {
		int more = mnl_cb_run(buffer, (size_t)n, 1, mnl_socket_get_portid(nl), each, data);

		if (more < 0)
			err = -errno;
		if (more <= 0)
			break;
	}
	mnl_socket_close(nl);
	return err;
}

struct chains {
	bool nat, tproxy;
	char table[32], chain[32];
};

static int on_attr(const struct nlattr *attr, void *data)
{
	const struct nlattr **tb = data;
	int type = mnl_attr_get_type(attr);

	if (type <= NFTA_CHAIN_MAX)
		tb[type] = attr;
	return MNL_CB_OK;
}

/* Base chains of type nat at prerouting. */
static int on_chain(const struct nlmsghdr *nlh, void *data)
{
	const struct nlattr *tb[NFTA_CHAIN_MAX + 1] = {0}, *hook;
	struct chains *found = data;
	uint32_t number = UINT32_MAX;

	mnl_attr_parse(nlh, sizeof(struct nfgenmsg), on_attr, tb);
	if (!tb[NFTA_CHAIN_HOOK] || !tb[NFTA_CHAIN_TYPE])
		return MNL_CB_OK;
	mnl_attr_for_each_nested(hook, tb[NFTA_CHAIN_HOOK]) if (mnl_attr_get_type(hook) ==
								NFTA_HOOK_HOOKNUM) number =
		ntohl(mnl_attr_get_u32(hook));
	if (number == 0 && !strcmp(mnl_attr_get_str(tb[NFTA_CHAIN_TYPE]), "nat")) {
		found->nat = true;
		snprintf(found->table, sizeof(found->table), "%s",
			 tb[NFTA_CHAIN_TABLE] ? mnl_attr_get_str(tb[NFTA_CHAIN_TABLE]) : "");
		snprintf(found->chain, sizeof(found->chain), "%s",
			 tb[NFTA_CHAIN_NAME] ? mnl_attr_get_str(tb[NFTA_CHAIN_NAME]) : "");
	}
	return MNL_CB_OK;
}

/* A rule that has an expression "tproxy", or iptables' TPROXY; both carry the name in the message. */
static int on_rule(const struct nlmsghdr *nlh, void *data)
{
	struct chains *found = data;

	if (memmem(nlh, nlh->nlmsg_len, "tproxy", 6) || memmem(nlh, nlh->nlmsg_len, "TPROXY", 6))
		found->tproxy = true;
	return MNL_CB_OK;
}

static bool by_nftables(char *why, size_t size)
{
	char buffer[256];
	struct chains found = {0};
	const struct {
		uint16_t type;
		mnl_cb_t each;
	} ask[] = {{NFT_MSG_GETCHAIN, on_chain}, {NFT_MSG_GETRULE, on_rule}};

	for (size_t i = 0; i < sizeof(ask) / sizeof(ask[0]); i++) {
		struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
		struct nfgenmsg *nfg;

		nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | ask[i].type);
		nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
		memset(nfg, 0, sizeof(*nfg));
		nfg->nfgen_family = AF_UNSPEC;
		/* An error: this kernel has no nftables. */
		dump(NETLINK_NETFILTER, nlh, ask[i].each, &found);
	}
	if (found.nat)
		snprintf(why, size, "nftables: chain %s of table %s may change destinations",
			 found.chain, found.table);
	else if (found.tproxy)
		snprintf(why, size, "nftables: a TPROXY rule");
	return found.nat || found.tproxy;
}

/* Does the file have a line that begins with the word? NULL: any line after the first `skip`. */
static bool file_has(const char *path, const char *word, int skip)
{
	FILE *file = fopen(path, "re");
	char line[256];
	bool found = false;

	for (int i = 0; file && !found && fgets(line, sizeof(line), file); i++)
		found = word ? !strncmp(line, word, strlen(word)) : i >= skip;
	if (file)
		fclose(file);
	return found;
}

static int on_any(const struct nlmsghdr *nlh, void *data)
{
	(void)nlh;
	*(bool *)data = true;
	return MNL_CB_OK;
}

static bool by_ipsec(void)
{
	char buffer[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
	bool found = false;

	nlh->nlmsg_type = XFRM_MSG_GETPOLICY;
	dump(NETLINK_XFRM, nlh, on_any, &found);
	return found;
}

static int on_qdisc(const struct nlmsghdr *nlh, void *data)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(nlh);
	int *ifindex = data;

	/* ingress and clsact have the same parent */
	if (tc->tcm_ifindex == *ifindex && tc->tcm_parent == TC_H_INGRESS)
		*ifindex = -1;
	return MNL_CB_OK;
}

static bool by_tc(uint32_t ifindex)
{
	char buffer[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
	__u32 programs[8], count = 8;
	int found = (int)ifindex;
	struct tcmsg *tc;

	nlh->nlmsg_type = RTM_GETQDISC;
	tc = mnl_nlmsg_put_extra_header(nlh, sizeof(*tc));
	memset(tc, 0, sizeof(*tc));
	dump(NETLINK_ROUTE, nlh, on_qdisc, &found);
	if (found < 0)
		return true;
	/* BPF_TCX_INGRESS, Linux 6.6 */
	return !bpf_prog_query((int)ifindex, 46, 0, NULL, programs, &count) && count;
}

bool lrp_guard_diverted(const char *ifname, uint32_t ifindex, char *why, size_t size)
{
	why[0] = 0;
	if (by_nftables(why, size))
		return true;
	if (file_has("/proc/net/ip_tables_names", "nat", 0) ||
	    file_has("/proc/net/ip6_tables_names", "nat", 0))
		snprintf(why, size, "iptables: the table nat may change destinations");
	else if (file_has("/proc/net/ip_tables_names", "mangle", 0) &&
		 file_has("/proc/net/ip_tables_targets", "TPROXY", 0))
		snprintf(why, size, "iptables: the table mangle may hold a TPROXY rule");
	else if (file_has("/proc/net/ip_vs", NULL, 3))
		snprintf(why, size, "IPVS has services");
	else if (by_ipsec())
		snprintf(why, size, "IPsec has policies");
	else if (by_tc(ifindex))
		snprintf(why, size, "%s has a tc ingress hook", ifname);
	return why[0];
}
