package websocket_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp/websocket"
)

// serveOn serves h on ln until the returned function is called.
func serveOn(t *testing.T, ln net.Listener, h http.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- websocket.Serve(ctx, ln, h) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error("Serve:", err)
		}
	}
}

func TestLifeCycle(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for _, tt := range []struct {
		name   string
		client func(c *websocket.Conn)
		log    string
		err    error
	}{
		{"other side closes", func(c *websocket.Conn) {
			_ = c.SendPing([]byte("p"))
			_ = c.SendPong([]byte("q"))
			_ = c.Write(websocket.Text, []byte("hello"))
			_ = c.Close(websocket.CloseNormal, "bye")
		}, "open, ping p, pong q, message hello, close 1000 bye true", nil},
		{"other side closes with a code", func(c *websocket.Conn) {
			_ = c.Close(4000, "odd")
		}, "open, close 4000 odd true", &websocket.CloseError{Code: 4000, Reason: "odd"}},
		{"other side goes", func(c *websocket.Conn) {
			_ = c.Abandon()
		}, "open, close 1006 unexpected EOF false", io.ErrUnexpectedEOF},
		{"handler refuses", func(c *websocket.Conn) {
			_ = c.Write(websocket.Text, []byte("refuse"))
			_, _, err := c.Read()
			if err == nil || err.Error() != "websocket: closed with code 4001: no" {
				t.Error(err)
			}
			_ = c.Close(4001, "")
		}, "open, message refuse, close 4001  true", &websocket.CloseError{Code: 4001, Reason: "no"}},
		{"handler fails", func(c *websocket.Conn) {
			_ = c.Write(websocket.Text, []byte("fail"))
			_, _, err := c.Read()
			var ce *websocket.CloseError
			if !errors.As(err, &ce) || *ce != (websocket.CloseError{Code: websocket.CloseInternalError}) {
				t.Error(err)
			}
			_ = c.Close(websocket.CloseNormal, "")
		}, "open, message fail, close 1011  true", boom},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log []string
			add := func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) }
			result := make(chan error, 1)
			s := &websocket.Server{Config: websocket.Config{PingInterval: -1}, Handle: func(c *websocket.Conn, r *http.Request) {
				result <- c.Run(r.Context(), websocket.Handler{
					Open: func(*websocket.Conn) error { add("open"); return nil },
					Message: func(_ *websocket.Conn, _ websocket.Opcode, b []byte) error {
						add("message %s", b)
						switch string(b) {
						case "refuse":
							return fmt.Errorf("wrapped: %w", &websocket.CloseError{Code: 4001, Reason: "no"})
						case "fail":
							return boom
						}
						return nil
					},
					Ping:  func(_ *websocket.Conn, p []byte) { add("ping %s", p) },
					Pong:  func(_ *websocket.Conn, p []byte) { add("pong %s", p) },
					Close: func(_ *websocket.Conn, e websocket.End) { add("close %d %s %v", e.Code, e.Reason, e.Clean) },
				})
			}}
			ln, err := websocket.Listen(t.Context(), "ws://127.0.0.1:0", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer serveOn(t, ln, s)()
			c := dial(t, &websocket.Dialer{}, "ws://"+ln.Addr().String())
			tt.client(c)
			err = <-result
			if tt.err == nil && err != nil || tt.err != nil && (err == nil || !strings.Contains(err.Error(), tt.err.Error())) {
				t.Errorf("Run returned %v", err)
			}
			if got := strings.Join(log, ", "); got != tt.log {
				t.Errorf("%s, want %s", got, tt.log)
			}
		})
	}
}

