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

// Dialer opens WebSocket connections. It must not be changed during a Dial.
type Dialer struct {
	Config

	// Subprotocols are offered in this order. If there are any, a server that
	// agrees on none of them is refused.
	Subprotocols []string

	// Header is sent with the request: Origin, Authorization, Cookie, User-Agent,
	// Host and the like.
	Header http.Header

	// Jar, if not nil, has the cookies to send, and takes those of the answer.
	Jar http.CookieJar

	// Connect, if not nil, is shown the server's answer, its headers and cookies,
	// when all else is well. Its error refuses the connection and is what Dial
	// returns.
	Connect func(*http.Response) error

	// TLS is used for wss; nil means the system's certificates. The server name is
	// that of the URL unless set.
	TLS *tls.Config

	// Proxy, if not nil, returns the HTTP proxy for a request, nil for none:
	// http.ProxyURL for one and the same, http.ProxyFromEnvironment to heed
	// HTTP_PROXY (for ws), HTTPS_PROXY (for wss) and NO_PROXY. The way leads through
	// the proxy by CONNECT. The proxy's URL is http or https and may have a user with
	// a password, which is sent as basic authentication.
	Proxy func(*http.Request) (*url.URL, error)

	// ProxyTLS is used for proxies with https; nil means the system's certificates.
	ProxyTLS *tls.Config

	// Timeout bounds connecting and the handshake; 0 means 10 s.
	Timeout time.Duration

	// DialNet, if not nil, opens the network connection, to the proxy if there is
	// one.
	DialNet func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Dial connects to a URL; see URL for its forms. The error is a *URLError for a
// wrong one, a *ProxyError when the proxy refuses, a *HandshakeError when the
// server is reached but does not agree, or that of the network. When ctx ends
// before the handshake does, Dial returns its cause; later ctx plays no part.
func (d *Dialer) Dial(ctx context.Context, rawURL string) (*Conn, error) {
	u, err := ParseURL(rawURL)
	if err != nil {
		return nil, err
	}
	cfg := d.withDefaults()
	timeout := d.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	open := &opening{d: d, cfg: &cfg, url: u}
	gd := websocket.Dialer{
		NetDialContext:    open.plain,
		NetDialTLSContext: open.tls,
		Subprotocols:      d.Subprotocols,
		ReadBufferSize:    cfg.ReadBuffer,
		WriteBufferPool:   noPool{}, // the library writes control frames only
		EnableCompression: cfg.Deflate,
		Jar:               d.Jar,
	}
	ws, resp, err := gd.DialContext(ctx, u.http(), d.Header)
	if open.stop != nil && !open.stop() && err == nil {
		// The context ended and has put a deadline on the connection.
		_ = ws.Close()
		return nil, fmt.Errorf("websocket %s: %w", redacted(rawURL), context.Cause(ctx))
	}
	if err != nil {
		return nil, d.explain(ctx, rawURL, resp, err)
	}
	if err := d.accept(rawURL, ws.Subprotocol(), resp); err != nil {
		_ = ws.Close()
		return nil, err
	}
	if err := ws.NetConn().SetDeadline(time.Time{}); err != nil {
		_ = ws.Close()
		return nil, err
	}
	window := 0
	if len(resp.Header.Values(extensions)) > 0 {
		window = clientWindow(ws.NetConn().(*wire).agreed)
	}
	return newConn(ws, cfg, false, window), nil
}

// accept checks what the server has agreed on, and asks Connect.
func (d *Dialer) accept(rawURL, subprotocol string, resp *http.Response) error {
	refuse := func(got, want string) error {
		return &HandshakeError{URL: redacted(rawURL), Status: resp.StatusCode, Got: got, Want: want}
	}
	if subprotocol != "" || len(d.Subprotocols) > 0 {
		switch {
		case subprotocol == "":
			return refuse("no subprotocol", strings.Join(d.Subprotocols, " or "))
		case len(d.Subprotocols) == 0:
			return refuse("subprotocol "+subprotocol, "none")
		case !slices.Contains(d.Subprotocols, subprotocol):
			return refuse("subprotocol "+subprotocol, strings.Join(d.Subprotocols, " or "))
		}
	}
	// RFC 6455, 4.1: an extension that was not asked for
	if lines := resp.Header.Values(extensions); len(lines) > 0 {
		got := "extension " + strings.Join(lines, ", ")
		switch {
		case !d.Deflate:
			return refuse(got, "none")
		case len(lines) > 1 || !agreeable(lines[0]):
			return refuse(got, deflateName+"; server_no_context_takeover; client_no_context_takeover")
		}
	}
	if d.Connect != nil {
		return d.Connect(resp)
	}
	return nil
}

func (d *Dialer) explain(ctx context.Context, rawURL string, resp *http.Response, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("websocket %s: %w", redacted(rawURL), context.Cause(ctx))
	}
	var proxy *ProxyError
	if errors.As(err, &proxy) {
		return proxy
	}
	if resp == nil {
		return fmt.Errorf("websocket %s: %w", redacted(rawURL), err)
	}
	want := "101 Switching Protocols"
	if len(d.Subprotocols) > 0 {
		want += " with subprotocol " + strings.Join(d.Subprotocols, " or ")
	}
	got := resp.Status
	if resp.StatusCode == http.StatusSwitchingProtocols {
		got += " (" + strings.TrimPrefix(err.Error(), "websocket: ") + ")"
		want += ", the right Upgrade, Connection and Sec-WebSocket-Accept, and no extension but the one offered"
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	if line, _, _ := strings.Cut(string(text), "\n"); line != "" {
		got += fmt.Sprintf(" (%q)", line)
	}
	return &HandshakeError{URL: redacted(rawURL), Status: resp.StatusCode, Got: got, Want: want}
}

// opening makes the network connection of one Dial and interrupts the handshake
// when the context ends.
type opening struct {
	d    *Dialer
	cfg  *Config
	url  URL
	stop func() bool
}

// net opens the connection to the server, through a proxy if there is one.
func (o *opening) net(ctx context.Context, addr string) (net.Conn, error) {
	if o.url.Network == "unix" {
		return o.connect(ctx, "unix", o.url.Addr)
	}
	proxy, err := o.d.proxied(o.url)
	if err != nil {
		return nil, err
	}
	if proxy != nil {
		return o.tunnel(ctx, proxy, addr)
	}
	return o.connect(ctx, "tcp", addr)
}

// connect opens a network connection that ctx interrupts.
func (o *opening) connect(ctx context.Context, network, addr string) (net.Conn, error) {
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
	if o.cfg.Wrap != nil {
		c = o.cfg.Wrap(c)
	}
	return newWire(c, o.cfg, false)
}

func (o *opening) plain(ctx context.Context, _, addr string) (net.Conn, error) {
	c, err := o.net(ctx, addr)
	if err != nil {
		return nil, err
	}
	return o.wrapped(c), nil
}

func (o *opening) tls(ctx context.Context, _, addr string) (net.Conn, error) {
	c, err := o.net(ctx, addr)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	tc := tls.Client(c, clientTLS(o.d.TLS, host))
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("tls handshake with %s: %w", addr, err)
	}
	return o.wrapped(tc), nil
}

// noPool is a pool that keeps nothing.
type noPool struct{}

func (noPool) Get() any { return nil }
func (noPool) Put(any)  {}

// clientTLS returns the configuration for a server by the name of host.
func clientTLS(from *tls.Config, host string) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if from != nil {
		cfg = from.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	// What follows is HTTP/1.1; offering HTTP/2 would end the handshake.
	cfg.NextProtos = []string{"http/1.1"}
	return cfg
}
