/* Tests of node.c on the host: this file is the board. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blink.h"
#include "node.h"

static char said[4096];
static uint8_t led, restarts, switched;
static int16_t temperature;
static int failures;

void board_send(const char *text)
{
	if (strlen(text) > NODE_OUT_MAX) {
		printf("too long: %s", text);
		failures++;
	}
	if (strlen(said) + strlen(text) < sizeof said) strcat(said, text);
}
void board_set_led(uint8_t on)
{
	switched += led != !!on;
	led = !!on;
}
uint8_t board_led(void) { return led; }
int16_t board_temperature(void) { return temperature; }
void board_restart(void) { restarts++; }

static void expect(int line, const char *want)
{
	if (strcmp(said, want)) {
		printf("line %d:\n--- want\n%s--- said\n%s", line, want, said);
		failures++;
	}
	said[0] = 0;
}
#define SAID(want) expect(__LINE__, want)
#define TRUE(x) do { if (!(x)) { printf("line %d: not true: %s\n", __LINE__, #x); failures++; } } while (0)

static void type(const char *s, uint32_t now)
{
	while (*s) node_byte(*s++, now);
}

static void start(uint32_t now)
{
	node_start(now);
	temperature = 2150;
	led = switched = 0;
	said[0] = 0;
}

static void test_readings(void)
{
	start(0);
	node_start(0);
	SAID("BOOT gantry-node 1.0.0\n");
	node_tick(0);
	SAID("{\"seq\":0,\"t\":21.50,\"led\":0,\"up\":0}\n");
	for (uint32_t t = 1; t < 1000; t++) node_tick(t);
	SAID("");
	node_tick(1000);
	SAID("{\"seq\":1,\"t\":21.50,\"led\":0,\"up\":1000}\n");
	/* Held up: one reading, and the next a whole interval later. */
	node_tick(5500);
	node_tick(5501);
	SAID("{\"seq\":2,\"t\":21.50,\"led\":0,\"up\":5500}\n");
	node_tick(6499);
	SAID("");
	node_tick(6500);
	SAID("{\"seq\":3,\"t\":21.50,\"led\":0,\"up\":6500}\n");
}

static void test_temperatures(void)
{
	static const struct { int16_t t; const char *text; } table[] = {
		{0, "0.00"}, {5, "0.05"}, {-5, "-0.05"}, {-100, "-1.00"}, {-4000, "-40.00"}, {5990, "59.90"},
		{12345, "123.45"}, {INT16_MAX, "327.67"}, {NODE_NO_TEMPERATURE, "null"},
	};
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		char want[80];
		start(7);
		temperature = table[i].t;
		node_tick(7);
		snprintf(want, sizeof want, "{\"seq\":0,\"t\":%s,\"led\":0,\"up\":7}\n", table[i].text);
		SAID(want);
	}
}

static void test_clock_wraps(void)
{
	start(UINT32_MAX - 500);
	node_tick(UINT32_MAX - 500);
	SAID("{\"seq\":0,\"t\":21.50,\"led\":0,\"up\":4294966795}\n");
	node_tick(UINT32_MAX);
	node_tick(498);
	SAID("");
	node_tick(499);
	SAID("{\"seq\":1,\"t\":21.50,\"led\":0,\"up\":499}\n");
}

static void test_commands(void)
{
	start(0);
	type("LED 1\n", 0);
	SAID("OK LED 1\n");
	TRUE(led == 1);
	node_tick(0);
	SAID("{\"seq\":0,\"t\":21.50,\"led\":1,\"up\":0}\n");
	type("LED 0\r\n", 0);
	SAID("OK LED 0\n");
	TRUE(led == 0);
	type("ID\n", 0);
	SAID("OK ID gantry-node 1.0.0\n");
	type("INTERVAL 10\nINTERVAL 60000\nINTERVAL 00250\n", 100);
	SAID("OK INTERVAL 10\nOK INTERVAL 60000\nOK INTERVAL 250\n");
	node_tick(349);
	SAID("");
	node_tick(350);
	SAID("{\"seq\":1,\"t\":21.50,\"led\":0,\"up\":350}\n");
	TRUE(restarts == 0);
	type("RESTART\n", 0);
	SAID("OK RESTART\n");
	TRUE(restarts == 1);
}

static void test_blinking(void)
{
	start(0);
	type("INTERVAL 60000\nLED 1\nBLINK 2\n", 0);
	SAID("OK INTERVAL 60000\nOK LED 1\nOK BLINK 2\n");
	for (uint32_t t = 0; t < 1000; t++) {
		node_tick(t);
		TRUE(led == (t < 300 ? t / 100 % 2 : 1));
	}
	TRUE(switched == 1 + 4);
	/* A command ends it, and readings tell what was set. */
	type("INTERVAL 50\nBLINK 20\n", 1000);
	node_tick(1050);
	SAID("OK INTERVAL 50\nOK BLINK 20\n{\"seq\":0,\"t\":21.50,\"led\":1,\"up\":1050}\n");
	type("LED 0\n", 1051);
	SAID("OK LED 0\n");
	switched = 0;
	for (uint32_t t = 1051; t < 6000; t++) node_tick(t);
	TRUE(led == 0 && switched == 0);
}

