package hub

import (
	"errors"

	"gantry/drivers"
)

// Scale applies the scaling of an integer point to a raw value.
func Scale(scale *float64, offset float64, raw int64) (drivers.Value, error) {
	s := &spec{raw: drivers.Int, scale: newScaling(scale, offset)}
	return failed(s.scaled(raw))
}

// Unscale undoes Scale.
func Unscale(scale *float64, offset float64, v drivers.Value) (drivers.Value, error) {
	s := &spec{raw: drivers.Int, scale: newScaling(scale, offset)}
	return failed(s.unscaled(v))
}

func failed(v drivers.Value, why string) (drivers.Value, error) {
	if why != "" {
		return nil, errors.New(why)
	}
	return v, nil
}
