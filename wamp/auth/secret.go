package auth

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a password, ticket or key that does not print itself: every verb of
// fmt, log/slog and the text encoders show three stars. The zero Secret is empty.
type Secret struct {
	// A function, because fmt prints what unexported fields of a caller's struct
	// hold without asking their methods, and at times follows pointers there.
	reveal func() []byte
}

// NewSecret returns a Secret of text.
func NewSecret(text string) Secret { return secretOf([]byte(text)) }

func secretOf(b []byte) Secret { return Secret{reveal: func() []byte { return b }} }

// Reveal returns the bytes, which must not be changed or shown.
func (s Secret) Reveal() []byte {
	if s.reveal == nil {
		return nil
	}
	return s.reveal()
}

// Empty reports whether there is nothing to keep secret.
func (s Secret) Empty() bool { return len(s.Reveal()) == 0 }

const stars = "***"

// Format writes three stars whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, stars) }

// String returns three stars.
func (s Secret) String() string { return stars }

// LogValue returns three stars.
func (s Secret) LogValue() slog.Value { return slog.StringValue(stars) }

// MarshalText returns three stars.
func (s Secret) MarshalText() ([]byte, error) { return []byte(stars), nil }
