/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* hold.c - frames that wait for company, see hold.h. */
#include "hold.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../base/fork.h"
#include "../base/clock.h"

#define FRAMES	 LRP_TX_HOLD_FRAMES
#define ROOM	 ((LRP_TCP_FRAME_MAX + LRP_TX_HOLD_PAYLOAD + 7) & ~7u)
#define ALONE	 4u    /* frames in a row without company, and a thread holds none of the next */
#define REST	 64u   /* frames, and twice as many each time */
#define REST_MAX 4096u /* up to here */
#define YOUNG_NS (int64_t) LRP_NS_PER_S
#define LATE_NS	 (6 * LRP_TX_HOLD_NS)

/* One thread's. `busy` is what protects it; nobody waits for it. */
struct held {
	struct held *next; /* list_lock */
	atomic_flag busy;
	_Atomic uint32_t count;
	bool late;     /* the guard had to come */
	uint32_t rest; /* frames to be sent at once still */
	uint32_t penalty;
	uint32_t alone; /* frames in a row without company */
	int64_t since_ns;
	const struct lrp_tx_device *device;
	uint32_t ifindex;
	uint32_t len[FRAMES];
	uint8_t bytes[FRAMES][ROOM] __attribute__((aligned(8)));
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct held *list;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool have_key;

static _Atomic int64_t young_ns; /* until then this is a child that may soon be gone */
static void (*_Atomic wake_guard)(void);
static atomic_bool guarded;    /* the guard looks again by itself */
static _Atomic uint32_t turns; /* times that something began to wait */

static __thread struct held *mine;
static __thread uint32_t sent; /* frames since it slept */
static __thread bool company;  /* there were several, last time */
static __thread bool never;

static bool young(void)
{
	int64_t until = atomic_load_explicit(&young_ns, memory_order_relaxed);

	if (until && (int64_t)lrp_now_ns() >= until) {
		atomic_store(&young_ns, 0);
		until = 0;
	}
	return until;
}

static bool enter(struct held *h)
{
	return !atomic_flag_test_and_set_explicit(&h->busy, memory_order_acquire);
}

static void leave(struct held *h)
{
	atomic_flag_clear_explicit(&h->busy, memory_order_release);
}

/* Entered. What the device does not take for now stays. */
static void send_held(struct held *h)
{
	struct mmsghdr message[FRAMES];
	struct iovec iov[FRAMES];
	uint32_t i, done = 0, count = atomic_load_explicit(&h->count, memory_order_relaxed);
	bool there = atomic_load_explicit(&h->device->ifindex, memory_order_relaxed) == h->ifindex;

	for (i = 0; i < count; i++) {
		iov[i] = (struct iovec){h->bytes[i] + LRP_TCP_FRAME_VNET, h->len[i]};
		memset(&message[i].msg_hdr, 0, sizeof(message[i].msg_hdr));
		message[i].msg_hdr.msg_iov = &iov[i];
		message[i].msg_hdr.msg_iovlen = 1;
	}
	while (there && done < count) {
		int n = sendmmsg(h->device->bare_fd, message + done, count - done, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM))
			break;
		/* What cannot be sent at all is lost, as on the way. */
		done += n > 0 ? (uint32_t)n : 1;
	}
	if (!there)
		done = count;
	for (i = done; done && i < count; i++) {
		memcpy(h->bytes[i - done], h->bytes[i], ROOM);
		h->len[i - done] = h->len[i];
	}
	atomic_store_explicit(&h->count, count - done, memory_order_relaxed);
}

static void offence(struct held *h)
{
	h->alone = 0;
	h->rest = h->penalty;
	if (h->penalty < REST_MAX)
		h->penalty *= 2;
}

/* Entered by its owner. */
static void judge(struct held *h, int64_t age_ns)
{
	uint32_t count = atomic_load_explicit(&h->count, memory_order_relaxed);

	h->alone = count == 1 && age_ns >= LRP_TX_HOLD_NS ? h->alone + 1 : 0;
	if (h->late || age_ns > LATE_NS || h->alone == ALONE)
		offence(h);
	else if (count > 3 && h->penalty > REST)
		h->penalty /= 2;
	h->late = false;
}

/* ---- a thread's own ------------------------------------------------------------------- */

static void thread_ends(void *arg)
{
	struct held *h = arg, **at;

	pthread_mutex_lock(&list_lock);
	for (at = &list; *at && *at != h; at = &(*at)->next)
		;
	if (*at)
		*at = h->next;
	pthread_mutex_unlock(&list_lock);
	/* Off the list nobody else has it. */
	if (atomic_load(&h->count))
		send_held(h);
	free(h);
	mine = NULL;
	never = true;
}

static void make_key(void)
{
	have_key = !pthread_key_create(&key, thread_ends);
}

static struct held *hold_make(void)
{
	struct held *h;

	pthread_once(&once, make_key);
	h = have_key ? malloc(sizeof(*h)) : NULL;
	if (!h || pthread_setspecific(key, h)) {
		free(h);
		never = true;
		return NULL;
	}
	memset(h, 0, offsetof(struct held, len));
	atomic_flag_clear(&h->busy);
	h->penalty = REST;
	pthread_mutex_lock(&list_lock);
	h->next = list;
	list = h;
	pthread_mutex_unlock(&list_lock);
	mine = h;
	return h;
}

void lrp_tx_hold_never(void)
{
	lrp_tx_hold_release();
	never = true;
}

void lrp_tx_hold_release(void)
{
	struct held *h = mine;

	if (!h || !atomic_load_explicit(&h->count, memory_order_relaxed) || !enter(h))
		return;
	if (atomic_load_explicit(&h->count, memory_order_relaxed))
		send_held(h);
	leave(h);
}

