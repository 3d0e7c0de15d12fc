/* The board: BBC micro:bit V1 (nRF51822, Cortex-M0 at 16 MHz). UART 115200 8N1 to
 * the interface chip's USB port, the LED in the matrix' upper left corner, the
 * chip's own thermometer. Titles in quotes are chapters of the nRF51 Series
 * Reference Manual v3.0. There is no C library: memory and start are here too. */
#include <stddef.h>
#include <stdint.h>

#include "node.h"

#define REG(a) (*(volatile uint32_t *)(a))

/* "CLOCK" */
#define CLOCK_HFCLKSTART REG(0x40000000)
#define CLOCK_HFCLKSTARTED REG(0x40000100)
/* "UART" */
#define UART_STARTRX REG(0x40002000)
#define UART_STARTTX REG(0x40002008)
#define UART_RXDRDY REG(0x40002108)
#define UART_TXDRDY REG(0x4000211C)
#define UART_ERROR REG(0x40002124)
#define UART_INTENSET REG(0x40002304)
#define UART_ENABLE REG(0x40002500)
#define UART_PSELTXD REG(0x4000250C)
#define UART_PSELRXD REG(0x40002514)
#define UART_RXD REG(0x40002518)
#define UART_TXD REG(0x4000251C)
#define UART_BAUDRATE REG(0x40002524)
/* "TIMER" 0 */
#define TIMER_START REG(0x40008000)
#define TIMER_CAPTURE0 REG(0x40008040)
#define TIMER_COMPARE1 REG(0x40008144)
#define TIMER_INTENSET REG(0x40008304)
#define TIMER_BITMODE REG(0x40008508)
#define TIMER_PRESCALER REG(0x40008510)
#define TIMER_CC0 REG(0x40008540)
#define TIMER_CC1 REG(0x40008544)
/* "TEMP" */
#define TEMP_START REG(0x4000C000)
#define TEMP_DATARDY REG(0x4000C100)
#define TEMP_TEMP REG(0x4000C508)
/* "WDT" */
#define WDT_START REG(0x40010000)
#define WDT_CRV REG(0x40010504)
#define WDT_RR0 REG(0x40010600)
/* "GPIO" */
#define GPIO_OUTSET REG(0x50000508)
#define GPIO_OUTCLR REG(0x5000050C)
#define GPIO_IN REG(0x50000510)
#define GPIO_CNF(n) REG(0x50000700 + 4 * (n))
/* "FICR", the device's identity */
#define FICR_DEVICEID(n) REG(0x10000060 + 4 * (n))
/* ARMv6-M: interrupts, and the reset of the chip */
#define NVIC_ISER REG(0xE000E100)
#define SCB_AIRCR REG(0xE000ED0C)

enum { IRQ_UART = 2, IRQ_TIMER0 = 8 };
/* Pins of the board: to and from the interface chip, row and column of the LED. */
enum { PIN_TX = 24, PIN_RX = 25, PIN_ROW = 13, PIN_COLUMN = 4 };

enum { RX_SIZE = 128 }; /* a power of two */

/* The ring is written at head by the interrupt and read at tail by main. */
static struct {
	volatile uint8_t buf[RX_SIZE], head, tail;
	uint8_t lost; /* only the interrupt uses it */
} rx;

static uint8_t rx_put(uint8_t c)
{
	uint8_t next = (rx.head + 1) & (RX_SIZE - 1);
	if (next == rx.tail) return 0;
	rx.buf[rx.head] = c;
	rx.head = next;
	return 1;
}

static void on_uart(void)
{
	if (UART_ERROR) {
		UART_ERROR = 0;
		rx.lost = 1;
	}
	while (UART_RXDRDY) {
		UART_RXDRDY = 0;
		uint8_t c = UART_RXD;
		if (rx.lost && rx_put(0)) rx.lost = 0;
		if (rx.lost || !rx_put(c)) rx.lost = 1;
	}
}

/* It only ends the sleep. */
static void on_timer(void) { TIMER_COMPARE1 = 0; }

/* now counts milliseconds; the timer counts microseconds and wraps after an hour. */
static uint32_t now(void)
{
	static uint32_t last, ms;
	TIMER_CAPTURE0 = 1;
	uint32_t passed = (TIMER_CC0 - last) / 1000;
	last += passed * 1000;
	ms += passed;
	return ms;
}

void board_write(const uint8_t *bytes, uint8_t n)
{
	for (; n; n--) {
		UART_TXDRDY = 0;
		UART_TXD = *bytes++;
		while (!UART_TXDRDY) ;
	}
}

