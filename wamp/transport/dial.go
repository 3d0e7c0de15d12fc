package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gantry/wamp"
	"gantry/wamp/websocket"
)

// DefaultDialTimeout bounds Dial.
const DefaultDialTimeout = 10 * time.Second

// WebSocketPath is where a Server speaks WebSocket unless configured otherwise,
// and where Dial asks when the URL has no path.
const WebSocketPath = "/ws"

// DialConfig says how a connection is opened. The zero value means the defaults.
type DialConfig struct {
	Options
	// Formats are the serializers to offer, the preferred first; none means CBOR,
	// MsgPack, JSON. RawSocket, where only one can be offered, is dialled again
	// with the next one when the other side refuses it.
	Formats []wamp.Format
	// TLS is used for wss, rss and lps; nil means the system's certificates. The server
	// name is that of the URL unless set.
	TLS *tls.Config
	// Header is sent with a WebSocket handshake and with every request of long-poll.
	Header http.Header
	// Jar, if not nil, has the cookies to send with WebSocket and long-poll, and takes
	// those of the answers: with authmethod "cookie" the next connection needs no other
	// proof.
	Jar http.CookieJar
	// Proxy, if not nil, returns the HTTP proxy for ws and wss (see websocket.Dialer).
	// Long-poll heeds the environment's.
	Proxy func(*http.Request) (*url.URL, error)
	// Timeout bounds the whole of Dial; 0 means DefaultDialTimeout.
	Timeout time.Duration
}

// Dial connects to a router and returns the peer. The URL is one of
//
//	ws://HOST[:PORT][/PATH]      WebSocket; without a path, WebSocketPath
//	wss://HOST[:PORT][/PATH]     the same over TLS
//	ws+unix:///SOCKET[:/PATH]    the same over a Unix socket
//	rs://HOST:PORT               RawSocket over TCP
//	rss://HOST:PORT              the same over TLS
//	rs+unix:///SOCKET            the same over a Unix socket
//	lp://HOST[:PORT][/PATH]      HTTP long-poll; without a path, LongPollPath
//	lps://HOST[:PORT][/PATH]     the same over TLS
//	lp+unix:///SOCKET[:/PATH]    the same over a Unix socket
//
// The error is or wraps a *URLError for a wrong URL and, when the other side answers
// but does not agree, a *websocket.HandshakeError, a *RawSocketError or a
// *LongPollError.
func Dial(ctx context.Context, rawURL string, cfg DialConfig) (wamp.Peer, error) {
	d := &dialler{cfg: cfg}
	var err error
	if d.cfg.Options, err = cfg.withDefaults(); err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	if d.cfg.Formats, err = checkFormats(cfg.Formats); err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, &URLError{URL: "", Text: "the URL is malformed"}
	}
	if d.cfg.Timeout <= 0 {
		d.cfg.Timeout = DefaultDialTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	switch u.Scheme {
	case "ws", "wss":
		if u.Path == "" {
			u.Path = WebSocketPath
		}
		return d.websocket(ctx, u.String(), nil)
	case "ws+unix":
		over, dial := onSocket(u, "ws", WebSocketPath)
		return d.websocket(ctx, over.String(), dial)
	case "lp", "lps":
		web := *u
		if web.Scheme = "http"; u.Scheme == "lps" {
			web.Scheme = "https"
		}
		if web.Path == "" {
			web.Path = LongPollPath
		}
		return d.longpoll(ctx, &web, nil)
	case "lp+unix":
		over, dial := onSocket(u, "http", LongPollPath)
		return d.longpoll(ctx, over, dial)
	case "rs", "rss":
		if u.Port() == "" || u.Path != "" && u.Path != "/" {
			return nil, &URLError{URL: u.Redacted(), Text: "expected " + u.Scheme + "://HOST:PORT"}
		}
		return d.rawsocket(ctx, u, "tcp", u.Host)
	case "rs+unix":
		return d.rawsocket(ctx, u, "unix", u.Path)
	}
	return nil, &URLError{URL: u.Redacted(), Text: fmt.Sprintf("scheme is %q, expected ws, wss, rs, rss, lp, lps, ws+unix, rs+unix or lp+unix", u.Scheme)}
}

// URLError tells what is wrong with the URL of a router, and what is expected.
type URLError struct {
	URL  string // without password; "" if it cannot be read at all
	Text string
}

// Error returns all of it.
func (e *URLError) Error() string {
	if e.URL == "" {
		return "dial: " + e.Text
	}
	return "dial " + e.URL + ": " + e.Text
}

// dialFunc opens a network connection; nil means the usual way.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// onSocket takes a URL with the path of a Unix socket apart: what is asked for
// behind it, and how to reach it.
func onSocket(u *url.URL, scheme, path string) (*url.URL, dialFunc) {
	socket, rest, found := strings.Cut(u.Path, ":")
	if found {
		path = rest
	}
	return &url.URL{Scheme: scheme, Host: "localhost", Path: path, RawQuery: u.RawQuery},
		func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
}

type dialler struct{ cfg DialConfig }

func (d *dialler) websocket(ctx context.Context, rawURL string, dial dialFunc) (wamp.Peer, error) {
	var c *wsConn
	ws, err := (&websocket.Dialer{
		Config: beneath(&d.cfg.Options, func(conn net.Conn) net.Conn {
			c = &wsConn{}
			c.init(conn, &d.cfg.Options, nil)
			return c
		}),
		Subprotocols: subprotocols(d.cfg.Formats, d.cfg.Batched),
		Header:       d.cfg.Header,
		TLS:          d.cfg.TLS,
		Jar:          d.cfg.Jar,
		Proxy:        d.cfg.Proxy,
		Timeout:      d.cfg.Timeout,
		DialNet:      dial,
	}).Dial(ctx, rawURL)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	f, k := d.cfg.parseSubprotocol(ws.Subprotocol(), d.cfg.Formats)
	return newWSPeer(ws, c, f, k, false), nil
}

// beneath is the configuration of a WebSocket whose sending side is ours.
func beneath(o *Options, wrap func(net.Conn) net.Conn) websocket.Config {
	return websocket.Config{
		MaxMessage:   o.MaxMessage,
		WriteTimeout: o.WriteTimeout,
		PingInterval: -1, // the link pings
		ReadBuffer:   256,
		Deflate:      o.Deflate,
		Wrap:         wrap,
	}
}

func (d *dialler) rawsocket(ctx context.Context, u *url.URL, network, addr string) (wamp.Peer, error) {
	var err error
	for _, f := range d.cfg.Formats {
		var p wamp.Peer
		if p, err = d.rawsocketIn(ctx, network, addr, u, f); err == nil {
			return p, nil
		}
		var refusal *RawSocketError
		if !errors.As(err, &refusal) || refusal.Code != RawUnsupportedSerializer {
			break
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, fmt.Errorf("dial %s: %w", u.Redacted(), err)
}

func (d *dialler) rawsocketIn(ctx context.Context, network, addr string, u *url.URL, f wamp.Format) (wamp.Peer, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "rss" {
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		if d.cfg.TLS != nil {
			cfg = d.cfg.TLS.Clone()
		}
		if cfg.ServerName == "" {
			cfg.ServerName = u.Hostname()
		}
		tc := tls.Client(conn, cfg)
		if err := tc.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("tls: %w", err)
		}
		conn = tc
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	maxSend, err := rawConnect(conn, f, d.cfg.MaxMessage)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	p := newRawPeer(conn, f, maxSend, &d.cfg.Options, nil)
	p.begin()
	return p, nil
}
