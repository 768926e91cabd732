/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames for the filter tests: each payload below behind each link-layer header, and cut short. What is in a header matters
 * little, that headers differ does: a filter must find its way through every one of them.
 */
#pragma once

#include <string.h>

#include "mctl.h"

#define FRAME_ROOM 2048
#define FRAMES_MAX 1024
#define FRAME_MIN 18	/* shortest after a cut: an Ethernet header with a tag */

struct frame {
	uint8_t bytes[FRAME_ROOM];
	size_t len;		/* of the frame that the filter sees */
	size_t full;		/* bytes before it was cut: BPF_PROG_TEST_RUN takes no piece of an IP header */
};

/* Payloads: an ethertype and what comes behind it, from the network header on, in hexadecimal; blanks are for the eye. */
struct payload {
	uint16_t type;
	const char *hex;
	size_t fill;		/* so many more bytes, counting up */
};

#define P4A "0a000001 0a000002 "
#define P4B "0a000002 c0a80117 "
#define P4M "0a000001 e00000fb "
#define P4C "0a0000ff ffffffff "
#define H4(len, frag, ttl, proto, ends) "45 00 " len " 1234 " frag " " ttl " " proto " 0000 " ends
#define A6 "fd000000000000000000000000000001 "
#define B6 "20010db8000000000000000000000017 "
#define M6 "ff0200000000000000000000000000fb "
#define H6(len, next, from, to) "60012345 " len " " next " 40 " from to
#define TCPH(sport, dport, flags) sport " " dport " 00000001 00000002 50 " flags " ffff 0000 0000 "
#define UDPH(sport, dport, len) sport " " dport " " len " 0000 "

