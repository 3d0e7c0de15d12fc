package websocket_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gantry/wamp/websocket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server whose connections are handed to handle, and returns its
// ws URL.
func serve(t *testing.T, s *websocket.Server, handle func(*websocket.Conn)) string {
	t.Helper()
	return serveHTTP(t, upgrading(s, handle))
}

// upgrading hands the connections of s to handle.
func upgrading(s *websocket.Server, handle func(*websocket.Conn)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := s.Upgrade(w, r)
		if err != nil {
			return
		}
		handle(c)
	})
}

// serveHTTP starts a server and returns its ws URL.
func serveHTTP(t testing.TB, h http.Handler) string {
	t.Helper()
	hs := httptest.NewServer(h)
	t.Cleanup(hs.Close)
	return "ws" + strings.TrimPrefix(hs.URL, "http")
}

// echo answers every message with itself until the connection ends.
func echo(c *websocket.Conn) {
	for {
		op, b, err := c.Read()
		if err != nil {
			_ = c.Close(websocket.CloseNormal, "")
			return
		}
		if c.Write(op, b) != nil {
			return
		}
	}
}

func dial(t *testing.T, d *websocket.Dialer, url string) *websocket.Conn {
	t.Helper()
	c, err := d.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(websocket.CloseNormal, "") })
	return c
}

func TestMessagesOfEverySizeComeBack(t *testing.T) {
	t.Parallel()
	c := dial(t, &websocket.Dialer{}, serve(t, &websocket.Server{}, echo))
	for _, n := range []int{0, 1, 125, 126, 127, 1023, 1024, 65535, 65536, 1 << 20} {
		sent := bytes.Repeat([]byte{'x'}, n)
		for _, op := range []websocket.Opcode{websocket.Text, websocket.Binary} {
			if err := c.Write(op, sent); err != nil {
				t.Fatal(err)
			}
			gotOp, got, err := c.Read()
			if err != nil || gotOp != op || !bytes.Equal(got, sent) {
				t.Fatalf("%d bytes: opcode %d, %d bytes, %v", n, gotOp, len(got), err)
			}
		}
	}
}

func TestMessageOverTheLimitClosesWith1009(t *testing.T) {
	t.Parallel()
	seen := make(chan error, 1)
	s := &websocket.Server{Config: websocket.Config{MaxMessage: 100}}
	c := dial(t, &websocket.Dialer{}, serve(t, s, func(c *websocket.Conn) {
		_, _, err := c.Read()
		seen <- err
		_ = c.Close(websocket.CloseTooBig, "")
	}))
	if err := c.Write(websocket.Binary, make([]byte, 101)); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Read()
	var ce *websocket.CloseError
	if !errors.As(err, &ce) || ce.Code != websocket.CloseTooBig {
		t.Fatalf("client got %v, want close 1009", err)
	}
	if err := <-seen; !errors.Is(err, websocket.ErrTooBig) {
		t.Fatalf("server got %v", err)
	}
}

func TestTextThatIsNotUTF8ClosesWith1007(t *testing.T) {
	t.Parallel()
	c := dial(t, &websocket.Dialer{}, serve(t, &websocket.Server{}, echo))
	if err := c.Write(websocket.Text, []byte{0xff}); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Read()
	var ce *websocket.CloseError
	if !errors.As(err, &ce) || ce.Code != websocket.CloseInvalidPayload {
		t.Fatalf("got %v, want close 1007", err)
	}
}

func TestSubprotocolIsTheClientsFirstThatFits(t *testing.T) {
	t.Parallel()
	s := &websocket.Server{Subprotocols: []string{"a", "b", "c"}}
	url := serve(t, s, echo)
	for _, tt := range []struct{ offer, want string }{{"x,c,a", "c"}, {"a", "a"}, {"b,a", "b"}} {
		c := dial(t, &websocket.Dialer{Subprotocols: strings.Split(tt.offer, ",")}, url)
		if got := c.Subprotocol(); got != tt.want {
			t.Errorf("offer %s: agreed on %q, want %q", tt.offer, got, tt.want)
		}
	}
	_, err := (&websocket.Dialer{Subprotocols: []string{"x"}}).Dial(t.Context(), url)
	var he *websocket.HandshakeError
	if !errors.As(err, &he) || he.Status != http.StatusBadRequest || !strings.Contains(he.Got, "a, b, c") {
		t.Errorf("no common subprotocol: %v", err)
	}
	plain := serve(t, &websocket.Server{}, echo)
	_, err = (&websocket.Dialer{Subprotocols: []string{"x"}}).Dial(t.Context(), plain)
	if !errors.As(err, &he) || !strings.Contains(he.Got, "no subprotocol") {
		t.Errorf("server without subprotocols: %v", err)
	}
}

