package talker

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"strconv"

	"gantry/drivers"
	"gantry/drivers/internal/dialog"
	"gantry/drivers/internal/text"
)

// reply is a message that answers a command.
type reply struct {
	line    string
	pattern *regexp.Regexp // the one that matched; nil if its tag alone says so
	result  text.Field     // of a tagged one
	refused bool
}

// group returns the text of the pattern's group named, if it took part.
func (r *reply) group(name string) (string, bool) {
	if r == nil || r.pattern == nil || name == "" {
		return "", false
	}
	i := r.pattern.SubexpIndex(name)
	if i < 0 {
		return "", false
	}
	m := r.pattern.FindStringSubmatchIndex(r.line)
	if m == nil || m[2*i] < 0 {
		return "", false
	}
	return r.line[m[2*i]:m[2*i+1]], true
}

// said returns the value that the answer says to be set, if it does.
func (r *reply) said() (text.Field, bool) {
	if said, ok := r.group("value"); ok {
		return text.Field{Kind: text.Words, Text: said}, true
	}
	if r == nil {
		return text.Field{}, false
	}
	return r.result, r.result.Kind != text.Absent
}

// matcher returns the reply that a message is. A message that both patterns match
// counts as a refusal.
func matcher(ack, nack *regexp.Regexp) dialog.Match[*reply] {
	return func(line []byte) (*reply, bool) {
		for _, re := range []*regexp.Regexp{nack, ack} {
			if re != nil && re.Match(line) {
				return &reply{line: string(line), pattern: re, refused: re == nack}, true
			}
		}
		return nil, false
	}
}

// tag tells the answer to a command by a field that repeats the command's number.
type tag struct {
	parser            text.Parser
	id, error, result int // slots; -1: not configured
	slots             int
}

func newTag(cfg *ReplyConfig) (*tag, error) {
	if cfg.ID == "" {
		if cfg.Error != "" || cfg.Result != "" {
			return nil, bad("reply.id", "is missing", "the path of the field that repeats {id}")
		}
		return nil, nil
	}
	t := &tag{}
	var paths []string
	slot := func(path string) int {
		if path == "" {
			return -1
		}
		paths = append(paths, path)
		return len(paths) - 1
	}
	t.id, t.error, t.result = slot(cfg.ID), slot(cfg.Error), slot(cfg.Result)
	t.slots = len(paths)
	var err error
	t.parser, err = text.NewParser(&text.Config{JSON: true}, paths)
	return t, err
}

// fields takes a message apart; nil if it is no JSON.
func (t *tag) fields(line []byte) []text.Field {
	fields := make([]text.Field, t.slots)
	if t.parser.Parse(line, fields) != "" {
		return nil
	}
	return fields
}

// answers reports whether a message answers some command, whichever it is.
func (t *tag) answers(line []byte) bool {
	if t == nil {
		return false
	}
	fields := t.fields(line)
	return fields != nil && fields[t.id].Kind != text.Absent
}

// match returns the reply that a message is to the command with the number id. With
// patterns, it has to match ack, and not nack.
func (t *tag) match(id string, ack, nack *regexp.Regexp) dialog.Match[*reply] {
	return func(line []byte) (*reply, bool) {
		fields := t.fields(line)
		if fields == nil || !fields[t.id].Is(id) {
			return nil, false
		}
		r := &reply{line: string(line), pattern: ack}
		r.refused = nack != nil && nack.Match(line) || ack != nil && !ack.Match(line)
		if t.error >= 0 {
			r.refused = r.refused || fields[t.error].Says()
		}
		if t.result >= 0 {
			r.result = fields[t.result]
		}
		return r, true
	}
}

// exchange sends a command in its turn and waits for the answer. The reply is nil
// if the device does not answer.
func (d *Device) exchange(ctx context.Context, c *command, values map[string]string) (*reply, error) {
	s, err := d.life.Session()
	if err != nil {
		return nil, err
	}
	if c.tagged {
		values = maps.Clone(values)
		values[tagName] = strconv.FormatUint(d.last.Add(1), 10)
	}
	ack, err := c.ack.pattern(values)
	if err != nil {
		return nil, err
	}
	nack, err := c.nack.pattern(values)
	if err != nil {
		return nil, err
	}
	var match dialog.Match[*reply]
	switch {
	case c.tagged:
		match = d.plan.tag.match(values[tagName], ack, nack)
	case ack != nil:
		match = matcher(ack, nack)
	}
	r, err := s.Exchange(ctx, c.template.Fill(values), c.timeout, match)
	if err == nil && r != nil && r.refused {
		return nil, fmt.Errorf("%w: %q", drivers.ErrRefused, clip(r.line))
	}
	return r, err
}
