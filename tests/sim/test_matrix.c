/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * State × segment: what each kind of segment does in each state, by RFC 9293 3.10.7, RFC 5961 and,
 * in TIME_WAIT, RFC 1337. Each cell three times: without timestamps, with a newer one, and with one
 * that PAWS rejects.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

#define OURS   0xfffffffau
#define THEIRS 0xfffffff4u
#define TS     0xfffffff8u
#define BUFFER 65536
#define FAR    100000 /* beyond any window */

enum stamps { WITHOUT, NEWER, OLDER };

/* ---- states ------------------------------------------------------------------------------- */

static struct lrp_tcp c;
static int64_t now;
static uint8_t snd[BUFFER], rcv[BUFFER], text[100];
static struct lrp_tcp_sent_run run[64];

/* Sends all that is due; what the last segment was. False: nothing came. */
static bool drain(struct lrp_tcp_tx *last)
{
	struct lrp_tcp_tx tx;
	bool any = false;

	while (lrp_tcp_output(&c, now, 1, &tx)) {
		lrp_tcp_sent(&c, now, &tx);
		if (last)
			*last = tx;
		any = true;
	}
	return any;
}

static void input(uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len, enum stamps stamps)
{
	struct lrp_tcp_segment s = {.seq = seq,
				    .ack = flags & LRP_TCP_ACK ? ack : 0,
				    .len = len,
				    .payload = text,
				    .window = 65535,
				    .flags = flags};

	if (stamps != WITHOUT) {
		s.options = LRP_TCP_HAS_TIMESTAMP;
		s.ts_val = stamps == NEWER ? TS + 1 : TS - 1;
	}
	lrp_tcp_input(&c, now, &s, NULL);
}

static void init(bool timestamps)
{
	struct lrp_tcp_memory m = {{snd, BUFFER}, {rcv, BUFFER}, run, 64};
	struct lrp_tcp_options o;

	lrp_tcp_options_default(&o);
	o.timestamps = timestamps;
	o.sack = o.wscale = false;
	o.rcv_max = BUFFER;
	lrp_tcp_init(&c, &o, &m);
}

static void established(bool timestamps)
{
	struct lrp_tcp_opened o = {.iss = OURS,
				   .irs = THEIRS,
				   .peer_mss = 1000,
				   .window = 65535,
				   .rcv_window = 65535,
				   .timestamps = timestamps,
				   .ts_recent = TS,
				   .rtt_ns = MS};

	init(timestamps);
	lrp_tcp_accept(&c, now, AF_INET, 1500, &o);
}

/* Ten bytes that are not acknowledged. */
static void unacknowledged(void)
{
	struct iovec iov = {text, 10};

	lrp_tcp_write(&c, now, &iov, 1, 0);
	drain(NULL);
}

static void our_fin(void)
{
	lrp_tcp_shutdown(&c, now, false, true);
	drain(NULL);
}

static void their_fin(bool timestamps, uint32_t ack)
{
	input(LRP_TCP_FIN | LRP_TCP_ACK, c.rcv_nxt, ack, 0, timestamps ? NEWER : WITHOUT);
	/* the ACK of the FIN is delayed */
	now += 50 * MS;
	lrp_tcp_timer(&c, now);
	drain(NULL);
}

static void reach(uint8_t state, bool timestamps)
{
	now = SIM_T0;
	if (state == LRP_TCP_SYN_SENT || state == LRP_TCP_SYN_RCVD) {
		init(timestamps);
		lrp_tcp_connect(&c, now, AF_INET, 1500, OURS, 0);
		drain(NULL);
		if (state == LRP_TCP_SYN_RCVD)
			input(LRP_TCP_SYN, THEIRS, 0, 0, timestamps ? NEWER : WITHOUT);
		if (timestamps)
			c.ts_recent = TS;
		drain(NULL);
		return;
	}
	established(timestamps);
	switch (state) {
	case LRP_TCP_ESTABLISHED:
		unacknowledged();
		break;
	case LRP_TCP_CLOSE_WAIT:
		unacknowledged();
		their_fin(timestamps, c.snd_una);
		break;
	case LRP_TCP_FIN_WAIT_1:
		our_fin();
		break;
	case LRP_TCP_FIN_WAIT_2:
		our_fin();
		input(LRP_TCP_ACK, c.rcv_nxt, c.snd_nxt, 0, timestamps ? NEWER : WITHOUT);
		break;
	case LRP_TCP_CLOSING:
		our_fin();
		their_fin(timestamps, c.snd_una);
		break;
	case LRP_TCP_LAST_ACK:
		their_fin(timestamps, c.snd_una);
		our_fin();
		break;
	case LRP_TCP_TIME_WAIT:
		our_fin();
		their_fin(timestamps, c.snd_nxt);
		break;
	case LRP_TCP_CLOSED:
		lrp_tcp_abort(&c, now);
		drain(NULL);
		break;
	}
	if (timestamps)
		c.ts_recent = TS;
}

