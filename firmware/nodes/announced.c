/* The reference node that says what it is: the node's side of
 * docs/node-protocol.md. BOARD_MODEL names the board. */
#include "blink.h"
#include "frame.h"
#include "node.h"

enum { VERSION = 1, INTERVAL_MIN = 100 };

/* Messages. */
enum {
	HELLO = 0x01, PING = 0x02, SET = 0x03, DO = 0x04,
	ANNOUNCE = 0x81, POINT = 0x82, ACTION = 0x83, ARGUMENT = 0x84,
	BATCH = 0x91, RESULT = 0xA0, REFUSAL = 0xA1,
};
/* Tags of values, and types. */
enum { FLOAT = 0, INT = 1, BOOL = 2, NONE = 0xFF };
/* Flags of points. */
enum { READABLE = 1, WRITABLE = 2, BOUNDED = 12 };
/* Qualities. */
enum { GOOD = 0, BAD = 2 };
/* Codes of refusals. */
enum { UNKNOWN = 1, WRONG_TYPE = 2, OUT_OF_RANGE = 3, READ_ONLY = 4 };

/* What there is, by index. */
enum { TEMPERATURE, LED, INTERVAL, POINTS };
enum { BLINK, RESTART, ACTIONS };

static struct {
	struct frame_in in;
	uint8_t request;      /* of the last command; 0 if there was none */
	uint8_t answer[32 + FRAME_CRC];
	uint8_t answered;     /* length of its answer */
	uint8_t restarting;

	uint32_t due; /* when the next readings are sent */
	uint16_t interval;
} node;

/* A body that is being written. */
struct out {
	uint8_t body[FRAME_OUT_MAX + FRAME_CRC];
	uint8_t len;
};

static void u8(struct out *o, uint8_t c)
{
	if (o->len < FRAME_OUT_MAX) o->body[o->len++] = c;
}

static void begin(struct out *o, uint8_t type, uint8_t request)
{
	o->len = 0;
	u8(o, type);
	u8(o, request);
}

static void send(struct out *o) { frame_send(o->body, o->len, board_write); }

static void text(struct out *o, const char *s)
{
	uint8_t n = 0;
	while (s[n]) n++;
	u8(o, n);
	while (*s) u8(o, *s++);
}

static void i32(struct out *o, int32_t v)
{
	uint32_t u = v;
	for (uint8_t i = 0; i < 4; i++, u >>= 8) u8(o, u);
}

static void int_value(struct out *o, int32_t v)
{
	u8(o, INT);
	i32(o, v);
}

static void bool_value(struct out *o, uint8_t v)
{
	u8(o, BOOL);
	u8(o, v);
}

/* description writes a point or an argument; the bounds count if min < max. */
static void description(struct out *o, uint8_t flags, uint8_t type, const char *name, const char *unit, const char *about,
	int32_t min, int32_t max)
{
	u8(o, min < max ? flags | BOUNDED : flags);
	u8(o, type);
	text(o, name);
	text(o, unit);
	text(o, about);
	if (min < max) {
		int_value(o, min);
		int_value(o, max);
	}
	u8(o, 0);
}

static void announce(uint8_t request)
{
	struct out o;
	begin(&o, ANNOUNCE, request);
	u8(&o, VERSION);
	u8(&o, FRAME_IN_MAX);
	u8(&o, POINTS);
	u8(&o, ACTIONS);
	uint8_t n = board_serial(o.body + o.len + 1);
	o.body[o.len] = n;
	o.len += n + 1;
	text(&o, BOARD_MODEL);
	text(&o, NODE_VERSION);
	send(&o);

	begin(&o, POINT, request);
	u8(&o, TEMPERATURE);
	description(&o, READABLE, FLOAT, "temperature", "Cel", "", 0, 0);
	send(&o);
	begin(&o, POINT, request);
	u8(&o, LED);
	description(&o, READABLE | WRITABLE, BOOL, "led", "", "", 0, 0);
	send(&o);
	begin(&o, POINT, request);
	u8(&o, INTERVAL);
	description(&o, READABLE | WRITABLE, INT, "interval", "ms", "between two readings", INTERVAL_MIN, NODE_INTERVAL_MAX);
	send(&o);

	begin(&o, ACTION, request);
	u8(&o, BLINK);
	text(&o, "blink");
	text(&o, "flips the LED");
	u8(&o, 1);
	send(&o);
	begin(&o, ARGUMENT, request);
	u8(&o, BLINK);
	u8(&o, 0);
	description(&o, 0, INT, "times", "", "", 1, BLINK_MAX);
	send(&o);
	begin(&o, ACTION, request);
	u8(&o, RESTART);
	text(&o, "restart");
	text(&o, "");
	u8(&o, 0);
	send(&o);
}

