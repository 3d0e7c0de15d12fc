package homeassistant

import (
	"cmp"
	"fmt"

	"gantry/bridge/shapes/internal/shape"
	"gantry/drivers"
)

// Read implements shape.Shape. Nobody can be asked.
func (s *Shape) Read(string, []string) (shape.Command, error) {
	return shape.Command{}, shape.ErrUnknown
}

// Write implements shape.Shape.
func (s *Shape) Write(id, point string, v drivers.Value) (shape.Command, error) {
	d := s.devices[id]
	if d == nil || d.points[point] == nil || !d.points[point].Writable {
		return shape.Command{}, shape.ErrUnknown
	}
	p := d.points[point]
	if !p.of.available() {
		return shape.Command{}, fmt.Errorf("%s has not said that it is available: %w", point, drivers.ErrOffline)
	}
	payload, err := p.payload(v)
	if err != nil {
		return shape.Command{}, fmt.Errorf("%w: %w", err, drivers.ErrRefused)
	}
	c := shape.Command{Send: []shape.Message{{Topic: p.command, Payload: payload}}}
	if p.Readable {
		c.Await, c.Want = []string{point}, v
		if p.Min != nil && p.Max != nil {
			c.Tolerance = (*p.Max - *p.Min) / 200
		}
	}
	return c, nil
}

// Do implements shape.Shape.
func (s *Shape) Do(id, action string, args map[string]any) (shape.Command, error) {
	d := s.devices[id]
	if d == nil || d.actions[action] == nil {
		return shape.Command{}, shape.ErrUnknown
	}
	v := d.actions[action]
	payload := []byte(v.payload)
	switch {
	case v.tmpl != nil:
		given := any(v.payload)
		if message, ok := args["message"]; ok {
			given = message
		}
		out, err := v.tmpl.Render(map[string]any{cmp.Or(v.variable, "value"): given})
		if err != nil {
			return shape.Command{}, fmt.Errorf("its command template: %w: %w", err, drivers.ErrRefused)
		}
		payload = []byte(shape.Word(scalar(out)))
	case v.payload == "{message}":
		payload = []byte(shape.Text(args["message"]))
	case v.payload == "":
		payload = shape.JSON(map[string]any{"state": "ON", "color": args})
	}
	c := shape.Command{Send: []shape.Message{{Topic: v.topic, Payload: payload}}}
	if point := d.awaits[action]; point != "" {
		c.Await = []string{point}
	}
	return c, nil
}
