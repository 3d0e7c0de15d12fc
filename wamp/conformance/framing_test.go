package conformance

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

var framing = []item{
	{name: "28_first_octet_chooses_protocol", run: firstOctet},
	{name: "29_rawsocket_handshake_errors", run: rawHandshakeErrors},
	{name: "30_rawsocket_reserved_frames", run: rawReservedFrames},
	{name: "31_rawsocket_ping", run: rawPing},
	{name: "32_rawsocket_25th_bit", run: raw25thBit},
	{name: "33_rawsocket_size_limits", run: rawSizeLimits},
	{name: "34_rawsocket_slow_handshake", run: rawSlowHandshake},
	{name: "35_websocket_conformance", run: webConformance},
	{name: "36_websocket_size_limits", run: webSizeLimits},
	{name: "37_half_open_peer", run: halfOpenPeer},
}

func raw(f wamp.Format) wamptest.Link { return wamptest.Link{Transport: "rawsocket", Format: f} }

// dial opens a connection without a handshake.
func (w *world) dial() net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(wamptest.Deadline))
	return c
}

// answer sends bytes on a fresh connection and returns what comes until the end.
func (w *world) answer(hello string) string {
	w.t.Helper()
	c := w.dial()
	if _, err := io.WriteString(c, hello); err != nil {
		w.t.Fatal(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	b, err := io.ReadAll(c)
	if err != nil {
		w.t.Errorf("after % x: %v", hello, err)
	}
	return string(b)
}

func firstOctet(t *testing.T) {
	w := start(t, raw(wamp.JSON), config{})
	if got := w.answer("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 404") {
		t.Errorf("HTTP was answered by %q", got)
	}
	for _, hello := range []string{"\x7E\xF1\x00\x00", "\x00\x00\x00\x00", "\x16\x03\x01\x00\x00\r\n\r\n", "\x10\x0c\x00\x04MQTT\r\n\r\n"} {
		if got := w.answer(hello); got != "" && !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("% x was answered by %q", hello, got)
		}
	}
	w.peer().Fence()
}

func rawHandshakeErrors(t *testing.T) {
	w := start(t, raw(wamp.JSON), config{})
	for hello, want := range map[string]string{
		"\x7F\xF0\x00\x00": "\x7F\x10\x00\x00", "\x7F\x00\x00\x00": "\x7F\x10\x00\x00",
		"\x7F\xF4\x00\x00": "\x7F\x10\x00\x00", "\x7F\x0F\x00\x00": "\x7F\x10\x00\x00",
		"\x7F\xF1\x01\x00": "\x7F\x30\x00\x00", "\x7F\xF1\x00\x01": "\x7F\x30\x00\x00", "\x7F\xF1\xFF\xFF": "\x7F\x30\x00\x00",
	} {
		if got := w.answer(hello); got != want {
			t.Errorf("% x was answered by % x, expected % x", hello, got, want)
		}
	}
	// Every length that a client may announce is acceptable: error 2 is never sent.
	for length := range byte(16) {
		if got := w.answer(string([]byte{0x7F, length<<4 | 3, 0, 0})); got != "\x7F\xB3\x00\x00" {
			t.Errorf("length %d was answered by % x, expected the router's own of 2^20", length, got)
		}
	}
}

func rawReservedFrames(t *testing.T) {
	over(t, []wamptest.Link{raw(wamp.JSON), raw(wamp.MsgPack), raw(wamp.CBOR)}, config{}, func(w *world) {
		bystander := w.peer()
		for _, joined := range []bool{false, true} {
			for _, first := range []byte{3, 4, 5, 6, 7, 0x10, 0x20, 0x40, 0x80, 0xFF} {
				p := w.connect()
				if joined {
					p.Join(realm)
				}
				p.SendBytes([]byte{first, 0, 0, 4, 'a', 'b', 'c', 'd'})
				p.ExpectAbort(wamp.ErrURIProtocolViolation)
			}
		}
		bystander.Fence()
	})
}

func rawPing(t *testing.T) {
	over(t, []wamptest.Link{raw(wamp.JSON), raw(wamp.MsgPack), raw(wamp.CBOR)}, config{}, func(w *world) {
		p, pub := w.peer(), w.peer()
		subscribe(p, "sub", `{}`, "a.b")
		p.SendFrame(wamptest.Frame{Kind: wamptest.RawPong, Payload: []byte("nobody asked")})
		for _, n := range []int{0, 1, 1 << 20} {
			payload := bytes.Repeat([]byte("p"), n)
			p.SendFrame(wamptest.Frame{Kind: wamptest.RawPing, Payload: payload})
			if f := p.RecvFrame(); f.Kind != wamptest.RawPong || !bytes.Equal(f.Payload, payload) {
				w.t.Errorf("ping of %d bytes was answered by type %d with %d bytes", n, f.Kind, len(f.Payload))
			}
		}
		// Pongs and events share the stream; a torn frame would show.
		const n = 200
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for range n {
				pub.Send(`[16, "+", {}, "a.b", ["some text"]]`)
			}
		}()
		for range n {
			p.SendFrame(wamptest.Frame{Kind: wamptest.RawPing, Payload: []byte("ping")})
		}
		for pongs, events := 0, 0; pongs < n || events < n; {
			switch f := p.RecvFrame(); {
			case f.Kind == wamptest.RawPong && string(f.Payload) == "ping":
				pongs++
			case f.Kind == wamptest.RawRegular && bytes.Contains(f.Payload, []byte("some text")):
				events++
			default:
				w.t.Fatalf("frame of type %d with %d bytes after %d pongs and %d events", f.Kind, len(f.Payload), pongs, events)
			}
		}
		<-sent
		p.SendBytes([]byte{1, 0x10, 0, 1}) // a ping over the limit of 2^20
		p.ExpectAbort(wamp.ErrURIProtocolViolation)
	})
}

