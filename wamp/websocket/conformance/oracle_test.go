package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"gantry/wamp/websocket"
)

// oracleLimit is the largest message of the server that is fuzzed.
const oracleLimit = 500

// script makes frames of any octets: mostly right, in any order, and wrong in each
// of the ways that a header can be.
func script(b []byte) []frame {
	var frames []frame
	for len(b) >= 3 && len(frames) < 20 {
		how, n := b[0], int(b[2])
		f := frame{head: fin | b[1]&0x0F}
		if how&1 != 0 {
			f.head &^= fin
		}
		if how&0xF0 == 0xF0 {
			f.head |= b[1] & 0x70
		}
		switch how & 0x0E {
		case 0x0E:
			f.wrongMask = n > 200
		case 0x0C:
			f.wide = 2 + 6*(n&1)
		case 0x0A:
			n *= 3
		}
		b = b[3:]
		f.payload = b[:min(n, len(b))]
		b = b[len(f.payload):]
		if f.head&0x0F == opClose && len(f.payload) > 1 && how&0x02 != 0 {
			f.payload = closing(1000+uint16(f.payload[0])&0x0F, string(f.payload[2:]))
		}
		frames = append(frames, f)
	}
	return frames
}

// verdict is what an echo has to send for frames: messages and pongs, and the codes
// of the close frame that ends it.
func verdict(frames []frame) (out []received, codes []uint16) {
	var op byte
	var message []byte
	for _, f := range frames {
		kind, n := f.head&0x0F, len(f.payload)
		control := kind >= opClose
		switch {
		case f.head&(rsv1|rsv2|rsv3) != 0, f.wrongMask, kind > opBinary && !control, kind > opPong,
			control && (f.head&fin == 0 || n > 125), !control && (kind == opMore) != (op != 0),
			f.wide == 2 && n < 126, f.wide == 8 && n < 1<<16, kind == opClose && n == 1:
			return out, protocolError
		case kind == opPing:
			out = append(out, received{opPong, f.payload})
		case kind == opClose:
			return out, closeVerdict(f.payload)
		case control:
		case len(message)+n > oracleLimit:
			return out, tooBig
		default:
			if kind != opMore {
				op, message = kind, nil
			}
			message = append(message, f.payload...)
			if op == opText && !mayBecomeText(message, f.head&fin != 0) {
				return out, invalidText
			}
			if f.head&fin != 0 {
				out = append(out, received{op, message})
				op, message = 0, nil
			}
		}
	}
	return out, []uint16{4999}
}

func closeVerdict(payload []byte) []uint16 {
	c, err := parseClose(payload)
	switch {
	case err == nil:
		return []uint16{c.code}
	case !utf8.ValidString(c.reason):
		return []uint16{1007, 1002} // 1002 for a code that is wrong as well
	}
	return protocolError
}

// mayBecomeText reports whether b is UTF-8, its last character finished or not.
func mayBecomeText(b []byte, whole bool) bool {
	for len(b) > 0 {
		if !whole && !utf8.FullRune(b) {
			return true
		}
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n < 2 {
			return false
		}
		b = b[n:]
	}
	return true
}

// FuzzServerReadsAsSpecified sends any frames in any pieces and compares what comes
// back with what the specification says.
func FuzzServerReadsAsSpecified(f *testing.F) {
	for _, s := range []string{
		"\x00\x01\x05hello\x00\x09\x02hi", "\x01\x01\x02a\xe2\x01\x00\x01\x82\x00\x00\x01\xac", "\x01\x02\x03abc\x00\x08\x00", "\x0c\x02\x7e",
		"\xf0\x41\x01a", "\x0e\x02\xff", "\x02\x08\x04\x0e\x0eok", "\x0a\x02\xc8" + strings.Repeat("x", 600), "\x01\x01\x00\x01\x00\x00\x00\x00\x00",
		"\x00\x08\x02\x03\xed", "\x00\x08\x06\x03\xe8\xed\xa0\x80a", "\x00\x0b\x00", "\x01\x09\x00",
	} {
		f.Add([]byte(s), uint16(1))
		f.Add([]byte(s), uint16(1000))
	}
	s := &websocket.Server{Config: websocket.Config{MaxMessage: oracleLimit, PingInterval: -1}}
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := s.Upgrade(w, r)
		if err != nil {
			return
		}
		_ = c.Run(r.Context(), websocket.Handler{Message: func(c *websocket.Conn, op websocket.Opcode, b []byte) error { return c.Write(op, b) }})
	}))
	defer hs.Close()
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(hs.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		p := &peer{TB: t, conn: conn, br: bufio.NewReader(conn), client: true}
		p.openClient()
		frames := append(script(b), frame{head: fin | opClose, payload: closing(4999, "")})
		out, codes := verdict(frames)
		_ = conn.SetWriteDeadline(time.Now().Add(patience))
		for _, piece := range cutEvery(p.encode(frames...), int(cut)+1) {
			// The server may hang up before it has read everything.
			_, _ = conn.Write(piece)
		}
		for _, want := range out {
			if r := p.must(want.String()); r.op != want.op || !bytes.Equal(r.payload, want.payload) {
				t.Fatalf("received %v, expected %v", r, want)
			}
		}
		r := p.must(fmt.Sprint("close ", codes))
		c, err := parseClose(r.payload)
		if r.op != opClose || err != nil || !slices.Contains(codes, c.code) {
			t.Fatalf("received %v, %v, expected close %d", r, err, codes)
		}
		p.ended()
	})
}

// FuzzInflater compares the slow inflater of these tests with what it is to judge.
func FuzzInflater(f *testing.F) {
	for _, s := range []string{"", "a", "Hello Hello Hello", strings.Repeat("abc", 1000)} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, narrowed bool) {
		agreed := params{}
		if narrowed {
			agreed.clientBits = 8
		}
		d := newDeflate(agreed, params{}, true)
		defer d.release()
		in := inflater{window: 1 << 15, keeps: true}
		if narrowed {
			in.window = 1 << 8
		}
		for range 2 { // the second time with context
			if got, err := in.message(d.compress(b)); err != nil || !bytes.Equal(got, b) {
				t.Fatalf("%q became %q, %v", b, got, err)
			}
		}
		// What is damaged must not end in a panic.
		if _, err := in.message(b); err != nil && !errors.Is(err, errDeflate) {
			t.Fatal(err)
		}
	})
}
