package auth

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// KDF names a function that makes a key of a password.
type KDF uint8

// The key derivation functions.
const (
	// PBKDF2 is PBKDF2-HMAC-SHA-256 (RFC 8018), "pbkdf2" on the wire.
	PBKDF2 KDF = iota + 1
	// Argon2id13 is Argon2id version 1.3 with one lane (RFC 9106), "argon2id13"
	// on the wire.
	Argon2id13
	// Argon2id13Text is Argon2id13 as Autobahn and Crossbar use it: they call it
	// "argon2id-13" and take the unpadded base64 text of the 32 bytes as the key.
	Argon2id13Text
)

// String returns the name on the wire (AP "SCRAM", Key Derivation Functions).
func (k KDF) String() string {
	switch k {
	case PBKDF2:
		return "pbkdf2"
	case Argon2id13:
		return "argon2id13"
	case Argon2id13Text:
		return "argon2id-13"
	}
	return "invalid"
}

// ParseKDF returns the function named s on the wire.
func ParseKDF(s string) (KDF, bool) {
	for _, k := range []KDF{PBKDF2, Argon2id13, Argon2id13Text} {
		if s == k.String() {
			return k, true
		}
	}
	return 0, false
}

// Params are what a KDF needs besides the password.
type Params struct {
	KDF        KDF
	Salt       []byte // 1 to 256 bytes, at least 8 for Argon2
	Iterations uint32 // rounds of PBKDF2, passes of Argon2
	Memory     uint32 // KiB; Argon2 only, 0 for PBKDF2
	KeyLen     int    // bytes of the key, 16 to 64; Argon2id13Text makes text of 32
}

// Limits bound the work that a KDF may be asked for. They are checked before any
// of it is done: parameters come from the other side.
type Limits struct {
	// MinIterations and MaxIterations bound the rounds of PBKDF2.
	MinIterations, MaxIterations uint32
	// MaxMemory bounds the memory of Argon2, in KiB.
	MaxMemory uint32
	// MinWork and MaxWork bound the passes of Argon2 times its memory, in KiB.
	MinWork, MaxWork uint64
}

// DefaultLimits returns what a client accepts from a router and a router from
// its configuration: a million rounds of PBKDF2, 64 MiB for Argon2 and 4 GiB that
// pass through it (Autobahn's default is 2 GiB). Below 4096 rounds (RFC 7677, 4)
// or 16 MiB a rogue router could be after a key that is easily guessed.
func DefaultLimits() Limits {
	return Limits{MinIterations: 4096, MaxIterations: 1_000_000, MaxMemory: 64 << 10, MinWork: 16 << 10, MaxWork: 4 << 20}
}

// Check reports what is wrong with p under l.
func (p *Params) Check(l Limits) error {
	minSalt := 8
	switch p.KDF {
	case PBKDF2:
		minSalt = 1
		if p.Memory != 0 {
			return fmt.Errorf("pbkdf2: memory has no meaning")
		}
		if p.Iterations < max(l.MinIterations, 1) || p.Iterations > l.MaxIterations {
			return fmt.Errorf("pbkdf2: iterations must be %d to %d, not %d", max(l.MinIterations, 1), l.MaxIterations, p.Iterations)
		}
	case Argon2id13, Argon2id13Text:
		if p.Memory < 8 || p.Memory > l.MaxMemory {
			return fmt.Errorf("argon2: memory must be 8 to %d KiB, not %d", l.MaxMemory, p.Memory)
		}
		work := uint64(p.Iterations) * uint64(p.Memory)
		if p.Iterations == 0 || work < l.MinWork || work > l.MaxWork {
			return fmt.Errorf("argon2: iterations times memory must be %d to %d KiB, not %d", l.MinWork, l.MaxWork, work)
		}
		if p.KDF == Argon2id13Text && p.KeyLen != sha256.Size {
			return fmt.Errorf("argon2: the key has %d bytes, not %d", sha256.Size, p.KeyLen)
		}
	default:
		return fmt.Errorf("unknown key derivation function; known: pbkdf2, argon2id13, argon2id-13")
	}
	if len(p.Salt) < minSalt || len(p.Salt) > maxSalt {
		return fmt.Errorf("%v: the salt must have %d to %d bytes, not %d", p.KDF, minSalt, maxSalt, len(p.Salt))
	}
	if p.KeyLen < minKeyLen || p.KeyLen > maxKeyLen {
		return fmt.Errorf("%v: the key must have %d to %d bytes, not %d", p.KDF, minKeyLen, maxKeyLen, p.KeyLen)
	}
	return nil
}

const (
	maxSalt   = 256
	minKeyLen = 16
	maxKeyLen = 64
)

// Deriver makes a key of a password; Derive is the one to use. Tests put one in
// its place that counts.
type Deriver func(p Params, password []byte) ([]byte, error)

// Derive runs the KDF. Its time and memory are those that p asks for, so callers
// check p against their limits first; parameters that no limits would pass are
// an error.
func Derive(p Params, password []byte) ([]byte, error) {
	if err := p.Check(anyLimits); err != nil {
		return nil, err
	}
	if p.KDF == PBKDF2 {
		return pbkdf2.Key(sha256.New, string(password), p.Salt, int(p.Iterations), p.KeyLen)
	}
	key := argon2.IDKey(password, p.Salt, p.Iterations, p.Memory, 1, uint32(p.KeyLen))
	if p.KDF == Argon2id13Text {
		return base64.RawStdEncoding.AppendEncode(nil, key), nil
	}
	return key, nil
}

// anyLimits keep parameters inside what the functions can do at all.
var anyLimits = Limits{MinIterations: 1, MaxIterations: 1 << 30, MaxMemory: 4 << 20, MinWork: 1, MaxWork: 1 << 40}
