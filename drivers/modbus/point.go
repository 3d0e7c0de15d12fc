package modbus

import (
	"encoding/binary"
	"fmt"
	"math"

	"gantry/drivers"
	"gantry/drivers/internal/value"
)

const formNames = "u16, i16, u32, i32, u64, i64, f32, f64, bcd16, bcd32, bcd64, bool, text, bytes"

// registerForm returns the form of whole registers that is called name.
func registerForm(name string) (value.Form, bool) {
	f, ok := value.Named(name)
	if f.Kind == value.Bool {
		f.Size = 2
	}
	return f, ok && f.Size%2 == 0
}

// TypeRegisters returns how many registers a value of the type takes, 0 for text and
// bytes, which say so themselves. ok is false if there is no such type.
func TypeRegisters(name string) (n uint16, ok bool) {
	f, ok := registerForm(name)
	return uint16(f.Size / 2), ok
}

// The ways of writing a point.
const (
	writeSingle   = "single"   // functions 5 and 6
	writeMultiple = "multiple" // functions 15 and 16
	writeMask     = "mask"     // function 22
	writeModify   = "modify"   // read, change, write
	writeReadback = "readback" // function 23: write and read in one
)

// point is a point made ready for use.
type point struct {
	id       string
	where    span
	form     value.Form // of whole registers
	exponent *span      // register with a power of ten
	write    string
	desc     drivers.Point
}

// newPoint checks a point; l is for what one read may bring.
func newPoint(id string, c ProfilePoint, base uint16, l *limits) (*point, error) {
	key := "point." + id
	p := &point{id: id, write: c.Write}
	if c.Table == "" {
		c.Table = "holding"
	}
	var ok bool
	if p.where.table, ok = parseTable(c.Table); !ok {
		return nil, bad(key+".table", "coil, discrete, holding, input", "%.20q is unknown", c.Table)
	}
	if c.Address == nil {
		return nil, bad(key+".address", "0 to 65535, as on the wire", "is missing")
	}
	p.where.at, p.where.n = int(base)+int(*c.Address), 1
	if p.where.table.bits() {
		if c.Type != "" && c.Type != "bool" || c.Order != "" || c.Length != 0 || c.Bit != nil || c.Bits != 0 || c.Absent != nil || c.Exponent != nil {
			return nil, bad(key, "table, address, write", "a %s is one bit", p.where.table)
		}
		p.form, _ = registerForm("bool")
	} else {
		if err := p.registers(key, c.PointConfig, l); err != nil {
			return nil, err
		}
		p.where.n = p.form.Size / 2
		if c.Exponent != nil {
			p.exponent = &span{p.where.table, int(base) + int(*c.Exponent), 1}
		}
	}
	if p.where.end() > 1<<16 || p.exponent != nil && p.exponent.end() > 1<<16 {
		return nil, bad(key+".address", "an end of at most 65535", "%d with base %d and %d registers is out of range", *c.Address, base, p.where.n)
	}
	if err := p.writable(key); err != nil {
		return nil, err
	}
	p.describe(c)
	return p, nil
}

// registers settles what the point's registers hold.
func (p *point) registers(key string, c PointConfig, l *limits) error {
	if c.Type == "" {
		c.Type = "u16"
	}
	var ok bool
	if p.form, ok = registerForm(c.Type); !ok {
		return bad(key+".type", formNames, "%.20q is unknown", c.Type)
	}
	f := &p.form
	bytes := f.Kind == value.Text || f.Kind == value.Octets
	if bytes {
		f.Size = 2 * int(c.Length)
		if most := min(l.regs, maxWriteRegs); f.Size < 2 || f.Size > 2*most {
			return bad(key+".length", fmt.Sprintf("1 to %d registers", most), "is %d", c.Length)
		}
	} else if c.Length != 0 {
		return bad(key+".length", "only with text and bytes", "does not apply to %s", c.Type)
	}
	if f.Size > 2*l.regs {
		return bad("read.max_registers", fmt.Sprintf("%d and more", f.Size/2), "is too small for %s", key)
	}
	width := f.Size
	if bytes {
		width = 2
	}
	if f.Order, ok = value.ParseOrder(c.Order, width); !ok {
		const letters = "abcdefgh"
		return bad(key+".order", fmt.Sprintf("the letters %s in the order in which the bytes come", letters[:width]), "%.20q is no order of %d bytes", c.Order, width)
	}
	if err := p.part(key, c); err != nil {
		return err
	}
	if c.Absent != nil {
		if bytes {
			return bad(key+".absent", "only with numbers", "does not apply to %s", c.Type)
		}
		f.Absent, f.HasAbsent = uint64(*c.Absent)<<(64-8*width)>>(64-8*width), true
	}
	if c.Exponent != nil && f.Type() != drivers.Int {
		return bad(key+".exponent", "only with integers", "does not apply to %s", c.Type)
	}
	return nil
}

