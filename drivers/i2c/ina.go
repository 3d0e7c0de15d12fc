package i2c

import (
	"context"
	"encoding/binary"
	"fmt"

	"gantry/drivers"
)

// ina is a Texas Instruments INA219 or INA226, which measures all the time. The current
// is reckoned from the shunt's voltage here: the chip's own reckoning has a register
// that is lost with its power.
//
// Sources: INA219 data sheet SBOS448G, sections 8.5 and 8.6; INA226 data sheet SBOS547B,
// sections 7.5 and 7.6.
type ina struct {
	name      string
	config    uint16  // measures shunt and bus all the time
	id        bool    // it has a register with its maker
	shunt     float64 // ohms
	shuntStep float64 // volts of the lowest bit
	busStep   float64
	busShift  uint // bits below the voltage
	overflow  bool // the lowest bit of the bus register says that power and current are meaningless
}

// Registers.
const (
	inaConfig = 0x00
	inaShunt  = 0x01
	inaBus    = 0x02
	inaMaker  = 0xfe
)

const defaultShunt = 0.1

func newINA219(cfg *Config) (chip, error) {
	// 32 V, 320 mV, 12 bits, as after power-on.
	return newINA(cfg, ina{config: 0x399f, shuntStep: 10e-6, busStep: 4e-3, busShift: 3, overflow: true})
}

func newINA226(cfg *Config) (chip, error) {
	// Mean of 16 conversions of 1.1 ms.
	return newINA(cfg, ina{config: 0x4527, id: true, shuntStep: 2.5e-6, busStep: 1.25e-3})
}

func newINA(cfg *Config, c ina) (chip, error) {
	c.name, c.shunt = cfg.Chip, cfg.Shunt
	if c.shunt == 0 {
		c.shunt = defaultShunt
	}
	if !(c.shunt >= 1e-6 && c.shunt <= 1e3) {
		return nil, bad("shunt", "0.000001 to 1000 ohms", "is %g", c.shunt)
	}
	return &c, nil
}

func (c *ina) points() []drivers.Point {
	return []drivers.Point{
		{ID: "voltage", Unit: "V", Description: "of the bus"},
		{ID: "current", Unit: "A"},
		{ID: "power", Unit: "W"},
	}
}

func (c *ina) start(ctx context.Context, w wire) error {
	if c.id {
		b, err := w.read(ctx, inaMaker, 2)
		if err != nil {
			return err
		}
		if maker := binary.BigEndian.Uint16(b); maker != 0x5449 {
			return fmt.Errorf("%w: its maker is %#x, not 0x5449", errWrongChip, maker)
		}
	}
	return w.write(ctx, binary.BigEndian.AppendUint16([]byte{inaConfig}, c.config)...)
}

func (c *ina) read(ctx context.Context, w wire, _ []string) ([]drivers.Reading, error) {
	shunt, err := w.read(ctx, inaShunt, 2)
	if err != nil {
		return nil, err
	}
	bus, err := w.read(ctx, inaBus, 2)
	if err != nil {
		return nil, err
	}
	return c.decode([2]byte(shunt), [2]byte(bus)), nil
}

func (c *ina) decode(shunt, bus [2]byte) []drivers.Reading {
	raw := int16(binary.BigEndian.Uint16(shunt[:]))
	low := binary.BigEndian.Uint16(bus[:])
	volts := float64(low>>c.busShift) * c.busStep
	amperes := float64(raw) * c.shuntStep / c.shunt
	all := []drivers.Reading{good("voltage", volts), good("current", amperes), good("power", volts*amperes)}
	if c.clipped(raw) || c.overflow && low&1 == 1 {
		for i := range all[1:] {
			all[1+i].Quality, all[1+i].Why = drivers.Uncertain, whyClipped
		}
	}
	return all
}

// clipped reports whether the shunt's voltage is at the end of the range: 320 mV of an
// INA219, all 16 bits of an INA226.
func (c *ina) clipped(raw int16) bool {
	end := int32(32767)
	if c.overflow {
		end = 32000
	}
	return int32(raw) >= end || int32(raw) <= -end
}
