/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "script.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

#define OURS   0xfffffffau
#define THEIRS 0xfffffffcu
#define RUNS   1024
#define OUT    256
#define TOKENS 40

/* A segment as it is written, or as it came out; sequence numbers relative. */
struct line_segment {
	uint32_t seq, len, ack, win, urg, ecn, mss, wscale, ts_val, ts_ecr;
	uint8_t flags;
	bool push, has_ack, has_win, has_urg, has_ecn, has_mss, has_wscale, has_sack_ok, has_ts,
		any_val, any_ecr;
	uint8_t sacks;
	struct lrp_tcp_sack sack[LRP_TCP_SACKS_MAX];
};

struct out {
	struct line_segment s;
	bool payload_ok;
};

struct script {
	const char *path;
	int line;
	char name[80];
	jmp_buf failed;
	struct lrp_tcp c;
	bool open;
	struct lrp_tcp_options opt;
	struct lrp_tcp_opened peer; /* what accept says of the peer */
	uint32_t mtu, snd, rcv, rcvbuf;
	int family;
	int64_t now;
	bool refuse;
	struct out out[OUT];
	uint32_t first, last;
	char *token[TOKENS];
	int tokens, at;
};

static void fail(struct script *s, const char *format, ...)
	__attribute__((format(printf, 2, 3), noreturn));

static void fail(struct script *s, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s:%d: %s, at %.3f s: ", s->path, s->line, s->name,
		(double)(s->now - SIM_T0) / SECOND);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	longjmp(s->failed, 1);
}

/* ---- words ------------------------------------------------------------------------- */

static void split(struct script *s, char *text)
{
	s->tokens = s->at = 0;
	/* the brackets round options are for the reader, as commas are */
	for (char *p = text; *p; p++)
		if (*p == ',' || *p == '\n' || (*p == '<' && p[1] != ' ') ||
		    (*p == '>' && p > text && p[-1] != ' '))
			*p = ' ';
	for (char *t = strtok(text, " \t"); t && s->tokens < TOKENS; t = strtok(NULL, " \t"))
		s->token[s->tokens++] = t;
}

static const char *next(struct script *s)
{
	if (s->at == s->tokens)
		fail(s, "something is missing at the end of the line");
	return s->token[s->at++];
}

static bool more(const struct script *s)
{
	return s->at < s->tokens;
}

static bool word(struct script *s, const char *w)
{
	if (!more(s) || strcmp(s->token[s->at], w) != 0)
		return false;
	s->at++;
	return true;
}

static uint32_t number(struct script *s)
{
	const char *t = next(s);
	char *end;
	unsigned long n = strtoul(t, &end, 0);

	if (*end || end == t)
		fail(s, "'%s' is no number", t);
	return (uint32_t)n;
}

static int error_number(struct script *s)
{
	static const struct {
		const char *name;
		int number;
	} error[] = {{"none", 0},
		     {"ECONNRESET", ECONNRESET},
		     {"ECONNREFUSED", ECONNREFUSED},
		     {"ETIMEDOUT", ETIMEDOUT},
		     {"EPIPE", EPIPE},
		     {"EHOSTUNREACH", EHOSTUNREACH},
		     {"ENETUNREACH", ENETUNREACH},
		     {"ENOTCONN", ENOTCONN},
		     {"EAGAIN", EAGAIN},
		     {"EINVAL", EINVAL},
		     {"EPROTO", EPROTO}};
	const char *t = next(s);

	for (size_t i = 0; i < sizeof(error) / sizeof(error[0]); i++)
		if (strcmp(t, error[i].name) == 0)
			return error[i].number;
	fail(s, "no error is called '%s'", t);
}

