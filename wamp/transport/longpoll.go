package transport

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"gantry/internal/anteroom"
	"gantry/wamp"
	"gantry/wamp/websocket"
)

// LongPollPath is where a Server speaks HTTP long-poll unless configured
// otherwise, and where Dial asks when the URL has no path.
const LongPollPath = "/lp"

// Defaults of LongPollConfig.
const (
	DefaultLongPollSessions = 128
	// DefaultLongPollWait is what Crossbar.io has; browsers' clients give up after
	// 12 s.
	DefaultLongPollWait = 10 * time.Second
	DefaultLongPollIdle = 30 * time.Second
)

// LongPollConfig is how a Server speaks WAMP in plain HTTP requests, for clients
// behind proxies that let nothing else through (AP "HTTP Longpoll Transport").
type LongPollConfig struct {
	// Off switches the transport off.
	Off bool
	// Path is what comes before /open, /ID/send, /ID/receive and /ID/close; ""
	// means LongPollPath.
	Path string
	// MaxSessions bounds the sessions at a time of each Serve; 0 means
	// DefaultLongPollSessions. More are refused with status 503.
	MaxSessions int
	// Wait is how long a receive request without messages is kept; 0 means
	// DefaultLongPollWait. It must be less than Idle.
	Wait time.Duration
	// Idle is how long a session lasts after the last request of its client; 0
	// means DefaultLongPollIdle.
	Idle time.Duration
}

func (c LongPollConfig) withDefaults() (LongPollConfig, error) {
	if c.Path == "" {
		c.Path = LongPollPath
	}
	if c.MaxSessions < 0 || c.Wait < 0 || c.Idle < 0 {
		return c, errors.New("long-poll: sessions, wait and idle may not be negative")
	}
	c.MaxSessions = orDefault(c.MaxSessions, DefaultLongPollSessions)
	if c.Wait == 0 {
		c.Wait = DefaultLongPollWait
	}
	if c.Idle == 0 {
		c.Idle = DefaultLongPollIdle
	}
	switch {
	case c.Path[0] != '/' || len(c.Path) == 1 || c.Path[len(c.Path)-1] == '/':
		return c, fmt.Errorf("long-poll: path is %q, expected /NAME", c.Path)
	case c.Wait >= c.Idle:
		return c, fmt.Errorf("long-poll: a receive waits %v, expected less than the %v after which a session is idle", c.Wait, c.Idle)
	}
	return c, nil
}

// Bounds of the requests that carry no messages.
const (
	maxOpenBody  = 4 << 10
	maxEmptyBody = 1 << 10
	maxProtocols = 32
)

// polls are the long-poll sessions of one Serve.
type polls struct {
	v *service

	// mu guards peers. It is taken with a peer's lock held, never the other way
	// round.
	mu    sync.Mutex
	peers map[string]*pollPeer
	none  chan struct{} // made once no more sessions are taken, closed when none is left
}

// serve answers a request for path, which is what follows LongPollConfig.Path.
func (s *polls) serve(w http.ResponseWriter, r *http.Request, c *webConn, path string) {
	w.Header().Set("Cache-Control", "no-store")
	if !s.origin(w, r, c) {
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST, OPTIONS")
		http.Error(w, "long-poll requests are POST", http.StatusMethodNotAllowed)
		return
	}
	if path == "open" {
		s.open(w, r, c)
		return
	}
	id, verb, _ := strings.Cut(path, "/")
	p := s.peer(id)
	if p == nil {
		http.Error(w, "no such transport", http.StatusNotFound)
		return
	}
	if p.joined.Load() {
		c.visit.settle()
	}
	switch verb {
	case "send":
		p.serveSend(w, r)
	case "receive":
		p.serveReceive(w, r)
	case "close":
		p.serveClose(w, r)
	default:
		http.Error(w, "expected send, receive or close", http.StatusNotFound)
	}
}

