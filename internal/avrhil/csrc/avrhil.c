/* avrhil LINK NODE.hex [noreset]: an ATmega328P at 16 MHz (libsimavr) whose UART0
 * is a pseudo terminal, like an Arduino on a USB port. It runs at real speed.
 *
 * LINK becomes a symbolic link to the terminal. Opening it resets the chip, unless
 * noreset is given. Bytes are rubbish when the host's baud rate is more than 4 %
 * off the chip's.
 *
 * Commands come line by line on standard input; its end is the end of the program.
 * Each is answered by a line "= ..." on standard output:
 *
 *   led           0 or 1, what the chip drives on PB5
 *   open          0 or 1, whether a program has the terminal open
 *   adc 0 715     millivolts on an ADC pin
 *   unplug        takes the terminal and the chip's power away
 *   plug [LINK]   the reverse, with a new terminal, behind another link if given
 *   serial TEXT   writes the EEPROM, from address 0 on
 *   noise N       spoils N of 1000 bytes, both ways
 *   stat          counters
 *
 * "! N" says that PB5 has become N. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <simavr/avr_adc.h>
#include <simavr/avr_eeprom.h>
#include <simavr/avr_ioport.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>

#define HZ 16000000ul
#define BYTE_CYCLES 1390 /* at 115200 baud, until the firmware has set its own */

static avr_t *avr;
static avr_uart_t *uart;
static avr_irq_t *uart_in;
static char link_path[4096];
static int noreset, unpowered, crashed;
static int master = -1, was_open;
static unsigned noise; /* of 1000 */
static unsigned long n_in, n_out, n_lost, n_spoilt, n_reset, n_crash;
static int led_level;

static void die(const char *m) { perror(m); exit(1); }
static void quiet(avr_t *a, const int level, const char *f, va_list ap) { (void)a; (void)level; (void)f; (void)ap; }
static void no_sleep(avr_t *a, avr_cycle_count_t n) { (void)a; (void)n; } /* main keeps the pace */

static uint32_t rnd(void)
{
	static uint32_t r = 2463534242u;
	r ^= r << 13;
	r ^= r >> 17;
	r ^= r << 5;
	return r;
}
static int hit(void) { return noise && rnd() % 1000 < noise; }

static void led_is(int level)
{
	if (level == led_level) return;
	led_level = level;
	printf("! %d\n", level);
}
static void on_led(avr_irq_t *irq, uint32_t value, void *p)
{
	(void)irq; (void)p;
	led_is(value & 1);
}
static int led_driven(void)
{
	avr_ioport_state_t st = {0};
	avr_ioctl(avr, AVR_IOCTL_IOPORT_GETSTATE('B'), &st);
	return (st.port & st.ddr) >> 5 & 1;
}

/* The kernel's termios2: glibc's hides odd baud rates. */
struct termios2 { uint32_t iflag, oflag, cflag, lflag; uint8_t line, cc[19]; uint32_t ispeed, ospeed; };
static unsigned host_baud(void)
{
	struct termios2 t;
	if (ioctl(master, _IOR('T', 0x2A, struct termios2), &t)) return 0;
	return t.ospeed;
}
static unsigned chip_baud(void)
{
	unsigned v = avr_regbit_get(avr, uart->ubrrl) | avr_regbit_get(avr, uart->ubrrh) << 8;
	return avr->frequency / ((v + 1) * (avr_regbit_get(avr, uart->u2x) ? 8 : 16));
}
static int baud_off(void)
{
	double h = host_baud(), c = chip_baud();
	return h < c * 0.96 || h > c * 1.04;
}

/* What the host has sent waits here and reaches the chip one byte per byte time. */
static uint8_t ring[4096];
static unsigned ring_head, ring_tail;
static avr_cycle_count_t next_rx;
static int xoff;
static void on_xon(avr_irq_t *i, uint32_t v, void *p) { (void)i; (void)v; (void)p; xoff = 0; }
static void on_xoff(avr_irq_t *i, uint32_t v, void *p) { (void)i; (void)p; if (v) xoff = 1; }

