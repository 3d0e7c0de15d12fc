/* Frames of the node protocol, docs/node-protocol.md: bytes in, bodies out, and the
 * other way round. It knows no messages and no hardware. */
#ifndef FRAME_H
#define FRAME_H

#include <stdint.h>

enum {
	FRAME_IN_MAX = 64,  /* longest body that is taken */
	FRAME_OUT_MAX = 96, /* longest body that is sent */
	FRAME_CRC = 2,
};

/* What arrives. Zeroed, it waits for a frame. */
struct frame_in {
	uint8_t buf[FRAME_IN_MAX + FRAME_CRC + 1];
	uint8_t len;
	uint8_t over; /* the present frame is too long */
};

/* frame_take takes a byte. It returns the length of the body that is complete with
 * it and stands in buf until the next byte comes, else 0. */
uint8_t frame_take(struct frame_in *in, uint8_t c);

/* frame_send sends a body of len bytes, 2 to FRAME_OUT_MAX, by put. The checksum
 * is written behind the body: there is room for FRAME_CRC bytes. */
void frame_send(uint8_t *body, uint8_t len, void (*put)(const uint8_t *bytes, uint8_t n));

#endif
