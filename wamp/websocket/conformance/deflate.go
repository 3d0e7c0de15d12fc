package conformance

import (
	"bytes"
	"compress/flate"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// params are the parameters of permessage-deflate (RFC 7692, 7.1), in an offer or
// in an answer.
type params struct {
	serverNoTakeover, clientNoTakeover bool
	serverBits, clientBits             int // 8 to 15; 0 if absent, bare if without a value
}

// bare stands for client_max_window_bits without a value.
const bare = -1

const deflateName = "permessage-deflate"

// String returns the parameters as they are in a header.
func (q params) String() string {
	s := deflateName
	if q.serverNoTakeover {
		s += "; server_no_context_takeover"
	}
	if q.clientNoTakeover {
		s += "; client_no_context_takeover"
	}
	if q.serverBits != 0 {
		s += fmt.Sprintf("; server_max_window_bits=%d", q.serverBits)
	}
	switch q.clientBits {
	case 0:
	case bare:
		s += "; client_max_window_bits"
	default:
		s += fmt.Sprintf("; client_max_window_bits=%d", q.clientBits)
	}
	return s
}

// parseParams reads one extension of a header, strictly. offered says whether it is
// an offer, where client_max_window_bits needs no value.
func parseParams(ext string, offered bool) (params, error) {
	var q params
	words := strings.Split(ext, ";")
	if strings.TrimSpace(words[0]) != deflateName {
		return q, fmt.Errorf("extension %q is not %s", ext, deflateName)
	}
	seen := map[string]bool{}
	for _, word := range words[1:] {
		name, value, valued := strings.Cut(strings.TrimSpace(word), "=")
		if seen[name] {
			return q, fmt.Errorf("parameter %s comes twice in %q", name, ext)
		}
		seen[name] = true
		bits, err := strconv.Atoi(strings.Trim(value, `"`))
		window := valued && err == nil && bits >= 8 && bits <= 15
		switch {
		case name == "server_no_context_takeover" && !valued:
			q.serverNoTakeover = true
		case name == "client_no_context_takeover" && !valued:
			q.clientNoTakeover = true
		case name == "server_max_window_bits" && window:
			q.serverBits = bits
		case name == "client_max_window_bits" && window:
			q.clientBits = bits
		case name == "client_max_window_bits" && !valued && offered:
			q.clientBits = bare
		default:
			return q, fmt.Errorf("parameter %q in %q", word, ext)
		}
	}
	return q, nil
}

// answers returns what is wrong with q as the answer to an offer (RFC 7692,
// 7.1), "" if nothing is.
func (q params) answers(offer params) string {
	switch {
	case q.clientBits == bare:
		return "the client's window has no value"
	case offer.serverNoTakeover && !q.serverNoTakeover:
		return "the server keeps its context although it was asked not to"
	case offer.serverBits > 0 && (q.serverBits == 0 || q.serverBits > offer.serverBits):
		return "the server's window is larger than asked for"
	case q.clientBits != 0 && offer.clientBits == 0:
		return "the client's window is limited although it has not said that it can be"
	case offer.clientBits > 0 && q.clientBits > offer.clientBits:
		return "the client's window is larger than offered"
	}
	return ""
}

// deflate is the compression that has been agreed on, as the raw side does it.
type deflate struct {
	in   inflater
	out  bytes.Buffer
	w    *flate.Writer
	pool *sync.Pool // of w
	keep bool       // later messages refer to earlier ones
	seen int        // compressed messages received
}

// newDeflate returns the compression of the side that is client or server, with
// the parameters agreed on. offer tells what else the client has promised.
func newDeflate(agreed, offer params, client bool) *deflate {
	ours, theirs := agreed.clientBits, agreed.serverBits
	oursKeep, theirsKeep := !agreed.clientNoTakeover, !agreed.serverNoTakeover
	if !client {
		ours, theirs = theirs, ours
		oursKeep, theirsKeep = theirsKeep, oursKeep && !offer.clientNoTakeover
	}
	d := &deflate{keep: oursKeep}
	d.in = inflater{window: 1 << 15, keeps: theirsKeep}
	if theirs > 0 {
		d.in.window = 1 << theirs
	}
	d.pool = &fast
	if ours > 0 && ours < 15 {
		d.pool = &narrow
	}
	d.w = d.pool.Get().(*flate.Writer)
	d.w.Reset(&d.out)
	return d
}

// Compressors take a megabyte each, and the race detector long to see to it.
var (
	fast   = compressors(flate.BestSpeed)
	narrow = compressors(flate.HuffmanOnly) // refers to nothing, so it fits any window
)

func compressors(level int) sync.Pool {
	return sync.Pool{New: func() any {
		w, err := flate.NewWriter(nil, level)
		if err != nil {
			panic(err)
		}
		return w
	}}
}

// release ends the use of d.
func (d *deflate) release() {
	if d != nil {
		d.pool.Put(d.w)
	}
}

// tail ends what a flush writes and is left out (RFC 7692, 7.2.1).
const tail = "\x00\x00\xff\xff"

// compress returns the payload of a compressed message.
func (d *deflate) compress(message []byte) []byte {
	d.out.Reset()
	if !d.keep {
		d.w.Reset(&d.out)
	}
	// A bytes.Buffer takes everything.
	_, _ = d.w.Write(message)
	_ = d.w.Flush()
	return bytes.TrimSuffix(bytes.Clone(d.out.Bytes()), []byte(tail))
}
