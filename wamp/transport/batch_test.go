package transport_test

import (
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
	"gantry/wamp/websocket"
)

// eachFormat runs f for every serializer.
func eachFormat(t *testing.T, f func(t *testing.T, format wamp.Format)) {
	t.Helper()
	for _, format := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		t.Run(format.String(), func(t *testing.T) {
			t.Parallel()
			f(t, format)
		})
	}
}

// plainWS connects without WAMP on top.
func plainWS(t *testing.T, s *server, subprotocol string, cfg websocket.Config) *websocket.Conn {
	t.Helper()
	c, err := (&websocket.Dialer{Config: cfg, Subprotocols: []string{subprotocol}}).Dial(t.Context(), "ws://"+s.addr+"/ws")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Abandon() })
	return c
}

// opcode is the type of the frames of a format.
func opcode(f wamp.Format) websocket.Opcode {
	if f == wamp.JSON {
		return websocket.Text
	}
	return websocket.Binary
}

// record is a message as it is in a batch.
func record(f wamp.Format, m []byte, separator byte) []byte {
	if f == wamp.JSON {
		return append(m, separator)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(m))), m...)
}

func encode(t *testing.T, f wamp.Format, m wamp.Message) []byte {
	t.Helper()
	b, err := serialize.Append(nil, f, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// batching are options with batches. Whoever closes waits: tests look at the close
// frame that comes last, which a busy machine does not send in a hurry.
var batching = transport.Options{Batched: true, Linger: wamptest.Deadline}

func TestBatchesCarryMessagesOfEverySize(t *testing.T) {
	t.Parallel()
	for _, ours := range []byte{0, transport.SeparatorRS, transport.SeparatorCAN} {
		s := serve(t, "tcp", transport.ServerConfig{Options: transport.Options{Queue: 4 << 20, Batched: true, Separator: ours}}, echo)
		for _, theirs := range []byte{0, transport.SeparatorRS, transport.SeparatorCAN} {
			eachFormat(t, func(t *testing.T, f wamp.Format) {
				p, err := transport.Dial(t.Context(), "ws://"+s.addr, transport.DialConfig{
					Options: transport.Options{Batched: true, Separator: theirs}, Formats: []wamp.Format{f}})
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = p.Close() }()
				carries(t, p)
			})
		}
	}
}

// AP "Message Batching": one message is a batch of one.
func TestABatchOfManyIsReadAsManyMessages(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, f wamp.Format) {
		for _, separator := range []byte{0x1E, 0x18} {
			s := serve(t, "tcp", transport.ServerConfig{Options: batching}, echo)
			c := plainWS(t, s, transport.BatchedSubprotocol(f), websocket.Config{})
			var frame []byte
			for i := range 100 {
				m := &wamp.Published{Request: wamp.ID(i + 1), Publication: 1}
				frame = append(frame, record(f, encode(t, f, m), separator)...)
			}
			if err := c.Write(opcode(f), frame); err != nil {
				t.Fatal(err)
			}
			// What comes back has the separator of what was sent.
			var got []byte
			for len(got) < len(frame) {
				op, b, err := c.Read()
				if err != nil || op != opcode(f) {
					t.Fatalf("frame of type %d, %v", op, err)
				}
				got = append(got, b...)
			}
			if string(got) != string(frame) {
				t.Errorf("%d bytes came back as %d others", len(frame), len(got))
			}
		}
	})
}

func TestBatchesThatAreBrokenFailTheTransport(t *testing.T) {
	t.Parallel()
	cases := map[wamp.Format][]string{
		wamp.JSON: {"", "\x1e", "\x18", "[34,7,8]", "[34,7,8]\x1e\x1e", "\x1e[34,7,8]\x1e", "[34,7,8]\x1e[34,7,8]", "[34,7,8]\x1e\n", "[34,7,8]\x1f"},
	}
	for f, m := range map[wamp.Format]string{wamp.MsgPack: "\x93\x22\x07\x08", wamp.CBOR: "\x83\x18\x22\x07"} {
		good := "\x00\x00\x00\x04" + m
		cases[f] = []string{"", "\x00", "\x00\x00\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x05" + m, "\xff\xff\xff\xff" + m, "\x80\x00\x00\x00",
			good + "\x00\x00\x00", good + "\x00\x00\x00\x00", good + "\x00\x00\x00\x05" + m, good + m}
	}
	eachFormat(t, func(t *testing.T, f wamp.Format) {
		s := serve(t, "tcp", transport.ServerConfig{Options: batching}, nil)
		for _, frame := range cases[f] {
			c := plainWS(t, s, transport.BatchedSubprotocol(f), websocket.Config{})
			router := s.next(t)
			if err := c.Write(opcode(f), []byte(frame)); err != nil {
				t.Fatal(err)
			}
			_, err := router.Recv()
			var v *wamp.ProtocolError
			if !errors.As(err, &v) || !strings.Contains(v.Text, "batch") {
				t.Errorf("%q is reported as %v", frame, err)
			}
			violates(t, router) // and it stays so
			go func() { _ = router.Close() }()
			_, _, err = c.Read()
			var ce *websocket.CloseError
			if !errors.As(err, &ce) || ce.Code != websocket.CloseProtocolError {
				t.Errorf("%q ended the connection with %v, expected close code 1002", frame, err)
			}
		}
	})
}

