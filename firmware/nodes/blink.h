/* The LED, which is on or off and may blink meanwhile. Times are milliseconds. */
#ifndef BLINK_H
#define BLINK_H

#include <stdint.h>

enum { BLINK_MAX = 20, BLINK_MS = 100 /* on, and the same off */ };

/* blink_set switches the LED and ends blinking. */
void blink_set(uint8_t on);

/* blink_start flips the LED n times, 1 to BLINK_MAX. */
void blink_start(uint8_t n, uint32_t now);

/* blink_tick does what is due. */
void blink_tick(uint32_t now);

/* blink_led returns the level of the LED's pin; while it blinks, what it returns to. */
uint8_t blink_led(void);

#endif
