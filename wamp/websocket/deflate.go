package websocket

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
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

// deflaters are pools by level, from flate.HuffmanOnly on.
var deflaters [maxLevel - flate.HuffmanOnly + 1]sync.Pool

// getDeflater returns an empty compressor of a valid level.
func getDeflater(level int) *deflater {
	d, ok := deflaters[level-flate.HuffmanOnly].Get().(*deflater)
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
	deflaters[d.level-flate.HuffmanOnly].Put(d)
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
	// ServerMaxWindowBits is the window that the server has to keep to, 8 to 15, or 0
	// if the offer does not say so. Below 15 messages are hardly compressed.
	ServerMaxWindowBits int
	// ClientMaxWindowBits is the window that the client says it keeps to, 8 to 15; 15
	// for a bare hint that it could keep to a smaller one, 0 without.
	ClientMaxWindowBits int
}

// fullWindow is the window of a compressor that nobody limits, in bits.
const fullWindow = 15

// negotiate leaves in the request the one offer of compression that the server
// accepts, if there is any, and returns the answer to it, "" for none, and the
// window that the server has to keep to (RFC 7692, 5 and 7.1).
func negotiate(r *http.Request, accept func(DeflateOffer) bool) (_ *http.Request, answer string, window int) {
	lines := r.Header.Values(extensions)
	if len(lines) == 0 {
		return r, "", 0
	}
	r = r.Clone(r.Context())
	r.Header.Del(extensions)
	for text := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		offer, ok := parseParameters(text)
		if !ok || accept != nil && !accept(offer) {
			continue
		}
		r.Header.Set(extensions, deflateName)
		if offer.ServerMaxWindowBits == 0 {
			return r, libraryDeflates, fullWindow
		}
		return r, fmt.Sprintf("%s; server_max_window_bits=%d", libraryDeflates, offer.ServerMaxWindowBits), offer.ServerMaxWindowBits
	}
	return r, "", 0
}

// parseParameters parses an offer of compression, or the answer to one, which has
// the same form but for client_max_window_bits, which then needs a value.
func parseParameters(text string) (o DeflateOffer, ok bool) {
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
		bits, window := parseWindow(value)
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

// parseWindow reads a window's size, which may be quoted.
func parseWindow(value string) (bits int, ok bool) {
	if n := len(value) - 1; n > 0 && value[0] == '"' && value[n] == '"' {
		value = value[1:n]
	}
	bits, err := strconv.Atoi(value)
	return bits, err == nil && bits >= 8 && bits <= fullWindow && strconv.Itoa(bits) == value
}

// agreeable reports whether a server's answer fits deflateOffer: the server gives
// up its context, and a limit of the client's window has a value.
func agreeable(text string) bool {
	o, ok := parseParameters(text)
	return ok && o.ServerNoContextTakeover && !bareWindow(text)
}

// bareWindow reports whether client_max_window_bits comes without a value.
func bareWindow(text string) bool {
	for param := range strings.SplitSeq(text, ";") {
		if strings.TrimSpace(param) == "client_max_window_bits" {
			return true
		}
	}
	return false
}

// clientWindow returns the window that an agreeable answer leaves to the client.
func clientWindow(text string) int {
	if o, _ := parseParameters(text); o.ClientMaxWindowBits > 0 {
		return o.ClientMaxWindowBits
	}
	return fullWindow
}
