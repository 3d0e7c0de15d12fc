package line

import (
	"context"
	"fmt"
	"regexp"

	"gantry/drivers"
)

// reply is a line that answers a command.
type reply struct {
	line    string
	pattern *regexp.Regexp // the one that matched
	refused bool
}

// group returns the text of the pattern's group named, if it took part.
func (r *reply) group(name string) (string, bool) {
	if r == nil || name == "" {
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

// matcher returns the reply that a line is. A line that both patterns match counts
// as a refusal.
func matcher(ack, nack *regexp.Regexp) func(line []byte) (*reply, bool) {
	return func(line []byte) (*reply, bool) {
		for _, re := range []*regexp.Regexp{nack, ack} {
			if re != nil && re.Match(line) {
				return &reply{line: string(line), pattern: re, refused: re == nack}, true
			}
		}
		return nil, false
	}
}

// exchange sends a command in its turn and waits for the answer. The reply is nil
// if the device does not answer.
func (d *Driver) exchange(ctx context.Context, c *command, values map[string]string) (*reply, error) {
	s, err := d.life.Session()
	if err != nil {
		return nil, err
	}
	ack, err := c.ack.pattern(values)
	if err != nil {
		return nil, err
	}
	nack, err := c.nack.pattern(values)
	if err != nil {
		return nil, err
	}
	if ack == nil {
		return s.Exchange(ctx, c.template.fill(values), c.timeout, nil)
	}
	r, err := s.Exchange(ctx, c.template.fill(values), c.timeout, matcher(ack, nack))
	if err == nil && r.refused {
		return nil, fmt.Errorf("%w: %q", drivers.ErrRefused, clip(r.line))
	}
	return r, err
}
