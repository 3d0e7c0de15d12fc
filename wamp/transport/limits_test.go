package transport_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

func TestTooLongAMessageFailsBeforeItIsThere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		tr     string
		header string
	}{
		{"rawsocket one over", "rawsocket", "\x00\x00\x04\x01"},
		{"rawsocket 2^24-1", "rawsocket", "\x00\xff\xff\xff"},
		{"rawsocket 2^24", "rawsocket", "\x08\x00\x00\x00"},
		{"rawsocket over 2^24", "rawsocket", "\x08\x00\x00\x01"},
		{"rawsocket ping one over", "rawsocket", "\x01\x00\x04\x01"},
		{"rawsocket pong one over", "rawsocket", "\x02\x00\x04\x01"},
		{"websocket one over", "websocket", "\x82\xfe\x04\x01\x00\x00\x00\x00"},
		{"websocket 2^31", "websocket", "\x82\xff\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00"},
		{"websocket 2^63-1", "websocket", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"},
		{"websocket 2^64-1", "websocket", "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"},
		{"websocket fragments together", "websocket", "\x02\xfe\x03\xff\x00\x00\x00\x00" + strings.Repeat("x", 1023) + "\x80\x82\x00\x00\x00\x00xx"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			opts := patient
			opts.MaxMessage = 1024
			s := serve(t, "tcp", transport.ServerConfig{Options: opts}, nil)
			p, router := s.script(t, wamptest.Link{Transport: c.tr, Format: wamp.CBOR})
			p.SendBytes([]byte(c.header))
			violates(t, router) // though no payload has been sent
			if c.tr == "rawsocket" {
				if err := router.TrySend(&wamp.Abort{Reason: wamp.ErrURIProtocolViolation}); err != nil {
					t.Errorf("there is no way to say why: %v", err)
				}
			}
			closed := make(chan struct{})
			go func() { defer close(closed); _ = router.Close() }()
			if c.tr == "rawsocket" {
				p.ExpectAbort(wamp.ErrURIProtocolViolation)
			} else {
				p.ExpectClosed()
				if p.CloseCode != 1009 {
					t.Errorf("close code is %d, expected 1009", p.CloseCode)
				}
			}
			p.Close()
			<-closed
		})
	}
}

func TestAMessageOfTheLimitIsTaken(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		opts := hasty
		opts.MaxMessage = 1024
		s := serve(t, "tcp", transport.ServerConfig{Options: opts}, echo)
		p := wamptest.Dial(t, s.network, s.addr, l)
		p.SendPayload(messageOf(t, l.Format, 1024))
		if f := p.RecvFrame(); len(f.Payload) != 1024 {
			t.Errorf("%d bytes came back", len(f.Payload))
		}
	})
}

// messageOf returns an EVENT of n bytes.
func messageOf(t *testing.T, f wamp.Format, n int) []byte {
	t.Helper()
	fill := n - 5
	for {
		// [36, 1, 2, {}, [text]]
		text := bytes.Repeat([]byte("x"), fill)
		var b []byte
		switch f {
		case wamp.JSON:
			b = append(append([]byte(`[36,1,2,{},["`), text...), `"]]`...)
		case wamp.MsgPack:
			b = append([]byte{0x95, 36, 1, 2, 0x80, 0x91, 0xdb, byte(fill >> 24), byte(fill >> 16), byte(fill >> 8), byte(fill)}, text...)
		default:
			b = append([]byte{0x85, 0x18, 36, 1, 2, 0xa0, 0x81, 0x7a, byte(fill >> 24), byte(fill >> 16), byte(fill >> 8), byte(fill)}, text...)
		}
		if len(b) == n {
			return b
		}
		fill -= len(b) - n
	}
}

