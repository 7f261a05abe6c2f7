/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* hostile.c - see hostile.h. */
#include <errno.h>
#include <arpa/inet.h>
#include <linux/if_xdp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../runtime/base/rundir.h"
#include "hostile.h"

int hostile_dial(void)
{
	int fd = lrp_rundir_connect(LRP_CONTROL_FILE, 0);

	return fd < 0 ? -1 : fd;
}

static int send_request(int control, const struct lrp_request *request, const int *fds, int count)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(LRP_CONTROL_MAX_BATCH * sizeof(int))];
	} out = {0};
	struct iovec iov = {(void *)request, sizeof(*request)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count) {
		msg.msg_control = &out;
		msg.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
		out.header.cmsg_level = SOL_SOCKET;
		out.header.cmsg_type = SCM_RIGHTS;
		out.header.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
		memcpy(CMSG_DATA(&out.header), fds, (size_t)count * sizeof(int));
	}
	return sendmsg(control, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int hostile_ask(int control, struct lrp_request *request, struct lrp_reply *reply, int *fds,
		int *count)
{
	return hostile_ask_with(control, request, NULL, 0, reply, fds, count);
}

int hostile_ask_with(int control, struct lrp_request *request, const int *in_fds, int in_count,
		     struct lrp_reply *reply, int *fds, int *count)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(LRP_CONTROL_MAX_FDS * sizeof(int))];
	} in;
	struct iovec iov = {reply, sizeof(*reply)};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &in, .msg_controllen = sizeof(in)};
	struct pollfd pfd = {.fd = control, .events = POLLIN};
	struct cmsghdr *cmsg;

	*count = 0;
	request->magic = LRP_ABI_MAGIC;
	request->version = LRP_ABI_VERSION;
	if (send_request(control, request, in_fds, in_count) || poll(&pfd, 1, 10000) <= 0 ||
	    recvmsg(control, &msg, MSG_CMSG_CLOEXEC) <= 0)
		return 1;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS) {
		*count = (int)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(cmsg), (size_t)*count * sizeof(int));
	}
	return reply->error;
}

static void *map(int fd, size_t size, off_t at)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at);

	return p == MAP_FAILED ? NULL : p;
}

static bool map_rings(int xsk, struct hostile_ring *rx, struct hostile_ring *fill)
{
	struct xdp_mmap_offsets o;
	socklen_t length = sizeof(o);
	uint8_t *m;

	if (getsockopt(xsk, SOL_XDP, XDP_MMAP_OFFSETS, &o, &length))
		return false;
	m = map(xsk, o.rx.desc + rx->size * sizeof(struct xdp_desc), XDP_PGOFF_RX_RING);
	if (!m)
		return false;
	rx->producer = (volatile uint32_t *)(m + o.rx.producer);
	rx->consumer = (volatile uint32_t *)(m + o.rx.consumer);
	rx->desc = (volatile struct xdp_desc *)(m + o.rx.desc);
	if (!fill)
		return true;
	m = map(xsk, o.fr.desc + fill->size * sizeof(uint64_t), (off_t)XDP_UMEM_PGOFF_FILL_RING);
	if (!m)
		return false;
	fill->producer = (volatile uint32_t *)(m + o.fr.producer);
	fill->consumer = (volatile uint32_t *)(m + o.fr.consumer);
	fill->slot = (volatile uint64_t *)(m + o.fr.desc);
	return true;
}

/* Which of the channels lies in the pool of the device? Maps the pool. */
static int find_pool(struct hostile *h, const struct lrp_reply *endpoints, uint32_t ifindex)
{
	struct lrp_reply reply;
	int fds[LRP_CONTROL_MAX_FDS], count;

	for (uint32_t c = 0; c < endpoints->endpoints.channels; c++) {
		const struct lrp_channel_info *info = &endpoints->endpoints.channel[c];
		struct lrp_request request = {.type = LRP_REQ_POOL, .pool = info->pool};

		if (hostile_ask(h->control, &request, &reply, fds, &count) || !count)
			continue;
		if (reply.pool.ifindex == ifindex) {
			h->pool = info->pool;
			h->channel = info->channel;
			h->frames = reply.pool.frames;
			h->frame_size = reply.pool.frame_size;
			h->fill.size = reply.pool.fill_size;
			h->umem = map(fds[0], reply.pool.umem_size, 0);
		}
		for (int i = 0; i < count; i++)
			close(fds[i]);
		if (reply.pool.ifindex == ifindex)
			return h->umem ? (int)c : -1;
	}
	return -1;
}

