package client

import (
	"reflect"

	"gantry/wamp"
)

// Decode reads a payload as Subscribe and Register do.
func Decode[T any](p wamp.Payload, parts []Part, strict bool) (v T, err error) {
	l, err := layoutOf(reflect.TypeFor[T]())
	if err != nil {
		return v, err
	}
	return v, l.decode(p, parts, &v, strict)
}

// Encode lays a value out as Publish and Call do.
func Encode(v any) (wamp.Payload, error) {
	_, p, err := (*layouts)(nil).lay("", []any{v})
	return p, err
}
