package websocket

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	gorilla "github.com/gorilla/websocket"

	"gantry/wamp/internal/outq"
)

// HandshakeError tells why a server did not open a WebSocket.
type HandshakeError struct {
	URL    string
	Status int    // HTTP status, 0 when there was no answer
	Text   string // beginning of the answer's body, or what was expected
	Err    error
}

// Error returns URL, status and text.
func (e *HandshakeError) Error() string {
	s := "websocket handshake with " + e.URL
	if e.Status != 0 {
		s += fmt.Sprintf(": HTTP status %d", e.Status)
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *HandshakeError) Unwrap() error { return e.Err }

// Upgrade answers a client's opening handshake. When it refuses, the HTTP answer
// has been sent and an error says why.
func Upgrade(w http.ResponseWriter, r *http.Request, cfg Config) (*Conn, error) {
	cfg = cfg.withDefaults()
	if len(cfg.Subprotocols) > 0 && !slices.ContainsFunc(gorilla.Subprotocols(r), func(p string) bool {
		return slices.Contains(cfg.Subprotocols, p)
	}) {
		text := "no common subprotocol; understood: " + strings.Join(cfg.Subprotocols, ", ")
		http.Error(w, text, http.StatusBadRequest)
		return nil, &HandshakeError{URL: r.URL.Path, Status: http.StatusBadRequest, Text: text}
	}
	h := &hijacker{ResponseWriter: w, cfg: cfg.queue()}
	up := gorilla.Upgrader{
		HandshakeTimeout: cfg.HandshakeTimeout,
		ReadBufferSize:   readBuffer, WriteBufferPool: noWrites{}, WriteBufferSize: 256,
		CheckOrigin: cfg.CheckOrigin,
	}
	// The client's order decides (WAMP: WebSocket Transport).
	for _, p := range gorilla.Subprotocols(r) {
		if slices.Contains(cfg.Subprotocols, p) {
			up.Subprotocols = []string{p}
			break
		}
	}
	ws, err := up.Upgrade(h, r, cfg.Header)
	if err != nil {
		if h.conn != nil {
			h.out.Close()
		}
		return nil, &HandshakeError{URL: r.URL.Path, Err: err}
	}
	return newConn(cfg, h.conn, h.out, ws, false), nil
}

// readBuffer is the size of a connection's read buffer: large enough for several
// small messages in one system call, small enough for thousands of sessions.
const readBuffer = 2 << 10

// noWrites is gorilla's source of write buffers. Data frames go past gorilla, so
// that only its handshake and rare control frames ask for one.
type noWrites struct{}

func (noWrites) Get() any { return nil }
func (noWrites) Put(any)  {}

// hijacker puts the queue beneath the connection that gorilla takes over.
type hijacker struct {
	http.ResponseWriter
	cfg  outq.Config
	conn net.Conn
	out  *outq.Queue
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	hj, ok := h.ResponseWriter.(http.Hijacker)
	if !ok {
		return nil, nil, errors.New("the HTTP server does not give its connection away")
	}
	conn, brw, err := hj.Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn, h.out = conn, outq.New(conn, h.cfg)
	return &queued{Conn: conn, out: h.out}, brw, nil
}

// Dial opens a connection to a ws:// or wss:// URL. A refusal is a
// *HandshakeError.
func Dial(ctx context.Context, url string, cfg Config) (*Conn, error) {
	cfg = cfg.withDefaults()
	var nc net.Conn
	var out *outq.Queue
	dial := cfg.NetDial
	if dial == nil {
		var d net.Dialer
		dial = func(network, addr string) (net.Conn, error) { return d.DialContext(ctx, network, addr) }
	}
	d := gorilla.Dialer{
		HandshakeTimeout: cfg.HandshakeTimeout, Subprotocols: cfg.Subprotocols, TLSClientConfig: cfg.TLS,
		ReadBufferSize: readBuffer, WriteBufferPool: noWrites{}, WriteBufferSize: 4 << 10,
	}
	wrap := func(conn net.Conn) net.Conn {
		nc, out = conn, outq.New(conn, cfg.queue())
		return &queued{Conn: conn, out: out}
	}
	if strings.HasPrefix(url, "wss:") {
		d.NetDialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialTLS(ctx, dial, network, addr, cfg.TLS)
			if err != nil {
				return nil, err
			}
			return wrap(conn), nil
		}
	} else {
		d.NetDialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(network, addr)
			if err != nil {
				return nil, err
			}
			return wrap(conn), nil
		}
	}
	ws, resp, err := d.DialContext(ctx, url, cfg.Header)
	if err != nil {
		if out != nil {
			_ = nc.Close()
			out.Close()
		}
		return nil, dialError(url, resp, err)
	}
	if len(cfg.Subprotocols) > 0 && !slices.Contains(cfg.Subprotocols, ws.Subprotocol()) {
		_ = nc.Close()
		out.Close()
		return nil, &HandshakeError{URL: url, Status: http.StatusSwitchingProtocols, Text: fmt.Sprintf(
			"the server chose subprotocol %q; offered: %s", ws.Subprotocol(), strings.Join(cfg.Subprotocols, ", "))}
	}
	// gorilla's handshake leaves a deadline behind that ctx has set.
	if err := nc.SetDeadline(time.Time{}); err != nil {
		_ = nc.Close()
		out.Close()
		return nil, &HandshakeError{URL: url, Err: err}
	}
	return newConn(cfg, nc, out, ws, true), nil
}

func dialError(url string, resp *http.Response, err error) error {
	e := &HandshakeError{URL: url, Err: err}
	if resp != nil {
		e.Status = resp.StatusCode
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		e.Text = strings.TrimSpace(string(body))
	}
	return e
}