static const struct payload payloads[] = {
	{ 0x0800, H4("0028", "4000", "40", "06", P4A) TCPH("1f90", "0050", "02"), 0 },
	{ 0x0800, H4("0028", "4000", "40", "06", P4B) TCPH("0050", "1f90", "12"), 0 },
	{ 0x0800, H4("0028", "4000", "3f", "06", P4A) TCPH("1f90", "0016", "11"), 6 },
	{ 0x0800, H4("0028", "0000", "01", "06", P4B) TCPH("01bb", "c350", "04"), 0 },
	{ 0x0800, H4("003c", "4000", "40", "06", P4A) "1f90 0050 00000001 00000002 a0 18 ffff 0000 0000 "
	  "020405b4 0402080a 00000001 00000000 01030307", 0 },
	{ 0x0800, H4("0090", "4000", "40", "06", P4A) TCPH("1f90", "0050", "18") "47455420 2f204854", 96 },
	{ 0x0800, H4("05dc", "4000", "40", "06", P4B) TCPH("01bb", "1f90", "10") "16030102 00010001", 1452 },
	{ 0x0800, "46 00 002c 0001 4000 40 06 0000 " P4A "01010101" TCPH("1f90", "0050", "02"), 0 },
	{ 0x0800, "4f b8 0050 0001 0000 40 11 0000 " P4B "83270400000000000000000000000000000000000000000000000000000000000000"
	  "00000000000000" UDPH("1f90", "0035", "0014"), 12 },
	{ 0x0800, H4("001c", "0000", "40", "11", P4A) UDPH("1f90", "0035", "0008"), 0 },
	{ 0x0800, H4("0030", "0000", "40", "11", P4B) UDPH("0035", "1f90", "001c"), 20 },
	{ 0x0800, H4("0030", "0000", "ff", "11", P4M) UDPH("14e9", "14e9", "001c"), 20 },
	{ 0x0800, H4("0030", "0000", "40", "11", P4C) UDPH("0044", "0043", "001c"), 20 },
	{ 0x0800, H4("05dc", "2000", "40", "11", P4A) UDPH("1f90", "12b5", "2000"), 1472 },
	{ 0x0800, H4("0030", "00b9", "40", "11", P4A), 28 },
	{ 0x0800, H4("0030", "20b9", "40", "06", P4B), 28 },
	{ 0x0800, H4("001c", "2000", "40", "06", P4B) "1f90 0050 00000001", 0 },
	{ 0x0800, H4("0054", "0000", "40", "01", P4A) "08 00 0000 1234 0001 ", 56 },
	{ 0x0800, H4("0054", "0000", "40", "01", P4B) "00 00 0000 1234 0001 ", 56 },
	{ 0x0800, H4("0038", "0000", "40", "01", P4B) "03 03 0000 00000000 " H4("001c", "0000", "40", "11", P4A)
	  UDPH("1f90", "0035", "0008"), 0 },
	{ 0x0800, H4("0038", "0000", "40", "01", P4B) "0b 00 0000 00000000 " H4("001c", "0000", "01", "11", P4A)
	  UDPH("1f90", "829b", "0008"), 0 },
	{ 0x0800, H4("0020", "0000", "01", "02", P4M) "16 00 0904 e00000fb 00000000", 0 },
	{ 0x0800, H4("0030", "0000", "40", "84", P4A) "1f90 0050 00000001 00000000 01 00 0014", 12 },
	{ 0x0800, H4("0030", "0000", "40", "2f", P4A) "0000 0800 " H4("001c", "0000", "40", "11", P4B) UDPH("1f90", "0035",
	  "0008"), 0 },
	{ 0x0800, H4("0030", "0000", "40", "32", P4A) "00000001 00000001", 20 },
	{ 0x0800, H4("0034", "0000", "40", "33", P4A) "11 04 0000 00000001 00000001 000000000000000000000000 "
	  UDPH("1f90", "0035", "0008"), 0 },
	{ 0x0800, H4("0044", "0000", "40", "29", P4A) H6("0008", "11", A6, B6) UDPH("1f90", "0035", "0008"), 0 },
	{ 0x0800, H4("0030", "0000", "40", "04", P4A) H4("001c", "0000", "40", "11", P4B) UDPH("1f90", "0035", "0008"), 0 },
	{ 0x0800, H4("0018", "0000", "01", "59", P4M) "02010000", 0 },
	{ 0x0800, H4("0018", "0000", "ff", "70", P4M) "21016401", 0 },
	{ 0x0800, H4("0018", "0000", "01", "67", P4M) "20000000", 0 },
	{ 0x0800, "40 00 001c 0001 0000 40 11 0000 " P4A UDPH("1f90", "0035", "0008"), 0 },
	{ 0x0800, "44 00 001c 0001 0000 40 11 0000 " P4A UDPH("1f90", "0035", "0008"), 0 },
	{ 0x0800, "4f 00 001c 0001 0000 40 06 0000 " P4A TCPH("1f90", "0050", "02"), 0 },
	{ 0x0800, "55 00 001c 0001 0000 40 11 0000 " P4A UDPH("1f90", "0035", "0008"), 0 },
	{ 0x0800, H4("ffff", "0000", "40", "11", P4A) UDPH("1f90", "0035", "ffff"), 3 },
	{ 0x0800, H4("0000", "0000", "40", "11", P4A) UDPH("0000", "0000", "0000"), 0 },
	{ 0x86dd, H6("0014", "06", A6, B6) TCPH("1f90", "0050", "02"), 0 },
	{ 0x86dd, H6("0014", "06", B6, A6) TCPH("0050", "1f90", "12"), 0 },
	{ 0x86dd, H6("0574", "06", A6, B6) TCPH("01bb", "1f90", "18"), 1376 },
	{ 0x86dd, H6("0008", "11", A6, B6) UDPH("1f90", "0035", "0008"), 0 },
	{ 0x86dd, H6("001c", "11", B6, M6) UDPH("14e9", "14e9", "001c"), 20 },
	{ 0x86dd, H6("0008", "3a", A6, B6) "80 00 0000 1234 0001", 0 },
	{ 0x86dd, H6("0008", "3a", B6, A6) "81 00 0000 1234 0001", 0 },
	{ 0x86dd, H6("0018", "3a", A6, M6) "87 00 0000 00000000 " B6, 0 },
	{ 0x86dd, H6("0038", "3a", B6, A6) "01 04 0000 00000000 " H6("0008", "11", A6, B6) UDPH("1f90", "0035", "0008"), 0 },
	{ 0x86dd, H6("0018", "00", A6, B6) "3c 00 0104 00000000 11 00 0104 00000000 " UDPH("1f90", "0035", "0008"), 0 },
	{ 0x86dd, H6("0010", "00", A6, M6) "3a 00 0502 00000100 8f 00 0000 00000000", 0 },
	{ 0x86dd, H6("0020", "2b", A6, B6) "11 02 0401 00000000 " A6 UDPH("1f90", "0035", "0008"), 0 },
	{ 0x86dd, H6("0018", "33", A6, B6) "11 02 0000 00000001 00000001 00000000 " UDPH("1f90", "0035", "0008"), 0 },
	{ 0x86dd, H6("0018", "32", A6, B6) "00000001 00000001", 16 },
	{ 0x86dd, H6("0010", "2c", A6, B6) "11 00 0001 deadbeef " UDPH("1f90", "0035", "0100"), 0 },
	{ 0x86dd, H6("0010", "2c", A6, B6) "11 00 05a8 deadbeef 0102030405060708", 0 },
	{ 0x86dd, H6("001c", "2c", B6, A6) "06 00 0000 deadbeef " TCPH("0050", "1f90", "10"), 0 },
	{ 0x86dd, H6("0030", "2c", A6, B6) "3c 00 0000 deadbeef 2b 00 0104 00000000 06 00 0000 00000000 "
	  TCPH("1f90", "0050", "02"), 4 },
	{ 0x86dd, H6("0050", "3c", A6, B6) "3c00010400000000 3c00010400000000 3c00010400000000 3c00010400000000 "
	  "3c00010400000000 3c00010400000000 3c00010400000000 3c00010400000000 1100010400000000 " UDPH("1f90", "0035", "0008"), 0 },
	{ 0x86dd, H6("0010", "00", A6, B6) "11 ff 0104 00000000", 8 },
	{ 0x86dd, H6("0000", "3b", A6, B6), 0 },
	{ 0x86dd, H6("0014", "84", A6, B6) "1f90 0050 00000001 00000000 01 00 0014", 4 },
	{ 0x86dd, H6("001c", "04", A6, B6) H4("001c", "0000", "40", "11", P4B) UDPH("1f90", "0035", "0008"), 0 },
	{ 0x86dd, "4" "0012345 0008 11 40 " A6 B6 UDPH("1f90", "0035", "0008"), 0 },
	{ 0x0806, "0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002", 0 },
	{ 0x0806, "0001 0800 06 04 0002 020000000002 0a000002 020000000001 0a000001", 18 },
	{ 0x8035, "0001 0800 06 04 0003 020000000001 00000000 020000000001 00000000", 0 },
	{ 0x88cc, "0207 04 020000000001 0403 07 01 06 02 0078 0000", 0 },
	{ 0x888e, "01 00 0005 01 01 0005 01", 0 },
	{ 0x8847, "00064040 00065140 " H4("001c", "0000", "40", "11", P4A) UDPH("1f90", "0035", "0008"), 0 },
	{ 0x8847, "00065140 " H6("0008", "11", A6, B6) UDPH("1f90", "0035", "0008"), 0 },
	{ 0x8863, "11 09 0000 000c 0101 0000 0103 0004 01020304", 0 },
	{ 0x8864, "11 00 0007 001e 0021 " H4("001c", "0000", "40", "11", P4A) UDPH("1f90", "0035", "0008"), 0 },
	{ 0x8864, "11 00 0007 0032 0057 " H6("0008", "11", A6, B6) UDPH("1f90", "0035", "0008"), 0 },
	{ 0x0026, "42 42 03 0000 00 00 00 8000020000000001 00000000", 18 },
	{ 0x0024, "aa aa 03 000000 0800 " H4("001c", "0000", "40", "11", P4A) UDPH("1f90", "0035", "0008"), 0 },
	{ 0x0020, "e0 e0 03 ffff 0022 00 11 00000000 ffffffffffff 0452", 12 },
	{ 0x0030, "fe fe 03 83 1b 01 00 0f 01 00 00", 32 },
	{ 0x88b5, "00", 50 },
	{ 0x9000, "0000 0100", 44 },
};

