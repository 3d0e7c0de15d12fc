package i2c

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"gantry/drivers"
)

// bme280 is a Bosch BME280, or a BMP280, which has no humidity. It measures when asked,
// each quantity once.
//
// Source: BME280 data sheet BST-BME280-DS002; sections are named below. BMP280:
// BST-BMP280-DS001.
type bme280 struct {
	humid bool
	cal   bmeCalibration
}

// Registers, section 5.3.
const (
	bmeCalib1 = 0x88
	bmeID     = 0xd0
	bmeCalib2 = 0xe1
	bmeHum    = 0xf2
	bmeStatus = 0xf3
	bmeMeas   = 0xf4
	bmeData   = 0xf7
)

func (c *bme280) points() []drivers.Point {
	all := []drivers.Point{{ID: "temperature", Unit: "Cel"}, {ID: "pressure", Unit: "hPa", Scale: 0.01}}
	if c.humid {
		all = append(all, drivers.Point{ID: "humidity", Unit: "%", Description: "relative"})
	}
	return all
}

func (c *bme280) start(ctx context.Context, w wire) error {
	id, err := w.read(ctx, bmeID, 1)
	if err != nil {
		return err
	}
	switch {
	case c.humid && id[0] != 0x60, !c.humid && (id[0] < 0x56 || id[0] > 0x58):
		return fmt.Errorf("%w: its id is %#x; 0x60 is a BME280, 0x58 a BMP280", errWrongChip, id[0])
	}
	first, err := w.read(ctx, bmeCalib1, 26)
	if err != nil {
		return err
	}
	second := make([]byte, 7)
	if c.humid {
		if second, err = w.read(ctx, bmeCalib2, 7); err != nil {
			return err
		}
	}
	c.cal = parseBMECalibration([26]byte(first), [7]byte(second))
	if c.cal.t1 == 0 || c.cal.p1 == 0 {
		return fmt.Errorf("%w: its calibration is empty", errWrongChip)
	}
	return nil
}

func (c *bme280) read(ctx context.Context, w wire, _ []string) ([]drivers.Reading, error) {
	if c.humid {
		if err := w.write(ctx, bmeHum, 0x01); err != nil {
			return nil, err
		}
	}
	// Temperature and pressure once, forced mode; it also makes the line above count.
	if err := w.write(ctx, bmeMeas, 0x25); err != nil {
		return nil, err
	}
	// Section 9.1: 9.3 ms at most.
	if err := pause(ctx, 10*time.Millisecond); err != nil {
		return nil, err
	}
	status, err := w.read(ctx, bmeStatus, 1)
	if err != nil {
		return nil, err
	}
	data, err := w.read(ctx, bmeData, 8)
	if err != nil {
		return nil, err
	}
	if status[0]&0x08 != 0 {
		return []drivers.Reading{badReading("temperature", whyNotReady), badReading("pressure", whyNotReady), badReading("humidity", whyNotReady)}, nil
	}
	return c.cal.decode([8]byte(data)), nil
}

// bmeCalibration holds the coefficients of one chip, section 4.2.2.
type bmeCalibration struct {
	t1                             uint16
	t2, t3                         int16
	p1                             uint16
	p2, p3, p4, p5, p6, p7, p8, p9 int16
	h1, h3                         uint8
	h2, h4, h5                     int16
	h6                             int8
}

// parseBMECalibration takes the registers 0x88 to 0xa1 and 0xe1 to 0xe7.
func parseBMECalibration(a [26]byte, b [7]byte) bmeCalibration {
	u := func(i int) uint16 { return binary.LittleEndian.Uint16(a[i:]) }
	s := func(i int) int16 { return int16(u(i)) }
	return bmeCalibration{
		t1: u(0), t2: s(2), t3: s(4),
		p1: u(6), p2: s(8), p3: s(10), p4: s(12), p5: s(14), p6: s(16), p7: s(18), p8: s(20), p9: s(22),
		h1: a[25],
		h2: int16(binary.LittleEndian.Uint16(b[0:])), h3: b[2],
		h4: int16(int8(b[3]))<<4 | int16(b[4]&0x0f),
		h5: int16(int8(b[5]))<<4 | int16(b[4]>>4),
		h6: int8(b[6]),
	}
}

// decode takes the registers 0xf7 to 0xfe: pressure, temperature, humidity. What has
// been skipped has only its highest bit set, section 5.4.7 and following.
func (c *bmeCalibration) decode(b [8]byte) []drivers.Reading {
	p := int32(b[0])<<12 | int32(b[1])<<4 | int32(b[2])>>4
	t := int32(b[3])<<12 | int32(b[4])<<4 | int32(b[5])>>4
	h := int32(b[6])<<8 | int32(b[7])
	const skipped, skippedHumidity = 0x80000, 0x8000
	if t == skipped {
		return []drivers.Reading{badReading("temperature", whySkipped), badReading("pressure", whySkipped), badReading("humidity", whySkipped)}
	}
	fine := c.fine(t)
	all := []drivers.Reading{good("temperature", fine/5120)}
	if pascal, ok := c.pressure(p, fine); ok && p != skipped {
		all = append(all, good("pressure", pascal))
	} else {
		all = append(all, badReading("pressure", whySkipped))
	}
	if h == skippedHumidity {
		return append(all, badReading("humidity", whySkipped))
	}
	return append(all, good("humidity", c.humidity(h, fine)))
}

// fine, pressure and humidity are the formulas in floating point, appendix 8.1.
func (c *bmeCalibration) fine(adc int32) float64 {
	v1 := (float64(adc)/16384 - float64(c.t1)/1024) * float64(c.t2)
	v := float64(adc)/131072 - float64(c.t1)/8192
	return v1 + v*v*float64(c.t3)
}

func (c *bmeCalibration) pressure(adc int32, fine float64) (pascal float64, ok bool) {
	v1 := fine/2 - 64000
	v2 := v1*v1*float64(c.p6)/32768 + v1*float64(c.p5)*2
	v2 = v2/4 + float64(c.p4)*65536
	v1 = (float64(c.p3)*v1*v1/524288 + float64(c.p2)*v1) / 524288
	v1 = (1 + v1/32768) * float64(c.p1)
	if v1 == 0 {
		return 0, false
	}
	p := (1048576 - float64(adc) - v2/4096) * 6250 / v1
	v1 = float64(c.p9) * p * p / 2147483648
	v2 = p * float64(c.p8) / 32768
	return p + (v1+v2+float64(c.p7))/16, true
}

func (c *bmeCalibration) humidity(adc int32, fine float64) float64 {
	v := fine - 76800
	h := (float64(adc) - (float64(c.h4)*64 + float64(c.h5)/16384*v)) *
		(float64(c.h2) / 65536 * (1 + float64(c.h6)/67108864*v*(1+float64(c.h3)/67108864*v)))
	h *= 1 - float64(c.h1)*h/524288
	return min(max(h, 0), 100)
}
