/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hold.h - keeps user pages from being frozen.
 *
 * A family has the descriptor of its user pages. BPF_MAP_FREEZE succeeds on it as soon as nobody
 * has the page mapped writable, and no lrpd could map it again. lrpd maps each page before a
 * client gets it; the keeper, too, so that the page is mapped while lrpd is being replaced.
 *
 * The keeper calls, for each descriptor that it keeps:
 *     kept->held = lrp_hold_map(name, fd);     when it gets the descriptor
 *     lrp_hold_unmap(kept->held);              when it closes the descriptor
 */
#ifndef LRP_CORE_HOLD_H
#define LRP_CORE_HOLD_H

/* Bytes of a user page as the kernel maps it. */
unsigned long lrp_hold_size(void);

/* Maps the descriptor writable if its name is that of a user page ("page:N"); the mapping, or NULL
 * if it is none or cannot be mapped. The caller closes fd itself; the mapping stays. */
void *lrp_hold_map(const char *name, int fd);
/* NULL is allowed. */
void lrp_hold_unmap(void *held);

#endif
