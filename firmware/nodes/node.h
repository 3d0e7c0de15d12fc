/* The reference node without its hardware, in two forms: node.c speaks the lines
 * that README.md describes, announced.c the node protocol, docs/node-protocol.md.
 * The same files are compiled for the chips, where uno.c and microbit.c are the
 * boards, and for the host, where the tests are. */
#ifndef NODE_H
#define NODE_H

#include <stdint.h>

#define NODE_NAME "gantry-node"
#define NODE_VERSION "1.0.0"

enum {
	NODE_SERIAL_MAX = 32,
	NODE_LINE_MAX = 32,       /* longest command, in bytes without its end */
	NODE_OUT_MAX = 64,        /* longest line sent, with its end */
	NODE_PAUSE_MS = 1000,     /* an unfinished command is given up after this */
	NODE_INTERVAL_MS = 1000,  /* between two readings, after a start */
	NODE_INTERVAL_MIN = 10,
	NODE_INTERVAL_MAX = 60000,
};

/* Temperatures are hundredths of a degree Celsius; this is none. */
#define NODE_NO_TEMPERATURE INT16_MIN

/* Times are milliseconds since the start and may wrap around. */

/* node_start sets the node up and announces it. */
void node_start(uint32_t now);

/* node_byte takes a byte that was received. Bytes that were lost or damaged on the
 * way are handed over as one 0, in their place. */
void node_byte(uint8_t c, uint32_t now);

/* node_tick does what is due. It is called at least once per millisecond or so. */
void node_tick(uint32_t now);

/* What the board does for the node. */

/* board_send sends a text of up to NODE_OUT_MAX bytes, board_write n bytes, in order
 * and whole. */
void board_send(const char *text);
void board_write(const uint8_t *bytes, uint8_t n);

/* board_serial writes the board's serial number, up to NODE_SERIAL_MAX of the letters
 * and digits that the protocol allows, and returns its length, 0 if it has none. */
uint8_t board_serial(uint8_t *out);

/* board_set_led switches the LED; board_led returns the level of its pin. */
void board_set_led(uint8_t on);
uint8_t board_led(void);

/* board_temperature measures; NODE_NO_TEMPERATURE if the sensor is absent. */
int16_t board_temperature(void);

/* board_restart restarts the chip once what was sent is out. */
void board_restart(void);

#endif
