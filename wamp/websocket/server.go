package websocket

import (
	"bufio"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

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

	// Header is sent with the answer that accepts the handshake.
	Header http.Header

	buffers sync.Pool
}

// Upgrade turns the request into a WebSocket connection. The answer has what
// w.Header() holds, such as cookies, besides Header. When it refuses it has
// answered the request: 400 for what is not a handshake or has no common
// subprotocol, 403 for a wrong origin, 421 for a wrong host.
func (s *Server) Upgrade(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	cfg := s.withDefaults()
	if s.CheckHost != nil && !s.CheckHost(r.Host) {
		http.Error(w, "this server does not go by that name", http.StatusMisdirectedRequest)
		return nil, errors.New("websocket: host " + r.Host + " is not one of the server's")
	}
	header := w.Header().Clone()
	maps.Copy(header, s.Header)
	if len(s.Subprotocols) > 0 {
		chosen := s.choose(r)
		if chosen == "" {
			want := strings.Join(s.Subprotocols, ", ")
			http.Error(w, "subprotocol must be one of: "+want, http.StatusBadRequest)
			return nil, errors.New("websocket: none of the subprotocols " + want + " in the request")
		}
		header.Set("Sec-Websocket-Protocol", chosen)
	}
	var deflated bool
	if cfg.Deflate {
		r, deflated = negotiate(r)
	}
	up := websocket.Upgrader{
		ReadBufferSize:    cfg.ReadBuffer,
		WriteBufferPool:   &s.buffers,
		HandshakeTimeout:  cfg.WriteTimeout,
		CheckOrigin:       s.allowed,
		EnableCompression: deflated,
	}
	if cfg.Wrap != nil {
		w = &hijacker{ResponseWriter: w, wrap: cfg.Wrap}
	}
	ws, err := up.Upgrade(w, r, header)
	if err != nil {
		return nil, err
	}
	return newConn(ws, cfg, deflated), nil
}

func (s *Server) choose(r *http.Request) string {
	for _, line := range r.Header.Values("Sec-Websocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); slices.Contains(s.Subprotocols, name) {
				return name
			}
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

// hijacker hands the library the wrapped connection.
type hijacker struct {
	http.ResponseWriter
	wrap func(net.Conn) net.Conn
}

// Hijack takes the connection over from the HTTP server.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, brw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return h.wrap(c), brw, nil
}
