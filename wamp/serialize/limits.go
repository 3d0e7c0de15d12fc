package serialize

import (
	"fmt"

	"gantry/wamp"
)

// The limits that a zero field of Limits stands for.
const (
	DefaultBytes    = 1 << 20
	DefaultDepth    = 32
	DefaultElements = 65536
)

// maxDepth is the deepest nesting that the package handles at all: walkers keep
// one bit per level in a word.
const maxDepth = 64

// Limits bound what a decoder accepts. The zero value means the defaults.
type Limits struct {
	// Bytes is the size of a whole message.
	Bytes int
	// Depth is how deep arrays and maps may nest inside one element of a
	// message; an element that is an array is at depth 1. A CBOR tag counts as
	// a level. Above 64 is 64.
	Depth int
	// Elements is how many items, in all arrays of a message together, and
	// key-value pairs, in all its maps, there may be.
	Elements int
}

func (l Limits) withDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = DefaultBytes
	}
	if l.Depth <= 0 {
		l.Depth = DefaultDepth
	}
	l.Depth = min(l.Depth, maxDepth)
	if l.Elements <= 0 {
		l.Elements = DefaultElements
	}
	return l
}

// SyntaxError tells where bytes are not one well-formed value of a format, or
// go over a limit.
type SyntaxError struct {
	Format wamp.Format
	Offset int // byte at which the fault was noticed
	Text   string
}

// Error returns format, position and fault.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at byte %d: %s", e.Format, e.Offset, e.Text)
}

// fault is an error without its place: constants of it cost no allocation.
type fault string

func (f fault) Error() string { return string(f) }

const (
	errTruncated = fault("ends too early")
	errTrailing  = fault("bytes behind the end")
	errDepth     = fault("nested too deep")
	errElements  = fault("too many elements")
	errSize      = fault("too large")
	errLength    = fault("length is larger than what follows")
	errUTF8      = fault("text is not valid UTF-8")
	errKey       = fault("map key is not text")
	errDuplicate = fault("duplicate map key")
)

func syntaxError(f wamp.Format, offset int, err error) error {
	return &SyntaxError{Format: f, Offset: offset, Text: err.Error()}
}
