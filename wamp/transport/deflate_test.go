package transport_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/websocket"
)

func TestCompressionCarriesMessagesOfEverySize(t *testing.T) {
	t.Parallel()
	opts := transport.Options{Queue: 4 << 20, Batched: true, Deflate: true, DeflateFrom: 100}
	s := serve(t, "tcp", transport.ServerConfig{Options: opts}, echo)
	eachFormat(t, func(t *testing.T, f wamp.Format) {
		for _, batched := range []bool{false, true} {
			for _, deflate := range []bool{false, true} { // of the client
				opts := opts
				opts.Deflate, opts.Batched = deflate, batched
				p, err := transport.Dial(t.Context(), "ws://"+s.addr, transport.DialConfig{Options: opts, Formats: []wamp.Format{f}})
				if err != nil {
					t.Fatal(err)
				}
				carries(t, p)
				_ = p.Close()
			}
		}
	})
}

// bomb is an EVENT of n bytes that compresses to a thousandth.
func bomb(f wamp.Format, n int) []byte {
	text := strings.Repeat("x", n)
	head := []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	switch f {
	case wamp.JSON:
		return []byte(`[36,1,2,{},["` + text + `"]]`)
	case wamp.MsgPack:
		return append(append([]byte{0x95, 36, 1, 2, 0x80, 0x91, 0xdb}, head...), text...)
	}
	return append(append([]byte{0x85, 0x18, 36, 1, 2, 0xa0, 0x81, 0x7a}, head...), text...)
}

func TestAZipBombFailsTheTransportAtTheLimit(t *testing.T) { // not parallel: it measures memory
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		opts := batching
		opts.MaxMessage, opts.Deflate = 1<<20, true
		s := serve(t, "tcp", transport.ServerConfig{Options: opts}, nil)
		frame, smaller := websocket.Deflate(bomb(f, 64<<20), 0)
		if !smaller || len(frame) > 1<<19 {
			t.Fatalf("the bomb has %d bytes on the wire", len(frame))
		}
		head := make([]byte, websocket.HeaderLen(len(frame), true))
		websocket.PutHeader(head, opcode(f)|websocket.Deflated, len(frame), &[4]byte{})
		for _, subprotocol := range []string{transport.Subprotocol(f), transport.BatchedSubprotocol(f)} {
			c := plainWS(t, s, subprotocol, websocket.Config{Deflate: true})
			router := s.next(t)
			if !c.Deflated() {
				t.Fatal("there is no compression")
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := c.NetConn().Write(append(head, frame...)); err != nil {
				t.Fatal(err)
			}
			violates(t, router)
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
				t.Errorf("%s: the bomb costs %d bytes", subprotocol, n)
			}
			go func() { _ = router.Close() }()
			_, _, err := c.Read()
			var ce *websocket.CloseError
			if !errors.As(err, &ce) || ce.Code != websocket.CloseTooBig {
				t.Errorf("%s: the connection ended with %v, expected close code 1009", subprotocol, err)
			}
		}
	}
}
