package websocket

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"
	"unicode/utf8"
)

// pieces is a connection on which b arrives n bytes at a time.
type pieces struct {
	net.Conn
	b []byte
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(p.n, len(b))], p.b)
	p.b = p.b[n:]
	return n, nil
}

// follow has b arrive in pieces of n bytes and returns the frames that were seen,
// what was passed on, and the error that ended it.
func follow(b []byte, n int, server bool) (seen []FrameHeader, passed []byte, w *wire, err error) {
	w = newWire(&pieces{b: b, n: n}, &Config{MaxFrame: 1000}, server)
	buf := make([]byte, 128)
	for {
		var m int
		m, err = w.Read(buf)
		passed = append(passed, buf[:m]...)
		for h, ok := w.in.take(); ok; h, ok = w.in.take() {
			seen = append(seen, h)
		}
		if err != nil {
			return seen, passed, w, err
		}
	}
}

func FuzzWireSeesTheSameInAnyPieces(f *testing.F) {
	f.Add([]byte("\x81\x85\x00\x00\x00\x00hello\x89\x80\x00\x00\x00\x00"), uint8(3), false)
	f.Add([]byte("\x02\xfe\x00\x7e\x00\x00\x00\x00"), uint8(1), false)
	f.Add([]byte("\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), uint8(1), false)
	f.Add([]byte("\x88\x85\x00\x00\x00\x00\x03\xe8\xed\xa0\x80"), uint8(1), false)
	f.Add([]byte("\x88\x02\x03\xf6\x88\x01x"), uint8(1), false)
	f.Add([]byte("HTTP/1.1 101 x\r\na: b\r\n\r\n\x81\x01a"), uint8(2), true)
	f.Add([]byte("HTTP/1.1 101 x\r\nsec-websocket-extensions: permessage-deflate; server_no_context_takeover\r\n\r\n\xc1\x01a\x88\x01"), uint8(2), true)
	f.Add([]byte("HTTP/1.1 404 x\r\na: b\r\n\r\n\xff\xff\xff"), uint8(2), true)
	f.Fuzz(func(t *testing.T, b []byte, n uint8, answer bool) {
		want, whole, w, wantErr := follow(b, len(b)+1, !answer)
		got, passed, _, err := follow(b, int(n)+1, !answer)
		if fmt.Sprint(want, wantErr) != fmt.Sprint(got, err) || err == io.EOF && !bytes.Equal(whole, passed) {
			t.Errorf("% x in pieces of %d: %v, %v; in one %v, %v", b, n+1, got, err, want, wantErr)
		}
		switch {
		case w.agreed != "" && (!agreeable(w.agreed) || !answer):
			t.Errorf("agreed on %q", w.agreed)
		case w.agreed == "" && !bytes.HasPrefix(b, whole):
			t.Errorf("%q became %q", b, whole)
		}
	})
}

func FuzzTextIsCheckedInPieces(f *testing.F) {
	for _, s := range []string{"aä€😀", "\xce\xff", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x9f\x98", "\x80"} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, n uint8) {
		var u utf8Check
		for rest := b; len(rest) > 0; {
			m := min(int(n)+1, len(rest))
			good := u.valid(rest[:m])
			rest = rest[m:]
			// What has come so far can be valid exactly if something makes it so.
			if possible := canBecomeText(b[:len(b)-len(rest)]); good != possible {
				t.Fatalf("% x: valid %v, want %v", b[:len(b)-len(rest)], good, possible)
			}
			if !good {
				return
			}
		}
		if u.complete() != utf8.Valid(b) {
			t.Errorf("% x: complete %v", b, u.complete())
		}
	})
}

// canBecomeText tries endings.
func canBecomeText(b []byte) bool {
	for _, end := range []string{"", "\x80", "\x80\x80", "\x80\x80\x80", "\xbf", "\xbf\x80", "\xbf\x80\x80"} {
		if utf8.Valid(append(append([]byte{}, b...), end...)) {
			return true
		}
	}
	return false
}

func FuzzParseParameters(f *testing.F) {
	f.Add("permessage-deflate; client_max_window_bits; server_max_window_bits=\"10\"")
	f.Fuzz(func(t *testing.T, s string) {
		o, ok := parseParameters(s)
		for _, bits := range []int{o.ServerMaxWindowBits, o.ClientMaxWindowBits} {
			if ok && bits != 0 && (bits < 8 || bits > 15) {
				t.Errorf("%q: %+v", s, o)
			}
		}
	})
}
