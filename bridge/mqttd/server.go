package mqttd

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gantry/bridge/internal/packet"
	"gantry/internal/anteroom"
	"gantry/internal/budget"
	"gantry/internal/ratelog"
	"gantry/internal/receipts"
	"gantry/internal/wallclock"
	"gantry/wamp"
)

// Server takes MQTT connections and hands each to the router as a peer.
type Server struct {
	cfg   Config
	admit func(ctx context.Context, p wamp.Peer) (serve func())
	log   *slog.Logger
	rare  *ratelog.Log
	slots chan struct{} // capacity MaxConnections: one token for each connection
	stats counters

	anteroom *anteroom.Room // those who have not been welcomed
	memory   *budget.Budget
	clock    *wallclock.Clock

	journal  *journal
	receipts *receipts.Queue // nil: nothing keeps events
	shares   *shares
	holds    *holds
	restored sync.WaitGroup // sessions from before this run, and of ServeConn

	mu      sync.Mutex // guards clients
	clients map[string]*client
}

// New validates cfg and returns a server that listens to nothing yet. admit takes one
// peer through its login and returns what serves it, as the router's Admit does; that
// must close the peer or leave it open, not keep it. memory bounds what is on its
// way for all clients together, besides 16 KiB of each, and may be shared; nil is
// one of the server's own. clock says when messages and sessions expire; nil is one that is
// never set, and knows nothing of what was before. keep returns once everything that the realm has taken
// before is where it is kept: only then messages at QoS 1 and 2 are acknowledged; after an
// error it is asked again. nil: nothing keeps events. A nil log discards. The error is a
// *bridge.ConfigError.
func New(cfg Config, memory *budget.Budget, clock *wallclock.Clock, admit func(ctx context.Context, p wamp.Peer) (serve func()), keep func(ctx context.Context) error, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	cfg = cfg.withDefaults()
	if memory == nil {
		memory = budget.New(0)
	}
	if clock == nil {
		began := time.Now()
		clock = wallclock.New(wallclock.Config{Synced: func() bool { return false }, Up: func() time.Duration { return time.Since(began) }, Boot: rand.Text()})
	}
	rare := ratelog.New(log, 0, nil)
	s := &Server{
		cfg: cfg, admit: admit, log: log, rare: rare, journal: newJournal(nil, rare), shares: newShares(), holds: newHolds(),
		anteroom: anteroom.New(cfg.MaxHalfOpen), memory: memory, clock: clock,
		slots: make(chan struct{}, cfg.MaxConnections), clients: map[string]*client{},
	}
	if keep != nil {
		s.receipts = receipts.New(keep, func(err error) {
			rare.Warn("mqtt messages stay unacknowledged, as they cannot be stored", "error", err, "hint", "an outbox cannot be written: is the disk full?")
		})
	}
	return s, nil
}

// Serve takes connections from ln until ctx ends; then it closes ln and all
// connections, waits for them and returns nil. Any other end of ln is an error.
// Several listeners may be served at a time; they share the limits.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	var active sync.WaitGroup
	defer active.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	for {
		nc, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = nc.Close()
			}
			return nil
		case err != nil:
			if temporary(err) {
				s.rare.Warn("mqtt connection not accepted", "error", err)
				if pause(ctx, 100*time.Millisecond) {
					continue
				}
				return nil
			}
			return err
		}
		if v := s.receive(nc); v != nil {
			active.Go(func() {
				defer v.done()
				s.serve(ctx, nc, v, &active)
			})
		}
	}
}

// ServeConn serves one connection, such as a WebSocket's stream, until it and its
// session, if that is not kept, have ended; a kept one lasts until ctx ends, in a
// goroutine that Run waits for. It closes nc.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn) {
	if v := s.receive(nc); v != nil {
		defer v.done()
		s.serve(ctx, nc, v, &s.restored)
	}
}