func TestStreamHandlerNeedNotReadItAll(t *testing.T) {
	t.Parallel()
	var got []string
	s := &websocket.Server{Handle: func(c *websocket.Conn, r *http.Request) {
		_ = c.Run(r.Context(), websocket.Handler{Stream: func(_ *websocket.Conn, _ websocket.Opcode, r *websocket.MessageReader) error {
			b := make([]byte, 2)
			_, err := io.ReadFull(r, b)
			got = append(got, string(b))
			return err
		}})
	}}
	ln, err := websocket.Listen(t.Context(), "ws://127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	stop := serveOn(t, ln, s)
	c := dial(t, &websocket.Dialer{}, "ws://"+ln.Addr().String())
	for _, m := range []string{"abc", "defghi", "jk"} {
		if err := c.Write(websocket.Text, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Close(websocket.CloseNormal, "")
	stop()
	if strings.Join(got, " ") != "ab de jk" {
		t.Errorf("%q", got)
	}
}

func TestStoppingTellsEveryConnection(t *testing.T) {
	t.Parallel()
	ln, err := websocket.Listen(t.Context(), "ws://127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	one := &websocket.Server{Handle: func(c *websocket.Conn, _ *http.Request) { echo(c) }, MaxConns: 2}
	two := &websocket.Server{Handle: func(c *websocket.Conn, r *http.Request) { _ = c.Run(r.Context(), websocket.Handler{}) }}
	mux.Handle("/one", one)
	mux.Handle("/two", two)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") })
	stop := serveOn(t, ln, mux)
	at := "ws://" + ln.Addr().String()
	conns := []*websocket.Conn{dial(t, &websocket.Dialer{}, at+"/one"), dial(t, &websocket.Dialer{}, at+"/one"), dial(t, &websocket.Dialer{}, at+"/two")}
	var he *websocket.HandshakeError
	if _, err := (&websocket.Dialer{}).Dial(t.Context(), at+"/one"); !errors.As(err, &he) || he.Status != http.StatusServiceUnavailable {
		t.Errorf("one too many: %v", err)
	}
	if one.Conns() != 2 || two.Conns() != 1 {
		t.Errorf("%d and %d connections", one.Conns(), two.Conns())
	}
	resp, err := http.Get("http://" + ln.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	ends := make(chan error, len(conns))
	for _, c := range conns {
		go func() {
			_, _, err := c.Read()
			_ = c.Close(websocket.CloseNormal, "")
			ends <- err
		}()
	}
	stop()
	for range conns {
		var ce *websocket.CloseError
		if err := <-ends; !errors.As(err, &ce) || ce.Code != websocket.CloseGoingAway {
			t.Errorf("%v", err)
		}
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) { // its port may be somebody else's by now
		t.Errorf("the listener is open: %v", err)
	}
}

func TestASilentPeerIsDroppedAndAnIdleOneClosed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		cfg    websocket.Config
		client websocket.Config
		read   bool
		after  time.Duration
		err    error
	}{
		{"does not answer pings", websocket.Config{PingInterval: 5 * time.Second, PingTimeout: 10 * time.Second}, websocket.Config{PingInterval: -1}, false, 15 * time.Second, websocket.ErrNoPong},
		{"answers pings", websocket.Config{PingInterval: 5 * time.Second, PingTimeout: 10 * time.Second, Idle: time.Minute}, websocket.Config{PingInterval: -1}, true, time.Minute, websocket.ErrIdle},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				result := make(chan error, 1)
				s := &websocket.Server{Config: tt.cfg, Handle: func(c *websocket.Conn, _ *http.Request) {
					_, _, err := c.Read()
					if tt.read && c.Stats().PongsIn == 0 {
						t.Error("no pongs are counted")
					}
					result <- err
				}}
				p := piped(t, s)
				c, err := (&websocket.Dialer{Config: tt.client, DialNet: p.dial}).Dial(t.Context(), "ws://pipe")
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				if tt.read {
					_, _, err := c.Read()
					var ce *websocket.CloseError
					if !errors.As(err, &ce) || ce.Code != websocket.CloseGoingAway || ce.Reason != "idle" {
						t.Errorf("client: %v", err)
					}
				} else {
					// A pipe has no room: somebody has to take the pings.
					go func() { _, _ = io.Copy(io.Discard, c.NetConn()) }()
				}
				if err := <-result; !errors.Is(err, tt.err) {
					t.Errorf("server: %v", err)
				}
				if took := time.Since(begin); took < tt.after || took > tt.after+time.Second {
					t.Errorf("after %v, want %v", took, tt.after)
				}
				_ = c.Abandon()
			})
		})
	}
}

func TestPingTellsTheRoundTrip(t *testing.T) {
	t.Parallel()
	url := serve(t, &websocket.Server{}, echo)
	c := dial(t, &websocket.Dialer{}, url)
	go func() { _, _, _ = c.Read() }()
	trip, err := c.Ping(t.Context())
	if err != nil || trip <= 0 || c.Stats().RoundTrip != trip {
		t.Errorf("%v, %v, %+v", trip, err, c.Stats())
	}
	_ = c.Close(websocket.CloseNormal, "")
	if _, err := c.Ping(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func TestAWriteEndsWithItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stalled := make(chan struct{})
		s := &websocket.Server{Config: websocket.Config{PingInterval: -1}, Handle: func(c *websocket.Conn, _ *http.Request) {
			<-stalled // a pipe has no room, so nothing is taken
			_ = c.Abandon()
		}}
		p := piped(t, s)
		d := &websocket.Dialer{Config: websocket.Config{PingInterval: -1, WriteTimeout: 8 * time.Second}, DialNet: p.dial}
		c, err := d.Dial(t.Context(), "ws://pipe")
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		err = c.Write(websocket.Binary, make([]byte, 100_000))
		if took := time.Since(begin); !errors.Is(err, os.ErrDeadlineExceeded) || took < 6*time.Second || took > 8*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		if _, _, err := c.Read(); err == nil {
			t.Error("the connection reads after a cut frame")
		}
		if again := c.Write(websocket.Binary, nil); again == nil {
			t.Error("the connection writes after a cut frame")
		}
		_ = c.Close(websocket.CloseNormal, "")
		close(stalled)
	})
}

func TestASlowRequestIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := piped(t, echoServer())
		c, err := p.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n")
		begin := time.Now()
		_, _ = io.Copy(io.Discard, c)
		if took := time.Since(begin); took > websocket.RequestTimeout+time.Second {
			t.Errorf("after %v", took)
		}
		_ = c.Close()
	})
}

func TestStrangersDriveOutTheirOwn(t *testing.T) {
	t.Parallel()
	url, stop := running(echoServer())
	defer stop()
	addr := strings.TrimPrefix(url, "ws://")
	early := dial(t, &websocket.Dialer{}, url)
	strangers := make([]net.Conn, websocket.MaxWaiting+1)
	for i := range strangers {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		strangers[i] = c
	}
	// The first one had to go.
	_ = strangers[0].SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := strangers[0].Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the first stranger is still there: %v", err)
	}
	late := dial(t, &websocket.Dialer{}, url)
	for _, c := range []*websocket.Conn{early, late} {
		if err := c.Write(websocket.Text, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, b, err := c.Read(); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
	}
	for _, c := range strangers {
		_ = c.Close()
	}
}
