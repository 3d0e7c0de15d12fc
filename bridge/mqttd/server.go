package mqttd

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge/internal/packet"
	"gantry/internal/anteroom"
	"gantry/internal/budget"
	"gantry/internal/ratelog"
	"gantry/wamp"
)

// Server takes MQTT connections and hands each to the router as a peer.
type Server struct {
	cfg    Config
	accept func(ctx context.Context, p wamp.Peer)
	log    *slog.Logger
	rare   *ratelog.Log
	slots  chan struct{} // capacity MaxConnections: one token for each connection
	stats  counters

	anteroom *anteroom.Room // those who have not been welcomed
	memory   *budget.Budget

	mu      sync.Mutex // guards clients
	clients map[string]*conn
}

// New validates cfg and returns a server that listens to nothing yet. accept
// serves one peer and blocks until it has left, as the router's Accept does; it
// must close the peer or leave it open, not keep it. memory bounds what is on its
// way for all clients together, besides 16 KiB of each, and may be shared; nil is
// one of the server's own. A nil log discards. The error is a *bridge.ConfigError.
func New(cfg Config, memory *budget.Budget, accept func(ctx context.Context, p wamp.Peer), log *slog.Logger) (*Server, error) {
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
	return &Server{
		cfg: cfg, accept: accept, log: log, rare: ratelog.New(log, 0, nil),
		anteroom: anteroom.New(cfg.MaxHalfOpen), memory: memory,
		slots: make(chan struct{}, cfg.MaxConnections), clients: map[string]*conn{},
	}, nil
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
		select {
		case s.slots <- struct{}{}:
		default:
			s.refuse(&s.stats.overLimit, "mqtt connection refused: there are too many", nc, "raise mqtt.max_connections if they are wanted", nil)
			_ = nc.Close()
			continue
		}
		v := s.receive(nc)
		active.Go(func() {
			defer v.done()
			s.serve(ctx, nc, v)
		})
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

// receive begins the visit of a connection that has taken a slot.
func (s *Server) receive(nc net.Conn) *visit {
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
func (s *Server) serve(ctx context.Context, nc net.Conn, v *visit) {
	s.stats.connections.Add(1)
	defer func() { _ = nc.Close() }()
	if tcp, ok := nc.(*net.TCPConn); ok {
		// A client without keep-alive that is gone is noticed all the same.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 6 * time.Second, Interval: 3 * time.Second, Count: 3})
	}
	m := &meter{Conn: nc}
	c := &conn{
		srv: s, nc: m, meter: m, visit: v, info: describe(nc), r: bufio.NewReaderSize(m, 1024),
		changed: make(chan struct{}, 1), kick: make(chan struct{}, 1), written: make(chan struct{}), gone: make(chan struct{}),
		session: newSession(&s.cfg, s.memory),
	}
	c.log = s.log.With("remote", c.info.Remote)
	unwatch := context.AfterFunc(ctx, func() { _ = nc.Close() })
	p, code, err := s.connect(c)
	if !unwatch() || err != nil || code != packets.Accepted {
		if ctx.Err() == nil && !v.evicted() {
			why := err
			if why == nil {
				why = fmt.Errorf("return code %d", code)
			}
			s.refuse(&s.stats.rejected, "mqtt connection refused: no valid CONNECT", nc, "something connects that does not speak MQTT 3.1.1", why)
		}
		if err == nil {
			answer(nc, code)
		}
		return
	}
	id := p.ClientIdentifier
	anonymous := id == ""
	if anonymous {
		id = "auto-" + rand.Text()[:16]
	}
	c.log = c.log.With("client", id)
	c.join(p, id)
	if !anonymous {
		if !s.claim(ctx, id, c) {
			answer(nc, packets.ErrRefusedServerUnavailable)
			return
		}
		defer s.release(id, c)
	}
	s.run(ctx, c)
}

// run serves a connection whose CONNECT is valid.
func (s *Server) run(ctx context.Context, c *conn) {
	c.log.Debug("mqtt client connected")
	var writer sync.WaitGroup
	writer.Go(c.write)
	defer func() {
		writer.Wait()
		c.unclaim()
		c.session.unbook(true)
	}()
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	s.accept(ctx, c)
	c.mu.Lock()
	why := c.failed
	c.mu.Unlock()
	switch {
	case why == nil || errors.Is(why, io.EOF):
		c.log.Debug("mqtt client gone")
	case errors.Is(why, errSlow):
		s.rare.Warn("mqtt client disconnected", "remote", c.info.Remote, "reason", why, "hint", "raise mqtt.queue_bytes, or subscribe to less")
	default:
		s.rare.Info("mqtt client lost", "remote", c.info.Remote, "reason", why)
	}
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
	_, info.Encrypted = nc.(*tls.Conn)
	return info
}

// answer sends a CONNACK to a client that will not be served.
func answer(nc net.Conn, code byte) {
	_ = nc.SetWriteDeadline(time.Now().Add(linger))
	_, _ = nc.Write(packet.AppendConnack(nil, code)) // the connection ends in any case
}

// connect reads CONNECT. A code other than 0 is to be answered; an error ends the
// connection without one (MQTT-3.1.0-1, MQTT-3.1.4-1).
func (s *Server) connect(c *conn) (p *packets.ConnectPacket, code byte, err error) {
	if err := c.nc.SetReadDeadline(time.Now().Add(s.cfg.ConnectTimeout)); err != nil {
		return nil, 0, err
	}
	first, err := c.r.ReadByte()
	if err != nil {
		return nil, 0, err
	}
	if first != packets.Connect<<4 {
		return nil, 0, errors.New("the first packet is not CONNECT")
	}
	f, err := packet.Read(c.r, first, min(s.cfg.MaxPacket, maxConnect), nil, nil)
	if err != nil {
		return nil, 0, err
	}
	name, level, ok := packet.Protocol(f)
	switch {
	case !ok, name != "MQTT" && name != "MQIsdp":
		return nil, 0, errors.New("not MQTT") // MQTT-3.1.2-1
	case name == "MQTT" && level != 4, name == "MQIsdp" && level != 3:
		return nil, packets.ErrRefusedBadProtocolVersion, nil // MQTT-3.1.2-2
	}
	decoded, err := packet.Decode(f)
	if err != nil {
		return nil, 0, err
	}
	p = decoded.(*packets.ConnectPacket)
	if len(p.ClientIdentifier) > maxClientID || p.ClientIdentifier == "" && !p.CleanSession {
		return nil, packets.ErrRefusedIDRejected, nil // MQTT-3.1.3-8
	}
	return p, packets.Accepted, nil
}

// maxConnect is the largest CONNECT taken, in bytes: a will is part of it.
const maxConnect = 128 << 10

// maxClientID is the longest client identifier taken, in bytes.
const maxClientID = 256

// claim makes c the connection of a client id. An older one is disconnected
// (MQTT-3.1.4-2) and waited for, so that its will comes before anything that the
// new one sends. It reports false if the older one does not end in time.
func (s *Server) claim(ctx context.Context, id string, c *conn) bool {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ConnectTimeout)
	defer cancel()
	for {
		s.mu.Lock()
		old := s.clients[id]
		if old == nil {
			s.clients[id] = c
			s.mu.Unlock()
			return true
		}
		s.mu.Unlock()
		old.fail(errTakenOver)
		select {
		case <-old.gone:
		case <-ctx.Done():
			return false
		}
	}
}

// release gives a client id free.
func (s *Server) release(id string, c *conn) {
	s.mu.Lock()
	delete(s.clients, id)
	s.mu.Unlock()
	close(c.gone)
}
