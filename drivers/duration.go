package drivers

import (
	"fmt"
	"time"
)

// Duration is a length of time that configuration writes as text: "300ms",
// "1m30s". It is never negative.
type Duration time.Duration

// UnmarshalText parses what [time.ParseDuration] takes, except for negative
// lengths.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%.32q is not a duration; allowed: a number with a unit, such as \"300ms\", \"5s\", \"1m30s\"", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText returns the form that UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String returns the form that UnmarshalText reads.
func (d Duration) String() string { return time.Duration(d).String() }

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }
