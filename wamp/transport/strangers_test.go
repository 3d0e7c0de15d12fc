package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

// welcoming is a router that welcomes whoever sends a first message.
func welcoming(_ context.Context, p wamp.Peer) {
	for {
		if _, err := p.Recv(); err != nil {
			return
		}
		if err := p.TrySend(&wamp.Welcome{Session: 1}); err != nil {
			return
		}
	}
}

const hello = `[1, "r", {}]`

// refused waits until the server has counted so many refusals for a reason.
func (s *server) refused(t *testing.T, why string, n uint64) {
	t.Helper()
	for late := time.Now().Add(wamptest.Deadline); s.Stats().Refused[why] < n; {
		if time.Now().After(late) {
			t.Fatalf("refusals are %v, expected %d for %s", s.Stats().Refused, n, why)
		}
	}
	if got := s.Stats().Refused[why]; got != n {
		t.Errorf("refusals are %v, expected %d for %s", s.Stats().Refused, n, why)
	}
}

func TestAFloodOfStrangersKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{Options: hasty, MaxHalfOpen: 8}, welcoming)
	link := wamptest.Link{Transport: "rawsocket", Format: wamp.JSON}
	known := wamptest.Dial(t, s.network, s.addr, link)
	known.Send(hello)
	known.Expect(`[2, 1, {}]`)
	greetings := []string{"", "\x7f\xf1\x00\x00", string(wamptest.Upgrade("/ws", "wamp.2.json")), "GET / HTTP/1.1\r\n"}
	var all []net.Conn
	for i := range 40 {
		c := s.conn(t)
		if _, err := io.WriteString(c, greetings[i%len(greetings)]); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Log(err) // shown out already
		}
		all = append(all, c)
	}
	for _, l := range wamptest.NetworkLinks() {
		p := wamptest.Dial(t, s.network, s.addr, l)
		p.Send(hello)
		p.Expect(`[2, 1, {}]`)
	}
	for _, c := range all[:32] { // those after them may be among the last eight
		_ = c.SetReadDeadline(time.Now().Add(wamptest.Deadline))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a stranger may stay though there are too many")
		}
	}
	known.Send(hello)
	known.Expect(`[2, 1, {}]`)
	if st := s.Stats(); st.HalfOpen > 8 || st.Refused["half_open"] < 32 {
		t.Errorf("%+v", st)
	}
}

func TestStrangersMaySendSmallMessagesOnly(t *testing.T) {
	t.Parallel()
	for _, l := range wamptest.NetworkLinks() {
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			s := serve(t, "tcp", transport.ServerConfig{Options: transport.Options{MaxHello: 1000, Linger: hasty.Linger}}, welcoming)
			large := `[1, "r", {"x": "` + strings.Repeat("x", 5000) + `"}]`
			p := wamptest.Dial(t, s.network, s.addr, l)
			p.Send(hello)
			p.Expect(`[2, 1, {}]`)
			p.Send(large)
			p.Expect(`[2, 1, {}]`)
			stranger := wamptest.Dial(t, s.network, s.addr, l)
			stranger.Send(large)
			stranger.ExpectClosed()
			s.refused(t, "too_large", 1)
		})
	}
}

func TestRefusalsAreCountedByReason(t *testing.T) {
	t.Parallel()
	upgrade := string(wamptest.Upgrade("/ws", "wamp.2.json"))
	for _, c := range []struct{ name, sent, why string }{
		{"nothing", "", "handshake_timeout"},
		{"half a RawSocket handshake", "\x7f\xf1", "handshake_timeout"},
		{"half a request", "GET / HTTP/1.1\r\n", "handshake_timeout"},
		{"an unknown serializer", "\x7f\xfe\x00\x00", "bad_handshake"},
		{"an unknown subprotocol", string(wamptest.Upgrade("/ws", "mqtt")), "bad_handshake"},
		{"no answer to pings", "\x7f\xf1\x00\x00", "silent"},
		{"a long RawSocket frame", "\x7f\xf1\x00\x00\x00\x01\x00\x00", "too_large"},
		{"a frame of no known type", "\x7f\xf1\x00\x00\x07\x00\x00\x00", "protocol"},
		{"no WAMP", "\x7f\xf1\x00\x00\x00\x00\x00\x01{", "protocol"},
		{"no WebSocket", upgrade + "\xff\xff\xff\xff", "protocol"},
		{"no WAMP in a WebSocket", upgrade + "\x81\x81\x00\x00\x00\x00{", "protocol"},
		{"binary in JSON", upgrade + "\x82\x81\x00\x00\x00\x00{", "protocol"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			opts := transport.Options{Linger: hasty.Linger, HandshakeTimeout: time.Minute, PingInterval: -1, MaxMessage: 1024, MaxHello: 1024}
			switch c.why {
			case "handshake_timeout":
				opts.HandshakeTimeout = 500 * time.Millisecond
			case "silent":
				opts.PingInterval, opts.PingTimeout = 500*time.Millisecond, 200*time.Millisecond
			}
			s := serve(t, "tcp", transport.ServerConfig{Options: opts}, welcoming)
			conn := s.conn(t)
			if frame, ok := strings.CutPrefix(c.sent, upgrade); ok {
				// A client that sends frames before the answer is refused for that.
				if _, err := io.WriteString(conn, upgrade); err != nil {
					t.Fatal(err)
				}
				if _, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil); err != nil {
					t.Fatal(err)
				}
				c.sent = frame
			}
			if _, err := io.WriteString(conn, c.sent); err != nil {
				t.Fatal(err)
			}
			s.refused(t, c.why, 1)
		})
	}
}

func TestTheLogOfRefusalsSaysWhatToDo(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := serveLogged(t, "tcp", transport.ServerConfig{Options: hasty, MaxConns: 1}, welcoming, slog.New(slog.NewTextHandler(&out, nil)))
	s.conn(t)
	for range 100 {
		c := s.conn(t)
		_, _ = c.Write([]byte("\x7f\xf1\x00\x00"))
		_, _ = io.Copy(io.Discard, c)
	}
	s.stop()
	if n := strings.Count(out.String(), "\n"); n < 1 || n > 10 || !strings.Contains(out.String(), "hint=") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}