func raw25thBit(t *testing.T) {
	w := start(t, raw(wamp.CBOR), config{server: transport.Options{MaxMessage: 1 << 24, Linger: patient.Linger, PingInterval: time.Minute}})
	p, s := w.peer(), w.peer()
	subscribe(s, "sub", `{}`, "a")
	for _, n := range []int{1<<24 - 1, 1 << 24} {
		// [16, 1, {"acknowledge": true}, "a", [bytes]]
		head := append([]byte("\x85\x10\x01\xa1\x6backnowledge\xf5\x61a\x81\x5a"), 0, 0, 0, 0)
		fill := n - len(head)
		copy(head[len(head)-4:], []byte{byte(fill >> 24), byte(fill >> 16), byte(fill >> 8), byte(fill)})
		frame := p.Encode(wamptest.Frame{Payload: append(head, make([]byte, fill)...)})
		if long := frame[0]&0x08 != 0; long != (n == 1<<24) {
			t.Fatalf("frame begins with % x", frame[:4])
		}
		p.SendBytes(frame)
		p.Expect(`[17, 1, "*"]`)
		if f := s.RecvFrame(); len(f.Payload) < 1<<24-100 {
			t.Errorf("an event of %d bytes came", len(f.Payload))
		}
	}
	p.SendBytes([]byte{0x08, 0, 0, 1})
	p.ExpectAbort(wamp.ErrURIProtocolViolation)
}

func rawSizeLimits(t *testing.T) {
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			w := start(t, raw(f), config{server: transport.Options{MaxMessage: 4096, Linger: patient.Linger}})
			small := wamptest.OverLimited(t, w.dial(), raw(f), 2048)
			small.Join(realm)
			other := w.peer()
			long := `["` + strings.Repeat("x", 3000) + `"]`
			subscribe(small, "sub", `{}`, "a.b")
			register(small, "reg", `{}`, "proc.small")
			register(other, "reg", `{}`, "proc.other")
			other.Send(`[16, "+", {"acknowledge": true}, "a.b", ` + long + `]`)
			other.Expect(`[17, "=", "*"]`)
			other.Send(`[48, "+", {}, "proc.small", ` + long + `]`)
			other.Expect(`[8, 48, "=", {}, "wamp.error.payload_size_exceeded", "..."]`)
			small.Send(`[48, "+", {}, "proc.other"]`)
			other.Expect(`[68, "$inv", "$reg", {}]`)
			other.Send(`[70, "$inv", {}, ` + long + `]`)
			small.Expect(`[8, 48, "=", {}, "wamp.error.payload_size_exceeded", "..."]`)
			other.Unset("inv")
			small.Send(`[48, "+", {}, "proc.other"]`)
			other.Expect(`[68, "$inv", "$reg", {}]`)
			other.Send(`[8, 68, "$inv", {}, "my.error", ` + long + `]`)
			small.Expect(`[8, 48, "=", {}, "wamp.error.payload_size_exceeded", "..."]`)
			fences(small, other)
			if n := w.Stats(realm).Dropped; n != 1 {
				t.Errorf("%d events are counted as dropped, expected 1", n)
			}
			other.SendBytes([]byte{0, 0, 0x10, 1}) // 4097 bytes, over the router's limit
			other.ExpectAbort(wamp.ErrURIProtocolViolation)
		})
	}
}