/* ---- segments ---------------------------------------------------------------------------- */

enum ack { NONE, UNA, NXT, FUTURE, ANCIENT };

static const struct segment {
	const char *name;
	uint8_t flags;
	enum ack ack;
	int32_t seq; /* against rcv_nxt */
	uint32_t len;
} segment[] = {
	{"SYN", LRP_TCP_SYN, NONE, 0, 0},
	{"SYN out of window", LRP_TCP_SYN, NONE, FAR, 0},
	{"SYN+ACK of the handshake", LRP_TCP_SYN | LRP_TCP_ACK, NXT, -1, 0},
	{"ACK old", LRP_TCP_ACK, UNA, 0, 0},
	{"ACK new", LRP_TCP_ACK, NXT, 0, 0},
	{"ACK future", LRP_TCP_ACK, FUTURE, 0, 0},
	{"ACK ancient", LRP_TCP_ACK, ANCIENT, 0, 0},
	{"data", LRP_TCP_ACK, UNA, 0, 10},
	{"data old", LRP_TCP_ACK, UNA, -20, 10},
	{"data out of window", LRP_TCP_ACK, UNA, FAR, 10},
	{"data without ACK", 0, NONE, 0, 10},
	{"FIN, ACK old", LRP_TCP_FIN | LRP_TCP_ACK, UNA, 0, 0},
	{"FIN, ACK new", LRP_TCP_FIN | LRP_TCP_ACK, NXT, 0, 0},
	{"FIN out of window", LRP_TCP_FIN | LRP_TCP_ACK, UNA, FAR, 0},
	{"RST exact", LRP_TCP_RST, NONE, 0, 0},
	{"RST+ACK exact", LRP_TCP_RST | LRP_TCP_ACK, NXT, 0, 0},
	{"RST in window", LRP_TCP_RST, NONE, 100, 0},
	{"RST out of window", LRP_TCP_RST, NONE, FAR, 0},
	{"RST old", LRP_TCP_RST, NONE, -1, 0},
};
#define SEGMENTS (sizeof(segment) / sizeof(segment[0]))

/* ---- what must come of it ---------------------------------------------------------------- */

/*
 * One word for each segment above: the state afterwards (`=`: the same), then the answer: `-` none,
 * A <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>, S a SYN-ACK, R <SEQ=SEG.ACK><CTL=RST>,
 * Z <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>. In SYN_RCVD, where
 * both have opened at once, every ACK carries the SYN, for the peer may not have seen it.
 */
static const struct row {
	uint8_t state;
	const char *name;
	const char *cell;
} row[] = {
	{LRP_TCP_SYN_SENT, "SYN_SENT",
	 "SYN_RCVD:S SYN_RCVD:S ESTABLISHED:A =:R =:- =:R =:R =:R =:R =:R =:- =:R =:- =:R "
	 "=:- CLOSED:- =:- =:- =:-"},
	{LRP_TCP_SYN_RCVD, "SYN_RCVD",
	 "=:S =:S ESTABLISHED:A =:R ESTABLISHED:- =:R =:R =:R =:S =:S =:- =:R CLOSE_WAIT:- =:S "
	 "CLOSED:- CLOSED:- =:S =:- =:-"},
	{LRP_TCP_ESTABLISHED, "ESTABLISHED",
	 "=:A =:A =:A =:- =:- =:A =:A =:A =:A =:A =:- CLOSE_WAIT:- CLOSE_WAIT:- =:A "
	 "CLOSED:- CLOSED:- =:A =:- =:-"},
	{LRP_TCP_FIN_WAIT_1, "FIN_WAIT_1",
	 "=:A =:A =:A =:- FIN_WAIT_2:- =:A =:A =:A =:A =:A =:- CLOSING:A TIME_WAIT:A =:A "
	 "CLOSED:- CLOSED:- =:A =:- =:-"},
	{LRP_TCP_FIN_WAIT_2, "FIN_WAIT_2",
	 "=:A =:A =:A =:- =:- =:A =:A =:A =:A =:A =:- TIME_WAIT:A TIME_WAIT:A =:A "
	 "CLOSED:- CLOSED:- =:A =:- =:-"},
	{LRP_TCP_CLOSE_WAIT, "CLOSE_WAIT",
	 "=:A =:A =:A =:- =:- =:A =:A =:A =:A =:A =:- =:A =:A =:A "
	 "CLOSED:- CLOSED:- =:A =:- =:-"},
	{LRP_TCP_CLOSING, "CLOSING",
	 "=:A =:A =:A =:- TIME_WAIT:- =:A =:A =:A =:A =:A =:- =:A TIME_WAIT:- =:A "
	 "CLOSED:- CLOSED:- =:A =:- =:-"},
	{LRP_TCP_LAST_ACK, "LAST_ACK",
	 "=:A =:A =:A =:- CLOSED:- =:A =:A =:A =:A =:A =:- =:A CLOSED:- =:A "
	 "CLOSED:- CLOSED:- =:A =:- =:-"},
	{LRP_TCP_TIME_WAIT, "TIME_WAIT",
	 "=:A =:A =:A =:- =:- =:- =:- =:A =:A =:A =:A =:A =:A =:A "
	 "=:- =:- =:- =:- =:-"},
	{LRP_TCP_CLOSED, "CLOSED",
	 "=:- =:- =:R =:R =:R =:R =:R =:R =:R =:R =:Z =:R =:R =:R =:- =:- =:- =:- =:-"},
};