// temporary reports whether accepting may work again soon: files or memory are
// short, or a client was gone before it was accepted.
func temporary(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// pause waits for d and reports whether ctx is still running.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// refuse counts and logs why a connection was refused or ended. err may be nil.
func (s *Server) refuse(n *atomic.Uint64, text string, nc net.Conn, hint string, err error) {
	n.Add(1)
	args := []any{"remote", describe(nc).Remote, "hint", hint}
	if err != nil {
		args = append(args, "error", err)
	}
	s.rare.Warn(text, args...)
}

// visit is one connection, from its acceptance to its end. It holds a slot.
type visit struct {
	anteroom.Guest
	slots <-chan struct{}
	once  sync.Once
	out   atomic.Bool // the anteroom has shown it out
}

func (v *visit) evicted() bool { return v.out.Load() }

// receive begins the visit of a connection; nil: there are too many, and it is closed.
func (s *Server) receive(nc net.Conn) *visit {
	select {
	case s.slots <- struct{}{}:
	default:
		s.refuse(&s.stats.overLimit, "mqtt connection refused: there are too many", nc, "raise mqtt.max_connections if they are wanted", nil)
		_ = nc.Close()
		return nil
	}
	v := &visit{slots: s.slots}
	s.anteroom.Enter(&v.Guest, nc.RemoteAddr(), func() {
		v.out.Store(true)
		s.refuse(&s.stats.halfOpen, "mqtt connection dropped: too many have not connected", nc,
			"something opens connections and sends no CONNECT; raise mqtt.max_half_open if many connect at a time", nil)
		v.done()
		_ = nc.Close()
	})
	return v
}

// done ends the visit. Later calls do nothing.
func (v *visit) done() {
	v.once.Do(func() {
		v.Leave()
		<-v.slots
	})
}

// serve handles one connection until it has ended.
func (s *Server) serve(ctx context.Context, nc net.Conn, v *visit, sessions *sync.WaitGroup) {
	s.stats.connections.Add(1)
	raw := nc
	if t, ok := nc.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		// A client without keep-alive that is gone is noticed all the same.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 6 * time.Second, Interval: 3 * time.Second, Count: 3})
	}
	m := &meter{Conn: nc}
	l := &link{
		srv: s, nc: m, meter: m, visit: v, r: bufio.NewReaderSize(m, 1024),
		kick: make(chan struct{}, 1), written: make(chan struct{}),
	}
	unwatch := context.AfterFunc(ctx, func() { _ = nc.Close() })
	p, code, err := s.connect(l)
	if !unwatch() || err != nil || code != 0 {
		if ctx.Err() == nil && !v.evicted() {
			why := err
			if why == nil {
				why = fmt.Errorf("return code %d", code)
			}
			s.refuse(&s.stats.rejected, "mqtt connection refused: no valid CONNECT", nc, "something connects that does not speak MQTT 3.1.1 or 5", why)
		}
		if err == nil {
			answer(nc, l.version, code)
		}
		_ = nc.Close()
		return
	}
	s.join(ctx, l, p, sessions)
}

// join has the client of a valid CONNECT join the realm, or go on with a session that
// it has there.
func (s *Server) join(ctx context.Context, l *link, p *packet.Connect, sessions *sync.WaitGroup) {
	id := p.ClientID
	if id == "" {
		id = "auto-" + rand.Text()[:16]
	}
	c := s.newClient(id, p.Version, describe(l.nc.(*meter).Conn))
	c.log = s.log.With("remote", c.info.Remote, "client", id)
	c.hello = c.helloOf(p)
	unwatch := context.AfterFunc(ctx, func() { _ = l.nc.Close(); _ = c.Close() })
	defer unwatch()
	serve := s.admit(ctx, c)
	if serve == nil {
		s.turnAway(c, l, p)
		_ = l.nc.Close()
		return
	}
	old, ok := s.claim(ctx, id, c, p.Clean)
	switch {
	case !ok:
		s.refuse(&s.stats.noSession, "mqtt client refused: there is no session for it", l.nc,
			"mqtt.max_sessions are there, or the one that it takes over does not end", nil)
		answer(l.nc, p.Version, connackCode(p.Version, ""))
		_ = c.Close()
		serve()
		_ = l.nc.Close()
	case old != nil:
		_ = c.Close()
		serve()
		old.attach(l, p, true)
		<-l.written
	default:
		c.attach(l, p, false)
		sessions.Go(func() { s.live(ctx, c, serve) })
		<-l.written
		if !c.stays() {
			<-c.gone
		}
	}
}

