// SPDX-License-Identifier: GPL-2.0-only
/*
 * hilbus: buses with emulated parts, for tests of programs through the kernel's
 * own interfaces.
 *
 *  /dev/i2c-N      adapter "hilbus". 0x44 an SHT3x, 0x76 and 0x77 files of 256
 *                  registers whose address counts up, to be filled through
 *                  /sys/devices/platform/hilbus/regs76 and regs77
 *  /dev/spidevN.0  an MCP3008 (adc=...)
 *  w1              DS18B20 (w1_mc=21500,-5000: thousandths of a degree), which
 *                  w1_therm serves as /sys/bus/w1/devices/28-*
 *  /dev/ttyHIL0    a serial port without modem lines that gives back what it gets
 *
 * The faults are parameters, in /sys/module/hilbus/parameters/:
 *  i2c_nack N      the next N messages are not acknowledged (ENXIO)
 *  i2c_stuck 1     the bus hangs (ETIMEDOUT)
 *  i2c_flip N      the next N bytes that are read are damaged
 *  w1_absent M     bit mask of sensors that are off the bus
 *  w1_bad N        the next N scratchpads have a wrong checksum
 *  w1_85 1         sensors have the value of power-on, 85 degrees
 *  w1_conversions  counts conversions, w1_bulk those of all sensors at a time
 *  tty_parity N    the next N bytes arrive with a parity error, if parity is on
 *  tty_stuck 1     takes 4096 bytes and sends none of them
 */
#include <linux/delay.h>
#include <linux/i2c.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/spi/spi.h>
#include <linux/tty.h>
#include <linux/tty_driver.h>
#include <linux/tty_flip.h>
#include <linux/w1.h>

static int i2c_nack, i2c_stuck, i2c_flip;
module_param(i2c_nack, int, 0644);
module_param(i2c_stuck, int, 0644);
module_param(i2c_flip, int, 0644);
static int adc[8] = { 0, 100, 200, 300, 400, 500, 600, 1023 };
module_param_array(adc, int, NULL, 0644);
static int w1_mc[4] = { 21500 }, w1_n = 1, w1_absent, w1_bad, w1_85, w1_conversions, w1_bulk;
module_param_array(w1_mc, int, &w1_n, 0644);
module_param(w1_absent, int, 0644);
module_param(w1_bad, int, 0644);
module_param(w1_85, int, 0644);
module_param(w1_conversions, int, 0644);
module_param(w1_bulk, int, 0644);
static int tty_parity, tty_stuck;
module_param(tty_parity, int, 0644);

/* ---- I2C */
static u8 regs[2][256], regptr[2], sht_cmd[2];

/* SHT3x: words with a checksum each; a status, or 25 degrees and 50 % */
static u8 sht_read(int i)
{
	static const u8 status[] = { 0x80, 0x10, 0xe1 }, measured[] = { 0x66, 0x66, 0x93, 0x80, 0x00, 0xa2 };

	if (sht_cmd[0] == 0xf3)
		return status[i % sizeof(status)];
	return measured[i % sizeof(measured)];
}
static u8 dev_read(int addr, int i)
{
	if (addr == 0x44)
		return sht_read(i);
	return regs[addr & 1][regptr[addr & 1]++];
}
static void dev_write(int addr, int i, u8 v)
{
	if (addr == 0x44) {
		if (i < 2)
			sht_cmd[i] = v;
	} else if (i == 0)
		regptr[addr & 1] = v;
	else
		regs[addr & 1][regptr[addr & 1]++] = v;
}
static int hil_xfer(struct i2c_adapter *a, struct i2c_msg *m, int n)
{
	int k, i;

	for (k = 0; k < n; k++, m++) {
		usleep_range(25 * (m->len + 1), 50 * (m->len + 1));
		if (i2c_stuck)
			return -ETIMEDOUT;
		if (i2c_nack > 0) {
			i2c_nack--;
			return -ENXIO;
		}
		if (m->addr != 0x44 && m->addr != 0x76 && m->addr != 0x77)
			return -ENXIO;
		for (i = 0; i < m->len; i++) {
			if (!(m->flags & I2C_M_RD)) {
				dev_write(m->addr, i, m->buf[i]);
				continue;
			}
			m->buf[i] = dev_read(m->addr, i);
			if (i2c_flip > 0) {
				i2c_flip--;
				m->buf[i] ^= 0x10;
			}
		}
	}
	return n;
}
static u32 hil_func(struct i2c_adapter *a) { return I2C_FUNC_I2C | I2C_FUNC_SMBUS_EMUL; }
static const struct i2c_algorithm hil_algo = { .master_xfer = hil_xfer, .functionality = hil_func };
static struct i2c_adapter adap = { .owner = THIS_MODULE, .name = "hilbus", .algo = &hil_algo };

