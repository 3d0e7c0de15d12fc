package node

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"gantry/drivers"
)

var (
	idForm     = regexp.MustCompile(`^[a-z0-9_]+$`)
	serialForm = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)
)

// identity is what a node says about itself before its points and actions.
type identity struct {
	serial, model, firmware string
	points, actions         int
	maxIn                   int // longest body that it takes
}

// minIn is the length of the bodies that every node takes.
const minIn = 16

func decodeAnnounce(body []byte) (identity, error) {
	c := cursor{b: body[headBytes:]}
	if v := c.byte(); c.err == nil && v != version {
		return identity{}, fmt.Errorf("it speaks version %d of the protocol, allowed: %d", v, version)
	}
	id := identity{maxIn: int(c.byte()), points: int(c.byte()), actions: int(c.byte())}
	id.serial, id.model, id.firmware = c.text("serial number", maxName), c.text("model", maxName), c.text("firmware", maxName)
	switch err := c.end(); {
	case err != nil:
		return identity{}, fmt.Errorf("announcement: %w", err)
	case id.points > maxPoints || id.actions > maxActions || id.points+id.actions == 0:
		return identity{}, fmt.Errorf("announcement of %d points and %d actions, allowed: 1 to %d and %d", id.points, id.actions, maxPoints, maxActions)
	case id.maxIn < minIn:
		return identity{}, fmt.Errorf("announcement: it takes messages of %d bytes, allowed: from %d", id.maxIn, minIn)
	case !serialForm.MatchString(id.serial):
		return identity{}, fmt.Errorf("announcement: %.40q is no serial number, allowed: A-Z a-z 0-9 . _ -", id.serial)
	}
	return id, nil
}

// roll gathers an announcement from its messages, which come in any order after the
// first and may be missing or repeated.
type roll struct {
	request byte
	identity
	said []*drivers.Point // points; nil = not heard of yet
	acts []*act
}

// act is an action whose arguments may not all have come.
type act struct {
	drivers.Action
	args []*drivers.Point
}

// begin returns the roll for an announcement; r itself, which may be nil, if it is
// the same once more.
func (r *roll) begin(body []byte) (*roll, error) {
	id, err := decodeAnnounce(body)
	if err != nil {
		return nil, err
	}
	if r != nil && r.identity == id && r.request == body[1] {
		return r, nil
	}
	return &roll{request: body[1], identity: id, said: make([]*drivers.Point, id.points), acts: make([]*act, id.actions)}, nil
}

// take adds a message of the announcement.
func (r *roll) take(body []byte) error {
	c := cursor{b: body[headBytes:]}
	i := int(c.byte())
	switch kind(body[0]) {
	case point:
		p, err := decodePoint(&c)
		if err == nil && i >= len(r.said) {
			err = fmt.Errorf("point %d of %d", i, len(r.said))
		}
		if err == nil && !p.Readable && !p.Writable {
			err = fmt.Errorf("point %s is neither readable nor writable", p.ID)
		}
		if err != nil {
			return err
		}
		r.said[i] = p
	case action:
		a := &act{Action: drivers.Action{ID: c.text("name", maxID), Description: c.text("description", maxAbout)}}
		n := int(c.byte())
		switch err := c.end(); {
		case err != nil:
			return err
		case i >= len(r.acts):
			return fmt.Errorf("action %d of %d", i, len(r.acts))
		case !idForm.MatchString(a.ID):
			return badName(a.ID)
		case n > maxArgs:
			return fmt.Errorf("action %s has %d arguments, allowed: up to %d", a.ID, n, maxArgs)
		}
		a.args = make([]*drivers.Point, n)
		r.acts[i] = a
	case argument:
		j := int(c.byte())
		p, err := decodePoint(&c)
		if err == nil && (i >= len(r.acts) || r.acts[i] == nil || j >= len(r.acts[i].args)) {
			err = fmt.Errorf("argument %d of action %d", j, i)
		}
		if err != nil {
			return err
		}
		r.acts[i].args[j] = p
	}
	return nil
}

func badName(id string) error {
	return fmt.Errorf("%.40q is no name, allowed: a-z 0-9 _", id)
}

// decodePoint reads a point or an argument, from its flags on.
func decodePoint(c *cursor) (*drivers.Point, error) {
	flags, typ := c.byte(), drivers.Type(c.byte())
	p := &drivers.Point{
		Type: typ, Readable: flags&flagReadable != 0, Writable: flags&flagWritable != 0,
		ID: c.text("name", maxID), Unit: c.text("unit", maxUnit), Description: c.text("description", maxAbout),
	}
	for _, bound := range []struct {
		flag byte
		to   **float64
	}{{flagMin, &p.Min}, {flagMax, &p.Max}} {
		if flags&bound.flag == 0 {
			continue
		}
		switch v := c.value().(type) {
		case float64:
			*bound.to = &v
		case int64:
			f := float64(v)
			*bound.to = &f
		default:
			c.fail(errors.New("a bound is no number"))
		}
	}
	n := int(c.byte())
	if n > maxEnum {
		c.fail(fmt.Errorf("%d names of values, allowed: up to %d", n, maxEnum))
	}
	for range n {
		if c.err == nil {
			p.Enum = append(p.Enum, c.text("name of a value", maxWord))
		}
	}
	switch err := c.end(); {
	case err != nil:
		return nil, err
	case typ > drivers.Bytes:
		return nil, fmt.Errorf("there is no type %d", typ)
	case !idForm.MatchString(p.ID):
		return nil, badName(p.ID)
	}
	return p, nil
}

// description returns what the device is made of; false while something is missing.
func (r *roll) description() (drivers.Description, bool, error) {
	if slices.Contains(r.said, nil) || slices.Contains(r.acts, nil) {
		return drivers.Description{}, false, nil
	}
	desc := drivers.Description{Model: r.model}
	if r.firmware != "" {
		desc.Model += " " + r.firmware
	}
	seen := map[string]bool{}
	once := func(id string) (err error) {
		if seen[id] {
			err = fmt.Errorf("two things have the name %s", id)
		}
		seen[id] = true
		return err
	}
	var twice error
	for _, p := range r.said {
		twice = errors.Join(twice, once(p.ID))
		desc.Points = append(desc.Points, *p)
	}
	for _, a := range r.acts {
		if slices.Contains(a.args, nil) {
			return drivers.Description{}, false, nil
		}
		// An action may have the name of a point, an argument that of either.
		twice = errors.Join(twice, once("do "+a.ID))
		full := a.Action
		for _, arg := range a.args {
			twice = errors.Join(twice, once("do "+a.ID+" "+arg.ID))
			full.Args = append(full.Args, *arg)
		}
		desc.Actions = append(desc.Actions, full)
	}
	return desc, true, twice
}