uint8_t board_serial(uint8_t *out)
{
	for (uint8_t i = 0; i < 16; i++) {
		uint8_t digit = FICR_DEVICEID(i / 8) >> (28 - 4 * (i % 8)) & 15;
		out[i] = digit < 10 ? '0' + digit : 'a' + digit - 10;
	}
	return 16;
}

void board_set_led(uint8_t on)
{
	if (on) GPIO_OUTSET = 1u << PIN_ROW;
	else GPIO_OUTCLR = 1u << PIN_ROW;
}

uint8_t board_led(void) { return GPIO_IN >> PIN_ROW & 1; }

/* Quarters of a degree, after 36 us. Where nothing comes there is no thermometer. */
int16_t board_temperature(void)
{
	TEMP_DATARDY = 0;
	TEMP_START = 1;
	for (uint16_t i = 0; i < 1000 && !TEMP_DATARDY; i++) ;
	if (!TEMP_DATARDY) return NODE_NO_TEMPERATURE;
	return (int32_t)TEMP_TEMP * 25;
}

void board_restart(void)
{
	SCB_AIRCR = 0x05FA0004;
	for (;;) ;
}

static void start(void)
{
	CLOCK_HFCLKSTART = 1;
	while (!CLOCK_HFCLKSTARTED) ;
	/* Outputs, the row with its input connected so that the pin can be read. */
	GPIO_CNF(PIN_ROW) = 1;
	GPIO_CNF(PIN_COLUMN) = 3;
	GPIO_OUTCLR = 1u << PIN_COLUMN;
	GPIO_OUTSET = 1u << PIN_TX;
	GPIO_CNF(PIN_TX) = 3;
	UART_PSELTXD = PIN_TX;
	UART_PSELRXD = PIN_RX;
	UART_BAUDRATE = 0x01D7E000; /* 115200 */
	UART_ENABLE = 4;
	UART_INTENSET = 1u << 2 | 1u << 9; /* RXDRDY, ERROR */
	UART_STARTRX = 1;
	UART_STARTTX = 1;
	TIMER_BITMODE = 3;   /* 32 bits */
	TIMER_PRESCALER = 4; /* 16 MHz / 2^4 */
	TIMER_INTENSET = 1u << 17; /* COMPARE[1] */
	TIMER_START = 1;
	NVIC_ISER = 1u << IRQ_UART | 1u << IRQ_TIMER0;
	WDT_CRV = 32768 * 2; /* two seconds */
	WDT_START = 1;
}

/* rest waits for the next byte or millisecond. */
static void rest(void)
{
	TIMER_CAPTURE0 = 1;
	TIMER_CC1 = TIMER_CC0 + 1000;
	/* An interrupt that comes in between ends the wait all the same. */
	__asm__ volatile("cpsid i" ::: "memory");
	if (rx.tail == rx.head) __asm__ volatile("wfi" ::: "memory");
	__asm__ volatile("cpsie i" ::: "memory");
}

int main(void)
{
	start();
	node_start(now());
	for (;;) {
		WDT_RR0 = 0x6E524635;
		while (rx.tail != rx.head) {
			uint8_t c = rx.buf[rx.tail];
			rx.tail = (rx.tail + 1) & (RX_SIZE - 1);
			node_byte(c, now());
		}
		node_tick(now());
		rest();
	}
}

/* What the compiler may call without being asked. */
void *memcpy(void *to, const void *from, size_t n)
{
	uint8_t *d = to;
	const uint8_t *s = from;
	while (n--) *d++ = *s++;
	return to;
}

void *memset(void *to, int c, size_t n)
{
	uint8_t *d = to;
	while (n--) *d++ = c;
	return to;
}

/* The linker's, and for it: where the program begins. */
extern uint32_t stack_end, data_load, data_start, data_end, bss_start, bss_end;
void on_reset(void);

void on_reset(void)
{
	for (uint32_t *s = &data_load, *d = &data_start; d < &data_end;) *d++ = *s++;
	for (uint32_t *d = &bss_start; d < &bss_end;) *d++ = 0;
	main();
}

static void on_fault(void) { board_restart(); }

__attribute__((section(".vectors"), used)) static void (*const vectors[16 + 32])(void) = {
	(void (*)(void))&stack_end, on_reset, on_fault, on_fault,
	[11] = on_fault, [14] = on_fault, [15] = on_fault,
	[16 + IRQ_UART] = on_uart, [16 + IRQ_TIMER0] = on_timer,
};
