package frame

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/value"
)

// plan is a configuration that has been checked and made ready for use.
type plan struct {
	shape    *shape
	messages []*message // those of most bytes to match first
	points   []*point   // sorted by id
	actions  []*action  // sorted by id
}

// message is one kind of frame.
type message struct {
	id      string
	match   []part
	points  []*point // that it holds
	request *command // nil if it comes by itself
	retries int
}

// part are bytes that a frame has at a place.
type part struct {
	at   int
	want []byte
}

// command is something that can be sent.
type command struct {
	template        *template
	answer, refusal *message // nil if there is none
	timeout         time.Duration
}

// point is a point made ready for use.
type point struct {
	id      string
	message *message // nil if it is not read
	at      int
	form    value.Form
	number  bool // decimal digits
	sum     *sum
	write   *command // nil if it is not written
}

// action is an action made ready for use.
type action struct {
	id   string
	desc drivers.Action
	args map[string]value.Form
	cmd  *command
}

func newPlan(cfg *Config) (*plan, error) {
	if cfg.Settle.Std() > maxSettle {
		return nil, bad("settle", "0s to "+maxSettle.String(), "%v is too long", cfg.Settle)
	}
	p := &plan{}
	var err error
	if p.shape, err = newShape(cfg); err != nil {
		return nil, err
	}
	if len(cfg.Messages) == 0 {
		p.messages = []*message{{}}
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Messages)) {
		if err := p.message(id, cfg.Messages[id]); err != nil {
			return nil, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Points)) {
		if err := p.point(id, cfg.Points[id]); err != nil {
			return nil, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Actions)) {
		if err := p.action(id, cfg.Actions[id]); err != nil {
			return nil, err
		}
	}
	if len(p.points)+len(p.actions) == 0 {
		return nil, bad("point", "at least one table [device.NAME.point.ID]", "the device has no points and no actions")
	}
	slices.SortStableFunc(p.messages, func(a, b *message) int { return cmp.Compare(b.weight(), a.weight()) })
	return p, nil
}

func (p *plan) message(id string, c MessageConfig) error {
	key := "message." + id
	m := &message{id: id, retries: int(c.Retries)}
	for _, text := range slices.Sorted(maps.Keys(c.Match)) {
		at, err := place(key+".match", text)
		if err != nil {
			return err
		}
		if len(c.Match[text]) == 0 {
			return bad(key+".match."+text, `bytes: "86"`, "is empty")
		}
		m.match = append(m.match, part{at, c.Match[text]})
	}
	if c.Retries > maxRetries {
		return bad(key+".retries", fmt.Sprintf("0 to %d", maxRetries), "is %d", c.Retries)
	}
	timeout, err := timeoutOf(key, c.Timeout)
	if err != nil {
		return err
	}
	if c.Request != "" {
		m.request = &command{answer: m, timeout: timeout}
		if m.request.template, err = newTemplate(key+".request", c.Request, c.Plain, p.shape, nil); err != nil {
			return err
		}
	} else if c.Retries > 0 || c.Timeout != nil || c.Plain {
		return bad(key+".request", "a template, or neither timeout, retries nor plain", "is missing")
	}
	p.messages = append(p.messages, m)
	return nil
}

// find returns the message that key names.
func (p *plan) find(key, id string) (*message, error) {
	if id == "" && len(p.messages) == 1 {
		return p.messages[0], nil
	}
	var known []string
	for _, m := range p.messages {
		if m.id == id {
			return m, nil
		}
		known = append(known, m.id)
	}
	return nil, bad(key, strings.Join(known, ", "), "%.40q is no message", id)
}

func (p *plan) point(id string, c PointConfig) error {
	key := "point." + id
	if c.At == nil && c.Write == nil {
		return bad(key+".at", "at = PLACE, write = { template = \"...\" }, or both", "is neither read nor written")
	}
	pt := &point{id: id, sum: p.shape.sum}
	var err error
	if pt.form, pt.number, err = newForm(key, c.Type, c.Length, c.Order, p.shape.little); err != nil {
		return err
	}
	if err := pt.part(key, c); err != nil {
		return err
	}
	if c.At != nil {
		if *c.At > maxMax || *c.At < -maxMax {
			return bad(key+".at", "a place: 0 is the first byte, -1 the last one", "%d is no place", *c.At)
		}
		pt.at = int(*c.At)
		if pt.message, err = p.find(key+".message", c.Message); err != nil {
			return err
		}
		pt.message.points = append(pt.message.points, pt)
	} else if c.Message != "" {
		return bad(key+".message", "at = PLACE beside it", "stands without at")
	}
	if w := c.Write; w != nil {
		if pt.number || pt.form.Bits > 0 || pt.form.Size == 0 {
			return bad(key+".write", "a whole value of known length, no number", "does not apply to this type")
		}
		sizes := map[string]int{"value": pt.form.Size}
		if pt.write, err = p.command(key+".write", w.Template, w.Plain, w.Answer, w.Refusal, w.Timeout, sizes); err != nil {
			return err
		}
	}
	p.points = append(p.points, pt)
	return nil
}