// turnAway tells a client that the router has refused it.
func (s *Server) turnAway(c *client, l *link, p *packet.Connect) {
	c.mu.Lock()
	reason := c.refusal
	c.mu.Unlock()
	if reason == "" {
		return
	}
	answer(l.nc, p.Version, connackCode(p.Version, reason))
	s.stats.notAdmitted.Add(1)
	s.rare.Info("mqtt client refused", "remote", c.info.Remote, "reason", string(reason))
}

func (s *Server) newClient(id string, version byte, info wamp.PeerInfo) *client {
	return &client{
		srv: s, info: info, log: s.log.With("client", id), changed: make(chan struct{}, 1), gone: make(chan struct{}),
		session: s.newSession(id, version),
	}
}

// live handles a session until it has left the realm.
func (s *Server) live(ctx context.Context, c *client, serve func()) {
	c.log.Debug("mqtt client connected")
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	serve()
	_ = c.Close()
	c.mu.Lock()
	if ctx.Err() == nil && !c.dismissed {
		c.session.abandon()
		c.session.erase()
	}
	c.session.unbook(true)
	c.mu.Unlock()
	s.shares.depart(c.session)
	s.release(c.session.id, c)
	c.log.Debug("mqtt session ended")
}

// describe fills in what is known of the other end.
func describe(nc net.Conn) wamp.PeerInfo {
	info := wamp.PeerInfo{Transport: "mqtt", Remote: "unknown"}
	if a := nc.RemoteAddr(); a != nil {
		info.Remote = a.Network() + ":" + a.String()
		switch a := a.(type) {
		case *net.TCPAddr:
			info.Remote = a.String()
			info.Local = a.IP.IsLoopback()
		case *net.UnixAddr:
			info.Remote, info.Local = "unix", true
		}
	}
	switch c := nc.(type) {
	case *tls.Conn:
		state := c.ConnectionState()
		info.TLS = &state
	case interface{ TLS() *tls.ConnectionState }:
		info.TLS = c.TLS()
	}
	info.Encrypted = info.TLS != nil
	return info
}

// answer sends a CONNACK to a client that will not be served.
func answer(nc net.Conn, version, code byte) {
	_ = nc.SetWriteDeadline(time.Now().Add(linger))
	_, _ = nc.Write(packet.AppendConnack(nil, version, false, code, nil)) // the connection ends in any case
}

// connect reads CONNECT. A code other than 0 is to be answered; an error ends the
// connection without one (MQTT-3.1.0-1, MQTT-3.1.4-1).
func (s *Server) connect(l *link) (p *packet.Connect, code byte, err error) {
	if err := l.nc.SetReadDeadline(time.Now().Add(s.cfg.ConnectTimeout)); err != nil {
		return nil, 0, err
	}
	first, err := l.r.ReadByte()
	if err != nil {
		return nil, 0, err
	}
	if first != packet.TypeConnect<<4 {
		return nil, 0, errors.New("the first packet is not CONNECT")
	}
	f, err := packet.Read(l.r, first, min(s.cfg.MaxPacket, maxConnect), nil, nil)
	if err != nil {
		return nil, 0, err
	}
	name, level, ok := packet.Protocol(f)
	switch {
	case !ok, name != "MQTT" && name != "MQIsdp":
		return nil, 0, errors.New("not MQTT") // MQTT-3.1.2-1
	case name == "MQTT" && level != packet.V311 && level != packet.V5, name == "MQIsdp" && level != packet.V31:
		return nil, packet.OldBadProtocol, nil // MQTT-3.1.2-2
	}
	l.version = level
	decoded, err := packet.Decode(f, level)
	if err != nil {
		if form := (*packet.FormError)(nil); level == packet.V5 && errors.As(err, &form) {
			answer(l.nc, level, form.Code) // MQTT-3.1.4-2 lets it
		}
		return nil, 0, err
	}
	p = decoded.(*packet.Connect)
	bad := len(p.ClientID) > maxClientID || level != packet.V5 && p.ClientID == "" && !p.Clean
	_, extended := p.Properties.Text(packet.AuthMethod)
	switch {
	case bad && level == packet.V5:
		return nil, packet.BadClientID, nil
	case bad:
		return nil, packet.OldBadClientID, nil // MQTT-3.1.3-8
	case extended:
		return nil, packet.BadAuthMethod, nil
	}
	switch n := p.Properties.Num(packet.MaximumPacket, leastMaxPacket); {
	case n < packet.BareConnackSize:
		return nil, 0, errors.New("the client takes no packet that could tell it anything")
	case n < leastMaxPacket:
		return nil, packet.ImplementationSpecific, nil
	}
	return p, 0, nil
}

