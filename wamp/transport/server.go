package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gantry/internal/anteroom"
	"gantry/internal/budget"
	"gantry/internal/ratelog"
	"gantry/wamp"
	"gantry/wamp/websocket"
)

// DefaultMaxConns is how many connections a Server holds at a time.
const DefaultMaxConns = 1024

// DefaultMaxHalfOpen is how many of them may be about to log in.
const DefaultMaxHalfOpen = 256

// ServerConfig configures a Server. The zero value means the defaults.
type ServerConfig struct {
	Options
	// Formats are the serializers that are spoken; none means all.
	Formats []wamp.Format
	// MaxConns bounds the connections open at a time on all listeners together,
	// plain HTTP included. More are refused: RawSocket with error 4, HTTP with
	// status 503. Unix sockets have 16 besides, so that this machine gets in while
	// others use up all.
	MaxConns int
	// MaxHalfOpen bounds those of them that have not been welcomed to a realm. The
	// one that has waited longest makes room for a new one, among those of the
	// address that most are from. 0 means DefaultMaxHalfOpen, but a quarter of
	// MaxConns at most (and at least 16).
	MaxHalfOpen int
	// Memory bounds the messages of all connections together that are on their way,
	// besides 16 KiB of each: those that arrive wait for each other, and each queue is
	// full earlier than it would be otherwise. It may be shared. Nil means one of the
	// Server's own, of budget.DefaultBytes.
	Memory *budget.Budget
	// Path is where WebSocket is spoken; "" means WebSocketPath.
	Path string
	// LongPoll is how WAMP is spoken in plain HTTP requests.
	LongPoll LongPollConfig
	// HTTP serves all other paths; nil answers 404. A connection that it takes over
	// (http.Hijacker) is not half open any more: it counts as logged in.
	HTTP http.Handler
	// HTTPTimeout bounds a plain HTTP request with its body, and its answer, so that
	// slow ones do not use up MaxConns. A handler that needs longer sets deadlines of
	// its own (http.ResponseController). 0 means DefaultHTTPTimeout.
	HTTPTimeout time.Duration
	// Origins are the web pages that may connect besides those of the host itself;
	// see websocket.Server.
	Origins []string
	// Cookie is how browsers are recognized.
	Cookie CookieConfig
	// CheckHost, if not nil, says whether the Host header of an HTTP request, of
	// any path, names this server; others are answered with status 421.
	CheckHost func(host string) bool
	// TLS, if not nil, encrypts every connection but those over Unix sockets.
	TLS *tls.Config
}

// DefaultHTTPTimeout is how long a plain HTTP request may take.
const DefaultHTTPTimeout = 30 * time.Second

// Server accepts WAMP connections. One listener serves all transports: a
// connection that begins with octet 0x7F is RawSocket, any other HTTP.
type Server struct {
	cfg    ServerConfig
	accept func(ctx context.Context, p wamp.Peer) (serve func())
	log    *slog.Logger
	turns  *turns // of all listeners, whose peers send to each other

	plainPath bool      // see upgradeAtOnce
	upgraders sync.Pool // of *upgrader

	anteroom *anteroom.Room
	rare     *ratelog.Log
	conns    atomic.Int64 // open now
	accepted atomic.Uint64
	refused  [reasons]atomic.Uint64
}