static const char *name_of(uint8_t state)
{
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		if (row[i].state == state)
			return row[i].name;
	return "?";
}

static char answer_of(const struct lrp_tcp_tx *tx, uint32_t seg_ack, uint32_t seg_end)
{
	if (tx->flags == (LRP_TCP_SYN | LRP_TCP_ACK))
		return tx->ack == c.rcv_nxt ? 'S' : '?';
	if (tx->flags == LRP_TCP_ACK)
		return tx->seq == c.snd_nxt && tx->ack == c.rcv_nxt && !tx->payload_len ? 'A' : '?';
	if (tx->flags == LRP_TCP_RST)
		return tx->seq == seg_ack ? 'R' : '?';
	if (tx->flags == (LRP_TCP_RST | LRP_TCP_ACK))
		return tx->seq == 0 && tx->ack == seg_end ? 'Z' : '?';
	return '?';
}

/* PAWS comes first (RFC 7323 5.3), but for resets, in SYN_SENT, where there is no TS.Recent, and
 * for an ACK that says nothing. */
static void paws(const struct row *r, const struct segment *s, char *want)
{
	bool bare = s->flags == LRP_TCP_ACK && !s->len &&
		    (s->ack == UNA || c.snd_una == c.snd_nxt) && s->ack != FUTURE &&
		    s->ack != ANCIENT;

	if (r->state == LRP_TCP_SYN_SENT || r->state == LRP_TCP_CLOSED ||
	    r->state == LRP_TCP_TIME_WAIT || s->flags & LRP_TCP_RST || bare)
		return;
	strcpy(want, r->state == LRP_TCP_SYN_RCVD ? "=:S" : "=:A");
}

static int one(const struct row *r, const struct segment *s, const char *cell, enum stamps stamps)
{
	struct lrp_tcp_tx tx;
	uint32_t base, ack = 0;
	char want[40], got[40], answer = '-';
	const char *wrong;

	reach(r->state, stamps != WITHOUT);
	if (c.state != r->state) {
		fprintf(stderr, "%s is not reached, but %s\n", r->name, name_of(c.state));
		return 1;
	}
	snprintf(want, sizeof(want), "%.39s", cell);
	if (stamps == OLDER)
		paws(r, s, want);
	base = r->state == LRP_TCP_SYN_SENT ? THEIRS + 1 : c.rcv_nxt;
	/* the handshake's: whatever came after it */
	if (s->flags == (LRP_TCP_SYN | LRP_TCP_ACK))
		base = THEIRS + 1;
	ack = s->ack == UNA	  ? c.snd_una
	      : s->ack == NXT	  ? c.snd_nxt
	      : s->ack == FUTURE  ? c.snd_nxt + 100
	      : s->ack == ANCIENT ? c.snd_una - FAR
				  : 0;
	input(s->flags, base + (uint32_t)s->seq, ack, s->len, stamps);
	wrong = lrp_tcp_check(&c);
	if (drain(&tx))
		answer = answer_of(&tx, ack, base + (uint32_t)s->seq + s->len);
	snprintf(got, sizeof(got), "%s:%c", c.state == r->state ? "=" : name_of(c.state), answer);
	if (strcmp(want, got) == 0 && !wrong)
		return 0;
	fprintf(stderr, "%s, %s, %s: expected %s, got %s%s%s\n", r->name, s->name,
		stamps == WITHOUT ? "no timestamps"
		: stamps == NEWER ? "newer timestamp"
				  : "older timestamp",
		want, got, wrong ? ", " : "", wrong ? wrong : "");
	return 1;
}

int main(void)
{
	int failed = 0;

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		char *cells = strdup(row[i].cell), *cell = strtok(cells, " ");
		size_t n = 0;

		for (; cell; cell = strtok(NULL, " "), n++)
			for (enum stamps t = WITHOUT; n < SEGMENTS && t <= OLDER; t++)
				failed += one(&row[i], &segment[n], cell, t);
		free(cells);
		if (n != SEGMENTS) {
			fprintf(stderr, "%s has %zu cells, not %zu\n", row[i].name, n, SEGMENTS);
			failed++;
		}
	}
	printf("%zu cells, %d failed\n", 3 * SEGMENTS * sizeof(row) / sizeof(row[0]), failed);
	return failed != 0;
}