// maxConnect is the largest CONNECT taken, in bytes: a will is part of it.
const maxConnect = 128 << 10

// maxClientID is the longest client identifier taken, in bytes.
const maxClientID = 256

// claim makes c the session of a client id, unless old is to be gone on with. An older
// one that is not is ended (MQTT-3.1.4-3) and waited for, so that its will comes before
// anything that the new one sends. It reports false if the older one does not end in
// time.
func (s *Server) claim(ctx context.Context, id string, c *client, clean bool) (old *client, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ConnectTimeout)
	defer cancel()
	for {
		s.mu.Lock()
		old := s.clients[id]
		if old == nil {
			full := len(s.clients) >= s.cfg.MaxSessions
			if !full {
				s.clients[id] = c
			}
			s.mu.Unlock()
			return nil, !full
		}
		s.mu.Unlock()
		if !clean && old.resumes(c.who) {
			old.displace()
			return old, true
		}
		old.end(errTakenOver)
		select {
		case <-old.gone:
		case <-ctx.Done():
			return nil, false
		}
	}
}

// release gives a client id free.
func (s *Server) release(id string, c *client) {
	s.mu.Lock()
	if s.clients[id] == c {
		delete(s.clients, id)
	}
	s.mu.Unlock()
	close(c.gone)
}

// Restore takes up the sessions that table holds, from a run before. It is called once,
// before Run and Serve, while the router runs; the end of ctx ends them. Without it no session survives a restart.
// Sessions that cannot be restored are dropped, and told in the log.
func (s *Server) Restore(ctx context.Context, table Table) error {
	all, err := load(table, s.clock)
	if err != nil {
		return fmt.Errorf("mqtt sessions: %w", err)
	}
	s.journal.table = table
	for id, st := range all {
		if st.record.Expiry == 0 { // what is left of a session that has ended
			s.stats.abandoned.Add(uint64(len(st.messages)))
			for _, d := range st.messages {
				s.journal.add(Change{Key: messageKey(id, d.seq)})
			}
			for _, n := range st.received {
				s.journal.add(Change{Key: receivedKey(id, n)})
			}
			continue
		}
		s.revive(ctx, id, st)
	}
	return nil
}

// revive has a session join the realm again, with nobody connected.
func (s *Server) revive(ctx context.Context, id string, st *stored) {
	who := st.record.Who
	c := s.newClient(id, st.record.Version, wamp.PeerInfo{Transport: "mqtt", Remote: "restored", Local: true, Restored: &who})
	c.hello = c.helloOf(&packet.Connect{Version: st.record.Version, ClientID: id})
	c.session.restore(st)
	c.session.online = false
	c.expiry = st.record.Expiry
	serve := s.admit(ctx, c)
	if serve == nil {
		s.rare.Warn("mqtt session dropped: it may not join any more", "client", id, "reason", string(c.refusal))
		c.session.abandon()
		c.session.erase()
		return
	}
	c.who = who
	if (st.record.Gone == wallclock.Mark{}) {
		c.session.saved.Gone = s.clock.Mark() // it was connected when the gateway ended
	}
	left := max(time.Second, c.expiry-s.clock.Since(c.session.saved.Gone))
	c.mu.Lock()
	c.ending = time.AfterFunc(left, func() { c.expire(nil) })
	c.mu.Unlock()
	s.mu.Lock()
	s.clients[id] = c
	s.mu.Unlock()
	s.restored.Go(func() { s.live(ctx, c, serve) })
}

// Run brings the sessions to disk until ctx ends, and waits for those that Restore and
// ServeConn have begun, whose own context has to end before: what they take until then is
// brought to disk as well. Without Restore it only settles.
func (s *Server) Run(ctx context.Context) error {
	var ending sync.WaitGroup
	if s.receipts != nil {
		ending.Go(func() { _ = s.receipts.Run(ctx) }) // the end of ctx is all that ends it
	}
	writing, done := context.WithCancel(context.WithoutCancel(ctx))
	ending.Go(func() {
		<-ctx.Done()
		s.restored.Wait()
		done()
	})
	s.journal.run(writing)
	ending.Wait()
	return nil
}