// NewServer returns a Server that calls accept with the peer of each connection, in
// a goroutine of the connection, and then, in another with a small stack, what
// accept returns. When that returns, or accept has returned nil, the peer is closed;
// it is closed as well when Serve ends, whose context is ctx.
func NewServer(cfg ServerConfig, accept func(ctx context.Context, p wamp.Peer) (serve func()), log *slog.Logger) (*Server, error) {
	var err error
	if cfg.Options, err = cfg.withDefaults(); err != nil {
		return nil, fmt.Errorf("transport server: %w", err)
	}
	if cfg.Formats, err = checkFormats(cfg.Formats); err != nil {
		return nil, fmt.Errorf("transport server: %w", err)
	}
	if accept == nil {
		return nil, errors.New("transport server: no function to accept peers")
	}
	cfg.MaxConns = orDefault(cfg.MaxConns, DefaultMaxConns)
	if cfg.Memory == nil {
		cfg.Memory = budget.New(0)
	}
	cfg.MaxHalfOpen = orDefault(cfg.MaxHalfOpen, min(DefaultMaxHalfOpen, max(cfg.MaxConns/4, 16)))
	if cfg.Path == "" {
		cfg.Path = WebSocketPath
	}
	if err = cfg.Cookie.check(); err != nil {
		return nil, fmt.Errorf("transport server: %w", err)
	}
	if cfg.LongPoll, err = cfg.LongPoll.withDefaults(); err != nil {
		return nil, fmt.Errorf("transport server: %w", err)
	}
	if cfg.HTTP == nil {
		cfg.HTTP = http.NotFoundHandler()
	}
	if cfg.HTTPTimeout <= 0 {
		cfg.HTTPTimeout = DefaultHTTPTimeout
	}
	if cfg.TLS != nil {
		cfg.TLS = cfg.TLS.Clone()
		cfg.TLS.NextProtos = []string{"http/1.1"} // what follows is told by its first octet
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{
		cfg: cfg, accept: accept, log: log, turns: newTurns(),
		plainPath: cfg.plainPath(), upgraders: sync.Pool{New: func() any { return newUpgrader() }},
		anteroom: anteroom.New(cfg.MaxHalfOpen), rare: ratelog.New(log, 0, nil),
	}, nil
}

// Serve accepts connections from ln until ctx ends. Then it closes all peers, and
// ln when those by long-poll have made the requests that bring their last messages,
// waits for everything it has started and returns nil: within twice Linger. It
// returns earlier only if ln fails. It may be called for several listeners.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	requests, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	v := &service{
		Server: s,
		ctx:    ctx,
		open:   map[closer]struct{}{},
		web:    &webListener{conns: make(chan net.Conn), done: requests.Done(), addr: ln.Addr()},
		tls:    s.cfg.TLS,
		limit:  int64(s.cfg.MaxConns),
	}
	if ln.Addr().Network() == "unix" {
		v.tls = nil
		v.limit += localReserve
	}
	v.polls = &polls{v: v, peers: map[string]*pollPeer{}}
	v.ws = &websocket.Server{
		Config:       beneath(&s.cfg.Options, v.take),
		Subprotocols: subprotocols(s.cfg.Formats, s.cfg.Batched),
		Origins:      s.cfg.Origins,
	}
	hs := &http.Server{
		Handler:           http.HandlerFunc(v.serveHTTP),
		ReadHeaderTimeout: s.cfg.HandshakeTimeout,
		ReadTimeout:       s.cfg.HTTPTimeout,
		WriteTimeout:      s.cfg.HTTPTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	tuneListener(ln, s.cfg.silence())
	v.wg.Go(func() { _ = hs.Serve(v.web) })
	v.wg.Go(func() {
		<-ctx.Done()
		v.closeAll(false)
		<-v.polls.drained()
		_ = ln.Close()
	})
	err := v.acceptAll(ln)
	cancel()
	<-v.polls.drained()
	hangUp()
	v.closeAll(true)
	grace, release := context.WithTimeout(context.Background(), s.cfg.Linger)
	if hs.Shutdown(grace) != nil {
		_ = hs.Close()
	}
	release()
	v.wg.Wait()
	return err
}

// closer is a connection in any state.
type closer interface{ Close() error }

// localReserve is how many connections Unix sockets may have over the limit.
const localReserve = 16

// service is one Serve.
type service struct {
	*Server
	ctx   context.Context // of Serve; ends before the service does, and before its connections
	tls   *tls.Config     // nil: not encrypted
	limit int64           // of connections
	ws    *websocket.Server
	web   *webListener
	wg    sync.WaitGroup // everything started, except what http.Server starts

	polls *polls

	mu     sync.Mutex // guards what follows
	open   map[closer]struct{}
	closed bool
}