/* Link-layer headers without the last ethertype. */
static const char *const link_layers[] = {
	"020000000002 020000000001",
	"ffffffffffff 020000000001",
	"01005e0000fb 020000000001",
	"020000000002 020000000001 8100 0064",
	"333300000001 020000000001 8100 e065",
	"020000000002 020000000001 88a8 0064 8100 0065",
	"020000000001 020000000002 8100 0005 8100 0006",
	"020000000002 020000000001 9100 0064 8100 0065",
	"020000000002 020000000001 88a8 3001 88a8 0002 8100 0003",
};

static inline size_t unhex(const char *hex, uint8_t *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	for (int half = 0; *hex; hex++) {
		const char *at = strchr(digits, *hex);

		if (!at)
			continue;
		out[n] = (uint8_t)(out[n] << 4 | (at - digits));
		n += (size_t)half;
		half = !half;
	}
	return n;
}

/* A frame of a payload behind a link-layer header; NULL: none at all. */
static inline void build_frame(struct frame *f, const char *link, const struct payload *p)
{
	memset(f, 0, sizeof(*f));
	if (link) {
		f->len = unhex(link, f->bytes);
		f->bytes[f->len++] = (uint8_t)(p->type >> 8);
		f->bytes[f->len++] = (uint8_t)p->type;
	}
	f->len += unhex(p->hex, f->bytes + f->len);
	for (size_t i = 0; i < p->fill; i++)
		f->bytes[f->len++] = (uint8_t)i;
	f->full = f->len;
}

/* Every payload behind every header, or every IP packet behind none; some of them once more, cut short at an odd place. */
static inline size_t build_frames(struct frame *frames, bool headerless)
{
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(payloads); i++)
		for (size_t j = 0; j < (headerless ? 1 : ARRAY_SIZE(link_layers)); j++) {
			struct frame *f = &frames[n];

			if (headerless && payloads[i].type != 0x0800 && payloads[i].type != 0x86dd)
				continue;
			n++;
			build_frame(f, headerless ? NULL : link_layers[j], &payloads[i]);
			if ((i + j) % 4 || n == FRAMES_MAX)
				continue;
			frames[n] = *f;
			frames[n++].len = FRAME_MIN + (f->full - FRAME_MIN) * ((i * 7 + j) % 11) / 11;
		}
	return n;
}
