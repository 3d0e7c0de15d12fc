package websocket

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Deflated is the bit that, added to the opcode of a frame, marks a compressed
// message (RFC 7692, 6).
const Deflated Opcode = 0x40

// DefaultDeflateFrom is the size in bytes from which messages are compressed.
// Below, what is saved is hardly worth the work.
const DefaultDeflateFrom = 1024

const (
	deflateName = "permessage-deflate"
	extensions  = "Sec-Websocket-Extensions"
)

// errDeflate is returned for a message that does not inflate.
var errDeflate = errors.New("websocket: compressed message is damaged")

// deflater is a compressor with its output. It takes about a megabyte, so only
// as many exist as are at work at a time.
type deflater struct {
	w   *flate.Writer
	out bytes.Buffer
}

// keepDeflated is the largest output that a deflater keeps.
const keepDeflated = 64 << 10

var deflaters = sync.Pool{New: func() any {
	d := &deflater{}
	// The level is a valid one: there is no error.
	d.w, _ = flate.NewWriter(&d.out, flate.BestSpeed)
	return d
}}

// deflateTail ends what a flush writes and is left out (RFC 7692, 7.2.1).
const deflateTail = "\x00\x00\xff\xff"

// Deflate compresses dst from start on, as the payload of a message without
// context takeover, if that makes it shorter. It reports whether it has: the
// frame then is one with Deflated.
func Deflate(dst []byte, start int) ([]byte, bool) {
	d := deflaters.Get().(*deflater)
	d.out.Reset()
	d.w.Reset(&d.out)
	// A bytes.Buffer takes everything.
	_, _ = d.w.Write(dst[start:])
	_ = d.w.Flush()
	out := bytes.TrimSuffix(d.out.Bytes(), []byte(deflateTail))
	smaller := len(out) < len(dst)-start
	if smaller {
		dst = append(dst[:start], out...)
	}
	if d.out.Cap() > keepDeflated {
		d.out = bytes.Buffer{}
	}
	deflaters.Put(d)
	return dst, smaller
}

// damaged translates an error of inflating.
func damaged(err error) bool {
	var corrupt flate.CorruptInputError
	var internal flate.InternalError
	return errors.As(err, &corrupt) || errors.As(err, &internal) || errors.Is(err, io.ErrUnexpectedEOF)
}

// negotiate leaves in the request no offer of compression but one that can be
// accepted as "permessage-deflate; server_no_context_takeover;
// client_no_context_takeover", which is what the library answers to any, and
// reports whether there is one (RFC 7692, 5 and 7.1).
func negotiate(r *http.Request) (*http.Request, bool) {
	lines := r.Header.Values(extensions)
	if len(lines) == 0 {
		return r, false
	}
	r = r.Clone(r.Context())
	r.Header.Del(extensions)
	for offer := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		if acceptable(offer) {
			r.Header.Set(extensions, deflateName)
			return r, true
		}
	}
	return r, false
}

// acceptable reports whether an offer of compression asks for nothing that goes
// beyond giving up the context.
func acceptable(offer string) bool {
	name, rest, more := strings.Cut(offer, ";")
	if strings.TrimSpace(name) != deflateName {
		return false
	}
	seen := map[string]bool{}
	for more {
		var param string
		param, rest, more = strings.Cut(rest, ";")
		key, value, valued := strings.Cut(strings.TrimSpace(param), "=")
		if seen[key] {
			return false
		}
		seen[key] = true
		bits, err := strconv.Atoi(strings.Trim(value, `"`))
		window := valued && err == nil && bits >= 8 && bits <= 15
		switch key {
		case "server_no_context_takeover", "client_no_context_takeover":
			if valued {
				return false
			}
		case "client_max_window_bits":
			// A hint that the client could restrict itself; it need not be taken up.
			if valued && !window {
				return false
			}
		case "server_max_window_bits":
			// The window of the compressor is always the largest one.
			if !window || bits != 15 {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// deflates reports whether the answer to a handshake has agreed on compression.
func deflates(h http.Header) bool {
	for _, line := range h.Values(extensions) {
		for ext := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(ext, ";")
			if strings.TrimSpace(name) == deflateName {
				return true
			}
		}
	}
	return false
}
