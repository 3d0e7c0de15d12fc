package serialize

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"unsafe"

	"gantry/wamp"
)

const (
	errBase64 = fault(`text that begins with \u0000 is not base64`)
	errRange  = fault("number out of range")
	errOther  = fault("value that only its own format has")
)

// token is one item of a value: a scalar, or the head of a container whose items
// are the tokens that follow.
type token struct {
	kind kind
	n    uint64 // number, or items of a list, or pairs of a dict
	raw  []byte // text or bytes; borrowed from the input or from the reader's buffer
}

// text returns raw as a string that aliases it.
func (t *token) text() string { return alias(t.raw) }

// alias returns b as a string without copying.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// reader takes tokens off bytes that a walk has proven well formed.
type reader struct {
	format wamp.Format
	b      []byte
	i      int

	sizes []uint32 // from the walk; see walk.record
	at    int      // next of sizes

	buf  []byte // holds texts that could not be borrowed from b
	keep bool   // let buf grow from token to token, so that raw stays valid
}

// next returns the next token; dictKey tells that it is a map's key, which is
// text whatever it looks like. Its only errors are values that the walk lets
// pass: errBase64, errRange and errOther.
func (r *reader) next(dictKey bool) (token, error) {
	if !r.keep {
		r.buf = r.buf[:0]
	}
	if r.format == wamp.JSON {
		return r.json(dictKey)
	}
	for {
		k, n, i, err := head(r.format, r.b, r.i)
		if err != nil {
			return token{}, err
		}
		r.i = i
		switch k {
		case kindTag, kindBreak:
			continue
		case kindOther:
			return token{}, errOther
		case kindText, kindBytes:
			if n == indefinite {
				start := len(r.buf)
				r.buf, r.i = appendChunks(r.buf, r.b, i)
				return token{kind: k, raw: r.buf[start:len(r.buf):len(r.buf)]}, nil
			}
			end := i + int(n)
			r.i = end
			return token{kind: k, raw: r.b[i:end:end]}, nil
		case kindList, kindDict:
			if n == indefinite {
				n = r.size()
			}
		}
		return token{kind: k, n: n}, nil
	}
}

// size returns the size of the container whose head was just read.
func (r *reader) size() uint64 {
	r.at++
	return uint64(r.sizes[r.at-1])
}

// json reads a token. Commas, colons and closing brackets carry no information
// any more, since sizes are known.
func (r *reader) json(dictKey bool) (token, error) {
	for {
		switch r.b[r.i] {
		case ' ', '\t', '\n', '\r', ',', ':', ']', '}':
			r.i++
			continue
		}
		break
	}
	switch r.b[r.i] {
	case '"':
		return r.jsonText(dictKey)
	case '[':
		r.i++
		return token{kind: kindList, n: r.size()}, nil
	case '{':
		r.i++
		return token{kind: kindDict, n: r.size()}, nil
	case 't':
		r.i += len("true")
		return token{kind: kindTrue}, nil
	case 'f':
		r.i += len("false")
		return token{kind: kindFalse}, nil
	case 'n':
		r.i += len("null")
		return token{kind: kindNull}, nil
	}
	end, integer, err := skipNumber(r.b, r.i)
	if err != nil {
		return token{}, err
	}
	s := r.b[r.i:end]
	r.i = end
	return jsonNumber(s, integer)
}

// jsonText reads a text. One that begins with NUL is binary: the rest is its
// base64 form (AP "Binary conversion of JSON strings").
func (r *reader) jsonText(dictKey bool) (token, error) {
	end, err := skipText(r.b, r.i+1)
	if err != nil {
		return token{}, err
	}
	s := r.b[r.i+1 : end-1 : end-1]
	r.i = end
	binary := !dictKey && len(s) >= 6 && string(s[:6]) == `\u0000`
	if binary {
		s = s[6:]
	}
	start := len(r.buf)
	if bytes.IndexByte(s, '\\') >= 0 {
		r.buf = unescape(r.buf, s)
		s = r.buf[start:len(r.buf):len(r.buf)]
	}
	if !binary {
		return token{kind: kindText, raw: s}, nil
	}
	// Decode ignores line breaks, which canonical base64 does not have.
	if bytes.IndexByte(s, '\n') >= 0 || bytes.IndexByte(s, '\r') >= 0 {
		return token{}, errBase64
	}
	start = len(r.buf)
	r.buf, err = base64.StdEncoding.Strict().AppendDecode(r.buf, s)
	if err != nil {
		return token{}, errBase64
	}
	return token{kind: kindBytes, raw: r.buf[start:len(r.buf):len(r.buf)]}, nil
}

// jsonNumber reads a proven number. Integers outside of 64 bits become floats.
func jsonNumber(s []byte, integer bool) (token, error) {
	if integer {
		if s[0] != '-' {
			if u, ok := parseUint(s); ok {
				return token{kind: kindUint, n: u}, nil
			}
		} else if u, ok := parseUint(s[1:]); ok && u <= 1<<63 {
			if u == 0 {
				return token{kind: kindUint}, nil
			}
			return token{kind: kindInt, n: -u}, nil
		}
	}
	f, err := strconv.ParseFloat(alias(s), 64)
	if err != nil {
		return token{}, errRange
	}
	return token{kind: kindFloat64, n: math.Float64bits(f)}, nil
}

// parseUint parses digits; ok is false from 2^64 on.
func parseUint(s []byte) (u uint64, ok bool) {
	if len(s) > 20 {
		return 0, false
	}
	for i, c := range s {
		d := uint64(c - '0')
		if i == 19 && u > (math.MaxUint64-d)/10 {
			return 0, false
		}
		u = u*10 + d
	}
	return u, true
}
