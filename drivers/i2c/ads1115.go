package i2c

import (
	"context"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"gantry/drivers"
)

// ads1115 is a Texas Instruments ADS1115: one conversion for each input, in volts.
// Source: data sheet SBAS444E, sections 8.1.2, 8.1.3 and 7.5.4.
type ads1115 struct {
	inputs []string
	scale  float64 // full scale in volts
	gain   uint16  // its code
}

// Registers.
const (
	adsConversion = 0x00
	adsConfig     = 0x01
)

// adsInputs are the inputs in the order of their codes: differences first.
func adsInputs() []string {
	return []string{"a0_a1", "a0_a3", "a1_a3", "a2_a3", "a0", "a1", "a2", "a3"}
}

func newADS1115(cfg *Config) (chip, error) {
	c := &ads1115{inputs: cfg.Inputs, scale: cfg.Range}
	if len(c.inputs) == 0 {
		c.inputs = adsInputs()[4:]
	}
	if err := names("inputs", c.inputs, adsInputs()); err != nil {
		return nil, err
	}
	if c.scale == 0 {
		c.scale = 2.048
	}
	scales := []float64{6.144, 4.096, 2.048, 1.024, 0.512, 0.256}
	gain := slices.Index(scales, c.scale)
	if gain < 0 {
		return nil, bad("range", "6.144, 4.096, 2.048, 1.024, 0.512, 0.256", "is %g", c.scale)
	}
	c.gain = uint16(gain)
	return c, nil
}

func (c *ads1115) points() []drivers.Point {
	var all []drivers.Point
	for _, id := range c.inputs {
		all = append(all, drivers.Point{ID: id, Unit: "V"})
	}
	return all
}

// config says: start, this input, this gain, one conversion, 128 per second, no
// comparator.
func (c *ads1115) config(input int) uint16 {
	return 1<<15 | uint16(input)<<12 | c.gain<<9 | 1<<8 | 4<<5 | 3
}

func (c *ads1115) start(ctx context.Context, w wire) error {
	_, err := w.read(ctx, adsConfig, 2)
	return err
}

func (c *ads1115) read(ctx context.Context, w wire, ids []string) ([]drivers.Reading, error) {
	var all []drivers.Reading
	for i, id := range adsInputs() {
		if !slices.Contains(ids, id) {
			continue
		}
		r, err := c.convert(ctx, w, i, id)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func (c *ads1115) convert(ctx context.Context, w wire, input int, id string) (drivers.Reading, error) {
	cfg := binary.BigEndian.AppendUint16([]byte{adsConfig}, c.config(input))
	if err := w.write(ctx, cfg...); err != nil {
		return drivers.Reading{}, err
	}
	// 1/128 s, and 10 % for the chip's oscillator.
	if err := pause(ctx, 9*time.Millisecond); err != nil {
		return drivers.Reading{}, err
	}
	status, err := w.read(ctx, adsConfig, 2)
	if err != nil {
		return drivers.Reading{}, err
	}
	b, err := w.read(ctx, adsConversion, 2)
	if err != nil {
		return drivers.Reading{}, err
	}
	if status[0]&0x80 == 0 {
		return badReading(id, whyNotReady), nil
	}
	return c.decode(id, [2]byte(b)), nil
}

func (c *ads1115) decode(id string, b [2]byte) drivers.Reading {
	raw := int16(binary.BigEndian.Uint16(b[:]))
	r := good(id, float64(raw)*c.scale/32768)
	if raw == math.MaxInt16 || raw == math.MinInt16 {
		r.Quality, r.Why = drivers.Uncertain, whyClipped
	}
	return r
}
