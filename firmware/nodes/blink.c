#include "blink.h"

#include "node.h"

static struct {
	uint8_t led;        /* as it was set */
	uint8_t phases;     /* of blinking that are left: off, on, off ... */
	uint32_t phase_due; /* when the present one ends */
} blink;

void blink_set(uint8_t on)
{
	blink.phases = 0;
	blink.led = on;
	board_set_led(on);
}

void blink_start(uint8_t n, uint32_t now)
{
	blink.phases = 2 * n - 1;
	blink.phase_due = now + BLINK_MS;
	board_set_led(!blink.led);
}

void blink_tick(uint32_t now)
{
	if (!blink.phases || (int32_t)(now - blink.phase_due) < 0) return;
	blink.phases--;
	blink.phase_due += BLINK_MS;
	/* The last phase differs from what was set, so do all odd ones. */
	board_set_led(blink.phases & 1 ? !blink.led : blink.led);
}

uint8_t blink_led(void) { return blink.phases ? blink.led : board_led(); }