static const char *state_name(uint8_t state)
{
	static const char *const name[] = {
		[LRP_TCP_ESTABLISHED] = "ESTABLISHED", [LRP_TCP_SYN_SENT] = "SYN_SENT",
		[LRP_TCP_SYN_RCVD] = "SYN_RCVD",       [LRP_TCP_FIN_WAIT_1] = "FIN_WAIT_1",
		[LRP_TCP_FIN_WAIT_2] = "FIN_WAIT_2",   [LRP_TCP_TIME_WAIT] = "TIME_WAIT",
		[LRP_TCP_CLOSED] = "CLOSED",	       [LRP_TCP_CLOSE_WAIT] = "CLOSE_WAIT",
		[LRP_TCP_LAST_ACK] = "LAST_ACK",       [LRP_TCP_LISTEN] = "LISTEN",
		[LRP_TCP_CLOSING] = "CLOSING",
	};

	return state < sizeof(name) / sizeof(name[0]) && name[state] ? name[state] : "?";
}

/* ---- segments ------------------------------------------------------------------------ */

static const char letters[] = "FSRP.UEW";

static void parse_options(struct script *s, struct line_segment *g)
{
	while (more(s)) {
		if (word(s, "ack")) {
			g->ack = number(s);
			g->has_ack = true;
		} else if (word(s, "win")) {
			g->win = number(s);
			g->has_win = true;
		} else if (word(s, "urg")) {
			g->urg = number(s);
			g->has_urg = true;
		} else if (word(s, "ecn")) {
			g->ecn = number(s);
			g->has_ecn = true;
		} else if (word(s, "mss")) {
			g->mss = number(s);
			g->has_mss = true;
		} else if (word(s, "wscale")) {
			g->wscale = number(s);
			g->has_wscale = true;
		} else if (word(s, "sackOK")) {
			g->has_sack_ok = true;
		} else if (word(s, "ts")) {
			g->has_ts = true;
			g->any_val = word(s, "*");
			if (!g->any_val)
				g->ts_val = number(s);
			g->any_ecr = word(s, "*");
			if (!g->any_ecr)
				g->ts_ecr = number(s);
		} else if (word(s, "sack")) {
			struct lrp_tcp_sack *b = g->sack;

			while (more(s) && strchr(s->token[s->at], ':') &&
			       g->sacks < LRP_TCP_SACKS_MAX) {
				if (sscanf(next(s), "%u:%u", &b->start, &b->end) != 2)
					fail(s, "a SACK block is A:B");
				g->sacks++;
				b++;
			}
		} else {
			fail(s, "'%s' is not part of a segment", next(s));
		}
	}
}

static struct line_segment parse(struct script *s)
{
	struct line_segment g = {0};
	const char *flags = next(s), *numbers;
	uint32_t end;

	for (; *flags; flags++) {
		const char *l = strchr(letters, *flags);

		if (l)
			g.flags |= (uint8_t)(1 << (l - letters));
		else if (*flags != '-')
			fail(s, "no flag is called %c", *flags);
	}
	g.push = g.flags & LRP_TCP_PSH;
	numbers = next(s);
	if (sscanf(numbers, "%u:%u(%u)", &g.seq, &end, &g.len) != 3 || end - g.seq != g.len)
		fail(s, "'%s' is not seq:end(len)", numbers);
	parse_options(s, &g);
	return g;
}

static char *show(const struct line_segment *g, char *to, size_t len)
{
	char *o = to, *end = to + len;

	for (int i = 0; i < 8; i++)
		if (g->flags & 1 << i)
			*o++ = letters[i];
	if (!g->flags)
		*o++ = '-';
	o += snprintf(o, (size_t)(end - o), " %u:%u(%u)", g->seq, g->seq + g->len, g->len);
	if (g->has_ack)
		o += snprintf(o, (size_t)(end - o), " ack %u", g->ack);
	if (g->has_win)
		o += snprintf(o, (size_t)(end - o), " win %u", g->win);
	if (g->urg)
		o += snprintf(o, (size_t)(end - o), " urg %u", g->urg);
	if (g->ecn)
		o += snprintf(o, (size_t)(end - o), " ecn %u", g->ecn);
	if (g->has_mss)
		o += snprintf(o, (size_t)(end - o), " mss %u", g->mss);
	if (g->has_sack_ok)
		o += snprintf(o, (size_t)(end - o), " sackOK");
	if (g->has_ts)
		o += snprintf(o, (size_t)(end - o), " ts %u %u", g->ts_val, g->ts_ecr);
	if (g->has_wscale)
		o += snprintf(o, (size_t)(end - o), " wscale %u", g->wscale);
	for (int i = 0; i < g->sacks; i++)
		o += snprintf(o, (size_t)(end - o), "%s %u:%u", i ? "" : " sack", g->sack[i].start,
			      g->sack[i].end);
	return to;
}

