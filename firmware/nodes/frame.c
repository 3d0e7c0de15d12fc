#include "frame.h"

/* CRC-16/IBM-3740, bit by bit. */
static uint16_t crc(const uint8_t *b, uint8_t n)
{
	uint16_t c = 0xFFFF;
	while (n--) {
		c ^= (uint16_t)*b++ << 8;
		for (uint8_t i = 0; i < 8; i++) c = c & 0x8000 ? (uint16_t)(c << 1) ^ 0x1021 : (uint16_t)(c << 1);
	}
	return c;
}

/* unstuff undoes COBS in place; 0 if it is none. */
static uint8_t unstuff(uint8_t *b, uint8_t n)
{
	uint8_t from = 0, to = 0;
	while (from < n) {
		uint8_t run = b[from++];
		if (run - 1 > n - from) return 0;
		for (uint8_t i = 1; i < run; i++) b[to++] = b[from++];
		if (from < n && run < 0xFF) b[to++] = 0;
	}
	return to;
}

uint8_t frame_take(struct frame_in *in, uint8_t c)
{
	if (c) {
		if (in->len < sizeof in->buf) in->buf[in->len++] = c;
		else in->over = 1;
		return 0;
	}
	uint8_t n = in->over ? 0 : unstuff(in->buf, in->len);
	in->len = in->over = 0;
	if (n < 2 + FRAME_CRC) return 0;
	n -= FRAME_CRC;
	uint16_t sum = crc(in->buf, n);
	return in->buf[n] == (uint8_t)sum && in->buf[n + 1] == sum >> 8 ? n : 0;
}

void frame_send(uint8_t *body, uint8_t len, void (*put)(const uint8_t *bytes, uint8_t n))
{
	static const uint8_t zero;
	uint16_t sum = crc(body, len);
	body[len++] = (uint8_t)sum;
	body[len++] = sum >> 8;
	put(&zero, 1);
	for (uint8_t at = 0; at <= len;) {
		uint8_t run = 0;
		while (at + run < len && body[at + run]) run++;
		uint8_t code = run + 1;
		put(&code, 1);
		if (run) put(body + at, run);
		at += run + 1;
	}
	put(&zero, 1);
}
