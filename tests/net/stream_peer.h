/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* stream_peer.h - for the differential tests of TCP sockets: both ends of a connection, one of them
 * a kernel socket in the client namespace. */
#ifndef LRP_TEST_STREAM_PEER_H
#define LRP_TEST_STREAM_PEER_H

#include "socket_harness.h"

#define SERVICE_PORT 7000 /* of a listener in the client namespace */

int peer_listen(struct run *r);		  /* on SERVICE_PORT */
int listener(struct run *r, int backlog); /* under test, on PORT, with a timeout of two seconds */
int peer_connect(struct run *r);	  /* a kernel socket, connected to PORT here */
int stream_socket(struct run *r, int flags); /* under test; with timeouts of two seconds */
/* Connected: by connect() to a peer's listener, or by accept() of a peer; *peer the other end. */
int opened_socket(struct run *r, int *peer);
int accepted_socket(struct run *r, int *peer);

#endif