void lrp_tx_hold_sleep(void)
{
	if (sent)
		company = sent > 1;
	sent = 0;
	lrp_tx_hold_release();
}

void lrp_tx_hold_call(int64_t now_ns)
{
	struct held *h = mine;

	if (!h || (!atomic_load_explicit(&h->count, memory_order_relaxed) && !h->late) || !enter(h))
		return;
	if (h->late || now_ns - h->since_ns >= LRP_TX_HOLD_NS) {
		judge(h, now_ns - h->since_ns);
		if (atomic_load_explicit(&h->count, memory_order_relaxed))
			send_held(h);
	}
	leave(h);
}

/* Entered. Room for one more to this device. */
static bool make_room(struct held *h, const struct lrp_tx_device *device)
{
	uint32_t count = atomic_load_explicit(&h->count, memory_order_relaxed);

	if (count && (count == FRAMES || h->device != device))
		send_held(h);
	count = atomic_load_explicit(&h->count, memory_order_relaxed);
	if (!count) {
		h->device = device;
		h->ifindex = atomic_load_explicit(&device->ifindex, memory_order_relaxed);
	}
	return count < FRAMES && h->device == device;
}

uint8_t *lrp_tx_hold_room(const struct lrp_tx_device *device)
{
	struct held *h = mine;

	if (never || !atomic_load_explicit(&wake_guard, memory_order_relaxed))
		return NULL;
	if ((!sent++ && !company) || young()) {
		lrp_tx_hold_release(); /* what the device refused before the sleep */
		return NULL;
	}
	if (!h)
		h = hold_make();
	if (!h || !enter(h))
		return NULL;
	if (h->rest || !make_room(h, device)) {
		h->rest -= h->rest > 0;
		if (atomic_load_explicit(&h->count, memory_order_relaxed))
			send_held(h);
		leave(h);
		return NULL;
	}
	return h->bytes[atomic_load_explicit(&h->count, memory_order_relaxed)];
}

void lrp_tx_hold_done(uint32_t len)
{
	struct held *h = mine;
	uint32_t count = atomic_load_explicit(&h->count, memory_order_relaxed);
	int64_t now = (int64_t)lrp_now_ns();
	bool first = !count;

	h->len[count] = len;
	if (first) {
		h->since_ns = now;
		atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed);
	}
	atomic_store_explicit(&h->count, count + 1, memory_order_relaxed);
	if (count + 1 == FRAMES || now - h->since_ns >= LRP_TX_HOLD_NS) {
		judge(h, now - h->since_ns);
		send_held(h);
	}
	leave(h);
	if (first && !atomic_exchange(&guarded, true))
		atomic_load (&wake_guard)();
}

bool lrp_tx_hold_fin(const struct lrp_tx_device *device, const struct lrp_tcp_flow *flow,
		     const struct lrp_tcp_tx *tx)
{
	struct held *h = mine;
	uint32_t count;
	bool joined = false;

	if (!(tx->flags & LRP_TCP_FIN) || !h ||
	    !atomic_load_explicit(&h->count, memory_order_relaxed) || !enter(h))
		return false;
	count = atomic_load_explicit(&h->count, memory_order_relaxed);
	if (count && h->device == device)
		joined = lrp_tcp_frame_add_fin(h->bytes[count - 1],
					       h->len[count - 1] + LRP_TCP_FRAME_VNET, flow, tx);
	leave(h);
	return joined;
}

/* ---- the guard -------------------------------------------------------------------------- */

void lrp_tx_hold_guarded(void (*wake)(void))
{
	atomic_store(&wake_guard, wake);
}

int64_t lrp_tx_hold_guard(int64_t now_ns)
{
	static uint32_t seen;
	uint32_t now_turns;
	int64_t next = INT64_MAX;
	struct held *h;

	if (!atomic_load(&guarded))
		return INT64_MAX;
	now_turns = atomic_load(&turns);
	if (now_turns == seen)
		atomic_exchange(&guarded, false);
	/* Who finds it false from here on wakes us; who found it true is in sight. */
	pthread_mutex_lock(&list_lock);
	for (h = list; h; h = h->next) {
		if (!atomic_load(&h->count))
			continue;
		if (enter(h)) {
			if (atomic_load(&h->count) && now_ns - h->since_ns >= LRP_TX_HOLD_MOST_NS) {
				h->late = true;
				send_held(h);
			}
			leave(h);
		}
		if (atomic_load(&h->count))
			next = now_ns + LRP_TX_HOLD_MOST_NS;
	}
	pthread_mutex_unlock(&list_lock);
	if (now_turns != seen)
		next = now_ns + LRP_TX_HOLD_MOST_NS;
	seen = now_turns;
	if (next != INT64_MAX)
		atomic_store(&guarded, true);
	return next;
}

void lrp_tx_hold_release_all(void)
{
	struct held *h;

	pthread_mutex_lock(&list_lock);
	for (h = list; h; h = h->next)
		if (atomic_load(&h->count) && enter(h)) {
			send_held(h);
			leave(h);
		}
	pthread_mutex_unlock(&list_lock);
}

/* The parent sends what it holds. Nobody guards here until an APP thread is started. */
static void hold_fork_child(void)
{
	struct held *h = mine;

	pthread_mutex_init(&list_lock, NULL);
	list = h;
	atomic_store(&wake_guard, NULL);
	atomic_store(&guarded, false);
	atomic_store(&young_ns, (int64_t)lrp_now_ns() + YOUNG_NS);
	if (!h)
		return;
	h->next = NULL;
	atomic_flag_clear(&h->busy);
	atomic_store(&h->count, 0);
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_STORES,
		.child = hold_fork_child,
	};

	lrp_fork_register(&handler);
}