static void test_bad_input(void)
{
	static const struct { const char *line, *answer; } table[] = {
		{"\n", ""}, {"\r\n", ""}, {"\n\n\n", ""},
		{"led 1\n", "ERR 1 unknown command\n"},
		{"LEDS 1\n", "ERR 1 unknown command\n"},
		{" LED 1\n", "ERR 1 unknown command\n"},
		{"LED\n", "ERR 2 one number expected\n"},
		{"LED \n", "ERR 2 one number expected\n"},
		{"LED  1\n", "ERR 2 one number expected\n"},
		{"LED 1 \n", "ERR 2 one number expected\n"},
		{"LED 1 1\n", "ERR 2 one number expected\n"},
		{"LED -1\n", "ERR 2 one number expected\n"},
		{"LED 1.0\n", "ERR 2 one number expected\n"},
		{"LED on\n", "ERR 2 one number expected\n"},
		{"ID 1\n", "ERR 2 no argument expected\n"},
		{"RESTART now\n", "ERR 2 no argument expected\n"},
		{"LED 2\n", "ERR 3 allowed: 0 to 1\n"},
		{"BLINK 0\n", "ERR 3 allowed: 1 to 20\n"},
		{"BLINK 21\n", "ERR 3 allowed: 1 to 20\n"},
		{"INTERVAL 9\n", "ERR 3 allowed: 10 to 60000\n"},
		{"INTERVAL 60001\n", "ERR 3 allowed: 10 to 60000\n"},
		{"INTERVAL 65546\n", "ERR 3 allowed: 10 to 60000\n"},      /* 10 in 16 bits */
		{"INTERVAL 4294967306\n", "ERR 3 allowed: 10 to 60000\n"}, /* 10 in 32 bits */
		{"LED 4294967297\n", "ERR 3 allowed: 0 to 1\n"},
		{"12345678901234567890123456789012\n", "ERR 1 unknown command\n"},
		{"12345678901234567890123456789012\r\n", "ERR 1 unknown command\n"},
		{"123456789012345678901234567890123\n", "ERR 4 line too long\n"},
		{"123456789012345678901234567890123\r\n", "ERR 4 line too long\n"},
		{"12345678901234567890123456789012\rx\n", "ERR 5 bad character\n"},
		{"LED\t1\n", "ERR 5 bad character\n"},
		{"LED 1\x7f\n", "ERR 5 bad character\n"},
		{"\xffLED 1\n", "ERR 5 bad character\n"},
		{"LED\r 1\n", "ERR 5 bad character\n"},
		{"LED 1\r\r\n", "ERR 5 bad character\n"},
	};
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		start(0);
		type(table[i].line, 0);
		SAID(table[i].answer);
		TRUE(led == 0 && restarts == 1);
		/* The next line is understood again. */
		type("LED 1\n", 0);
		SAID("OK LED 1\n");
	}
}

static void test_lost_bytes_spoil_their_line(void)
{
	start(0);
	type("INTERVAL 100", 0);
	node_byte(0, 0);
	type("0\nINTERVAL 20\n", 0);
	SAID("ERR 5 bad character\nOK INTERVAL 20\n");
}

static void test_endless_line(void)
{
	start(0);
	for (int i = 0; i < 100000; i++) node_byte('x', 0);
	SAID("ERR 4 line too long\n");
	type("LED 1\n", 0); /* still the same line */
	SAID("");
	type("LED 1\n", 0);
	SAID("OK LED 1\n");
}

static void test_unfinished_line_is_given_up(void)
{
	static const char *begin[] = {"INTERVAL 1", "\xff", "123456789012345678901234567890123"};
	for (int i = 0; i < 3; i++) {
		start(0);
		type("INTERVAL 60000\n", 0);
		type(begin[i], 0);
		node_tick(999);
		node_tick(1000);
		said[0] = 0;
		type("LED 1\n", 1001);
		SAID("OK LED 1\n");
	}
	start(0);
	type("INTERVAL 60000\nLE", 0);
	node_tick(999);
	type("D 1\n", 999);
	SAID("OK INTERVAL 60000\nOK LED 1\n");
}

/* No input makes the node read or write where it must not (the sanitizer looks),
 * or answer in anything but lines of its protocol. */
static void test_noise(void)
{
	static const char alphabet[] = "LEDINTRVABK 0123456789\r\n\n\n\xff";
	uint32_t r = 1;
	start(0);
	for (uint32_t i = 0; i < 300000; i++) {
		r ^= r << 13;
		r ^= r >> 17;
		r ^= r << 5;
		node_byte(r & 0x100 ? (uint8_t)(r >> 16) : (uint8_t)alphabet[(r >> 16) % (sizeof alphabet - 1)], i);
		node_tick(i);
		for (char *s = said, *end; *s; s = end + 1) {
			end = strchr(s, '\n');
			TRUE(end && (!strncmp(s, "OK ", 3) || !strncmp(s, "ERR ", 4) || (*s == '{' && end[-1] == '}')));
			if (!end) break;
		}
		said[0] = 0;
	}
}

int main(void)
{
	test_readings();
	test_temperatures();
	test_clock_wraps();
	test_commands();
	test_blinking();
	test_bad_input();
	test_lost_bytes_spoil_their_line();
	test_endless_line();
	test_unfinished_line_is_given_up();
	test_noise();
	if (failures) {
		printf("%d failures\n", failures);
		return 1;
	}
	puts("node: all tests passed");
	return 0;
}
