/* The board: ATmega328P at 16 MHz (Arduino Uno). UART 115200 8N1, LED on PB5 (pin
 * 13), a TMP36 temperature sensor on ADC0 (pin A0). Titles in quotes are chapters
 * of the ATmega328P's data sheet. */
#include <avr/eeprom.h>
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <avr/wdt.h>
#include <string.h>
#include <util/atomic.h>

#include "node.h"

#define BAUD 115200UL
/* Double speed: 2.1 % off at 16 MHz. "Examples of Baud Rate Setting". */
#define UBRR_DOUBLE ((F_CPU + 4 * BAUD) / (8 * BAUD) - 1)

enum { RX_SIZE = 128, TX_SIZE = 128 }; /* powers of two up to 128 */

/* Each ring is written at head by one side and read at tail by the other. */
static struct {
	volatile uint8_t buf[RX_SIZE], head, tail;
	uint8_t lost; /* only the interrupt uses it */
} rx;
static struct {
	volatile uint8_t buf[TX_SIZE], head, tail;
} tx;
static volatile uint32_t ticks;

/* After a watchdog reset the watchdog stays on, at its shortest.
 * "Watchdog Timer". */
__attribute__((naked, used, section(".init3"))) static void quiet_watchdog(void)
{
	MCUSR = 0;
	wdt_disable();
}

static uint8_t rx_put(uint8_t c)
{
	uint8_t next = (rx.head + 1) & (RX_SIZE - 1);
	if (next == rx.tail) return 0;
	rx.buf[rx.head] = c;
	rx.head = next;
	return 1;
}

ISR(USART_RX_vect)
{
	uint8_t status = UCSR0A; /* belongs to the byte that is read next */
	uint8_t c = UDR0;
	/* An overrun lost bytes in front of this one. */
	if (status & _BV(DOR0)) rx.lost = 1;
	if (rx.lost && rx_put(0)) rx.lost = 0;
	if (rx.lost) return;
	if (!rx_put(status & _BV(FE0) ? 0 : c)) rx.lost = 1;
}

ISR(USART_UDRE_vect)
{
	if (tx.head == tx.tail) {
		UCSR0B &= ~_BV(UDRIE0);
		return;
	}
	UDR0 = tx.buf[tx.tail];
	tx.tail = (tx.tail + 1) & (TX_SIZE - 1);
}

ISR(TIMER0_COMPA_vect) { ticks++; }

static uint32_t now(void)
{
	uint32_t t;
	ATOMIC_BLOCK(ATOMIC_RESTORESTATE) { t = ticks; }
	return t;
}

/* The line has no flow control, so there is room after 12 ms at most. */
void board_write(const uint8_t *bytes, uint8_t n)
{
	for (; n; n--) {
		uint8_t next = (tx.head + 1) & (TX_SIZE - 1);
		while (next == tx.tail) ;
		tx.buf[tx.head] = *bytes++;
		tx.head = next;
		ATOMIC_BLOCK(ATOMIC_RESTORESTATE) { UCSR0B |= _BV(UDRIE0); }
	}
}

void board_send(const char *text) { board_write((const uint8_t *)text, strlen(text)); }

/* The EEPROM holds it from address 0 on, up to the first byte that is none of its
 * characters; the chip itself has no number. */
uint8_t board_serial(uint8_t *out)
{
	uint8_t n = 0;
	for (; n < NODE_SERIAL_MAX; n++) {
		uint8_t c = eeprom_read_byte((const uint8_t *)(uintptr_t)n);
		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' || c == '_' || c == '-')) break;
		out[n] = c;
	}
	return n;
}

void board_set_led(uint8_t on)
{
	if (on) PORTB |= _BV(PORTB5);
	else PORTB &= ~_BV(PORTB5);
	/* The input follows the pin by up to 1.5 cycles. "Reading the Pin Value". */
	__asm__ volatile("nop\n\tnop");
}

uint8_t board_led(void) { return !!(PINB & _BV(PINB5)); }

static uint16_t convert(void)
{
	ADCSRA |= _BV(ADSC);
	while (ADCSRA & _BV(ADSC)) ;
	return ADC;
}

/* TMP36: 750 mV at 25 degrees, 10 mV a degree; the reference is 1.1 V, so it goes
 * up to 59 degrees. Below -40 degrees there is no sensor. */
int16_t board_temperature(void)
{
	enum { SAMPLES = 16 };
	uint16_t sum = 0;
	for (uint8_t i = 0; i < SAMPLES; i++) sum += convert();
	if (sum >= SAMPLES * 1022U) return NODE_NO_TEMPERATURE;
	int16_t t = (int16_t)((sum * 11000UL + SAMPLES * 512UL) / (SAMPLES * 1024UL)) - 5000;
	return t < -4000 ? NODE_NO_TEMPERATURE : t;
}

/* The watchdog restarts all of the chip, and this shows that it is on. */
void board_restart(void)
{
	for (;;) ;
}

int main(void)
{
	wdt_enable(WDTO_1S);
	DDRB |= _BV(DDB5);
	UBRR0 = UBRR_DOUBLE;
	UCSR0A = _BV(U2X0);
	UCSR0C = _BV(UCSZ01) | _BV(UCSZ00);
	UCSR0B = _BV(RXEN0) | _BV(TXEN0) | _BV(RXCIE0);
	/* 16 MHz / 64 / 250 = 1 kHz. */
	OCR0A = 249;
	TCCR0A = _BV(WGM01);
	TCCR0B = _BV(CS01) | _BV(CS00);
	TIMSK0 = _BV(OCIE0A);
	/* 1.1 V, channel 0, 125 kHz. */
	ADMUX = _BV(REFS1) | _BV(REFS0);
	DIDR0 = _BV(ADC0D);
	ADCSRA = _BV(ADEN) | _BV(ADPS2) | _BV(ADPS1) | _BV(ADPS0);
	/* The first one after a change of reference is wrong. "ADC Voltage Reference". */
	convert();
	set_sleep_mode(SLEEP_MODE_IDLE);
	sei();
	node_start(now());
	for (;;) {
		wdt_reset();
		while (rx.tail != rx.head) {
			uint8_t c = rx.buf[rx.tail];
			rx.tail = (rx.tail + 1) & (RX_SIZE - 1);
			node_byte(c, now());
		}
		node_tick(now());
		sleep_mode(); /* until the next byte or millisecond */
	}
}