static void measure(void)
{
	struct out o;
	begin(&o, BATCH, 0);
	int16_t t = board_temperature();
	u8(&o, TEMPERATURE);
	if (t == NODE_NO_TEMPERATURE) {
		u8(&o, BAD);
		u8(&o, NONE);
	} else {
		u8(&o, GOOD);
		u8(&o, FLOAT);
		i32(&o, t);
		u8(&o, -2);
	}
	u8(&o, LED);
	u8(&o, GOOD);
	bool_value(&o, blink_led());
	u8(&o, INTERVAL);
	u8(&o, GOOD);
	int_value(&o, node.interval);
	send(&o);
}

static void refuse(struct out *o, uint8_t request, uint8_t code, const char *why)
{
	begin(o, REFUSAL, request);
	u8(o, code);
	text(o, why);
}

/* int_of reads a value of type int that is all of b. */
static uint8_t int_of(const uint8_t *b, uint8_t n, int32_t *v)
{
	if (n != 5 || b[0] != INT) return 0;
	*v = (int32_t)((uint32_t)b[1] | (uint32_t)b[2] << 8 | (uint32_t)b[3] << 16 | (uint32_t)b[4] << 24);
	return 1;
}

static void set(struct out *o, uint8_t request, const uint8_t *b, uint8_t n, uint32_t now)
{
	int32_t v;
	if (!n || b[0] >= POINTS) {
		refuse(o, request, UNKNOWN, "no such point");
		return;
	}
	switch (b[0]) {
	case LED:
		if (n != 3 || b[1] != BOOL || b[2] > 1) {
			refuse(o, request, WRONG_TYPE, "led takes a bool");
			return;
		}
		blink_set(b[2]);
		begin(o, RESULT, request);
		bool_value(o, board_led());
		return;
	case INTERVAL:
		if (!int_of(b + 1, n - 1, &v)) {
			refuse(o, request, WRONG_TYPE, "interval takes an int");
			return;
		}
		if (v < INTERVAL_MIN || v > NODE_INTERVAL_MAX) {
			refuse(o, request, OUT_OF_RANGE, "100 to 60000");
			return;
		}
		node.interval = v;
		node.due = now + v;
		begin(o, RESULT, request);
		int_value(o, v);
		return;
	}
	refuse(o, request, READ_ONLY, "cannot be set");
}

static void act(struct out *o, uint8_t request, const uint8_t *b, uint8_t n, uint32_t now)
{
	int32_t times;
	if (!n || b[0] >= ACTIONS) {
		refuse(o, request, UNKNOWN, "no such action");
		return;
	}
	if (b[0] == BLINK) {
		if (n < 2 || b[1] != 0 || !int_of(b + 2, n - 2, &times)) {
			refuse(o, request, WRONG_TYPE, "blink takes times");
			return;
		}
		if (times < 1 || times > BLINK_MAX) {
			refuse(o, request, OUT_OF_RANGE, "1 to 20");
			return;
		}
		blink_start(times, now);
	} else {
		if (n != 1) {
			refuse(o, request, WRONG_TYPE, "no arguments");
			return;
		}
		node.restarting = 1;
	}
	begin(o, RESULT, request);
	u8(o, NONE);
}

/* command obeys a set or a do, and only answers again where it has obeyed it. */
static void command(const uint8_t *b, uint8_t n, uint32_t now)
{
	struct out o;
	if (b[1] != node.request) {
		if (b[0] == SET) set(&o, b[1], b + 2, n - 2, now);
		else act(&o, b[1], b + 2, n - 2, now);
		node.request = b[1];
		node.answered = o.len;
		for (uint8_t i = 0; i < o.len; i++) node.answer[i] = o.body[i];
	}
	frame_send(node.answer, node.answered, board_write);
	if (node.restarting) board_restart();
}

static void take(const uint8_t *b, uint8_t n, uint32_t now)
{
	struct out o;
	switch (b[0]) {
	case HELLO:
		node.request = 0;
		announce(b[1]);
		break;
	case PING:
		begin(&o, RESULT, b[1]);
		u8(&o, NONE);
		send(&o);
		break;
	case SET:
	case DO:
		if (b[1]) command(b, n, now);
		break;
	}
}

void node_start(uint32_t now)
{
	node.in.len = node.in.over = 0;
	node.request = node.restarting = 0;
	node.interval = NODE_INTERVAL_MS;
	node.due = now;
	blink_set(0);
	announce(0);
}

void node_byte(uint8_t c, uint32_t now)
{
	uint8_t n = frame_take(&node.in, c);
	if (n) take(node.in.buf, n, now);
}

void node_tick(uint32_t now)
{
	blink_tick(now);
	if ((int32_t)(now - node.due) < 0) return;
	node.due += node.interval;
	/* What was missed is not made up for. */
	if ((int32_t)(now - node.due) >= 0) node.due = now + node.interval;
	measure();
}