static ssize_t regs_rw(struct kobject *k, struct bin_attribute *b, char *buf, loff_t off, size_t n, bool wr)
{
	u8 *r = regs[(long)b->private];

	if (wr)
		memcpy(r + off, buf, n);
	else
		memcpy(buf, r + off, n);
	return n;
}
static ssize_t regs_read(struct file *f, struct kobject *k, struct bin_attribute *b, char *buf, loff_t off, size_t n)
{
	return regs_rw(k, b, buf, off, n, false);
}
static ssize_t regs_write(struct file *f, struct kobject *k, struct bin_attribute *b, char *buf, loff_t off, size_t n)
{
	return regs_rw(k, b, buf, off, n, true);
}
static struct bin_attribute battr[2] = {
	{ .attr = { .name = "regs76", .mode = 0644 }, .size = 256, .read = regs_read, .write = regs_write, .private = (void *)0 },
	{ .attr = { .name = "regs77", .mode = 0644 }, .size = 256, .read = regs_read, .write = regs_write, .private = (void *)1 },
};

/* ---- SPI: MCP3008, a state machine over the bits of one chip select */
static int hil_spi_one(struct spi_controller *c, struct spi_message *msg)
{
	struct spi_transfer *t;
	int bit = -1, ch = 0, k, j;

	list_for_each_entry(t, &msg->transfers, transfer_list) {
		const u8 *tx = t->tx_buf;
		u8 *rx = t->rx_buf;

		for (k = 0; k < t->len; k++) {
			u8 o = 0;

			for (j = 7; j >= 0; j--) {
				int in = tx ? (tx[k] >> j) & 1 : 0, out = 0;

				if (bit < 0) {
					if (in)
						bit = 0; /* start bit */
				} else {
					bit++;
					if (bit >= 2 && bit <= 4)
						ch = (ch << 1 | in) & 7; /* bit 1 was single/diff */
					if (bit >= 7 && bit <= 16) /* null bit at 6 */
						out = (adc[ch] >> (16 - bit)) & 1;
				}
				o = o << 1 | out;
			}
			if (rx)
				rx[k] = o;
		}
		msg->actual_length += t->len;
		if (t->cs_change) {
			bit = -1;
			ch = 0;
		}
	}
	msg->status = 0;
	spi_finalize_current_message(c);
	return 0;
}

