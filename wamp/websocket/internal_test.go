package websocket

import (
	"errors"
	"fmt"
	"testing"
	"unicode/utf8"
)

// follow feeds b in pieces of n bytes and returns what was seen, and where it ended.
func follow(b []byte, n int, state int) (seen []FrameHeader, ended int, err error) {
	in := &incoming{state: state, maxFrame: 1000}
	for ended < len(b) && err == nil {
		piece := b[ended:min(ended+n, len(b))]
		var good int
		good, err = in.feed(piece)
		ended += good
		for {
			h, ok := in.take()
			if !ok {
				break
			}
			seen = append(seen, h)
		}
	}
	return seen, ended, err
}

func FuzzWireSeesTheSameInAnyPieces(f *testing.F) {
	f.Add([]byte("\x81\x85\x00\x00\x00\x00hello\x89\x80\x00\x00\x00\x00"), uint8(3), false)
	f.Add([]byte("\x02\xfe\x00\x7e\x00\x00\x00\x00"), uint8(1), false)
	f.Add([]byte("\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), uint8(1), false)
	f.Add([]byte("HTTP/1.1 101 x\r\na: b\r\n\r\n\x81\x01a"), uint8(2), true)
	f.Add([]byte("HTTP/1.1 404 x\r\na: b\r\n\r\n\xff\xff\xff"), uint8(2), true)
	f.Fuzz(func(t *testing.T, b []byte, n uint8, answer bool) {
		state := inFrames
		if answer {
			state = inResponse
		}
		want, _, wantErr := follow(b, len(b)+1, state)
		got, _, err := follow(b, int(n)+1, state)
		if fmt.Sprint(want) != fmt.Sprint(got) || !errors.Is(err, wantErr) && fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("% x in pieces of %d: %v, %v; in one %v, %v", b, n+1, got, err, want, wantErr)
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
