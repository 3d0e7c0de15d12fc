package client_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"testing"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/transport"
)

// The bounds of objects that a call over RawSocket and CBOR allocates, transport
// included: caller and callee together where both work with payloads, and each of
// them where they work with Go values.
const (
	objects      = 12
	typedObjects = 12
)

// rawRouter stands for a router at the other end of a connection and allocates
// nothing while it works, so that what is counted is the client's. It knows no pings.
type rawRouter struct {
	conn net.Conn
	r    *bufio.Reader
	buf  [4096]byte
	out  [4096]byte
}

// startRawRouter accepts one RawSocket connection for CBOR, admits the session, and
// hands the rest to serve.
func startRawRouter(t testing.TB, serve func(*rawRouter)) *client.Session {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		w := &rawRouter{conn: conn, r: bufio.NewReader(conn)}
		if _, err := io.ReadFull(w.r, w.buf[:4]); err != nil {
			return
		}
		_, _ = conn.Write([]byte{0x7f, 0xf3, 0, 0}) // 16 MiB, CBOR
		w.read()                                    // HELLO
		w.write([]byte{0x83, 0x02, 0x01, 0xa0})     // [2, 1, {}]
		serve(w)
	}()
	s, err := client.Connect(context.Background(), client.URL("rs://"+l.Addr().String(),
		transport.DialConfig{Formats: []wamp.Format{wamp.CBOR}, Options: transport.Options{PingInterval: -1}}), client.SessionConfig{Realm: "realm1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(); _ = l.Close(); <-done })
	return s
}

// read returns the next message, nil at the end.
func (w *rawRouter) read() []byte {
	if _, err := io.ReadFull(w.r, w.buf[:4]); err != nil {
		return nil
	}
	n := int(w.buf[1])<<16 | int(w.buf[2])<<8 | int(w.buf[3])
	if _, err := io.ReadFull(w.r, w.buf[:n]); err != nil {
		return nil
	}
	return w.buf[:n]
}

func (w *rawRouter) write(parts ...[]byte) {
	n := 4
	for _, p := range parts {
		n += copy(w.out[n:], p)
	}
	w.out[0], w.out[1], w.out[2], w.out[3] = 0, 0, byte((n-4)>>8), byte(n-4)
	_, _ = w.conn.Write(w.out[:n])
}

// cborUint returns the unsigned integer that b begins with, as its bytes.
func cborUint(b []byte) []byte {
	switch b[0] {
	case 0x18:
		return b[:2]
	case 0x19:
		return b[:3]
	case 0x1a:
		return b[:5]
	}
	return b[:1]
}

// answerCalls answers CALL with RESULT and the one argument 21.5.
func answerCalls(w *rawRouter) {
	for m := w.read(); m != nil; m = w.read() {
		if !bytes.HasPrefix(m[1:], []byte{0x18, 0x30}) {
			return
		}
		w.write([]byte{0x84, 0x18, 0x32}, cborUint(m[3:]), []byte{0xa0, 0x81, 0xfb, 0x40, 0x35, 0x80, 0, 0, 0, 0, 0})
	}
}

func TestRouterWithoutPieces(t *testing.T) {
	t.Parallel()
	s := startRawRouter(t, func(w *rawRouter) { w.read() })
	_, err := client.CallPieces[int](t.Context(), s, "com.example.sum", upTo(3))
	if !wamp.IsError(err, wamp.ErrURIFeatureNotSupported) {
		t.Errorf("pieces to a router that announces nothing: %v", err)
	}
}

func TestCallAllocations(t *testing.T) {
	ctx := context.Background()
	caller := startRawRouter(t, answerCalls)
	calls := testing.AllocsPerRun(2000, func() {
		if _, err := caller.Call(ctx, "com.example.get", wamp.CallOptions{}, reading); err != nil {
			t.Fatal(err)
		}
	})
	typedCalls := testing.AllocsPerRun(2000, func() {
		if v, err := client.Call[float64](ctx, caller, "com.example.get", "greenhouse"); v != 21.5 || err != nil {
			t.Fatal(v, err)
		}
	})
	served := serveRaw(t, func(s *client.Session) error {
		_, err := s.Register(ctx, "com.example.echo", wamp.RegisterOptions{}, echo)
		return err
	})
	typedServed := serveRaw(t, func(s *client.Session) error {
		_, err := client.Register(ctx, s, "com.example.double", func(_ context.Context, v float64) (float64, error) { return 2 * v, nil })
		return err
	})
	t.Logf("objects of a call: caller %.0f, callee %.0f; with Go values: caller %.0f, callee %.0f", calls, served, typedCalls, typedServed)
	if raceDetector {
		return
	}
	if calls+served > objects {
		t.Errorf("more than %d", objects)
	}
	if typedCalls > typedObjects || typedServed > typedObjects {
		t.Errorf("more than %d with Go values", typedObjects)
	}
}

// serveRaw returns the objects that the callee of one call allocates.
func serveRaw(t *testing.T, register func(*client.Session) error) float64 {
	t.Helper()
	next, done := make(chan struct{}), make(chan struct{})
	s := startRawRouter(t, func(w *rawRouter) {
		m := w.read()                                                    // REGISTER
		w.write([]byte{0x83, 0x18, 0x41}, cborUint(m[3:]), []byte{0x01}) // REGISTERED 1
		id := [5]byte{0x1a}
		for n := uint32(1); ; n++ {
			if _, more := <-next; !more {
				return
			}
			id[1], id[2], id[3], id[4] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
			// [68, n, 1, {}, [21.5]]
			w.write([]byte{0x85, 0x18, 0x44}, id[:], []byte{0x01, 0xa0, 0x81, 0xfb, 0x40, 0x35, 0x80, 0, 0, 0, 0, 0})
			w.read() // YIELD
			done <- struct{}{}
		}
	})
	defer close(next)
	if err := register(s); err != nil {
		t.Fatal(err)
	}
	return testing.AllocsPerRun(2000, func() {
		next <- struct{}{}
		<-done
	})
}
