#include "node.h"

#include "blink.h"

#include <stddef.h>
#include <string.h>

static struct {
	char line[NODE_LINE_MAX + 1];
	uint8_t len;
	uint8_t damaged;  /* the present line holds bytes that no command has */
	uint8_t skipping; /* the rest of the present line is dropped */
	uint32_t heard;   /* when its last byte came */

	uint32_t seq; /* of the next reading */
	uint32_t due; /* when it is sent */
	uint16_t interval;
} node;

/* A line that is being written. What does not fit is left out; NODE_OUT_MAX is
 * large enough for all that the node says. */
struct out {
	char text[NODE_OUT_MAX + 1];
	uint8_t len;
};

static void put_char(struct out *o, char c)
{
	if (o->len < NODE_OUT_MAX) o->text[o->len++] = c;
	o->text[o->len] = 0;
}

static void put(struct out *o, const char *s)
{
	while (*s) put_char(o, *s++);
}

static void put_number(struct out *o, uint32_t n)
{
	char digits[10];
	uint8_t i = 0;
	do {
		digits[i++] = '0' + n % 10;
		n /= 10;
	} while (n);
	while (i) put_char(o, digits[--i]);
}

static void put_hundredths(struct out *o, int16_t n)
{
	if (n == NODE_NO_TEMPERATURE) {
		put(o, "null");
		return;
	}
	uint16_t u = n < 0 ? 0u - (uint16_t)n : (uint16_t)n;
	if (n < 0) put_char(o, '-');
	put_number(o, u / 100);
	put_char(o, '.');
	put_char(o, '0' + u / 10 % 10);
	put_char(o, '0' + u % 10);
}

static void ok(const char *command, uint32_t n)
{
	struct out o = {0};
	put(&o, "OK ");
	put(&o, command);
	put_char(&o, ' ');
	put_number(&o, n);
	put_char(&o, '\n');
	board_send(o.text);
}

static void out_of_range(uint16_t min, uint16_t max)
{
	struct out o = {0};
	put(&o, "ERR 3 allowed: ");
	put_number(&o, min);
	put(&o, " to ");
	put_number(&o, max);
	put_char(&o, '\n');
	board_send(o.text);
}

/* number reads digits and nothing else; more than there is room for is the largest
 * number, which no command allows. */
static uint8_t number(const char *s, uint32_t *n)
{
	if (!*s) return 0;
	*n = 0;
	for (; *s; s++) {
		if (*s < '0' || *s > '9') return 0;
		uint8_t d = *s - '0';
		*n = *n > (UINT32_MAX - d) / 10 ? UINT32_MAX : *n * 10 + d;
	}
	return 1;
}

/* argument reads the number behind a command and answers if it is none. */
static uint8_t argument(const char *s, uint16_t min, uint16_t max, uint32_t *n)
{
	if (!s || !number(s, n)) {
		board_send("ERR 2 one number expected\n");
		return 0;
	}
	if (*n < min || *n > max) {
		out_of_range(min, max);
		return 0;
	}
	return 1;
}

static void led(const char *arg, uint32_t now)
{
	(void)now;
	uint32_t n;
	if (!argument(arg, 0, 1, &n)) return;
	blink_set(n);
	ok("LED", board_led());
}

static void interval(const char *arg, uint32_t now)
{
	uint32_t n;
	if (!argument(arg, NODE_INTERVAL_MIN, NODE_INTERVAL_MAX, &n)) return;
	node.interval = n;
	node.due = now + n;
	ok("INTERVAL", n);
}

static void blink(const char *arg, uint32_t now)
{
	uint32_t n;
	if (!argument(arg, 1, BLINK_MAX, &n)) return;
	blink_start(n, now);
	ok("BLINK", n);
}

static void id(const char *arg, uint32_t now)
{
	(void)now;
	if (arg) board_send("ERR 2 no argument expected\n");
	else board_send("OK ID " NODE_NAME " " NODE_VERSION "\n");
}

static void restart(const char *arg, uint32_t now)
{
	(void)now;
	if (arg) {
		board_send("ERR 2 no argument expected\n");
		return;
	}
	board_send("OK RESTART\n");
	board_restart();
}

static const struct {
	const char *name;
	void (*run)(const char *arg, uint32_t now); /* arg is NULL if there is none */
} commands[] = {
	{"LED", led}, {"INTERVAL", interval}, {"BLINK", blink}, {"ID", id}, {"RESTART", restart},
};

static void obey(char *line, uint32_t now)
{
	char *arg = strchr(line, ' ');
	if (arg) *arg++ = 0;
	for (uint8_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (!strcmp(line, commands[i].name)) {
			commands[i].run(arg, now);
			return;
		}
	board_send("ERR 1 unknown command\n");
}

static void reading(uint32_t now)
{
	struct out o = {0};
	put(&o, "{\"seq\":");
	put_number(&o, node.seq++);
	put(&o, ",\"t\":");
	put_hundredths(&o, board_temperature());
	put(&o, ",\"led\":");
	put_number(&o, blink_led());
	put(&o, ",\"up\":");
	put_number(&o, now);
	put(&o, "}\n");
	board_send(o.text);
}

static void forget_line(void)
{
	node.len = node.damaged = node.skipping = 0;
}

void node_start(uint32_t now)
{
	memset(&node, 0, sizeof node);
	node.interval = NODE_INTERVAL_MS;
	node.due = now;
	blink_set(0);
	board_send("BOOT " NODE_NAME " " NODE_VERSION "\n");
}

void node_byte(uint8_t c, uint32_t now)
{
	node.heard = now;
	if (c == '\n') {
		if (node.damaged && !node.skipping) board_send("ERR 5 bad character\n");
		else if (node.len && !node.skipping) {
			if (node.line[node.len - 1] == '\r') node.len--;
			node.line[node.len] = 0;
			if (node.len) obey(node.line, now);
		}
		forget_line();
		return;
	}
	if (node.skipping) return;
	if ((c < ' ' && c != '\r') || c > '~') node.damaged = 1;
	/* A carriage return stands at the end only. */
	if (node.len && node.line[node.len - 1] == '\r') node.damaged = 1;
	/* One more than the longest line has room for its carriage return. */
	if (node.len == NODE_LINE_MAX && c != '\r') {
		node.skipping = 1;
		board_send("ERR 4 line too long\n");
		return;
	}
	if (node.len <= NODE_LINE_MAX) node.line[node.len++] = c;
}

static uint8_t over(uint32_t now, uint32_t due)
{
	return (int32_t)(now - due) >= 0;
}

void node_tick(uint32_t now)
{
	if ((node.len || node.damaged || node.skipping) && over(now, node.heard + NODE_PAUSE_MS)) forget_line();
	blink_tick(now);
	if (over(now, node.due)) {
		node.due += node.interval;
		/* What was missed is not made up for. */
		if (over(now, node.due)) node.due = now + node.interval;
		reading(now);
	}
}