static void take_fragments(struct hostile *h)
{
	struct lrp_request request = {
		.type = LRP_REQ_ADOPT,
		.adopt = {.endpoint = LRP_ENDPOINT_FRAGMENT, .pool = h->pool}};
	int fds[LRP_CONTROL_MAX_FDS], count;
	struct lrp_reply reply;

	if (hostile_ask(h->control, &request, &reply, fds, &count) || !count)
		return;
	h->fragments.size = reply.endpoints.ring_size;
	if (!map_rings(fds[0], &h->fragments, NULL))
		h->fragments.size = 0;
}

bool hostile_open(struct hostile *h, uint32_t ifindex, uint32_t ring_size)
{
	struct lrp_request hello = {.type = LRP_REQ_HELLO};
	struct lrp_request wanted = {
		.type = LRP_REQ_ENDPOINTS, .count = 1, .endpoints = {.ring_size = ring_size}};
	struct lrp_request page = {.type = LRP_REQ_USER_PAGE};
	struct lrp_reply reply, answer;
	int fds[LRP_CONTROL_MAX_FDS], page_fds[LRP_CONTROL_MAX_FDS], count, pages, c;

	memset(h, 0, sizeof(*h));
	h->page_fd = -1;
	h->control = hostile_dial();
	if (h->control < 0 || hostile_ask(h->control, &hello, &reply, fds, &count))
		return false;
	h->owner = reply.hello.owner;
	if (hostile_ask(h->control, &wanted, &reply, fds, &count))
		return false;
	h->endpoint = reply.endpoints.endpoint[0];
	h->rx.size = reply.endpoints.ring_size;
	c = find_pool(h, &reply, ifindex);
	if (c < 0 || c >= count || !map_rings(fds[c], &h->rx, &h->fill))
		return false;
	h->holder = (volatile uint32_t *)(h->umem + (size_t)h->frames * h->frame_size);
	h->rest = (volatile uint32_t *)((uint8_t *)h->umem + (size_t)h->frames * h->frame_size +
					LRP_REST_OFFSET((size_t)h->frames));
	page.pool = reply.endpoints.channel[c].user_page;
	h->user_slot = reply.endpoints.channel[c].user_slot;
	if (!hostile_ask(h->control, &page, &answer, page_fds, &pages) && pages) {
		h->page_fd = page_fds[0];
		h->user = map(h->page_fd, LRP_USER_PAGE_RECORDS * sizeof(struct lrp_user), 0);
	}
	take_fragments(h);
	return true;
}

bool hostile_publish(struct hostile *h, uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct lrp_request request = {.magic = LRP_ABI_MAGIC,
				      .version = LRP_ABI_VERSION,
				      .type = LRP_REQ_PUBLISH,
				      .publish = {.endpoint = h->endpoint}};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS,
				.cmsg_len = CMSG_LEN(sizeof(int))}};
	struct iovec iov = {&request, sizeof(request)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct pollfd pfd = {.fd = h->control, .events = POLLIN};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct lrp_reply reply;

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return false;
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	return sendmsg(h->control, &msg, MSG_NOSIGNAL) == sizeof(request) &&
	       poll(&pfd, 1, 10000) > 0 &&
	       recv(h->control, &reply, sizeof(reply), 0) == sizeof(reply) && !reply.error;
}

/* ---- nonsense ------------------------------------------------------------------------------- */

