package websocket

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gorilla/websocket"
)

// Server upgrades HTTP requests to WebSocket connections. It must not be copied
// or changed after the first Upgrade.
type Server struct {
	Config

	// Subprotocols are those that the server speaks. The first one in the
	// client's list that is among them is agreed on; when there is none the
	// handshake is refused with status 400. Empty: none is agreed on.
	Subprotocols []string

	// Origins are the web origins allowed to connect ("https://host", with the
	// port unless it is the scheme's own), besides requests without an Origin
	// header, which do not come from browsers, and those of the host itself. "*"
	// allows all.
	Origins []string

	// CheckOrigin, if not nil, replaces the check of Origins.
	CheckOrigin func(*http.Request) bool

	// CheckHost, if not nil, says whether the Host header is one of the server's
	// names. It guards against DNS rebinding, where a page reaches the server
	// under the attacker's name and so passes the check of the same host.
	CheckHost func(host string) bool

	// Header is sent with the answer that accepts the handshake; "Server" names the
	// program.
	Header http.Header

	// Connect, if not nil, is asked before a handshake of an allowed origin and host
	// is accepted. It may take its time, until the request's context ends. An error
	// refuses: a *Refusal with its status, any other with status 403.
	Connect func(h *Handshake) error

	// AcceptDeflate, if not nil, says whether an offer of compression that can be
	// accepted shall be; the client's first such is taken.
	AcceptDeflate func(DeflateOffer) bool

	// Page, if not nil, answers requests that do not ask for a WebSocket; otherwise
	// the answer is status 400.
	Page http.Handler

	// Handle is what ServeHTTP does with a connection. The connection is closed with
	// code 1000 when Handle returns, and with 1001 when the request's context ends.
	Handle func(c *Conn, r *http.Request)

	// MaxConns is how many connections ServeHTTP has at a time; more are refused
	// with status 503. 0 means any number.
	MaxConns int

	conns   atomic.Int64
	buffers sync.Pool
}

// Handshake is a client's request on which the server decides.
type Handshake struct {
	// Request has headers, cookies, peer address and TLS state. It must not be
	// changed.
	Request *http.Request
	// Header is sent with the answer if the handshake is accepted, for cookies and
	// the like.
	Header http.Header
	// Offered are the subprotocols that the client offers, in its order.
	Offered []string
	// Subprotocol is what will be agreed on: the choice from Server.Subprotocols, ""
	// if there is none. It may be replaced by another of Offered, or by "".
	Subprotocol string
}

// Refusal is the error by which Server.Connect refuses a handshake.
type Refusal struct {
	Status int         // HTTP, 400 to 599, e.g. 401
	Header http.Header // of the answer, e.g. WWW-Authenticate
	Text   string      // body of the answer
}

// Error returns status and text.
func (e *Refusal) Error() string {
	return fmt.Sprintf("websocket: handshake refused with status %d: %s", e.Status, e.Text)
}

// Conns returns how many connections ServeHTTP has.
func (s *Server) Conns() int { return int(s.conns.Load()) }

// ServeHTTP upgrades the request, or refuses it, and hands the connection to
// Handle.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.conns.Add(1)
	defer s.conns.Add(-1)
	if s.MaxConns > 0 && n > int64(s.MaxConns) {
		http.Error(w, "too many connections", http.StatusServiceUnavailable)
		return
	}
	if s.Handle == nil {
		http.Error(w, "nothing is served here", http.StatusNotImplemented)
		return
	}
	c, err := s.Upgrade(w, r)
	if err != nil {
		return // the request has been answered
	}
	stop := context.AfterFunc(r.Context(), func() { _ = c.Close(CloseGoingAway, "") })
	defer stop()
	defer func() { _ = c.Close(CloseNormal, "") }()
	s.Handle(c, r)
}

// Upgrade turns the request into a WebSocket connection. The answer has what
// w.Header() holds, such as cookies, besides Header. When it refuses it has
// answered the request: 400 for what is not a handshake or has no common
// subprotocol, 426 for another version, 403 for a wrong origin, 421 for a wrong
// host, or as Connect says.
func (s *Server) Upgrade(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	cfg := s.withDefaults()
	if s.CheckHost != nil && !s.CheckHost(r.Host) {
		http.Error(w, "this server does not go by that name", http.StatusMisdirectedRequest)
		return nil, errors.New("websocket: host " + r.Host + " is not one of the server's")
	}
	if s.Page != nil && !websocket.IsWebSocketUpgrade(r) {
		s.Page.ServeHTTP(w, r)
		return nil, errNoUpgrade
	}
	if err := outdated(w, r); err != nil {
		return nil, err
	}
	header := w.Header().Clone()
	maps.Copy(header, s.Header)
	if err := s.agree(w, r, header); err != nil {
		return nil, err
	}
	var answer string
	var window int
	if cfg.Deflate {
		r, answer, window = negotiate(r, s.AcceptDeflate)
	}
	up := websocket.Upgrader{
		ReadBufferSize:    cfg.ReadBuffer,
		WriteBufferPool:   &s.buffers,
		HandshakeTimeout:  cfg.WriteTimeout,
		CheckOrigin:       s.allowed,
		EnableCompression: window > 0,
	}
	ws, err := up.Upgrade(&hijacker{ResponseWriter: w, cfg: &cfg, agreed: answer}, r, header)
	if err != nil {
		return nil, err
	}
	return newConn(ws, cfg, true, window), nil
}