static uint8_t pattern(uint32_t seq)
{
	return (uint8_t)((seq * 0x9e3779b1u) >> 24);
}

/* ---- the connection -------------------------------------------------------------------- */

static void check(struct script *s)
{
	const char *wrong = s->open ? lrp_tcp_check(&s->c) : NULL;

	if (wrong)
		fail(s, "the connection is not sound: %s", wrong);
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void read_options(struct line_segment *g, const struct lrp_tcp_tx *tx)
{
	const uint8_t *p = tx->options, *end = p + tx->options_len;

	while (p < end && *p) {
		if (*p == 1) {
			p++;
			continue;
		}
		switch (*p) {
		case 2:
			g->has_mss = true;
			g->mss = (uint32_t)p[2] << 8 | p[3];
			break;
		case 3:
			g->has_wscale = true;
			g->wscale = p[2];
			break;
		case 4:
			g->has_sack_ok = true;
			break;
		case 5:
			for (int i = 2; i < p[1]; i += 8)
				g->sack[g->sacks++] = (struct lrp_tcp_sack){
					be32(p + i) - THEIRS, be32(p + i + 4) - THEIRS};
			break;
		case 8:
			g->has_ts = true;
			g->ts_val = be32(p + 2);
			g->ts_ecr = be32(p + 6);
			break;
		}
		p += p[1];
	}
}

static void remember(struct script *s, const struct lrp_tcp_tx *tx)
{
	struct out *o = &s->out[s->last % OUT];
	struct line_segment *g = &o->s;
	uint32_t at = 0;

	memset(o, 0, sizeof(*o));
	g->seq = tx->seq - OURS;
	g->len = tx->payload_len;
	g->flags = tx->flags;
	g->has_ack = tx->flags & LRP_TCP_ACK;
	g->ack = tx->ack - THEIRS;
	g->has_win = g->has_urg = g->has_ecn = true;
	g->win = tx->window;
	g->urg = tx->urgent;
	g->ecn = tx->ecn;
	read_options(g, tx);
	o->payload_ok = true;
	for (int i = 0; i < 2; i++)
		for (size_t k = 0; k < tx->payload[i].iov_len; k++, at++)
			if (((const uint8_t *)tx->payload[i].iov_base)[k] != pattern(tx->seq + at))
				o->payload_ok = false;
	if (s->last++ - s->first >= OUT)
		fail(s, "it does not stop sending");
}

static void output(struct script *s)
{
	struct lrp_tcp_tx tx;

	while (s->open && lrp_tcp_output(&s->c, s->now, 1, &tx)) {
		if (s->refuse) {
			s->refuse = false;
			lrp_tcp_local_drop(&s->c, s->now);
			break;
		}
		remember(s, &tx);
		lrp_tcp_sent(&s->c, s->now, &tx);
		check(s);
	}
}

static void silent(struct script *s)
{
	char text[300];

	if (s->first != s->last)
		fail(s, "it has sent: %s", show(&s->out[s->first % OUT].s, text, sizeof(text)));
}

static void expect(struct script *s)
{
	struct line_segment want = parse(s), *got;
	char a[300], b[300];
	struct out *o;
	bool same;

	show(&want, a, sizeof(a));
	if (s->first == s->last)
		fail(s, "it is silent, where it should send: %s", a);
	o = &s->out[s->first++ % OUT];
	got = &o->s;
	same = (got->flags & ~LRP_TCP_PSH) == (want.flags & ~LRP_TCP_PSH) && got->seq == want.seq &&
	       got->len == want.len && (!want.push || got->flags & LRP_TCP_PSH) &&
	       (!want.has_ack || got->ack == want.ack) && (!want.has_win || got->win == want.win) &&
	       (!want.has_urg || got->urg == want.urg) && (!want.has_ecn || got->ecn == want.ecn) &&
	       (!want.has_mss || (got->has_mss && got->mss == want.mss)) &&
	       (!want.has_wscale || (got->has_wscale && got->wscale == want.wscale)) &&
	       (!want.has_ts || (got->has_ts && (want.any_val || got->ts_val == want.ts_val) &&
				 (want.any_ecr || got->ts_ecr == want.ts_ecr))) &&
	       (!want.has_sack_ok || got->has_sack_ok) && got->sacks == want.sacks &&
	       memcmp(got->sack, want.sack, want.sacks * sizeof(want.sack[0])) == 0;
	if (got->flags & LRP_TCP_SYN) /* what a SYN offers is said in full */
		same = same && got->has_sack_ok == want.has_sack_ok && got->has_ts == want.has_ts &&
		       got->has_wscale == want.has_wscale;
	if (!same)
		fail(s, "\n    expected %s\n    got      %s", a, show(got, b, sizeof(b)));
	if (!o->payload_ok)
		fail(s, "the payload is wrong");
}

static void input(struct script *s)
{
	static uint8_t payload[65536];
	struct line_segment g = parse(s);
	struct lrp_tcp_segment seg = {
		.seq = g.seq + THEIRS,
		.ack = g.flags & LRP_TCP_ACK ? g.ack + OURS : 0,
		.len = g.len,
		.payload = payload,
		.window = (uint16_t)(g.has_win ? g.win : 65535u >> (s->open ? s->c.snd_wscale : 0)),
		.urgent = (uint16_t)g.urg,
		.flags = g.flags,
		.ecn = (uint8_t)g.ecn,
		.options = (uint8_t)((g.has_mss ? LRP_TCP_HAS_MSS : 0) |
				     (g.has_wscale ? LRP_TCP_HAS_WSCALE : 0) |
				     (g.has_sack_ok ? LRP_TCP_HAS_SACK_OK : 0) |
				     (g.has_ts ? LRP_TCP_HAS_TIMESTAMP : 0)),
		.wscale = (uint8_t)g.wscale,
		.mss = (uint16_t)g.mss,
		.sacks = g.sacks,
		.ts_val = g.ts_val,
		.ts_ecr = g.ts_ecr,
	};

	for (uint32_t i = 0; i < g.len; i++)
		payload[i] = pattern(seg.seq + i);
	for (int i = 0; i < g.sacks; i++)
		seg.sack[i] = (struct lrp_tcp_sack){g.sack[i].start + OURS, g.sack[i].end + OURS};
	lrp_tcp_input(&s->c, s->now, &seg, NULL);
}

/* ---- opening ----------------------------------------------------------------------------- */

static void offers(struct script *s)
{
	struct lrp_tcp_options *o = &s->opt;

	while (more(s)) {
		bool off = word(s, "no");

		if (word(s, "ts"))
			o->timestamps = !off;
		else if (word(s, "sack"))
			o->sack = !off;
		else if (word(s, "ecn"))
			o->ecn = !off;
		else if (word(s, "nodelay"))
			o->nodelay = !off;
		else if (word(s, "cork"))
			o->cork = !off;
		else if (word(s, "inline"))
			o->oob_inline = !off;
		else if (word(s, "ipv6"))
			s->family = AF_INET6;
		else if (word(s, "reno"))
			o->cc = &lrp_tcp_newreno;
		else if (word(s, "cubic"))
			o->cc = &lrp_tcp_cubic;
		else if (word(s, "wscale")) {
			o->wscale = true;
			s->peer.snd_wscale = (uint8_t)number(s);
		} else if (word(s, "rwscale"))
			s->peer.rcv_wscale = (uint8_t)number(s);
		else if (word(s, "mss"))
			s->peer.peer_mss = (uint16_t)number(s);
		else if (word(s, "maxseg"))
			o->mss = (uint16_t)number(s);
		else if (word(s, "win"))
			s->peer.window = number(s);
		else if (word(s, "mtu"))
			s->mtu = number(s);
		else if (word(s, "snd"))
			s->snd = number(s);
		else if (word(s, "rcv"))
			s->rcv = number(s);
		else if (word(s, "rcvbuf"))
			s->rcvbuf = number(s);
		else if (word(s, "sndbuf"))
			o->snd_max = number(s);
		else if (word(s, "notsent"))
			o->notsent_low = number(s);
		else if (word(s, "rtt"))
			s->peer.rtt_ns = number(s) * MS;
		else if (word(s, "retries"))
			o->retries = number(s);
		else if (word(s, "syn_retries"))
			o->syn_retries = number(s);
		else if (word(s, "syn_linear"))
			o->syn_linear = (uint8_t)number(s);
		else if (word(s, "linger2"))
			o->linger2_s = number(s);
		else if (word(s, "user_timeout"))
			o->user_timeout_ms = number(s);
		else if (word(s, "keepalive")) {
			o->keepalive = !off;
			if (off)
				continue;
			o->keep_idle_s = number(s);
			o->keep_interval_s = number(s);
			o->keep_count = number(s);
		} else
			fail(s, "no option is called '%s'", next(s));
	}
}

static void prepare(struct script *s)
{
	struct lrp_tcp_memory m;

	offers(s);
	m = (struct lrp_tcp_memory){.snd = {calloc(1, s->snd), s->snd},
				    .rcv = {calloc(1, s->rcv), s->rcv},
				    .run = calloc(RUNS, sizeof(struct lrp_tcp_sent_run)),
				    .runs = RUNS};
	s->opt.rcv_max = s->rcvbuf ? s->rcvbuf : s->rcv;
	lrp_tcp_init(&s->c, &s->opt, &m);
	s->open = true;
}

/* Our timestamps are milliseconds of the script. */
#define TS_OFFSET (0u - (uint32_t)(SIM_T0 / MS))

static void passive(struct script *s)
{
	struct lrp_tcp_segment third = {.seq = THEIRS + 1, .ack = OURS + 1, .flags = LRP_TCP_ACK};

	prepare(s);
	s->peer.iss = OURS;
	s->peer.irs = THEIRS;
	s->peer.wscale = s->opt.wscale;
	s->peer.timestamps = s->opt.timestamps;
	s->peer.sack = s->opt.sack;
	s->peer.ecn = s->opt.ecn;
	s->peer.ts_offset = TS_OFFSET;
	s->peer.rcv_window = s->opt.rcv_max < 65535 ? s->opt.rcv_max : 65535;
	lrp_tcp_accept(&s->c, s->now, (uint8_t)s->family, s->mtu, &s->peer);
	third.window = (uint16_t)(s->peer.window >> s->peer.snd_wscale);
	if (s->peer.timestamps)
		third.options = LRP_TCP_HAS_TIMESTAMP;
	lrp_tcp_input(&s->c, s->now, &third, NULL);
}

static void active(struct script *s)
{
	prepare(s);
	lrp_tcp_connect(&s->c, s->now, (uint8_t)s->family, s->mtu, OURS, TS_OFFSET);
}

/* ---- the application ------------------------------------------------------------------------ */

static void same(struct script *s, const char *what, uint32_t got)
{
	uint32_t want = number(s);

	if (got != want)
		fail(s, "%s is %u, not %u", what, got, want);
}

static void app_write(struct script *s)
{
	static uint8_t bytes[1 << 20];
	uint32_t n = number(s), at = s->c.snd_end;
	struct iovec iov = {bytes, n};
	int io = 0;
	ssize_t taken;

	io |= word(s, "more") ? LRP_TCP_MORE : 0;
	io |= word(s, "oob") ? LRP_TCP_OOB : 0;
	io |= word(s, "eor") ? LRP_TCP_EOR : 0;
	for (uint32_t i = 0; i < n; i++)
		bytes[i] = pattern(at + i);
	taken = lrp_tcp_write(&s->c, s->now, &iov, 1, io);
	if (word(s, "takes")) {
		same(s, "what the write takes", (uint32_t)taken);
	} else if (more(s)) {
		int e = error_number(s);

		if (taken != -e)
			fail(s, "the write returns %zd, not %d", taken, -e);
	} else if (taken != (ssize_t)n) {
		fail(s, "%zd bytes were taken", taken);
	}
}

static void app_read(struct script *s)
{
	static uint8_t bytes[1 << 20];
	struct iovec iov = {bytes, sizeof(bytes)};
	uint32_t at = s->c.rcv_read;
	ssize_t want, got;
	bool oob = word(s, "oob");

	if (word(s, "eof")) {
		want = 0;
	} else if (word(s, "again")) {
		want = -EAGAIN;
	} else if (more(s) && s->token[s->at][0] >= '0' && s->token[s->at][0] <= '9') {
		want = number(s);
		iov.iov_len = (size_t)want;
	} else {
		want = -error_number(s);
	}
	got = lrp_tcp_read(&s->c, s->now, &iov, 1, oob ? LRP_TCP_OOB : 0);
	if (got != want)
		fail(s, "the read returns %zd, not %zd", got, want);
	if (word(s, "after")) /* the urgent byte was stepped over */
		at = number(s) + THEIRS;
	if (word(s, "at"))
		at = number(s) + THEIRS;
	for (ssize_t i = 0; i < got; i++)
		if (bytes[i] != pattern(at + (uint32_t)i))
			fail(s, "byte %zd that was read is wrong", i);
}

static void app_ready(struct script *s)
{
	static const char *const name[] = {"readable", "writable", "urgent",   "read_closed",
					   "hung_up",  "error",	   "connected"};
	uint32_t want = 0, got = lrp_tcp_ready(&s->c);

	while (more(s)) {
		const char *t = next(s);
		int i = 0;

		while (i < 7 && strcmp(t, name[i]) != 0)
			i++;
		if (i == 7)
			fail(s, "readiness has no '%s'", t);
		want |= 1u << i;
	}
	if (got != want)
		fail(s, "readiness is 0x%x, not 0x%x", got, want);
}

/* ---- lines ------------------------------------------------------------------------------------
 */

static void wait_for(struct script *s, const char *text)
{
	int64_t until = s->now + (int64_t)(strtod(text, NULL) * SECOND + 0.5);
	int spins = 0;

	silent(s);
	while (lrp_tcp_deadline(&s->c) <= until) {
		int64_t at = lrp_tcp_deadline(&s->c);

		spins = at > s->now ? 0 : spins + 1;
		if (spins > 3)
			fail(s, "the deadline stays in the past");
		if (at > s->now)
			s->now = at;
		lrp_tcp_timer(&s->c, s->now);
		check(s);
		output(s);
	}
	s->now = until;
	output(s);
}

static void question(struct script *s)
{
	if (word(s, "state")) {
		const char *want = next(s);

		if (strcmp(want, state_name(s->c.state)) != 0)
			fail(s, "the state is %s, not %s", state_name(s->c.state), want);
	} else if (word(s, "error")) {
		int want = error_number(s), got = lrp_tcp_error(&s->c);

		if (want != got)
			fail(s, "the error is %s, not %s", strerror(got), strerror(want));
	} else if (word(s, "ready")) {
		app_ready(s);
	} else if (word(s, "cwnd")) {
		same(s, "cwnd in segments", s->c.cc.cwnd / s->c.mss);
	} else if (word(s, "recovery")) {
		same(s, "the state of recovery", s->c.recovery.state);
	} else if (word(s, "mss")) {
		same(s, "the MSS", s->c.mss);
	} else if (word(s, "readable")) {
		same(s, "FIONREAD", lrp_tcp_readable(&s->c));
	} else if (word(s, "unsent")) {
		same(s, "SIOCOUTQ", lrp_tcp_unsent(&s->c));
	} else if (word(s, "advmss")) {
		struct tcp_info info;

		lrp_tcp_info(&s->c, s->now, &info);
		same(s, "tcpi_advmss", info.tcpi_advmss);
	} else if (word(s, "mark")) {
		same(s, "SIOCATMARK", lrp_tcp_at_mark(&s->c));
	} else {
		fail(s, "'%s' is not understood", next(s));
	}
}

static bool from_network(struct script *s)
{
	if (word(s, "<")) {
		silent(s);
		input(s);
	} else if (word(s, "unreachable")) {
		uint32_t seq = number(s) + OURS;
		int error = error_number(s);

		lrp_tcp_unreachable(&s->c, s->now, seq, error, word(s, "hard"));
	} else if (word(s, "too_big")) {
		uint32_t seq = number(s) + OURS;

		lrp_tcp_too_big(&s->c, s->now, seq, number(s));
	} else if (word(s, "quota")) {
		lrp_tcp_quota(&s->c, number(s));
	} else if (word(s, "refuse")) {
		s->refuse = true;
	} else {
		return false;
	}
	return true;
}

static bool from_application(struct script *s)
{
	if (word(s, "connect")) {
		active(s);
	} else if (word(s, "accept")) {
		passive(s);
	} else if (word(s, "write")) {
		app_write(s);
	} else if (word(s, "read")) {
		app_read(s);
	} else if (word(s, "shutdown")) {
		const char *how = next(s);

		lrp_tcp_shutdown(&s->c, s->now, strcmp(how, "write") != 0,
				 strcmp(how, "read") != 0);
	} else if (word(s, "close")) {
		lrp_tcp_close(&s->c, s->now);
	} else if (word(s, "abort")) {
		lrp_tcp_abort(&s->c, s->now);
	} else if (word(s, "set")) {
		s->opt = s->c.opt;
		offers(s);
		lrp_tcp_options_set(&s->c, s->now, &s->opt);
	} else if (word(s, "push")) {
		lrp_tcp_push(&s->c, s->now);
	} else if (word(s, "quickack")) {
		lrp_tcp_quickack(&s->c, number(s));
	} else if (word(s, "slow")) {
		/* past the ACKs at once with which a connection begins */
		s->c.quick = 0;
	} else {
		return false;
	}
	return true;
}

static void run_line(struct script *s)
{
	if (word(s, ">")) {
		expect(s);
	} else if (s->token[0][0] == '+') {
		wait_for(s, next(s) + 1);
	} else if (from_network(s) || from_application(s)) {
		check(s);
		output(s);
	} else {
		question(s);
	}
	if (more(s))
		fail(s, "'%s' is too much", s->token[s->at]);
}

static void begin(struct script *s, const char *name)
{
	snprintf(s->name, sizeof(s->name), "%.79s", name);
	s->name[strcspn(s->name, "\n")] = 0;
	lrp_tcp_options_default(&s->opt);
	s->opt.timestamps = s->opt.sack = s->opt.wscale = false;
	memset(&s->peer, 0, sizeof(s->peer));
	s->peer.peer_mss = 1000;
	s->peer.window = 65535;
	s->peer.rtt_ns = 100 * MS;
	s->mtu = 1500;
	s->snd = s->rcv = 65536;
	s->rcvbuf = 0;
	s->family = AF_INET;
	s->now = SIM_T0;
	s->first = s->last = 0;
	s->refuse = false;
}

static void end(struct script *s)
{
	if (!s->open)
		return;
	free(s->c.snd.base);
	free(s->c.rcv.base);
	free(s->c.recovery.board.run);
	s->open = false;
}

int script_run(const char *path)
{
	static struct script s;
	FILE *f = fopen(path, "r");
	char text[512];
	volatile int failed = 0;
	volatile bool skip = true;

	if (!f) {
		perror(path);
		return 1;
	}
	memset(&s, 0, sizeof(s));
	s.path = path;
	while (fgets(text, sizeof(text), f)) {
		s.line++;
		if (strncmp(text, "=== ", 4) == 0) {
			if (!skip && setjmp(s.failed) == 0)
				silent(&s);
			else if (!skip)
				failed++;
			end(&s);
			begin(&s, text + 4);
			skip = false;
			continue;
		}
		text[strcspn(text, "#")] = 0;
		split(&s, text);
		if (skip || !s.tokens)
			continue;
		if (setjmp(s.failed) == 0) {
			run_line(&s);
		} else {
			failed++;
			skip = true;
		}
	}
	if (!skip && setjmp(s.failed) == 0)
		silent(&s);
	else if (!skip)
		failed++;
	end(&s);
	fclose(f);
	return failed;
}