/* ---- 1-Wire: DS18B20s, one time slot at a time */
static struct ds {
	u64 rom;
	u8 pad[9], cmd, in;
	int st, bit, nin, alive, all;
} ds[4];
enum { ROMCMD, SEARCH, MATCH, READROM, FUNC, OUT, IN, IDLE };
static u8 crc_w1(const u8 *p, int n)
{
	u8 c = 0;

	while (n--) {
		int i;

		c ^= *p++;
		for (i = 0; i < 8; i++)
			c = c & 1 ? (c >> 1) ^ 0x8c : c >> 1;
	}
	return c;
}
static void ds_convert(struct ds *d, int i)
{
	int t = (w1_85 ? 85000 : w1_mc[i]) * 16 / 1000;

	w1_conversions++;
	if (d->all && !i)
		w1_bulk++;
	d->pad[0] = t;
	d->pad[1] = t >> 8;
}
static u8 w1_reset(void *data)
{
	int i, any = 0;

	for (i = 0; i < w1_n; i++) {
		ds[i].alive = !(w1_absent & (1 << i));
		ds[i].st = ROMCMD;
		ds[i].bit = 0;
		any |= ds[i].alive;
	}
	return any ? 0 : 1;
}
static u8 w1_slot(void *data, u8 m)
{
	u8 line = m;
	int i;

	for (i = 0; i < w1_n; i++) { /* first what the parts put on the line ... */
		struct ds *d = &ds[i];
		int o = 1;

		if (!d->alive)
			continue;
		if (d->st == SEARCH && d->bit % 3 == 0)
			o = (d->rom >> (d->bit / 3)) & 1;
		else if (d->st == SEARCH && d->bit % 3 == 1)
			o = !((d->rom >> (d->bit / 3)) & 1);
		else if (d->st == READROM)
			o = (d->rom >> d->bit) & 1;
		else if (d->st == OUT && d->bit < 72)
			o = (d->pad[d->bit / 8] >> (d->bit % 8)) & 1;
		line &= o;
	}
	for (i = 0; i < w1_n; i++) { /* ... then what they make of it */
		struct ds *d = &ds[i];

		if (!d->alive)
			continue;
		switch (d->st) {
		case ROMCMD:
		case FUNC:
			d->cmd = d->cmd >> 1 | (m ? 0x80 : 0);
			if (++d->bit < 8)
				break;
			d->bit = 0;
			if (d->st == ROMCMD) {
				d->all = d->cmd == 0xcc;
				d->st = d->cmd == 0xf0 ? SEARCH : d->cmd == 0x55 ? MATCH : d->cmd == 0x33 ? READROM : d->cmd == 0xcc ? FUNC : IDLE;
			} else if (d->cmd == 0x44) {
				ds_convert(d, i);
				d->st = IDLE;
			} else if (d->cmd == 0xbe) {
				d->pad[8] = crc_w1(d->pad, 8);
				if (w1_bad > 0) {
					w1_bad--;
					d->pad[8] ^= 0x5a;
				}
				d->st = OUT;
			} else if (d->cmd == 0x4e) {
				d->st = IN;
				d->nin = 0;
			} else
				d->st = IDLE; /* b4 (power): reads 1 = not parasite */
			break;
		case SEARCH:
			if (d->bit % 3 == 2 && !!m != ((d->rom >> (d->bit / 3)) & 1)) {
				d->st = IDLE;
				break;
			}
			if (++d->bit == 192)
				d->st = FUNC, d->bit = 0;
			break;
		case MATCH:
			if (!!m != ((d->rom >> d->bit) & 1)) {
				d->st = IDLE;
				break;
			}
			if (++d->bit == 64)
				d->st = FUNC, d->bit = 0;
			break;
		case READROM:
			if (++d->bit == 64)
				d->st = FUNC, d->bit = 0;
			break;
		case OUT:
			d->bit++;
			break;
		case IN:
			d->in = d->in >> 1 | (m ? 0x80 : 0);
			if (++d->bit % 8 == 0) {
				d->pad[2 + d->nin++] = d->in;
				if (d->nin == 3)
					d->st = IDLE;
			}
			break;
		}
	}
	return line;
}
static struct w1_bus_master w1m = { .touch_bit = w1_slot, .reset_bus = w1_reset };

/* ---- a serial port */
static struct tty_driver *tty_drv;
static struct tty_port tty_prt;
static const struct tty_port_operations tty_prt_ops;
static unsigned int tty_queued;

static int hil_tty_install(struct tty_driver *drv, struct tty_struct *tty) { return tty_port_install(&tty_prt, drv, tty); }
static int hil_tty_open(struct tty_struct *tty, struct file *f) { return tty_port_open(&tty_prt, tty, f); }
static void hil_tty_close(struct tty_struct *tty, struct file *f) { tty_port_close(&tty_prt, tty, f); }
static void hil_tty_hangup(struct tty_struct *tty) { tty_port_hangup(&tty_prt); }
static unsigned int hil_tty_queued(struct tty_struct *tty) { return tty_stuck ? tty_queued : 0; }
static unsigned int hil_tty_room(struct tty_struct *tty) { return 4096 - hil_tty_queued(tty); }
static void hil_tty_flush(struct tty_struct *tty)
{
	tty_queued = 0;
	tty_wakeup(tty);
}
static int hil_tty_write(struct tty_struct *tty, const unsigned char *b, int n)
{
	int i;

	n = min_t(int, n, hil_tty_room(tty));
	if (tty_stuck) {
		tty_queued += n;
		return n;
	}
	tty_queued = 0;
	for (i = 0; i < n; i++) {
		bool wrong = tty_parity > 0 && C_PARENB(tty);

		if (wrong)
			tty_parity--;
		tty_insert_flip_char(&tty_prt, b[i] ^ wrong, wrong ? TTY_PARITY : TTY_NORMAL);
	}
	tty_flip_buffer_push(&tty_prt);
	return n;
}
/* The fields of the line are taken as they come. */
static void hil_tty_termios(struct tty_struct *tty, const struct ktermios *old) {}
/* Who waits for bytes to be sent is woken when they are. */
static int hil_tty_set_stuck(const char *text, const struct kernel_param *p)
{
	int r = param_set_int(text, p);

	if (!r && tty_drv)
		tty_port_tty_wakeup(&tty_prt);
	return r;
}
static const struct kernel_param_ops tty_stuck_ops = { .set = hil_tty_set_stuck, .get = param_get_int };
module_param_cb(tty_stuck, &tty_stuck_ops, &tty_stuck, 0644);
static const struct tty_operations tty_ops = {
	.set_termios = hil_tty_termios,
	.install = hil_tty_install,
	.open = hil_tty_open,
	.close = hil_tty_close,
	.hangup = hil_tty_hangup,
	.write = hil_tty_write,
	.write_room = hil_tty_room,
	.chars_in_buffer = hil_tty_queued,
	.flush_buffer = hil_tty_flush,
};
static int hil_tty_add(struct device *parent)
{
	struct device *dev;
	int r;

	tty_drv = tty_alloc_driver(1, TTY_DRIVER_REAL_RAW | TTY_DRIVER_DYNAMIC_DEV);
	if (IS_ERR(tty_drv))
		return PTR_ERR(tty_drv);
	tty_drv->driver_name = "hilbus";
	tty_drv->name = "ttyHIL";
	tty_drv->type = TTY_DRIVER_TYPE_SERIAL;
	tty_drv->subtype = SERIAL_TYPE_NORMAL;
	tty_drv->init_termios = tty_std_termios;
	tty_set_operations(tty_drv, &tty_ops);
	r = tty_register_driver(tty_drv);
	if (r)
		goto e1;
	tty_port_init(&tty_prt);
	tty_prt.ops = &tty_prt_ops;
	dev = tty_port_register_device(&tty_prt, tty_drv, 0, parent);
	if (!IS_ERR(dev))
		return 0;
	r = PTR_ERR(dev);
	tty_port_destroy(&tty_prt);
	tty_unregister_driver(tty_drv);
e1:	tty_driver_kref_put(tty_drv);
	return r;
}
static void hil_tty_remove(void)
{
	tty_unregister_device(tty_drv, 0);
	tty_unregister_driver(tty_drv);
	tty_port_destroy(&tty_prt);
	tty_driver_kref_put(tty_drv);
}

