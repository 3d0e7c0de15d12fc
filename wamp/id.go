package wamp

import (
	"encoding/binary"
	"io"
)

// ID identifies a session, request, subscription, registration or publication.
// Valid IDs are 1..2^53 (BP "IDs"); zero means absent.
type ID uint64

// MaxID is the largest identifier, 2^53: the largest integer that every
// serializer, JavaScript's numbers included, carries exactly.
const MaxID ID = 1 << 53

// Valid reports whether id is in 1..2^53.
func (id ID) Valid() bool { return id >= 1 && id <= MaxID }

// NextID returns the request ID that follows id in a session's sequence, which
// runs 1, 2, 3 ... 2^53 and wraps to 1 (BP "IDs", session scope).
func NextID(id ID) ID {
	if id >= MaxID {
		return 1
	}
	return id + 1
}

// RandomID draws an ID from the whole range 1..2^53, uniformly, as the
// specification demands of IDs in the global scope (sessions, publications).
// The source is usually crypto/rand.Reader; its error is returned as it is.
func RandomID(random io.Reader) (ID, error) {
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return 0, err
	}
	return ID(binary.BigEndian.Uint64(b[:])&(1<<53-1)) + 1, nil
}
