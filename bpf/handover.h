/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* handover.h - what handover.bpf.c and the proxy share. */
#ifndef LRP_BPF_HANDOVER_H
#define LRP_BPF_HANDOVER_H

#include <linux/types.h>

#define LRP_HANDOVER_BATCH 256u	 /* frames of one BPF_PROG_RUN */
#define LRP_HANDOVER_FRAME 3400u /* bytes that it takes as a live frame, with the headroom */

/* lrp_handover_frames: ARRAY of LRP_HANDOVER_BATCH, mapped by the proxy. */
struct lrp_handover_frame {
	__u32 length;
	__u32 pad;
	__u8 data[LRP_HANDOVER_FRAME];
};

#endif