static struct platform_device *pd;
static struct spi_controller *spi;

static int __init hil_init(void)
{
	struct spi_board_info bi = { .modalias = "dh2228fv", .max_speed_hz = 1000000, .chip_select = 0 };
	static const u8 pad0[9] = { 0x50, 0x05, 0x4b, 0x46, 0x7f, 0xff, 0x0c, 0x10 };
	int i, r;

	pd = platform_device_register_simple("hilbus", -1, NULL, 0);
	if (IS_ERR(pd))
		return PTR_ERR(pd);
	for (i = 0; i < 2; i++) {
		regs[i][0xd0] = 0x60; /* a BME280's chip id */
		r = sysfs_create_bin_file(&pd->dev.kobj, &battr[i]);
	}
	adap.dev.parent = &pd->dev;
	r = i2c_add_adapter(&adap);
	if (r)
		goto e1;
	spi = spi_alloc_master(&pd->dev, 0);
	if (!spi) {
		r = -ENOMEM;
		goto e2;
	}
	spi->bus_num = -1;
	spi->num_chipselect = 1;
	spi->mode_bits = SPI_CPOL | SPI_CPHA | SPI_CS_HIGH | SPI_LSB_FIRST;
	spi->transfer_one_message = hil_spi_one;
	r = spi_register_controller(spi);
	if (r) {
		spi_controller_put(spi);
		goto e2;
	}
	spi_new_device(spi, &bi);
	for (i = 0; i < 4; i++) {
		u8 rom[8] = { 0x28, 0x48, 0x49, 0x4c, i + 1, 0, 0, 0 };

		rom[7] = crc_w1(rom, 7);
		memcpy(&ds[i].rom, rom, 8); /* least significant bit first */
		memcpy(ds[i].pad, pad0, 9);
	}
	r = w1_add_master_device(&w1m);
	if (r)
		goto e3;
	r = hil_tty_add(&pd->dev);
	if (r)
		goto e4;
	return 0;
e4:	w1_remove_master_device(&w1m);
e3:	spi_unregister_controller(spi);
e2:	i2c_del_adapter(&adap);
e1:	platform_device_unregister(pd);
	return r;
}
static void __exit hil_exit(void)
{
	hil_tty_remove();
	w1_remove_master_device(&w1m);
	spi_unregister_controller(spi);
	i2c_del_adapter(&adap);
	platform_device_unregister(pd);
}
module_init(hil_init);
module_exit(hil_exit);
MODULE_LICENSE("GPL v2");
MODULE_DESCRIPTION("emulated I2C, SPI and 1-Wire parts and a serial port, for tests");