// dribble writes one octet at a time.
type dribble struct{ net.Conn }

func (d dribble) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := d.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func rawSlowHandshake(t *testing.T) {
	w := start(t, raw(wamp.JSON), config{server: transport.Options{HandshakeTimeout: 5 * time.Second, Linger: patient.Linger}})
	p := wamptest.Over(t, dribble{w.dial()}, raw(wamp.CBOR))
	p.Join(realm)
	c := w.dial()
	if _, err := io.WriteString(c, "\x7F\xF1"); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("half a handshake was answered by %d bytes, %v", n, err)
	}
	p.Fence()
}

func webSizeLimits(t *testing.T) {
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			l := wamptest.Link{Transport: "websocket", Format: f}
			w := start(t, l, config{server: transport.Options{MaxMessage: 4096, Linger: patient.Linger}})
			opcode := byte(wamptest.Binary)
			if f == wamp.JSON {
				opcode = wamptest.Text
			}
			fragment := make([]byte, 3000)
			for _, b := range [][]byte{
				{0x80 | opcode, 0xFE, 0x10, 0x01, 0, 0, 0, 0},         // 4097 bytes, none of them sent
				{0x80 | opcode, 0xFF, 0, 0, 1, 0, 0, 0, 0, 0},         // 2^40
				{0x80 | opcode, 0xFF, 0x7F, 255, 255, 255, 255, 0xFF}, // 2^63
				append([]byte{opcode, 0xFE, 0x0B, 0xB8, 0, 0, 0, 0}, append(fragment, 0x80, 0xFE, 0x0B, 0xB8, 0, 0, 0, 0)...),
			} {
				p := w.peer()
				p.SendBytes(b)
				if len(b) < 8+6 && b[1] == 0xFF {
					p.SendBytes([]byte{0xFF, 0xFF, 0, 0, 0, 0})
				}
				p.ExpectClosed()
				if p.CloseCode != 1009 {
					t.Errorf("% x was answered by close code %d, expected 1009", b[:6], p.CloseCode)
				}
			}
			p := w.peer()
			p.Send(`[16, "+", {"acknowledge": true}, "a.b", ["` + strings.Repeat("x", 4000) + `"]]`)
			p.Expect(`[17, "=", "*"]`)
		})
	}
}

func halfOpenPeer(t *testing.T) {
	brisk := transport.Options{PingInterval: time.Second, PingTimeout: 4 * time.Second, Linger: patient.Linger}
	over(t, wamptest.NetworkLinks(), config{server: brisk}, func(w *world) {
		dead := w.peer()
		register(dead, "reg", `{}`, "proc.a")
		subscribe(dead, "sub", `{}`, "a.b")
		caller := w.peer()
		caller.Send(`[48, "+", {}, "proc.a"]`)
		// From here on the callee neither reads nor answers; the caller's pings are
		// answered while it waits.
		caller.Expect(`[8, 48, "=", {}, "wamp.error.canceled", "..."]`)
		caller.Send(`[48, "+", {}, "proc.a"]`)
		caller.Expect(`[8, 48, "=", {}, "wamp.error.no_such_procedure", "..."]`)
		register(caller, "reg", `{}`, "proc.a")
	})
}
