// Package flate is the standard library's, under the path by which nats.go asks for
// another one: two compressors would cost the program 0.1 MiB.
package flate

import (
	"compress/flate"
	"io"
)

// BestSpeed is that of compress/flate.
const BestSpeed = flate.BestSpeed

// Writer and Resetter are those of compress/flate.
type (
	Writer   = flate.Writer
	Resetter = flate.Resetter
)

// NewReader is that of compress/flate.
func NewReader(r io.Reader) io.ReadCloser { return flate.NewReader(r) }

// NewWriter is that of compress/flate.
func NewWriter(w io.Writer, level int) (*Writer, error) { return flate.NewWriter(w, level) }