// acceptAll accepts until the listener fails or ctx ends.
func (v *service) acceptAll(ln net.Listener) error {
	var pause time.Duration
	for {
		conn, err := ln.Accept()
		if err == nil {
			pause = 0
			v.admit(conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) && v.ctx.Err() != nil {
			return nil
		}
		var temporary interface{ Temporary() bool }
		if !errors.As(err, &temporary) || !temporary.Temporary() {
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		}
		// Too many open files, most likely: waiting frees some.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		v.rare.Warn("connection not accepted", "error", err, "pause_ms", pause.Milliseconds())
		select {
		case <-time.After(pause):
		case <-v.ctx.Done():
			return nil
		}
	}
}

// refusers is how many connections over the limit are told so at a time; further
// ones are closed without a word.
const refusers = 16

func (v *service) admit(conn net.Conn) {
	v.accepted.Add(1)
	n := v.conns.Add(1)
	if n > v.limit+refusers {
		v.refuse(overLimit, remoteText(conn.RemoteAddr()), nil)
		v.conns.Add(-1)
		_ = conn.Close()
		return
	}
	visitor := v.receive(conn)
	if !v.enter(conn) {
		visitor.done()
		_ = conn.Close()
		return
	}
	go func() {
		defer v.wg.Done()
		v.greet(conn, visitor, n > v.limit)
	}()
}

// enter takes responsibility for c, if it is not nil, and for one goroutine,
// unless the service ends.
func (v *service) enter(c closer) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return false
	}
	if c != nil {
		v.open[c] = struct{}{}
	}
	v.wg.Add(1)
	return true
}

func (v *service) leave(c closer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.open, c)
}

// closeAll closes all connections side by side and, at the end, lets no more in.
func (v *service) closeAll(end bool) {
	v.mu.Lock()
	v.closed = end
	for c := range v.open {
		v.wg.Go(func() { _ = c.Close() })
	}
	v.mu.Unlock()
}

// unavailable answers a request to a server that stops.
func unavailable(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	http.Error(w, "the server stops", http.StatusServiceUnavailable)
}

// takeable is an answer whose connection the handler may take over.
type takeable struct {
	http.ResponseWriter
	visit *visit
}

// Unwrap is for http.ResponseController.
func (t *takeable) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// Hijack implements http.Hijacker.
func (t *takeable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err == nil {
		t.visit.settle()
	}
	return conn, rw, err
}

type connKey struct{}

// serveHTTP serves one request.
func (v *service) serveHTTP(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(connKey{}).(*webConn)
	if c == nil || !v.enter(nil) {
		unavailable(w)
		return
	}
	defer v.wg.Done()
	c.asked.Store(true)
	if tc, ok := c.Conn.(*tls.Conn); ok && r.TLS == nil {
		state := tc.ConnectionState()
		r.TLS = &state
	}
	if v.cfg.CheckHost != nil && !v.cfg.CheckHost(r.Host) {
		v.refuse(badHandshake, c.visit.remote(), errors.New("this server does not go by the name asked for; add it to listen.hosts"))
		http.Error(w, "this server does not go by that name", http.StatusMisdirectedRequest)
		return
	}
	if path, ok := strings.CutPrefix(r.URL.Path, v.cfg.LongPoll.Path+"/"); ok && !v.cfg.LongPoll.Off {
		v.polls.serve(w, r, c, path)
		return
	}
	if v.ctx.Err() != nil {
		unavailable(w)
		return
	}
	if r.URL.Path != v.cfg.Path {
		v.cfg.HTTP.ServeHTTP(&takeable{w, c.visit}, r)
		return
	}
	p, err := v.upgrade(w, r)
	if err == nil && !v.enter(p) {
		_ = p.Close() // the client, which has its answer already, is told why
		err = wamp.ErrClosed
	}
	if err == nil {
		go v.session(p, c.visit)
		return
	}
	c.visit.handshakeFailed(err)
	if c.taken {
		c.visit.done()
	}
}
