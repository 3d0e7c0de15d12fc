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

// deflater is a compressor with its output. It takes about a megabyte, so only
// as many exist as are at work at a time.
type deflater struct {
	w     *flate.Writer
	out   bytes.Buffer
	level int
}

// keepDeflated is the largest output that a deflater keeps.
const keepDeflated = 64 << 10

const maxLevel = flate.BestCompression

// deflaters are pools by level.
var deflaters [maxLevel + 1]sync.Pool

// getDeflater returns an empty compressor of a valid level.
func getDeflater(level int) *deflater {
	d, ok := deflaters[level].Get().(*deflater)
	if !ok {
		d = &deflater{level: level}
		d.w, _ = flate.NewWriter(&d.out, level)
		return d
	}
	d.out.Reset()
	d.w.Reset(&d.out)
	return d
}

// release ends the use of d and of its output.
func (d *deflater) release() {
	if d.out.Cap() > keepDeflated {
		d.out = bytes.Buffer{}
	}
	deflaters[d.level].Put(d)
}

// message returns b compressed, in memory of d.
func (d *deflater) message(b []byte) []byte {
	// A bytes.Buffer takes everything.
	_, _ = d.w.Write(b)
	_ = d.w.Flush()
	return bytes.TrimSuffix(d.out.Bytes(), []byte(deflateTail))
}

// deflateTail ends what a flush writes and is left out (RFC 7692, 7.2.1).
const deflateTail = "\x00\x00\xff\xff"

// Deflate compresses dst from start on, as the payload of a message without
// context takeover, if that makes it shorter. It reports whether it has: the
// frame then is one with Deflated.
func Deflate(dst []byte, start int) ([]byte, bool) {
	d := getDeflater(flate.BestSpeed)
	defer d.release()
	out := d.message(dst[start:])
	smaller := len(out) < len(dst)-start
	if smaller {
		dst = append(dst[:start], out...)
	}
	return dst, smaller
}

// damaged translates an error of inflating.
func damaged(err error) bool {
	var corrupt flate.CorruptInputError
	var internal flate.InternalError
	return errors.As(err, &corrupt) || errors.As(err, &internal) || errors.Is(err, io.ErrUnexpectedEOF)
}

// DeflateOffer is a client's offer of compression (RFC 7692, 7.1).
type DeflateOffer struct {
	// ServerNoContextTakeover and ClientNoContextTakeover ask for, and announce, that
	// each message stands alone. It does in any case here.
	ServerNoContextTakeover, ClientNoContextTakeover bool
	// ServerMaxWindowBits is the window that the server has to keep to, 15 or 0 if
	// the offer does not say so: what is smaller cannot be accepted here.
	ServerMaxWindowBits int
	// ClientMaxWindowBits is the window that the client says it keeps to, 8 to 15; 15
	// for a bare hint that it could keep to a smaller one, 0 without.
	ClientMaxWindowBits int
}

// negotiate leaves in the request no offer of compression but one that can be
// accepted as "permessage-deflate; server_no_context_takeover;
// client_no_context_takeover", which is what the library answers to any, and
// reports whether there is one (RFC 7692, 5 and 7.1).
func negotiate(r *http.Request, accept func(DeflateOffer) bool) (*http.Request, bool) {
	lines := r.Header.Values(extensions)
	if len(lines) == 0 {
		return r, false
	}
	r = r.Clone(r.Context())
	r.Header.Del(extensions)
	for text := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		offer, ok := parseOffer(text)
		// The window of the compressor is always the largest one.
		ok = ok && (offer.ServerMaxWindowBits == 0 || offer.ServerMaxWindowBits == 15)
		if ok && (accept == nil || accept(offer)) {
			r.Header.Set(extensions, deflateName)
			return r, true
		}
	}
	return r, false
}

// parseOffer parses an offer of compression, or the answer to one, which has the
// same form.
func parseOffer(text string) (o DeflateOffer, ok bool) {
	name, rest, more := strings.Cut(text, ";")
	if strings.TrimSpace(name) != deflateName {
		return o, false
	}
	seen := map[string]bool{}
	for more {
		var param string
		param, rest, more = strings.Cut(rest, ";")
		key, value, valued := strings.Cut(strings.TrimSpace(param), "=")
		if seen[key] {
			return o, false
		}
		seen[key] = true
		bits, err := strconv.Atoi(strings.Trim(value, `"`))
		window := valued && err == nil && bits >= 8 && bits <= 15
		switch {
		case key == "server_no_context_takeover" && !valued:
			o.ServerNoContextTakeover = true
		case key == "client_no_context_takeover" && !valued:
			o.ClientNoContextTakeover = true
		case key == "client_max_window_bits" && window:
			o.ClientMaxWindowBits = bits
		case key == "client_max_window_bits" && !valued:
			o.ClientMaxWindowBits = 15
		case key == "server_max_window_bits" && window:
			o.ServerMaxWindowBits = bits
		default:
			return o, false
		}
	}
	return o, true
}

// deflates reports whether the answer to a handshake has agreed on compression.
func deflates(h http.Header) bool { return len(h.Values(extensions)) > 0 }

// agreeable reports whether a server's answer agrees on compression as it was
// offered: both contexts are given up, and the client's window is not limited,
// which cannot be kept to (RFC 7692, 7.1).
func agreeable(text string) bool {
	o, ok := parseOffer(text)
	return ok && o.ServerNoContextTakeover && o.ClientNoContextTakeover && o.ClientMaxWindowBits == 0
}