func TestOneSeparatorPerBatch(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{Options: batching}, nil)
	c := plainWS(t, s, "wamp.2.json.batched", websocket.Config{})
	router := s.next(t)
	if err := c.Write(websocket.Text, []byte("[34,7,8]\x1e[34,7,8]\x18")); err != nil {
		t.Fatal(err)
	}
	violates(t, router)
}

func TestBatchedIsRefusedWhereItIsNotWanted(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{}, echo)
	_, err := (&websocket.Dialer{Subprotocols: []string{"wamp.2.cbor.batched"}}).Dial(t.Context(), "ws://"+s.addr+"/ws")
	var he *websocket.HandshakeError
	if !errors.As(err, &he) || he.Status != http.StatusBadRequest {
		t.Errorf("the answer is %v", err)
	}
	p, err := transport.Dial(t.Context(), "ws://"+s.addr, transport.DialConfig{Options: transport.Options{Batched: true}})
	if err != nil {
		t.Fatal(err) // the plain subprotocol is offered as well
	}
	_ = p.Close()
}

func TestMessagesInABatchAreHeldToTheLimitEach(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, f wamp.Format) {
		opts := batching
		opts.MaxMessage = 1024
		s := serve(t, "tcp", transport.ServerConfig{Options: opts}, nil)
		c := plainWS(t, s, transport.BatchedSubprotocol(f), websocket.Config{})
		router := s.next(t)
		var frame []byte
		for range 20 {
			frame = append(frame, record(f, messageOf(t, f, 1024), 0x1E)...)
		}
		if err := c.Write(opcode(f), append(frame, record(f, messageOf(t, f, 1025), 0x1E)...)); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if _, err := router.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		violates(t, router)
		if err := c.Write(opcode(f), make([]byte, 1<<16+4)); err != nil {
			t.Fatal(err)
		}
		violates(t, router)
		go func() { _ = router.Close() }()
		_, _, err := c.Read()
		var ce *websocket.CloseError
		if !errors.As(err, &ce) || ce.Code != websocket.CloseTooBig {
			t.Errorf("a frame over the limit ended with %v", err)
		}
	})
}

// One event for peers that batch, compress, or do neither must be cached for
// each of them apart.
func TestASharedEventReachesEveryKindOfWebSocket(t *testing.T) {
	t.Parallel()
	opts := batching
	opts.Deflate = true
	s := serve(t, "tcp", transport.ServerConfig{Options: opts}, nil)
	for _, size := range []int{10, 3000, 100_000} {
		want := strings.Repeat("x", size)
		shared := &wamp.Shared{Msg: &wamp.Event{Subscription: 1, Publication: 2, Payload: wamp.Args(want)}}
		for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
			for kind := range 6 {
				cfg := transport.DialConfig{Formats: []wamp.Format{f}}
				cfg.Batched = kind >= 2
				cfg.Deflate = kind%2 == 1
				if cfg.Separator = transport.SeparatorRS; kind >= 4 {
					cfg.Separator = transport.SeparatorCAN
				}
				p, err := transport.Dial(t.Context(), "ws://"+s.addr, cfg)
				if err != nil {
					t.Fatal(err)
				}
				router := s.next(t)
				if err := p.TrySend(&wamp.Published{Request: 1, Publication: 1}); err != nil {
					t.Fatal(err)
				}
				if _, err := router.Recv(); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(router.TrySend(shared), router.TrySend(shared)); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					m, err := p.Recv()
					if err != nil {
						t.Fatalf("%s, kind %d: %v", f, kind, err)
					}
					var got string
					if err := serialize.Arg(m.(*wamp.Event).Payload, 0, &got); err != nil || got != want {
						t.Fatalf("%s, kind %d: %d characters of %d, %v", f, kind, len(got), size, err)
					}
				}
				go func() { _ = router.Close() }()
				_ = p.Close()
			}
		}
	}
}

func TestBatchedIsChosenInTheClientsOrder(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{Options: transport.Options{Batched: true}}, echo)
	for offer, want := range map[string]string{
		"wamp.2.ubjson.batched, wamp.2.json.batched, wamp.2.cbor": "wamp.2.json.batched",
		"wamp.2.cbor, wamp.2.cbor.batched":                        "wamp.2.cbor",
		"wamp.2.msgpack.batched":                                  "wamp.2.msgpack.batched",
	} {
		c := plainWSOffer(t, s, strings.Split(offer, ", "))
		if got := c.Subprotocol(); got != want {
			t.Errorf("%s: agreed on %s, expected %s", offer, got, want)
		}
	}
}

func plainWSOffer(t *testing.T, s *server, offer []string) *websocket.Conn {
	t.Helper()
	c, err := (&websocket.Dialer{Subprotocols: offer}).Dial(t.Context(), "ws://"+s.addr+"/ws")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Abandon() })
	return c
}
