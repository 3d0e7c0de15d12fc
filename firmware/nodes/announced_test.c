/* Tests of announced.c and frame.c on the host: this file is the board, and the host
 * at its other end. The only argument is the file with the frames of the protocol. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blink.h"
#include "frame.h"
#include "node.h"

static uint8_t sent[4096]; /* bytes, as they are on the wire */
static size_t sent_len;
static uint8_t led, restarts;
static unsigned switched;
static int16_t temperature = 2153;
static int failures;

void board_write(const uint8_t *bytes, uint8_t n)
{
	if (sent_len + n > sizeof sent) abort();
	memcpy(sent + sent_len, bytes, n);
	sent_len += n;
}
void board_send(const char *text) { board_write((const uint8_t *)text, strlen(text)); }
uint8_t board_serial(uint8_t *out)
{
	memcpy(out, "5573630383", 10);
	return 10;
}
void board_set_led(uint8_t on)
{
	switched += led != on;
	led = on;
}
uint8_t board_led(void) { return led; }
int16_t board_temperature(void) { return temperature; }
void board_restart(void) { restarts++; }

/* unhex reads two digits a byte, up to what is none. */
static size_t unhex(const char *s, uint8_t *out)
{
	size_t n = 0;
	unsigned b;
	for (; *s > ' ' && sscanf(s, "%2x", &b) == 1; s += 2) out[n++] = b;
	return n;
}

/* expect compares what was sent with bodies in hex, one a line. */
static void expect(int line, const char *want)
{
	char said[8192] = "", *p = said;
	/* Longer bodies than a node takes are sent, so the frames are taken apart here. */
	uint8_t body[300];
	size_t n = 0;
	for (size_t i = 0; i < sent_len; i++) {
		if (sent[i]) {
			body[n++] = sent[i];
			continue;
		}
		size_t to = 0;
		for (size_t from = 0; from < n;) {
			size_t run = body[from++];
			for (size_t k = 1; k < run; k++) body[to++] = body[from++];
			if (from < n) body[to++] = 0;
		}
		for (size_t k = 0; to && k < to - FRAME_CRC; k++) p += sprintf(p, "%02x", body[k]);
		if (to) p += sprintf(p, "\n");
		n = 0;
	}
	if (strcmp(said, want)) {
		printf("line %d:\n--- want\n%s--- said\n%s", line, want, said);
		failures++;
	}
	sent_len = 0;
}
#define SAID(want) expect(__LINE__, want)
#define TRUE(x) do { if (!(x)) { printf("line %d: not true: %s\n", __LINE__, #x); failures++; } } while (0)

/* tell sends a body, in hex, to the node. */
static void tell(const char *hex, uint32_t now)
{
	uint8_t body[300], frame[300];
	size_t n = unhex(hex, body), before = sent_len;
	frame_send(body, n, board_write);
	size_t len = sent_len - before;
	memcpy(frame, sent + before, len);
	sent_len = before;
	for (size_t i = 0; i < len; i++) node_byte(frame[i], now);
}

static void test_frames(const char *path)
{
	FILE *f = fopen(path, "r");
	if (!f) {
		perror(path);
		exit(1);
	}
	char line[2048];
	int cases = 0;
	while (fgets(line, sizeof line, f)) {
		char *hex = strstr(line, ": "), *second;
		if (*line == '#' || !hex || !(second = strchr(hex + 2, ' '))) continue;
		uint8_t body[300], frame[300];
		size_t n = unhex(hex + 2, body), len = unhex(second + 1, frame);
		cases++;
		if (n <= FRAME_OUT_MAX) {
			sent_len = 0;
			frame_send(body, n, board_write);
			if (sent_len != len || memcmp(sent, frame, len)) {
				printf("%s: another frame\n", line);
				failures++;
			}
		}
		unhex(hex + 2, body);
		struct frame_in in = {0};
		size_t got = 0;
		for (size_t i = 0; i < len; i++) {
			uint8_t is = frame_take(&in, frame[i]);
			if (is) got = is;
		}
		if (n <= FRAME_IN_MAX ? got != n || memcmp(in.buf, body, n) : got) {
			printf("%s: taken as %zu bytes\n", line, got);
			failures++;
		}
		/* No bit may be wrong. */
		for (size_t bit = 0; bit < 8 * len; bit++) {
			memset(&in, 0, sizeof in);
			frame[bit / 8] ^= 1 << bit % 8;
			for (size_t i = 0; i <= len; i++) {
				uint8_t is = frame_take(&in, i < len ? frame[i] : 0);
				if (is && (is != n || memcmp(in.buf, body, n))) {
					printf("%s: bit %zu is not noticed\n", line, bit);
					failures++;
				}
			}
			frame[bit / 8] ^= 1 << bit % 8;
		}
	}
	fclose(f);
	TRUE(cases >= 20);
	sent_len = 0;
}

