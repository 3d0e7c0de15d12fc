package i2c

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"gantry/drivers"
)

// mcp23017 is a Microchip MCP23017: 16 pins, a0 to a7 and b0 to b7. Outputs are off at
// first, and what they were last set to when the chip is set up anew.
//
// Source: data sheet DS20001952C, section 3.5; register addresses with IOCON.BANK = 0,
// as after power-on.
type mcp23017 struct {
	pins             []string
	inputs           uint16 // bits of the pins that are inputs
	pullUps, outputs uint16 // pull-ups, and what outputs are set to
}

// Registers, each of two bytes, a before b.
const (
	mcpDirection = 0x00
	mcpPullUp    = 0x0c
	mcpPins      = 0x12
	mcpOutputs   = 0x14
)

func newMCP23017(cfg *Config) (chip, error) {
	c := &mcp23017{inputs: 0xffff}
	for _, side := range "ab" {
		for i := range 8 {
			c.pins = append(c.pins, fmt.Sprintf("%c%d", side, i))
		}
	}
	if err := names("outputs", cfg.Outputs, c.pins); err != nil {
		return nil, err
	}
	for _, id := range cfg.Outputs {
		c.inputs &^= c.bit(id)
	}
	if err := names("pull_ups", cfg.PullUps, c.pins); err != nil {
		return nil, err
	}
	for _, id := range cfg.PullUps {
		if c.inputs&c.bit(id) == 0 {
			return nil, bad("pull_ups", "inputs", "%s is an output", id)
		}
		c.pullUps |= c.bit(id)
	}
	return c, nil
}

// bit is that of a pin: a0 the lowest, b7 the highest.
func (c *mcp23017) bit(id string) uint16 { return 1 << slices.Index(c.pins, id) }

func (c *mcp23017) points() []drivers.Point {
	var all []drivers.Point
	for _, id := range c.pins {
		all = append(all, drivers.Point{ID: id, Type: drivers.Bool, Writable: c.inputs&c.bit(id) == 0})
	}
	return all
}

// put writes a register of two bytes.
func (c *mcp23017) put(ctx context.Context, w wire, register byte, v uint16) error {
	return w.write(ctx, binary.LittleEndian.AppendUint16([]byte{register}, v)...)
}

func (c *mcp23017) start(ctx context.Context, w wire) error {
	// What outputs are before the pins become outputs.
	if err := c.put(ctx, w, mcpOutputs, c.outputs); err != nil {
		return err
	}
	if err := c.put(ctx, w, mcpPullUp, c.pullUps); err != nil {
		return err
	}
	return c.put(ctx, w, mcpDirection, c.inputs)
}

func (c *mcp23017) read(ctx context.Context, w wire, _ []string) ([]drivers.Reading, error) {
	b, err := w.read(ctx, mcpDirection, 2)
	if err != nil {
		return nil, err
	}
	if got := binary.LittleEndian.Uint16(b); got != c.inputs {
		return nil, fmt.Errorf("%w: the chip has forgotten its set-up, as after a loss of power (inputs %#x, not %#x)", drivers.ErrOffline, got, c.inputs)
	}
	if b, err = w.read(ctx, mcpPins, 2); err != nil {
		return nil, err
	}
	levels := binary.LittleEndian.Uint16(b)
	all := make([]drivers.Reading, 0, len(c.pins))
	for _, id := range c.pins {
		all = append(all, good(id, levels&c.bit(id) != 0))
	}
	return all, nil
}

func (c *mcp23017) set(ctx context.Context, w wire, id string, v drivers.Value) (drivers.Value, error) {
	if !slices.Contains(c.pins, id) || c.inputs&c.bit(id) != 0 {
		return nil, fmt.Errorf("write %.64s: no such writable point", id)
	}
	on, ok := v.(bool)
	if !ok {
		return nil, fmt.Errorf("write %s: want true or false, got %T", id, v)
	}
	next := c.outputs &^ c.bit(id)
	if on {
		next |= c.bit(id)
	}
	if err := c.put(ctx, w, mcpOutputs, next); err != nil {
		return nil, err
	}
	c.outputs = next
	return on, nil
}