static void feed(void)
{
	if (ring_head == ring_tail || avr->cycle < next_rx || xoff || !avr_regbit_get(avr, uart->rxen)) return;
	next_rx = avr->cycle + (uart->cycles_per_byte ? uart->cycles_per_byte : BYTE_CYCLES);
	uint16_t b = ring[ring_tail++ % sizeof ring];
	if (hit()) { b |= 0x80; n_spoilt++; }
	if (baud_off()) { b = (b * 31 + 7) & 0xff; b |= UART_INPUT_FE; n_spoilt++; }
	n_in++;
	avr_raise_irq(uart_in, b);
}

static void to_host(uint8_t b)
{
	if (write(master, &b, 1) != 1) n_lost++; /* the host does not read */
}
static void on_tx(avr_irq_t *i, uint32_t v, void *p)
{
	(void)i; (void)p;
	uint8_t b = v;
	n_out++;
	if (master < 0 || !was_open) return;
	/* Noise sets the top bit of bytes and puts bytes with it in between: what
	 * a digit becomes, or a line end, is no digit and no line end. */
	if (hit()) { to_host(0x80 | rnd() >> 24); n_spoilt++; }
	if (hit()) { b |= 0x80; n_spoilt++; }
	if (baud_off()) { b = b * 31 + 7; n_spoilt++; }
	to_host(b);
}

static void chip_reset(int power_on)
{
	n_reset++;
	crashed = 0;
	ring_head = ring_tail = 0;
	xoff = 0;
	avr_reset(avr);
	avr->data[0x54] = power_on ? 0x01 : 0x02; /* MCUSR: PORF or EXTRF */
	led_is(led_driven());
}

static void pty_open(void)
{
	master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (master < 0 || grantpt(master) || unlockpt(master)) die("pty");
	const char *name = ptsname(master);
	struct termios t;
	tcgetattr(master, &t);
	cfmakeraw(&t);
	cfsetspeed(&t, B9600);
	tcsetattr(master, TCSANOW, &t);
	/* Only after it was open once does POLLHUP say that it is closed. */
	close(open(name, O_RDWR | O_NOCTTY));
	was_open = 0;
	char tmp[sizeof link_path + 4];
	snprintf(tmp, sizeof tmp, "%s.new", link_path);
	unlink(tmp);
	if (symlink(name, tmp) || rename(tmp, link_path)) die("link");
}
static void pty_close(void)
{
	if (master < 0) return;
	unlink(link_path);
	close(master);
	master = -1;
	was_open = 0;
}
static void pty_poll(void)
{
	if (master < 0) return;
	struct pollfd f = {.fd = master, .events = POLLIN};
	poll(&f, 1, 0);
	int open_now = !(f.revents & POLLHUP);
	if (open_now && !was_open && !noreset) chip_reset(0);
	was_open = open_now;
	if (!(f.revents & POLLIN)) return;
	unsigned room = sizeof ring - (ring_head - ring_tail);
	uint8_t b[1024];
	ssize_t n = read(master, b, room < sizeof b ? room : sizeof b);
	for (ssize_t k = 0; k < n; k++) ring[ring_head++ % sizeof ring] = b[k];
}

static unsigned hex(const char *s, int n)
{
	unsigned v = 0;
	while (n--) {
		int c = *s++;
		v = v << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
	}
	return v;
}
static void load(const char *path)
{
	FILE *f = fopen(path, "r");
	char l[600];
	unsigned bytes = 0;
	if (!f) die(path);
	while (fgets(l, sizeof l, f)) {
		if (l[0] != ':' || strlen(l) < 11 || hex(l + 7, 2) != 0) continue;
		unsigned n = hex(l + 1, 2), at = hex(l + 3, 4);
		if (at + n > avr->flashend + 1u || strlen(l) < 11 + 2 * n) { fprintf(stderr, "%s: bad record\n", path); exit(1); }
		for (unsigned k = 0; k < n; k++) avr->flash[at + k] = hex(l + 9 + 2 * k, 2);
		bytes += n;
	}
	fclose(f);
	if (!bytes) { fprintf(stderr, "%s: no data\n", path); exit(1); }
}