static void test_noise(void)
{
	struct frame_in in = {0};
	uint32_t r = 1;
	for (long i = 0; i < 2000000; i++) {
		r = r * 1664525 + 1013904223;
		uint8_t n = frame_take(&in, i % 7 ? r >> 24 : 0);
		TRUE(n <= FRAME_IN_MAX);
	}
}

#define ANNOUNCEMENT(r) \
	"81" r "014003020a353537333633303338330e5265666572656e6365206e6f646505312e302e30\n" \
	"82" r "0001000b74656d70657261747572650343656c0000\n" \
	"82" r "010302036c6564000000\n" \
	"82" r "020f0108696e74657276616c026d73146265747765656e2074776f2072656164696e677301640000000160ea000000\n" \
	"83" r "0005626c696e6b0d666c69707320746865204c454401\n" \
	"84" r "00000c010574696d657300000101000000011400000000\n" \
	"83" r "0107726573746172740000\n"

static void test_announcement(void)
{
	node_start(5);
	SAID(ANNOUNCEMENT("00"));
	node_tick(5);
	SAID("910000000069080000fe01000200020001e8030000\n");
	tell("010701", 6);
	SAID(ANNOUNCEMENT("07"));
}

static void test_commands(void)
{
	node_start(0);
	sent_len = 0;
	static const struct { const char *in, *out; } table[] = {
		{"0201", "a001ff\n"},                                     /* ping */
		{"0302010201", "a0020201\n"},                             /* led on */
		{"03030201f4010000", "a00301f4010000\n"},                 /* interval */
		{"0304020163000000", "a104030c31303020746f203630303030\n"}, /* too short */
		{"030502ff", "a1050215696e74657276616c2074616b657320616e20696e74\n"},
		{"0306000164000000", "a106040d63616e6e6f7420626520736574\n"}, /* a sensor */
		{"03070901", "a107010d6e6f207375636820706f696e74\n"},
		{"0308", "a108010d6e6f207375636820706f696e74\n"},
		{"040900000103000000", "a009ff\n"},                    /* blink */
		{"040a00000115000000", "a10a03073120746f203230\n"},    /* too often */
		{"040b00", "a10b0211626c696e6b2074616b65732074696d6573\n"},
		{"040c07", "a10c010e6e6f207375636820616374696f6e\n"},
		{"03990102", "a19902106c65642074616b6573206120626f6f6c\n"}, /* no value */
		{"770d", ""},                                             /* unknown */
		{"0300010201", ""},                                       /* without a number */
	};
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		tell(table[i].in, 1);
		SAID(table[i].out);
	}
}

static void test_once(void)
{
	node_start(0);
	tell("010101", 0);
	sent_len = 0;
	switched = 0;
	for (int i = 0; i < 3; i++) {
		tell("040500000103000000", 0);
		SAID("a005ff\n");
	}
	TRUE(switched == 1);
	for (uint32_t t = 1; t < 2000; t++) blink_tick(t);
	TRUE(switched == 6);
	/* After a hello the number counts again. */
	tell("010201", 3000);
	sent_len = 0;
	tell("040500000101000000", 3000);
	TRUE(switched == 7);
	restarts = 0;
	tell("040601", 3000);
	TRUE(restarts == 1);
	sent_len = 0;
}

static void test_bad_sensor(void)
{
	node_start(0);
	sent_len = 0;
	temperature = NODE_NO_TEMPERATURE;
	node_tick(0);
	SAID("91000002ff01000200020001e8030000\n");
}

int main(int argc, char **argv)
{
	if (argc != 2) return 2;
	test_frames(argv[1]);
	test_noise();
	test_announcement();
	test_commands();
	test_once();
	test_bad_sensor();
	printf(failures ? "%d failures\n" : "ok\n", failures);
	return failures != 0;
}
