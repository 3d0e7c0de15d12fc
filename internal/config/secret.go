package config

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// maxSecret is the size of the largest file that a secret is read from.
const maxSecret = 64 << 10

// Secret refers to a password or key that is kept elsewhere: "env:NAME" in the
// environment, "file:PATH" in a file. It never prints what it refers to.
type Secret struct {
	ref string
}

// UnmarshalText takes a reference. The secret itself is refused, so that it
// cannot end up in a configuration file.
func (s *Secret) UnmarshalText(text []byte) error {
	ref := string(text)
	scheme, rest, _ := strings.Cut(ref, ":")
	if rest == "" || scheme != "env" && scheme != "file" {
		return &KeyError{Text: "is no reference to a secret", Allowed: `"env:NAME" or "file:PATH"`}
	}
	s.ref = ref
	return nil
}

// IsZero reports whether no secret is referred to.
func (s Secret) IsZero() bool { return s.ref == "" }

// Reveal reads the secret; a line end behind a file's content is not part of
// it. The zero Secret is the empty text.
func (s Secret) Reveal() (string, error) {
	scheme, rest, _ := strings.Cut(s.ref, ":")
	switch scheme {
	case "env":
		v, ok := os.LookupEnv(rest)
		if !ok {
			return "", fmt.Errorf("secret env:%s: not in the environment", rest)
		}
		return v, nil
	case "file":
		f, err := os.Open(rest)
		if err != nil {
			return "", fmt.Errorf("secret: %w", err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
		if err != nil {
			return "", fmt.Errorf("secret: %w", err)
		}
		if len(b) > maxSecret {
			return "", fmt.Errorf("secret file:%s: longer than %d bytes", rest, maxSecret)
		}
		return string(bytes.TrimRight(b, "\r\n")), nil
	}
	return "", nil
}

// String returns ***.
func (Secret) String() string { return "***" }

// GoString returns ***.
func (Secret) GoString() string { return "***" }

// MarshalText returns ***.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// LogValue returns ***.
func (Secret) LogValue() slog.Value { return slog.StringValue("***") }