func TestOriginAndHost(t *testing.T) {
	t.Parallel()
	s := &websocket.Server{
		Origins:   []string{"https://dash.example.net"},
		CheckHost: func(h string) bool { return strings.HasPrefix(h, "127.0.0.1") },
	}
	url := serve(t, s, echo)
	host := strings.TrimPrefix(url, "ws://")
	for _, tt := range []struct {
		name, origin, host string
		status             int
	}{
		{"no origin", "", "", 0},
		{"own host", "http://" + host, "", 0},
		{"listed", "https://dash.example.net", "", 0},
		{"foreign", "https://evil.example.net", "", http.StatusForbidden},
		{"opaque", "null", "", http.StatusForbidden},
		{"rebound name", "http://evil.example.net", "evil.example.net", http.StatusMisdirectedRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			if tt.origin != "" {
				h.Set("Origin", tt.origin)
			}
			if tt.host != "" {
				h.Set("Host", tt.host)
			}
			c, err := (&websocket.Dialer{Header: h}).Dial(t.Context(), url)
			if err == nil {
				_ = c.Close(websocket.CloseNormal, "")
			}
			status := 0
			var he *websocket.HandshakeError
			if errors.As(err, &he) {
				status = he.Status
			}
			if status != tt.status {
				t.Errorf("status %d (%v), want %d", status, err, tt.status)
			}
		})
	}
}

func TestDialTellsWhatAnsweredAndEndsWithItsContext(t *testing.T) {
	t.Parallel()
	hs := httptest.NewServer(http.NotFoundHandler())
	defer hs.Close()
	_, err := (&websocket.Dialer{}).Dial(t.Context(), "ws"+strings.TrimPrefix(hs.URL, "http"))
	var he *websocket.HandshakeError
	if !errors.As(err, &he) || he.Status != http.StatusNotFound || !strings.Contains(err.Error(), "expected 101") {
		t.Errorf("error %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = c.Read(make([]byte, 1))
		cancel() // the request is under way and stays without an answer
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}()
	if _, err := (&websocket.Dialer{}).Dial(ctx, "ws://"+ln.Addr().String()); !errors.Is(err, context.Canceled) {
		t.Errorf("dial whose context ended: %v", err)
	}
}

func TestCloseDeliversWhatWasWrittenAndTheCode(t *testing.T) {
	t.Parallel()
	got := make(chan error, 1)
	n := make(chan int, 1)
	c := dial(t, &websocket.Dialer{}, serve(t, &websocket.Server{}, func(c *websocket.Conn) {
		count := 0
		for {
			if _, _, err := c.Read(); err != nil {
				n <- count
				got <- err
				_ = c.Close(websocket.CloseNormal, "")
				return
			}
			count++
		}
	}))
	for range 100 {
		if err := c.Write(websocket.Binary, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(4000, "done"); err != nil {
		t.Fatal(err)
	}
	if count := <-n; count != 100 {
		t.Errorf("%d messages arrived", count)
	}
	var ce *websocket.CloseError
	if err := <-got; !errors.As(err, &ce) || ce.Code != 4000 || ce.Reason != "done" {
		t.Errorf("server got %v", err)
	}
}

func TestSilentPeerIsDropped(t *testing.T) {
	t.Parallel()
	cfg := websocket.Config{PingInterval: 20 * time.Millisecond, PingTimeout: 40 * time.Millisecond}
	dropped := make(chan error, 1)
	url := serve(t, &websocket.Server{Config: cfg}, func(c *websocket.Conn) {
		_, _, err := c.Read()
		dropped <- err
		_ = c.Abandon()
	})
	// A peer that never reads answers no ping.
	c, err := (&websocket.Dialer{Config: websocket.Config{PingInterval: -1}}).Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-dropped; err == nil {
		t.Error("message from nowhere")
	}
	_ = c.Abandon()
}

func TestAnsweringPeerStays(t *testing.T) {
	t.Parallel()
	cfg := websocket.Config{PingInterval: 10 * time.Millisecond, PingTimeout: 30 * time.Second}
	asked := make(chan struct{})
	url := serve(t, &websocket.Server{Config: cfg}, func(c *websocket.Conn) {
		<-asked
		echo(c)
	})
	c := dial(t, &websocket.Dialer{Config: cfg}, url)
	close(asked)
	for i := range 20 {
		if err := c.Write(websocket.Text, []byte("hi")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}

func TestMaskTwiceIsTheIdentity(t *testing.T) {
	t.Parallel()
	for n := range 40 {
		b := []byte(strings.Repeat("abcdefg", 6))[:n]
		want := string(b)
		key := websocket.NewMaskKey()
		websocket.Mask(key, b)
		for i := range b {
			if b[i]^key[i%4] != want[i] {
				t.Fatalf("length %d byte %d", n, i)
			}
		}
		websocket.Mask(key, b)
		if string(b) != want {
			t.Fatalf("length %d: %q", n, b)
		}
	}
}

func TestClosePayloadIsCutAtACharacter(t *testing.T) {
	t.Parallel()
	b := websocket.ClosePayload(1000, strings.Repeat("é", 100))
	if len(b) != 2+122 || b[0] != 0x03 || b[1] != 0xe8 {
		t.Errorf("%d bytes, begins % x", len(b), b[:2])
	}
	if b := websocket.ClosePayload(websocket.CloseNoStatus, "x"); b != nil {
		t.Errorf("no status: % x", b)
	}
}
