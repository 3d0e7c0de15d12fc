package websocket

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"gantry/internal/anteroom"
)

// Listen opens the listener for the URL of a WebSocket; its path plays no part:
// that is the http.ServeMux's to look at. cfg is the TLS configuration for wss, with
// a certificate. A socket file that a program which has ended left behind is
// replaced. The error is a *URLError for a wrong URL.
func Listen(ctx context.Context, rawURL string, cfg *tls.Config) (net.Listener, error) {
	u, err := ParseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if u.TLS && (cfg == nil || len(cfg.Certificates) == 0 && cfg.GetCertificate == nil) {
		return nil, &URLError{redacted(rawURL), "expected a TLS configuration with a certificate"}
	}
	ln, err := ListenStream(ctx, u.Network, u.Addr)
	if err != nil || !u.TLS {
		return ln, err
	}
	cfg = cfg.Clone()
	cfg.NextProtos = []string{"http/1.1"}
	return tls.NewListener(ln, cfg), nil
}

// ListenStream opens a listener for a network, "tcp" or "unix", without anything
// on it. A socket file that a program which has ended left behind is replaced.
func ListenStream(ctx context.Context, network, addr string) (net.Listener, error) {
	if network == "unix" {
		removeStale(addr)
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, network, addr)
}

// removeStale removes a socket at which nobody listens.
func removeStale(file string) {
	info, err := os.Lstat(file)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return
	}
	c, err := net.Dial("unix", file)
	if err == nil {
		_ = c.Close()
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(file) // if that fails, so does listening
	}
}

// Limits of Serve.
const (
	// MaxRequest is how long a request's headers may be in bytes.
	MaxRequest = 64 << 10
	// RequestTimeout is how long they, and a TLS handshake, may take.
	RequestTimeout = 10 * time.Second
	// IdleTimeout is how long a connection may wait for its next request.
	IdleTimeout = time.Minute
	// MaxWaiting is how many connections may be without a WebSocket at a time. When
	// one more comes, the one goes that has waited longest, of the address that most
	// are from, so that whoever opens connections without end drives out his own.
	MaxWaiting = 256
)

// Serve answers HTTP requests that arrive at ln with h, a Server or an
// http.ServeMux that leads to several, beside files and other pages. When ctx ends,
// it closes ln and tells the Servers, which close their connections with code 1001,
// and returns nil once they are through. It closes ln in any case. For TLS, ln is a
// TLS listener; see Listen.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var running sync.WaitGroup // a server forgets handlers that have taken the connection over
	hs := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			running.Add(1)
			defer running.Done()
			h.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnState:         newHall().state,
		ReadHeaderTimeout: RequestTimeout,
		IdleTimeout:       IdleTimeout,
		MaxHeaderBytes:    MaxRequest,
		// What outsiders do wrong is no news.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	stopped := make(chan struct{}) // closed by the goroutine below when all is over
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		cancel()
		grace, done := context.WithTimeout(context.Background(), RequestTimeout)
		defer done()
		if hs.Shutdown(grace) != nil {
			_ = hs.Close()
		}
		running.Wait()
	})
	err := hs.Serve(ln)
	if stop() {
		cancel()
		_ = hs.Close()
		running.Wait()
		return err
	}
	<-stopped
	return nil
}

// hall holds the connections of an HTTP server that have not become WebSockets.
type hall struct {
	room *anteroom.Room

	mu     sync.Mutex // guards guests
	guests map[net.Conn]*anteroom.Guest
}

func newHall() *hall {
	return &hall{room: anteroom.New(MaxWaiting), guests: map[net.Conn]*anteroom.Guest{}}
}

// state is an http.Server.ConnState.
func (h *hall) state(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		g := &anteroom.Guest{}
		h.mu.Lock()
		h.guests[c] = g
		h.mu.Unlock()
		h.room.Enter(g, c.RemoteAddr(), func() { drop(c) })
	case http.StateHijacked, http.StateClosed:
		h.mu.Lock()
		g := h.guests[c]
		delete(h.guests, c)
		h.mu.Unlock()
		if g != nil {
			g.Leave()
		}
	}
}

// drop closes a connection without a word: TLS would wait for room for one.
func drop(c net.Conn) {
	if tc, ok := c.(*tls.Conn); ok {
		c = tc.NetConn()
	}
	_ = c.Close()
}