// outdated answers a handshake of another version of HTTP or WebSocket than the
// one that is spoken here (RFC 6455, 4.2.1 and 4.4).
func outdated(w http.ResponseWriter, r *http.Request) error {
	if !websocket.IsWebSocketUpgrade(r) {
		return nil // refused by the library
	}
	if !r.ProtoAtLeast(1, 1) {
		http.Error(w, "a WebSocket needs HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return errors.New("websocket: the request is one of " + r.Proto)
	}
	if versions := r.Header.Values("Sec-Websocket-Version"); len(versions) != 1 || versions[0] != "13" {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Sec-WebSocket-Version", "13")
		http.Error(w, "the version of WebSocket must be 13", http.StatusUpgradeRequired)
		return fmt.Errorf("websocket: version %q in the request, expected 13", versions)
	}
	return nil
}

var errNoUpgrade = errors.New("websocket: the request does not ask for a WebSocket")

// agree chooses the subprotocol and asks Connect, or answers the request.
func (s *Server) agree(w http.ResponseWriter, r *http.Request, header http.Header) error {
	chosen := s.choose(r)
	// What is no handshake or of a wrong origin is refused by the library.
	if s.Connect != nil && websocket.IsWebSocketUpgrade(r) && s.allowed(r) {
		h := &Handshake{Request: r, Header: header, Offered: offered(r), Subprotocol: chosen}
		if err := s.Connect(h); err != nil {
			return refuse(w, err)
		}
		if chosen = h.Subprotocol; chosen != "" && !slices.Contains(h.Offered, chosen) {
			http.Error(w, "subprotocol must be one of: "+chosen, http.StatusBadRequest)
			return errors.New("websocket: subprotocol " + chosen + " is not in the request")
		}
	}
	if chosen != "" {
		header.Set("Sec-Websocket-Protocol", chosen)
		return nil
	}
	if len(s.Subprotocols) > 0 {
		want := strings.Join(s.Subprotocols, ", ")
		http.Error(w, "subprotocol must be one of: "+want, http.StatusBadRequest)
		return errors.New("websocket: none of the subprotocols " + want + " in the request")
	}
	return nil
}

// refuse answers a handshake that Connect refuses.
func refuse(w http.ResponseWriter, err error) error {
	var no *Refusal
	if !errors.As(err, &no) || no.Status < 400 || no.Status > 599 {
		http.Error(w, http.StatusText(http.StatusForbidden), http.StatusForbidden)
		return err
	}
	maps.Copy(w.Header(), no.Header)
	http.Error(w, no.Text, no.Status)
	return err
}

// offered returns the subprotocols that the client offers.
func offered(r *http.Request) (names []string) {
	for _, line := range r.Header.Values("Sec-Websocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// choose returns one of Subprotocols, "" if the request has none of them.
func (s *Server) choose(r *http.Request) string {
	for _, name := range offered(r) {
		// Not name itself, which would keep the whole request in memory.
		if i := slices.Index(s.Subprotocols, name); i >= 0 {
			return s.Subprotocols[i]
		}
	}
	return ""
}

func (s *Server) allowed(r *http.Request) bool {
	if s.CheckOrigin != nil {
		return s.CheckOrigin(r)
	}
	return AllowOrigin(r, s.Origins)
}

// AllowOrigin reports whether the request has no Origin header, one that names
// the request's own host, or one in origins, as Server.Origins describes.
func AllowOrigin(r *http.Request, origins []string) bool {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return true
	}
	if len(values) > 1 {
		return false
	}
	origin := values[0]
	for _, o := range origins {
		if o == "*" || strings.EqualFold(o, origin) {
			return true
		}
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// hijacker hands the library the connection with a wire on it.
type hijacker struct {
	http.ResponseWriter
	cfg    *Config
	agreed string // see wire
}

// Hijack takes the connection over from the HTTP server.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, brw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if h.cfg.Wrap != nil {
		c = h.cfg.Wrap(c)
	}
	wire := newWire(c, h.cfg, true)
	wire.agreed = h.agreed
	return wire, brw, nil
}