// part settles which bits of an unsigned are the value.
func (p *point) part(key string, c PointConfig) error {
	f := &p.form
	if c.Bit == nil && c.Bits == 0 {
		return nil
	}
	if f.Kind != value.Unsigned {
		return bad(key+".bit", "only with u16, u32, u64", "does not apply to %s", c.Type)
	}
	f.Bits = max(uint(c.Bits), 1)
	if c.Bit != nil {
		f.Bit = uint(*c.Bit)
	}
	f.Flag = f.Bits == 1
	if f.Bit+f.Bits > uint(8*f.Size) {
		return bad(key+".bit", fmt.Sprintf("bits 0 to %d", 8*f.Size-1), "the part ends at bit %d", f.Bit+f.Bits-1)
	}
	return nil
}

// writable checks the way in which the point is written.
func (p *point) writable(key string) error {
	key += ".write"
	t := p.where.table
	single, parts := p.where.n == 1, p.form.Bits > 0
	switch p.write {
	case "":
		return nil
	case writeSingle, writeMultiple, writeMask, writeModify, writeReadback:
	default:
		return bad(key, "single, multiple, readback, mask, modify", "%.20q is unknown", p.write)
	}
	switch {
	case t == discretes || t == inputs:
		return bad(key, "only with coil and holding", "the table %s cannot be written", t)
	case p.exponent != nil:
		return bad(key, "only without exponent", "the exponent is not known when it is written")
	case t == coils && p.write != writeSingle && p.write != writeMultiple:
		return bad(key, "single, multiple", "%s does not apply to a coil", p.write)
	case t == coils:
	case parts && p.write != writeMask && p.write != writeModify:
		return bad(key, "mask, modify", "%s would change the other bits too", p.write)
	case parts && !single:
		return bad(key, "only parts of u16", "a part of %d registers", p.where.n)
	case !parts && (p.write == writeMask || p.write == writeModify):
		return bad(key, "single, multiple, readback", "%s is for parts of a register", p.write)
	case p.write == writeSingle && !single:
		return bad(key, "multiple, readback", "the value takes %d registers", p.where.n)
	case p.write == writeReadback && p.where.n > maxReadWriteRW:
		return bad(key, "multiple", "the value takes %d registers", p.where.n)
	}
	return nil
}

func (p *point) describe(c ProfilePoint) {
	p.desc = drivers.Point{ID: p.id, Type: p.form.Type(), Unit: c.Unit, Scale: c.Scale, Offset: c.Offset,
		Description: c.Description, Readable: true, Writable: p.write != ""}
	if p.exponent != nil {
		p.desc.Type = drivers.Float
	}
	if p.write != "" && p.desc.Type == drivers.Int {
		low, high := p.form.Span()
		least, most := float64(low), float64(high)
		p.desc.Min, p.desc.Max = &least, &most
	}
}

// spans returns what has to be read for the point.
func (p *point) spans() []span {
	if p.exponent != nil {
		return []span{p.where, *p.exponent}
	}
	return []span{p.where}
}

// value returns the value in data: a bit, or registers and those of the exponent.
func (p *point) value(data, exponent []byte) (drivers.Value, string) {
	if p.where.table.bits() {
		return data[0] != 0, ""
	}
	v, why := p.form.Read(data)
	if why != "" || p.exponent == nil {
		return v, why
	}
	e := int16(binary.BigEndian.Uint16(exponent))
	if e < -10 || e > 10 { // SunSpec: -10 to 10, 0x8000 if there is none
		return nil, value.WhyAbsent
	}
	f := float64(v.(int64))
	if e < 0 {
		return f / math.Pow10(int(-e)), ""
	}
	return f * math.Pow10(int(e)), ""
}

// writeBits returns the masks of function 22 that put v into its part of one
// register: and has the bits that stay, or those that v sets. Only forms of one
// register have them.
func writeBits(f *value.Form, v drivers.Value) (and, or uint16, err error) {
	var n int64
	if f.Flag {
		on, ok := v.(bool)
		if !ok {
			return 0, 0, fmt.Errorf("is no bool")
		}
		if on {
			n = 1
		}
	} else {
		var ok bool
		if n, ok = v.(int64); !ok {
			return 0, 0, fmt.Errorf("is no integer")
		}
		if low, high := f.Span(); n < low || n > high {
			return 0, 0, fmt.Errorf("%d is not from %d to %d", n, low, high)
		}
	}
	part := uint16(1<<f.Bits-1) << f.Bit
	and, or = ^part, uint16(n)<<f.Bit
	if f.Order != nil { // the two bytes are exchanged on the wire
		and, or = and<<8|and>>8, or<<8|or>>8
	}
	return and, or, nil
}