static void command(const char *l)
{
	unsigned a, b;
	if (!strcmp(l, "led")) printf("= %d\n", unpowered ? 0 : led_driven());
	else if (!strcmp(l, "open")) printf("= %d\n", was_open);
	else if (sscanf(l, "adc %u %u", &a, &b) == 2 && a < 8) {
		avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_ADC_GETIRQ, ADC_IRQ_ADC0 + a), b);
		puts("= ok");
	} else if (!strcmp(l, "unplug")) {
		pty_close();
		chip_reset(1);
		unpowered = 1;
		puts("= ok");
	} else if (!strncmp(l, "serial ", 7)) {
		uint8_t text[33];
		memset(text, 0xFF, sizeof text);
		memcpy(text, l + 7, strnlen(l + 7, sizeof text - 1));
		avr_eeprom_desc_t d = {.ee = text, .offset = 0, .size = sizeof text};
		avr_ioctl(avr, AVR_IOCTL_EEPROM_SET, &d);
		puts("= ok");
	} else if (!strncmp(l, "plug", 4)) {
		if (unpowered) {
			if (l[4] == ' ') snprintf(link_path, sizeof link_path, "%s", l + 5);
			unpowered = 0;
			pty_open();
			chip_reset(1);
		}
		puts("= ok");
	} else if (sscanf(l, "noise %u", &a) == 1) {
		noise = a;
		puts("= ok");
	} else if (!strcmp(l, "stat"))
		printf("= %lu %lu %lu %lu %lu %lu\n", n_in, n_out, n_lost, n_spoilt, n_reset, n_crash);
	else puts("= error");
}

/* commands reads what is there; it returns 0 at the end of input. */
static int commands(void)
{
	static char line[4096];
	static size_t len;
	struct pollfd f = {.fd = 0, .events = POLLIN};
	if (poll(&f, 1, 0) <= 0) return 1;
	ssize_t n = read(0, line + len, sizeof line - 1 - len);
	if (n <= 0) return 0;
	/* What the host did to the port before it asked is dealt with first. */
	pty_poll();
	len += n;
	line[len] = 0;
	char *p = line, *end;
	while ((end = strchr(p, '\n'))) {
		*end = 0;
		command(p);
		p = end + 1;
	}
	len = strlen(p);
	memmove(line, p, len + 1);
	return len < sizeof line - 1;
}

/* slice runs the chip for a millisecond. */
static void slice(avr_cycle_count_t target)
{
	if (unpowered || crashed) avr->cycle = target;
	while (avr->cycle < target) {
		int st = avr_run(avr);
		if (st == cpu_Crashed || st == cpu_Done) { /* dead until a reset */
			n_crash++;
			crashed = 1;
			avr->cycle = target;
			return;
		}
		feed();
	}
}

int main(int argc, char **argv)
{
	if (argc < 3 || argc > 4 || (argc == 4 && strcmp(argv[3], "noreset"))) {
		fprintf(stderr, "usage: avrhil LINK NODE.hex [noreset]\n");
		return 2;
	}
	snprintf(link_path, sizeof link_path, "%s", argv[1]);
	noreset = argc == 4;
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	avr_global_logger_set(quiet);
	avr = avr_make_mcu_by_name("atmega328p");
	if (!avr) {
		fprintf(stderr, "simavr does not know the atmega328p\n");
		return 1;
	}
	avr_init(avr);
	avr->frequency = HZ;
	avr->sleep = no_sleep;
	avr->vcc = avr->avcc = avr->aref = 5000;
	avr->log = LOG_ERROR;
	avr->codeend = avr->flashend;
	load(argv[2]);
	for (avr_io_t *io = avr->io_port; io; io = io->next)
		if (!strcmp(io->kind, "uart") && ((avr_uart_t *)io)->name == '0') uart = (avr_uart_t *)io;
	if (!uart) {
		fprintf(stderr, "simavr has no UART0\n");
		return 1;
	}
	uint32_t flags = 0;
	avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
	uart_in = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_tx, NULL);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), on_xon, NULL);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), on_xoff, NULL);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('B'), 5), on_led, NULL);

	pty_open();
	chip_reset(1);
	puts("= ready");

	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	for (avr_cycle_count_t target = avr->cycle;;) {
		target += HZ / 1000;
		slice(target);
		pty_poll();
		if (!commands()) break;
		t.tv_nsec += 1000000;
		if (t.tv_nsec >= 1000000000) {
			t.tv_nsec -= 1000000000;
			t.tv_sec++;
		}
		struct timespec now;
		clock_gettime(CLOCK_MONOTONIC, &now);
		double late = (now.tv_sec - t.tv_sec) + (now.tv_nsec - t.tv_nsec) / 1e9;
		if (late > 0.2) t = now; /* an overloaded machine does not catch up */
		else clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	}
	pty_close();
	return 0;
}
