package mqttd_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"go.uber.org/goleak"

	"gantry/bridge/mqttd"
	"gantry/internal/budget"
	"gantry/internal/wallclock"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a packet, or the end of a connection, may take on a machine that has
// other things to do.
const patience = time.Minute

// world is a router with a listener.
type world struct {
	t      testing.TB
	ctx    context.Context
	router *router.Router
	server *mqttd.Server
	dial   func() net.Conn
	addr   string
	// patience is how long clients wait for a packet; zero: patience.
	patience time.Duration
}

// pipes is a listener without a network, for tests in a bubble of synthetic time.
type pipes struct {
	conns chan net.Conn // unbuffered; nobody closes it
	done  chan struct{} // closed by Close
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipes) Close() error   { close(l.done); return nil }
func (l *pipes) Addr() net.Addr { return nil }

func newWorld(t testing.TB, cfg mqttd.Config, inMemory bool) *world {
	t.Helper()
	return newWorldWith(t, cfg, nil, inMemory, nil, nil)
}

// newWorldOn is newWorld with sessions that survive.
func newWorldOn(t testing.TB, cfg mqttd.Config, disk mqttd.Table) *world {
	t.Helper()
	return newWorldWith(t, cfg, nil, false, disk, nil)
}

// newWorldWith is newWorld where the packets on their way have a budget.
func newWorldWith(t testing.TB, cfg mqttd.Config, memory *budget.Budget, inMemory bool, disk mqttd.Table, settle func(context.Context) error) *world {
	t.Helper()
	return newWorldAt(t, cfg, memory, nil, inMemory, disk, settle)
}

