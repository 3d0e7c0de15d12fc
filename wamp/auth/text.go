package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// decodeBase64 takes canonical base64 only: padded, and without the line ends
// that the standard decoder skips (RFC 4648, 3; AP "SCRAM", Base64 encoding).
func decodeBase64(s string) ([]byte, bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(s) != base64.StdEncoding.EncodedLen(len(b)) {
		return nil, false
	}
	return b, true
}

func encodeBase64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// decodeHex takes exactly n bytes.
func decodeHex(s string, n int) ([]byte, bool) {
	if len(s) != hex.EncodedLen(n) {
		return nil, false
	}
	b, err := hex.DecodeString(s)
	return b, err == nil
}

// errProhibited tells of text that SASLprep does not allow.
var errProhibited = errors.New("text with control, private or unassigned characters")

// prepare is the SASLprep profile (RFC 4013) for text in normalization form KC,
// which is what keyboards make: it maps spaces (C.1.2), drops what has no width
// (B.1) and refuses what is prohibited (C.2 to C.9). It neither normalizes nor
// checks the direction of text, which would need the tables of Unicode 3.2.
func prepare(s string) (string, error) {
	ascii := true
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			ascii = false
		} else if s[i] < ' ' || s[i] == 0x7f {
			return "", errProhibited
		}
	}
	if ascii {
		return s, nil
	}
	if !utf8.ValidString(s) {
		return "", errProhibited
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == 0xad || r == 0x34f || r == 0x1806 || r >= 0x180b && r <= 0x180d || r >= 0x200c && r <= 0x200d ||
			r == 0x2060 || r >= 0xfe00 && r <= 0xfe0f || r == 0xfeff:
			// B.1: mapped to nothing.
		case r == 0x200b || unicode.Is(unicode.Zs, r):
			b.WriteByte(' ')
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Noncharacter_Code_Point, unicode.Zl, unicode.Zp),
			r >= 0xfff9 && r <= 0xfffd, r >= 0x2ff0 && r <= 0x2ffb, r == 0x340 || r == 0x341:
			return "", errProhibited
		default:
			b.WriteRune(r)
		}
	}
	return b.String(), nil
}
