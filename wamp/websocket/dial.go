package websocket

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// Dialer opens WebSocket connections.
type Dialer struct {
	Config

	// Subprotocols are offered in this order. If there are any, a server that
	// agrees on none of them is refused.
	Subprotocols []string

	// Header is sent with the request: Origin, Authorization, Cookie and the like.
	Header http.Header

	// TLS is used for wss; nil means the system's certificates. The server name is
	// that of the URL unless set.
	TLS *tls.Config

	// Timeout bounds connecting and the handshake; 0 means 10 s.
	Timeout time.Duration

	// DialNet, if not nil, opens the network connection.
	DialNet func(ctx context.Context, network, addr string) (net.Conn, error)
}

// HandshakeError tells why a server's answer was refused.
type HandshakeError struct {
	URL    string
	Status int    // of the answer, e.g. 404
	Got    string // what the server answered, at most its first line
	Want   string // what was expected
}

// Error returns all of it.
func (e *HandshakeError) Error() string {
	return fmt.Sprintf("websocket %s: server answered %s, expected %s", e.URL, e.Got, e.Want)
}

// Dial connects to a ws or wss URL. The error is a *HandshakeError when the
// server is reached but does not agree.
func (d *Dialer) Dial(ctx context.Context, rawURL string) (*Conn, error) {
	cfg := d.withDefaults()
	timeout := d.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	open := &opening{d: d, wrap: cfg.Wrap}
	gd := websocket.Dialer{
		NetDialContext:    open.plain,
		NetDialTLSContext: open.tls,
		Subprotocols:      d.Subprotocols,
		ReadBufferSize:    cfg.ReadBuffer,
		WriteBufferSize:   cfg.ReadBuffer,
		EnableCompression: cfg.Deflate,
	}
	ws, resp, err := gd.DialContext(ctx, rawURL, d.Header)
	if open.stop != nil && !open.stop() && err == nil {
		// The context ended and has put a deadline on the connection.
		_ = ws.Close()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, d.explain(ctx, rawURL, resp, err)
	}
	if got := ws.Subprotocol(); len(d.Subprotocols) > 0 && !slices.Contains(d.Subprotocols, got) {
		_ = ws.Close()
		what := "subprotocol " + got
		if got == "" {
			what = "no subprotocol"
		}
		return nil, &HandshakeError{URL: redacted(rawURL), Status: resp.StatusCode, Got: what, Want: strings.Join(d.Subprotocols, " or ")}
	}
	if got := resp.Header.Get(extensions); got != "" && !cfg.Deflate {
		_ = ws.Close() // RFC 6455, 4.1: an extension that was not asked for
		return nil, &HandshakeError{URL: redacted(rawURL), Status: resp.StatusCode, Got: "extension " + got, Want: "none"}
	}
	if err := ws.UnderlyingConn().SetDeadline(time.Time{}); err != nil {
		_ = ws.Close()
		return nil, err
	}
	return newConn(ws, cfg, deflates(resp.Header)), nil
}

func (d *Dialer) explain(ctx context.Context, rawURL string, resp *http.Response, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("websocket %s: %w", redacted(rawURL), context.Cause(ctx))
	}
	if resp == nil {
		return fmt.Errorf("websocket %s: %w", redacted(rawURL), err)
	}
	want := "101 Switching Protocols"
	if len(d.Subprotocols) > 0 {
		want += " with subprotocol " + strings.Join(d.Subprotocols, " or ")
	}
	got := resp.Status
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	if line, _, _ := strings.Cut(string(text), "\n"); line != "" {
		got += fmt.Sprintf(" (%q)", line)
	}
	return &HandshakeError{URL: redacted(rawURL), Status: resp.StatusCode, Got: got, Want: want}
}

// redacted returns the URL without password and query, which may hold secrets.
func redacted(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "with malformed URL"
	}
	u.RawQuery, u.Fragment = "", ""
	return u.Redacted()
}

// opening makes the network connection of one Dial and interrupts the handshake
// when the context ends.
type opening struct {
	d    *Dialer
	wrap func(net.Conn) net.Conn
	stop func() bool
}

func (o *opening) net(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := o.d.DialNet
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	o.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn, nil
}

func (o *opening) wrapped(c net.Conn) net.Conn {
	if o.wrap != nil {
		return o.wrap(c)
	}
	return c
}

func (o *opening) plain(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := o.net(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return o.wrapped(c), nil
}

func (o *opening) tls(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := o.net(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.d.TLS != nil {
		cfg = o.d.TLS.Clone()
	}
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			_ = c.Close()
			return nil, err
		}
		cfg.ServerName = host
	}
	// A WebSocket begins with HTTP/1.1; offering HTTP/2 would end the handshake.
	cfg.NextProtos = []string{"http/1.1"}
	tc := tls.Client(c, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, errors.Join(errors.New("tls handshake with "+addr), err)
	}
	return o.wrapped(tc), nil
}