// origin answers requests of web pages that may not connect, and what a browser
// asks before it lets a page of another host do so. It reports whether to go on.
func (s *polls) origin(w http.ResponseWriter, r *http.Request, c *webConn) bool {
	if !websocket.AllowOrigin(r, s.v.cfg.Origins) {
		s.reject(w, c, http.StatusForbidden, "origin is not allowed")
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Allow-Origin", origin)
	for _, o := range s.v.cfg.Origins {
		if strings.EqualFold(o, origin) { // "*" stands for pages, not for their users
			h.Set("Access-Control-Allow-Credentials", "true")
		}
	}
	if r.Method != http.MethodOptions {
		return true
	}
	h.Set("Access-Control-Allow-Methods", "POST")
	h.Set("Access-Control-Allow-Headers", "Content-Type")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return false
}

// reject answers, counts and logs a request that does not begin a session.
func (s *polls) reject(w http.ResponseWriter, c *webConn, status int, text string) {
	s.v.refuse(badHandshake, c.visit.remote(), errors.New("long-poll: "+text))
	http.Error(w, text, status)
}

func (s *polls) peer(id string) *pollPeer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers[id]
}

func (s *polls) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.peers[id]; !ok {
		return
	}
	if delete(s.peers, id); s.none != nil && len(s.peers) == 0 {
		close(s.none)
	}
}

// drained lets no more sessions in and returns a channel that is closed when those
// that there are have ended.
func (s *polls) drained() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.none == nil {
		s.none = make(chan struct{})
		if len(s.peers) == 0 {
			close(s.none)
		}
	}
	return s.none
}

var (
	errPolls    = errors.New("too many long-poll sessions")
	errStopping = errors.New("the server stops")
)

// add takes p in unless there are too many.
func (s *polls) add(p *pollPeer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.none != nil:
		return errStopping
	case len(s.peers) >= s.v.cfg.LongPoll.MaxSessions:
		return errPolls
	}
	s.peers[p.id] = p
	return nil
}

// openRequest and openAnswer are the bodies of opening a session.
type openRequest struct {
	Protocols []string `json:"protocols"`
}

type openAnswer struct {
	Protocol  string `json:"protocol"`
	Transport string `json:"transport"`
}

// open starts a session. A batched protocol is agreed on whether Options.Batched
// is set or not: here it saves requests.
func (s *polls) open(w http.ResponseWriter, r *http.Request, c *webConn) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOpenBody))
	var req openRequest
	if err == nil {
		err = json.Unmarshal(body, &req)
	}
	if err != nil || len(req.Protocols) > maxProtocols {
		s.reject(w, c, http.StatusBadRequest, `expected a body of at most 4 KiB like {"protocols": ["wamp.2.json"]}`)
		return
	}
	for _, name := range req.Protocols {
		if f, k := s.v.cfg.parseSubprotocol(name, s.v.cfg.Formats); f != wamp.NoFormat {
			p := newPollPeer(s, c.Conn, f, k)
			p.info.Cookie = s.v.cfg.Cookie.recognize(w, r)
			s.start(w, c, p, name)
			return
		}
	}
	s.reject(w, c, http.StatusBadRequest, "protocol must be one of: "+strings.Join(subprotocols(s.v.cfg.Formats, true), ", "))
}

func (s *polls) start(w http.ResponseWriter, c *webConn, p *pollPeer, protocol string) {
	p.id = rand.Text() // 128 bits or more: who knows it has opened the session
	switch err := s.add(p); {
	case err == errPolls:
		s.v.refuse(overLimit, c.visit.remote(), err)
		w.Header().Set("Retry-After", "5")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	case err != nil || !s.v.enter(p):
		p.fail(wamp.ErrClosed)
		unavailable(w)
		return
	}
	p.watch()
	guest := &anteroom.Guest{}
	s.v.anteroom.Enter(guest, c.RemoteAddr(), func() {
		s.v.refuse(notWelcomed, c.visit.remote(), nil)
		p.fail(errCrowded)
	})
	p.mu.Lock()
	p.welcomed = guest.Leave
	p.mu.Unlock()
	go func() {
		defer s.v.wg.Done()
		defer guest.Leave()
		defer s.v.leave(p)
		if serve := s.v.accept(s.v.ctx, p); serve != nil {
			serve()
		}
		_ = p.Close()
	}()
	answer, err := json.Marshal(openAnswer{Protocol: protocol, Transport: p.id})
	if err != nil {
		panic("transport: " + err.Error()) // two texts
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // a client that is gone makes no more requests
}

// contentType is what a body with messages in format f says it is.
func contentType(f wamp.Format) string {
	if f == wamp.JSON {
		return "application/json; charset=utf-8"
	}
	return "application/octet-stream"
}