// part settles which bits are the value, and which stand for none.
func (p *point) part(key string, c PointConfig) error {
	f := &p.form
	numeric := f.Kind == value.Unsigned || f.Kind == value.Signed || f.Kind == value.Float || f.Kind == value.BCD
	if c.Bit != nil || c.Bits != 0 {
		if f.Kind != value.Unsigned {
			return bad(key+".bit", "only with u8 to u64", "does not apply to %s", c.Type)
		}
		if c.Bit != nil {
			f.Bit = uint(*c.Bit)
		}
		f.Bits = max(uint(c.Bits), 1)
		f.Flag = f.Bits == 1
		if f.Bit+f.Bits > uint(8*f.Size) {
			return bad(key+".bit", fmt.Sprintf("bits 0 to %d", 8*f.Size-1), "the part ends at bit %d", f.Bit+f.Bits-1)
		}
	}
	if c.Absent != nil {
		if !numeric {
			return bad(key+".absent", "only with numbers", "does not apply to %s", c.Type)
		}
		shift := 64 - 8*f.Size
		f.Absent, f.HasAbsent = uint64(*c.Absent)<<shift>>shift, true
	}
	return nil
}

func (p *plan) action(id string, c ActionConfig) error {
	key := "action." + id
	a := &action{id: id, args: map[string]value.Form{}, desc: drivers.Action{ID: id, Description: c.Description}}
	sizes := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(c.Args)) {
		arg := c.Args[name]
		at := key + ".args." + name
		if !placeholder.MatchString("{"+name+"}") || name == nameChecksum || name == nameLength {
			return bad(at, "a-z 0-9 _, neither checksum nor length", "%.40q is no name", name)
		}
		f, number, err := newForm(at, arg.Type, arg.Length, arg.Order, p.shape.little)
		if err != nil {
			return err
		}
		if number || f.Size == 0 {
			return bad(at+".length", "a type of known length, no number", "is missing")
		}
		a.args[name], sizes[name] = f, f.Size
		d := drivers.Point{ID: name, Type: f.Type(), Unit: arg.Unit, Description: arg.Description, Writable: true}
		d.Min, d.Max = spanOf(&f)
		if arg.Min != nil {
			d.Min = arg.Min
		}
		if arg.Max != nil {
			d.Max = arg.Max
		}
		a.desc.Args = append(a.desc.Args, d)
	}
	var err error
	if a.cmd, err = p.command(key, c.Template, c.Plain, c.Answer, c.Refusal, c.Timeout, sizes); err != nil {
		return err
	}
	p.actions = append(p.actions, a)
	return nil
}

// spanOf returns the least and the greatest integer of f; nil for what is no integer.
func spanOf(f *value.Form) (low, high *float64) {
	if f.Type() != drivers.Int {
		return nil, nil
	}
	a, b := f.Span()
	least, most := float64(a), float64(b)
	return &least, &most
}

func (p *plan) command(key, tmpl string, plain bool, answer, refusal string, timeout *drivers.Duration, sizes map[string]int) (*command, error) {
	c := &command{}
	var err error
	if c.timeout, err = timeoutOf(key, timeout); err != nil {
		return nil, err
	}
	if c.template, err = newTemplate(key+".template", tmpl, plain, p.shape, sizes); err != nil {
		return nil, err
	}
	if answer != "" {
		if c.answer, err = p.find(key+".answer", answer); err != nil {
			return nil, err
		}
	}
	if refusal != "" {
		if answer == "" {
			return nil, bad(key+".refusal", "both, or answer alone", "stands without answer")
		}
		if c.refusal, err = p.find(key+".refusal", refusal); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// weight is how many bytes a frame has to have to be this message.
func (m *message) weight() (n int) {
	for _, p := range m.match {
		n += len(p.want)
	}
	return n
}

// is reports whether a frame is this message.
func (m *message) is(frame []byte) bool {
	for _, p := range m.match {
		at, ok := inFrame(p.at, len(frame))
		if !ok || !bytes.HasPrefix(frame[at:], p.want) {
			return false
		}
	}
	return true
}

// whole reports whether a frame holds all points of the message.
func (m *message) whole(frame []byte) bool {
	return !slices.ContainsFunc(m.points, func(p *point) bool { return p.bytes(frame) == nil })
}

// bytes returns the bytes of the frame that hold the point; nil if they are not
// there. What has no length of its own reaches to the checksum, or to the end.
func (p *point) bytes(frame []byte) []byte {
	at, ok := inFrame(p.at, len(frame))
	end := at + p.form.Size
	if p.form.Size == 0 {
		end = len(frame)
		if p.sum != nil && p.sum.at < 0 {
			end += p.sum.at
		}
	}
	if !ok || end > len(frame) || at >= end {
		return nil
	}
	return frame[at:end]
}

// reading returns what the frame, which holds it, says about the point.
func (p *point) reading(frame []byte, now time.Time) drivers.Reading {
	r := drivers.Reading{Point: p.id, Time: now}
	if r.Value, r.Why = p.value(p.bytes(frame)); r.Why != "" {
		r.Value, r.Quality = nil, drivers.Bad
	}
	return r
}

func (p *point) value(b []byte) (drivers.Value, string) {
	if !p.number {
		f := p.form
		f.Size = len(b)
		return f.Read(b)
	}
	text := strings.TrimSpace(string(b))
	if !value.IsFloat(text) {
		return nil, value.WhyNumber
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(n, 0) {
		return nil, value.WhyRange
	}
	return n, ""
}

// typ returns the type of the point's values.
func (p *point) typ() drivers.Type {
	if p.number {
		return drivers.Float
	}
	return p.form.Type()
}

// encode returns v on the wire.
func encode(f *value.Form, v any) ([]byte, error) {
	switch f.Type() {
	case drivers.Float:
		if n, ok := value.Float64(v); ok {
			v = n
		}
	case drivers.Int:
		if n, ok := value.Int64(v); ok {
			v = n
		}
	}
	return f.Write(v)
}
