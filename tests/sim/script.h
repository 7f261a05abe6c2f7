/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * script.h - exchanges of segments with one connection, as text that reads like the RFC.
 *
 * A script file has cases; each begins with `=== name` and describes what the far end and the
 * application do (the test's part) and what the connection must answer. Every segment that comes
 * out must be expected, in order, before the next thing happens: silence is checked everywhere.
 *
 *   connect [option]...       active open; the SYN is to be expected next
 *   accept [option]...        passive open, past the handshake
 *   < SEGMENT                 a segment of the peer arrives
 *   > SEGMENT                 the connection has sent this
 *   +1.5                      time passes, seconds; timers run when they are due
 *   write N [more] [oob] [eor]  the application writes; N bytes must be taken, or `takes M`
 *   read N, read eof, read again, read ERRNO, read oob B
 *   shutdown read|write|both, close, abort
 *   set option..., push       lrp_tcp_options_set(), lrp_tcp_push()
 *   quota N                   the channel's
 *   refuse                    the device refuses the next segment
 *   unreachable SEQ ERRNO [hard], too_big SEQ MTU
 *   state NAME, error ERRNO|none, ready NAME...
 *   cwnd N (segments), mss N, advmss N, readable N, unsent N, mark N, recovery N (tcpi_ca_state)
 *
 *   SEGMENT  flags seq:end(len) [ack N] [win N] [urg N] [ecn 0..3] [<mss N, sackOK, ts VAL ECR,
 *            wscale N, sack A:B ...>]     flags as tcpdump has them: S F R P . U E W, `-`: none
 *
 * Sequence numbers are relative: ours begin at 2^32 - 6 and the peer's at 2^32 - 4, so that both
 * wrap in each case. Timestamps are relative too: milliseconds of the script, and the peer's as
 * written. PSH is compared if it is written; what is not written is not compared. Payload is a
 * pattern of the sequence number and always compared.
 */
#ifndef LRP_SIM_SCRIPT_H
#define LRP_SIM_SCRIPT_H

/* Runs all cases of a file. Returns how many failed; each failure is said on stderr with its line.
 */
int script_run(const char *path);

#endif