static uint64_t random64(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static uint64_t any_addr(const struct hostile *h, uint64_t r)
{
	return (r >> 8) % h->frames * h->frame_size + (r & (h->frame_size - 1));
}

static void write_fill(struct hostile *h, uint64_t *seed)
{
	uint64_t r = random64(seed), q = random64(seed);
	uint32_t at = *h->fill.producer, mask = h->fill.size - 1;

	switch (r % 12) {
	case 0: /* far away */
		*h->fill.producer = at + 0xf0000000u;
		break;
	case 1:
		*h->fill.producer = at + (uint32_t)q % (1u << 20);
		break;
	case 2:
		*h->fill.producer = at - (uint32_t)q % h->fill.size;
		break;
	case 3:
		*h->fill.consumer = (uint32_t)q;
		break;
	case 4: /* the slot at the index: of no lap */
		h->fill.slot[at & mask] ^= 0x155;
		break;
	case 5: /* one frame everywhere */
		for (uint32_t i = 0; i < h->fill.size; i++)
			h->fill.slot[i] = any_addr(h, q);
		break;
	case 6: /* none at all */
		for (uint32_t i = 0; i < 64; i++)
			h->fill.slot[(q + i) & mask] = ~0ull - i;
		break;
	default:
		h->fill.slot[(at + q % 512) & mask] = any_addr(h, random64(seed));
	}
}

static void write_rx(struct hostile *h, struct hostile_ring *ring, uint64_t *seed)
{
	uint64_t r = random64(seed), q = random64(seed);

	if (!ring->size)
		return;
	switch (r % 8) {
	case 0:
		*ring->producer = (uint32_t)q;
		break;
	case 1:
		*ring->consumer = (uint32_t)q;
		break;
	case 2: /* full, of all frames in turn */
		for (uint32_t i = 0; i < ring->size; i++)
			ring->desc[i].addr = (uint64_t)(i % h->frames) * h->frame_size + 256;
		*ring->producer = *ring->consumer + ring->size;
		break;
	case 3:
		ring->desc[q % ring->size].addr = q;
		ring->desc[q % ring->size].len = (uint32_t)(q >> 32);
		break;
	default:
		ring->desc[q % ring->size].addr = any_addr(h, q);
		ring->desc[q % ring->size].options = (uint32_t)r >> 8;
	}
}

static void write_table(struct hostile *h, uint64_t *seed)
{
	static const uint32_t marks[] = {
		LRP_FRAME_FREE,	  LRP_FRAME_RESTING,  LRP_FRAME_RESTING | LRP_FRAME_RETURNING,
		LRP_FRAME_DONE,	  LRP_FRAME_CLAIM(0), LRP_FRAME_CLAIM(77),
		LRP_FRAME_MARK(0)};
	uint64_t r = random64(seed), q = random64(seed);
	uint32_t mark;

	switch (r % 10) {
	case 0: /* whose? */
		mark = LRP_FRAME_MARK(q % LRP_ENDPOINTS);
		break;
	case 1:
		mark = LRP_FRAME_MARK(h->channel) | (q & 1 ? LRP_FRAME_RETURNING : 0);
		break;
	case 2:
		mark = (uint32_t)q;
		break;
	default:
		mark = marks[r % (sizeof(marks) / sizeof(marks[0]))];
	}
	if (r >> 20 & 63)
		h->holder[q % h->frames] = mark;
	else
		for (uint32_t f = 0; f < h->frames; f++)
			h->holder[f] = mark;
}

static void write_user(struct hostile *h, uint64_t *seed)
{
	uint64_t r = random64(seed), q = random64(seed);
	volatile struct lrp_user *user = &h->user[q % LRP_USER_PAGE_RECORDS];

	switch (r % 4) {
	case 0:
		user->returned = q;
		break;
	case 1:
		user->lost = q;
		break;
	case 2:
		user->returned += q % 1000;
		break;
	default:
		user->flags = (uint32_t)q;
		user->dropped[q % LRP_DROP_REASON_COUNT] = (uint32_t)r;
		user->processed[q % LRP_CONTEXT_COUNT] = q;
	}
}

void hostile_write(struct hostile *h, uint64_t *seed, unsigned int times)
{
	while (times--) {
		uint64_t r = random64(seed), q = random64(seed);

		switch (r % 8) {
		case 0:
		case 1:
			write_fill(h, seed);
			break;
		case 2:
			write_rx(h, &h->rx, seed);
			break;
		case 3:
			write_rx(h, &h->fragments, seed);
			break;
		case 4:
			write_table(h, seed);
			break;
		case 5:
			if (h->user)
				write_user(h, seed);
			break;
		case 6:
			h->rest[q % 2] = (uint32_t)r;
			break;
		default: /* a packet */
			memset(h->umem + any_addr(h, q) / h->frame_size * h->frame_size, (int)r,
			       h->frame_size);
		}
	}
}