// AP RawSocket, "Serialization": the 25th bit of the length is set for 2^24 and
// for nothing else.
func TestThe25thBitOfARawSocketLength(t *testing.T) { // not parallel: it takes memory
	opts := transport.Options{MaxMessage: 1 << 24, PingInterval: -1}
	s := serve(t, "tcp", transport.ServerConfig{Options: opts}, echo)
	l := wamptest.Link{Transport: "rawsocket", Format: wamp.MsgPack}
	scripted := wamptest.Dial(t, s.network, s.addr, l)
	for _, n := range []int{1<<24 - 1, 1 << 24} {
		scripted.SendPayload(append(messageHead(n), make([]byte, n-len(messageHead(n)))...))
		var h [4]byte
		if _, err := io.ReadFull(scripted.Conn, h[:]); err != nil {
			t.Fatal(err)
		}
		want := [4]byte{0, 0xff, 0xff, 0xff}
		if n == 1<<24 {
			want = [4]byte{0x08}
		}
		if h != want {
			t.Errorf("%d bytes came back with header % x, expected % x", n, h, want)
		}
		if _, err := io.CopyN(io.Discard, scripted.Conn, int64(n)); err != nil {
			t.Fatal(err)
		}
	}
	p, err := transport.Dial(t.Context(), s.url(l), transport.DialConfig{Options: opts, Formats: []wamp.Format{wamp.MsgPack}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	n := 1 << 24
	head := messageHead(n)
	ev := func(extra int) *wamp.Event {
		return &wamp.Event{Subscription: 1, Publication: 2, Payload: wamp.Values(wamp.List{make([]byte, n-len(head)+extra)}, nil)}
	}
	if err := p.TrySend(ev(1)); !errors.Is(err, wamp.ErrTooLarge) {
		t.Fatalf("a message of 2^24+1 bytes: %v", err)
	}
	if err := p.TrySend(ev(0)); err != nil {
		t.Fatal(err)
	}
	m, err := p.Recv()
	if err != nil || m.(*wamp.Event).Payload.Size() != n-5 {
		t.Fatalf("2^24 bytes came back as %T, %v", m, err)
	}
}

// messageHead begins an EVENT of n bytes in MsgPack whose argument is binary.
func messageHead(n int) []byte {
	n -= 11
	return []byte{0x95, 36, 1, 2, 0x80, 0x91, 0xc6, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

func TestMoreThanThePeerTakesIsNeverSent(t *testing.T) {
	t.Parallel()
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			s := serve(t, "tcp", transport.ServerConfig{Options: hasty}, nil)
			p := wamptest.OverLimited(t, s.conn(t), wamptest.Link{Transport: "rawsocket", Format: f}, 512)
			router := s.next(t)
			if n := router.Info().MaxSend; n != 512 {
				t.Errorf("the peer takes 512 bytes, Info says %d", n)
			}
			long := &wamp.Event{Subscription: 1, Publication: 1, Payload: wamp.Args(strings.Repeat("x", 600))}
			if err := router.TrySend(long); !errors.Is(err, wamp.ErrTooLarge) {
				t.Errorf("600 bytes: %v", err)
			}
			shared := &wamp.Shared{Msg: long}
			for range 2 { // the second time the frame exists already or not
				if err := router.TrySend(shared); !errors.Is(err, wamp.ErrTooLarge) {
					t.Errorf("600 bytes, shared: %v", err)
				}
			}
			if err := router.Send(t.Context(), long); !errors.Is(err, wamp.ErrTooLarge) {
				t.Errorf("600 bytes, waiting: %v", err)
			}
			if err := router.TrySend(&wamp.Published{Request: 1, Publication: 2}); err != nil {
				t.Fatal(err)
			}
			p.Expect(`[17, 1, 2]`)
		})
	}
}

func TestFramesThatAreReserved(t *testing.T) {
	t.Parallel()
	cases := map[string][]string{"rawsocket": {}, "websocket": {
		"\x83\x80\x00\x00\x00\x00",     // opcode 3
		"\x8b\x80\x00\x00\x00\x00",     // opcode 11
		"\xc2\x80\x00\x00\x00\x00",     // first reserved bit
		"\xa2\x80\x00\x00\x00\x00",     // second
		"\x92\x80\x00\x00\x00\x00",     // third
		"\x82\x00",                     // not masked
		"\x09\x80\x00\x00\x00\x00",     // ping in fragments
		"\x89\xfe\x00\x7e\x00\x00\x00", // ping over 125 bytes
		"\x80\x80\x00\x00\x00\x00",     // continuation of nothing
	}}
	for kind := range byte(16) {
		if kind != wamptest.RawRegular && kind != wamptest.RawPing && kind != wamptest.RawPong && kind&0x08 == 0 {
			cases["rawsocket"] = append(cases["rawsocket"], string([]byte{kind, 0, 0, 0}))
		}
		if kind != 0 {
			cases["rawsocket"] = append(cases["rawsocket"], string([]byte{kind << 4, 0, 0, 0}))
		}
	}
	for tr, frames := range cases {
		s := serve(t, "tcp", transport.ServerConfig{Options: hasty}, nil)
		for _, frame := range frames {
			p, router := s.script(t, wamptest.Link{Transport: tr, Format: wamp.CBOR})
			p.SendBytes([]byte(frame))
			violates(t, router)
			_ = router.Close()
		}
	}
}

func TestFrameOfTheWrongTypeFailsTheConnection(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		if l.Transport != "websocket" {
			t.Skip("only WebSocket has types of messages")
		}
		s := serve(t, "tcp", transport.ServerConfig{Options: patient}, nil)
		p, router := s.script(t, l)
		wrong := byte(wamptest.Text)
		if l.Format == wamp.JSON {
			wrong = wamptest.Binary
		}
		p.SendFrame(wamptest.Frame{Kind: wrong, Payload: messageOf(t, l.Format, 100)})
		violates(t, router)
		violates(t, router) // and it stays so
		closed := make(chan struct{})
		go func() { defer close(closed); _ = router.Close() }()
		p.ExpectClosed()
		if p.CloseCode != 1003 {
			t.Errorf("close code is %d, expected 1003", p.CloseCode)
		}
		p.Close()
		<-closed
	})
}

func TestWhatIsNoMessageIsAViolation(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		s := serve(t, "tcp", transport.ServerConfig{Options: hasty}, nil)
		for _, b := range []string{"", "\x00", "\xff\xff\xff\xff", "[", "[]", "{}", "null"} {
			p, router := s.script(t, l)
			p.SendPayload([]byte(b))
			violates(t, router)
			_ = router.Close()
		}
	})
}

// A header alone must not cost the memory that it promises.
func TestPromisedBytesCostNothing(t *testing.T) { // not parallel: it measures memory
	opts := hasty
	opts.MaxMessage = 1 << 24
	s := serve(t, "tcp", transport.ServerConfig{Options: opts}, nil)
	for _, c := range []struct{ tr, header string }{
		{"rawsocket", "\x08\x00\x00\x00"},
		{"websocket", "\x82\xff\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 20 {
			p, router := s.script(t, wamptest.Link{Transport: c.tr, Format: wamp.CBOR})
			p.SendBytes([]byte(c.header + "some"))
			_ = p.Conn.Close()
			if m, err := router.Recv(); err == nil || errors.Is(err, io.EOF) {
				t.Fatalf("received %v, %v", m, err)
			}
			_ = router.Close()
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / 20; n > 256<<10 {
			t.Errorf("%s: a header of 2^24 bytes costs %d bytes", c.tr, n)
		}
	}
}
