package modbus

import (
	"encoding/binary"
	"fmt"
	"math"

	"gantry/drivers"
)

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
	form     form  // of registers
	exponent *span // register with a power of ten
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
		p.form = forms["bool"]
	} else {
		if err := p.registers(key, c.PointConfig, l); err != nil {
			return nil, err
		}
		p.where.n = p.form.regs
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
	if p.form, ok = forms[c.Type]; !ok {
		return bad(key+".type", formNames, "%.20q is unknown", c.Type)
	}
	f := &p.form
	bytes := f.kind == text || f.kind == octets
	if bytes {
		f.regs = int(c.Length)
		if most := min(l.regs, maxWriteRegs); f.regs < 1 || f.regs > most {
			return bad(key+".length", fmt.Sprintf("1 to %d registers", most), "is %d", c.Length)
		}
	} else if c.Length != 0 {
		return bad(key+".length", "only with text and bytes", "does not apply to %s", c.Type)
	}
	if f.regs > l.regs {
		return bad("read.max_registers", fmt.Sprintf("%d and more", f.regs), "is too small for %s", key)
	}
	width := 2 * f.regs
	if bytes {
		width = 2
	}
	if f.order, ok = parseOrder(c.Order, width); !ok {
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
		f.absent, f.hasAbsent = uint64(*c.Absent)<<(64-8*width)>>(64-8*width), true
	}
	if c.Exponent != nil && f.typ() != drivers.Int {
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
	if f.kind != unsigned {
		return bad(key+".bit", "only with u16, u32, u64", "does not apply to %s", c.Type)
	}
	f.bits = max(uint(c.Bits), 1)
	if c.Bit != nil {
		f.bit = uint(*c.Bit)
	}
	f.flag = f.bits == 1
	if f.bit+f.bits > uint(16*f.regs) {
		return bad(key+".bit", fmt.Sprintf("bits 0 to %d", 16*f.regs-1), "the part ends at bit %d", f.bit+f.bits-1)
	}
	return nil
}

// writable checks the way in which the point is written.
func (p *point) writable(key string) error {
	key += ".write"
	t := p.where.table
	single, parts := p.where.n == 1, p.form.bits > 0
	switch p.write {
	case "":
		return nil
	case writeSingle, writeMultiple, writeMask, writeModify, writeReadback:
	default:
		return bad(key, "single, multiple, readback, mask, modify", "%.20q is unknown", p.write)
	}
	switch {
	case t == discretes || t == inputs:
		return bad(key, "only with coil and holding", "a %s cannot be written", t)
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
	p.desc = drivers.Point{ID: p.id, Type: p.form.typ(), Unit: c.Unit, Scale: c.Scale, Offset: c.Offset,
		Description: c.Description, Readable: true, Writable: p.write != ""}
	if p.exponent != nil {
		p.desc.Type = drivers.Float
	}
	if p.write != "" && p.desc.Type == drivers.Int {
		low, high := p.form.span()
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
	v, why := p.form.read(data)
	if why != "" || p.exponent == nil {
		return v, why
	}
	e := int16(binary.BigEndian.Uint16(exponent))
	if e < -10 || e > 10 { // SunSpec: -10 to 10, 0x8000 if there is none
		return nil, whyAbsent
	}
	f := float64(v.(int64))
	if e < 0 {
		return f / math.Pow10(int(-e)), ""
	}
	return f * math.Pow10(int(e)), ""
}