// newWorldAt is newWorldWith by a clock.
func newWorldAt(t testing.TB, cfg mqttd.Config, memory *budget.Budget, clock *wallclock.Clock, inMemory bool, disk mqttd.Table, settle func(context.Context) error) *world {
	t.Helper()
	login, err := router.NewAuthenticator(router.LoginConfig{AnonymousAnywhere: true})
	if err != nil {
		t.Fatal(err)
	}
	r, err := router.New(router.Config{
		Realms:       []router.RealmConfig{{Name: "gantry", StrictRequestIDs: true, Authorize: authorize, Overflow: wamp.OverflowDropNewest, TellOrigin: true}},
		Authenticate: login,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !inMemory && cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = patience
	}
	s, err := mqttd.New(cfg, memory, clock, r.Admit, settle, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, router: r, server: s}
	var ln net.Listener
	if inMemory {
		p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		ln = p
		w.dial = func() net.Conn {
			a, b := net.Pipe()
			p.conns <- a
			return b
		}
	} else {
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		w.addr = ln.Addr().String()
		w.dial = func() net.Conn {
			c, err := net.Dial("tcp", w.addr)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.ctx = ctx
	done := make(chan error, 3)
	go func() { done <- r.Run(ctx) }()
	if disk != nil {
		if err := s.Restore(ctx, disk); err != nil {
			t.Fatal(err)
		}
	}
	go func() { done <- s.Run(ctx) }()
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		for range 3 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return w
}

// authorize refuses the name space "forbidden".
func authorize(_ router.Identity, _ router.Action, uri wamp.URI, _ wamp.Match) (bool, error) {
	return uri != "forbidden" && !wamp.URI("forbidden.").Matches(wamp.MatchPrefix, uri), nil
}

// session joins the realm as a WAMP session inside the process.
func (w *world) session() *client.Session {
	w.t.Helper()
	c, r := transport.Pipe(transport.PipeConfig{})
	done := make(chan struct{})
	go func() { w.router.Accept(w.ctx, r); close(done) }()
	s, err := client.Join(w.ctx, c, client.SessionConfig{Realm: "gantry"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close(); <-done; <-s.Done() })
	return s
}

// mqtt is a client that sends and expects bare packets.
type mqtt struct {
	t        testing.TB
	conn     net.Conn
	early    []packets.ControlPacket // what read returns first
	patience time.Duration
}

func (w *world) mqtt() *mqtt {
	m := &mqtt{t: w.t, conn: w.dial(), patience: cmp.Or(w.patience, patience)}
	w.t.Cleanup(func() { _ = m.conn.Close() })
	return m
}

// connect sends CONNECT as changed by edit and returns the code of the CONNACK.
func (m *mqtt) connect(id string, edit func(*packets.ConnectPacket)) byte {
	m.t.Helper()
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.CleanSession, p.ClientIdentifier = "MQTT", 4, true, id
	if edit != nil {
		edit(p)
	}
	m.send(p)
	ack, ok := m.read().(*packets.ConnackPacket)
	if !ok || ack.SessionPresent {
		m.t.Fatalf("no CONNACK, or a session: %v", ack)
	}
	return ack.ReturnCode
}

func (m *mqtt) send(p packets.ControlPacket) {
	m.t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		m.t.Fatal(err)
	}
	m.raw(b.Bytes())
}

func (m *mqtt) raw(b []byte) {
	m.t.Helper()
	_ = m.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := m.conn.Write(b); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mqtt) read() packets.ControlPacket {
	m.t.Helper()
	if len(m.early) > 0 {
		p := m.early[0]
		m.early = m.early[1:]
		return p
	}
	_ = m.conn.SetReadDeadline(time.Now().Add(m.patience))
	p, err := packets.ReadPacket(m.conn)
	if err != nil {
		m.t.Fatalf("read: %v", err)
	}
	return p
}

// ended expects that the server closes the connection without another packet.
func (m *mqtt) ended(name string) {
	m.t.Helper()
	_ = m.conn.SetReadDeadline(time.Now().Add(m.patience))
	p, err := packets.ReadPacket(m.conn)
	var late net.Error
	if err == nil || errors.As(err, &late) && late.Timeout() {
		m.t.Errorf("%s: the connection is still open: %v, %v", name, p, err)
	}
}

func (m *mqtt) subscribe(id uint16, qos byte, filters ...string) []byte {
	m.t.Helper()
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID = id
	for _, f := range filters {
		p.Topics = append(p.Topics, f)
		p.Qoss = append(p.Qoss, qos)
	}
	m.send(p)
	for {
		if ack, ok := m.read().(*packets.SubackPacket); ok {
			if ack.MessageID != id {
				m.t.Fatalf("SUBACK for %d", ack.MessageID)
			}
			return ack.ReturnCodes
		}
	}
}

func (m *mqtt) publish(topic, payload string, qos byte, retain bool, id uint16) {
	m.t.Helper()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Qos, p.Retain, p.MessageID = topic, []byte(payload), qos, retain, id
	m.send(p)
}

func (m *mqtt) expect(topic, payload string, qos byte, retained bool) *packets.PublishPacket {
	m.t.Helper()
	p, ok := m.read().(*packets.PublishPacket)
	if !ok || p.TopicName != topic || string(p.Payload) != payload || p.Qos != qos || p.Retain != retained {
		m.t.Fatalf("got %v, want topic %q payload %q qos %d retained %v", p, topic, payload, qos, retained)
	}
	return p
}

func (m *mqtt) ack(kind byte, id uint16) {
	m.t.Helper()
	got := m.read()
	if d := got.Details(); d.MessageID != id {
		m.t.Fatalf("got %v, want packet %d for %d", got, kind, id)
	}
	var b bytes.Buffer
	if err := got.Write(&b); err != nil || b.Bytes()[0]>>4 != kind {
		m.t.Fatalf("got %v, want packet type %d", got, kind)
	}
}

// quiet proves that nothing has come before the answer to a ping.
func (m *mqtt) quiet() {
	m.t.Helper()
	m.raw([]byte{packets.Pingreq << 4, 0})
	if p, ok := m.read().(*packets.PingrespPacket); !ok {
		m.t.Fatalf("got %v, want nothing", p)
	}
}
