package wamptest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

// Link is a way to reach a router.
type Link struct {
	Transport string      // "websocket", "rawsocket" or "pipe"
	Format    wamp.Format // NoFormat for the pipe
	// Batched speaks the WebSocket subprotocol that puts several messages into a
	// frame; each message sent is a batch of one.
	Batched bool
}

// String returns a name for subtests, such as websocket-cbor.
func (l Link) String() string {
	if l.Format == wamp.NoFormat {
		return l.Transport
	}
	s := l.Transport + "-" + l.Format.String()
	if l.Batched {
		s += "-batched"
	}
	return s
}

// Links returns all ways: both network transports in every serializer, and the
// pipe.
func Links() []Link {
	links := NetworkLinks()
	return append(links, Link{Transport: "pipe"})
}

// NetworkLinks returns Links without the pipe.
func NetworkLinks() []Link {
	var links []Link
	for _, tr := range []string{"websocket", "rawsocket"} {
		for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
			links = append(links, Link{Transport: tr, Format: f})
		}
	}
	return links
}

// Deadline bounds every wait for the other side.
const Deadline = 30 * time.Second

// Peer is the client side of a connection, played by a test. Everything that
// goes wrong fails the test. It is for one goroutine.
type Peer struct {
	Name string // what failures call it
	Link Link
	// Conn is the network connection, nil for the pipe.
	Conn net.Conn
	// CloseCode is the code of the close frame received, 0 if there was none.
	CloseCode int
	// Mute leaves pings unanswered.
	Mute bool
	// Pings counts the pings received.
	Pings int

	t    testing.TB
	wire wire
	pipe wamp.Peer
	json *serialize.Decoder // of documents for the pipe
	rest [][]byte           // messages of a batch that have not been taken yet
	last int64
	vars map[string]any
}

func newPeer(t testing.TB, l Link) *Peer {
	return &Peer{Name: l.String(), Link: l, t: t, vars: map[string]any{"authid": rand.Text()}}
}

// Dial connects over network ("tcp" or "unix") to a server that speaks every
// transport at addr, WebSocket on /ws, and does the handshake. The connection is
// closed when the test ends.
func Dial(t testing.TB, network, addr string, l Link) *Peer {
	t.Helper()
	c, err := net.DialTimeout(network, addr, Deadline)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return Over(t, c, l)
}

// Over does the handshake over c, which stays the caller's to close.
func Over(t testing.TB, c net.Conn, l Link) *Peer {
	t.Helper()
	return OverLimited(t, c, l, 1<<24)
}

// OverLimited is Over for a peer that takes messages up to limit, a power of two
// of 512 or more, which RawSocket announces.
func OverLimited(t testing.TB, c net.Conn, l Link, limit int) *Peer {
	t.Helper()
	p := newPeer(t, l)
	p.Conn = c
	switch l.Transport {
	case "websocket":
		p.wire = wsWire{path: transport.WebSocketPath, batched: l.Batched}
	case "rawsocket":
		e := byte(0)
		for 512<<e < limit {
			e++
		}
		p.wire = rawWire{length: e}
	default:
		t.Fatalf("%s goes over no connection", l)
	}
	_ = c.SetDeadline(time.Now().Add(Deadline))
	if err := p.wire.handshake(c, l.Format); err != nil {
		t.Fatalf("%s: %v", l, err)
	}
	return p
}

// Pipe connects to a router's accept function inside the process. When the test
// ends the connection is closed and accept has returned.
func Pipe(t testing.TB, accept func(context.Context, wamp.Peer)) *Peer {
	p := newPeer(t, Link{Transport: "pipe"})
	c, r := transport.Pipe(transport.PipeConfig{})
	p.pipe, p.json = c, serialize.NewDecoder(wamp.JSON, serialize.Limits{Bytes: 1 << 26})
	var wg sync.WaitGroup
	wg.Go(func() { accept(context.Background(), r) })
	t.Cleanup(func() {
		_ = c.Close()
		wg.Wait()
	})
	return p
}

// Close ends the connection without a word.
func (p *Peer) Close() {
	if p.pipe != nil {
		_ = p.pipe.Close()
		return
	}
	_ = p.Conn.Close()
}

// Var returns a variable that Expect has set, as an ID.
func (p *Peer) Var(name string) wamp.ID {
	p.t.Helper()
	n, ok := p.vars[name].(int64)
	if !ok {
		p.t.Fatalf("%s: variable %s is %v, expected an ID", p.Name, name, p.vars[name])
	}
	return wamp.ID(n)
}

// Set sets a variable.
func (p *Peer) Set(name string, v wamp.ID) { p.vars[name] = int64(v) }

// LastRequest returns the request ID that "=" stands for.
func (p *Peer) LastRequest() wamp.ID { return wamp.ID(p.last) }

// Unset forgets variables, so that the next Expect sets them.
func (p *Peer) Unset(names ...string) {
	for _, n := range names {
		delete(p.vars, n)
	}
}

// Send sends documents as messages, each in a frame of its own.
func (p *Peer) Send(docs ...string) {
	p.t.Helper()
	for _, doc := range docs {
		v := p.filled(doc)
		if p.pipe != nil {
			p.pass(doc, v)
			continue
		}
		p.SendPayload(p.bytes(doc, v))
	}
}

// SendBatch sends documents as messages in one frame.
func (p *Peer) SendBatch(docs ...string) {
	p.t.Helper()
	var batch []byte
	for _, doc := range docs {
		batch = appendToBatch(batch, p.Link.Format, p.bytes(doc, p.filled(doc)))
	}
	p.SendFrame(Frame{Kind: p.wire.regular(p.Link.Format), Payload: batch})
}

// filled reads a document and replaces the special texts.
func (p *Peer) filled(doc string) any {
	p.t.Helper()
	v, err := parse(doc)
	if err != nil {
		p.t.Fatalf("document %s: %v", doc, err)
	}
	return p.fill(v)
}

func (p *Peer) bytes(doc string, v any) []byte {
	p.t.Helper()
	b, err := serialize.AppendValue(nil, p.Link.Format, v)
	if err != nil {
		p.t.Fatalf("document %s: %v", doc, err)
	}
	return b
}

// pass hands a document to the pipe as a message.
func (p *Peer) pass(doc string, v any) {
	p.t.Helper()
	b, err := serialize.AppendValue(nil, wamp.JSON, v)
	if err != nil {
		p.t.Fatalf("document %s: %v", doc, err)
	}
	m, err := p.json.Decode(b)
	if err != nil {
		p.t.Fatalf("%s carries messages only; document %s: %v", p.Name, doc, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	if err := p.pipe.Send(ctx, m); err != nil {
		p.t.Fatalf("%s: send %s: %v", p.Name, doc, err)
	}
}

// SendMessage sends a message as it is, without special texts.
func (p *Peer) SendMessage(m wamp.Message) {
	p.t.Helper()
	if p.pipe != nil {
		ctx, cancel := context.WithTimeout(context.Background(), Deadline)
		defer cancel()
		if err := p.pipe.Send(ctx, m); err != nil {
			p.t.Fatalf("%s: send %s: %v", p.Name, m.Type(), err)
		}
		return
	}
	b, err := serialize.Append(nil, p.Link.Format, m)
	if err != nil {
		p.t.Fatalf("%s: send %s: %v", p.Name, m.Type(), err)
	}
	p.SendPayload(b)
}

// SendPayload sends one frame that says it is a message.
func (p *Peer) SendPayload(b []byte) {
	p.t.Helper()
	if p.Link.Batched {
		b = appendToBatch(nil, p.Link.Format, b)
	}
	p.SendFrame(Frame{Kind: p.wire.regular(p.Link.Format), Payload: b})
}

// SendFrame sends one frame.
func (p *Peer) SendFrame(f Frame) {
	p.t.Helper()
	p.SendBytes(p.wire.encode(f))
}

// Encode returns the bytes of a frame.
func (p *Peer) Encode(f Frame) []byte { return p.wire.encode(f) }

// SendBytes sends bytes as they are.
func (p *Peer) SendBytes(b []byte) {
	p.t.Helper()
	_ = p.Conn.SetWriteDeadline(time.Now().Add(Deadline))
	if _, err := p.Conn.Write(b); err != nil {
		p.t.Fatalf("%s: send: %v", p.Name, err)
	}
}

// errClosed is the orderly end that a peer has seen.
var errClosed = errors.New("the other side has closed the connection")

// next returns the next message, read as values. Pings are answered on the way.
func (p *Peer) next() (any, error) {
	if p.pipe != nil {
		return p.nextOfPipe()
	}
	_ = p.Conn.SetReadDeadline(time.Now().Add(Deadline))
	for {
		if len(p.rest) > 0 {
			b := p.rest[0]
			p.rest = p.rest[1:]
			return p.values(b)
		}
		f, err := p.wire.read(p.Conn)
		if err != nil {
			return nil, err
		}
		switch p.wire.control(f.Kind) {
		case 'i':
			p.Pings++
			if !p.Mute {
				// A connection that ends meanwhile shows in the next read.
				_, _ = p.Conn.Write(p.wire.encode(Frame{Kind: p.wire.pong(), Payload: f.Payload}))
			}
			continue
		case 'o':
			continue
		case 'c':
			p.CloseCode = 1005
			if len(f.Payload) >= 2 {
				p.CloseCode = int(binary.BigEndian.Uint16(f.Payload))
			}
			_, _ = p.Conn.Write(p.wire.encode(f))
			return nil, errClosed
		}
		if f.Kind != p.wire.regular(p.Link.Format) {
			p.t.Fatalf("%s: frame of type %d, expected messages of type %d", p.Name, f.Kind, p.wire.regular(p.Link.Format))
		}
		if !p.Link.Batched {
			return p.values(f.Payload)
		}
		if p.rest, err = splitBatch(p.Link.Format, f.Payload); err != nil {
			p.t.Fatalf("%s: received %x: %v", p.Name, f.Payload, err)
		}
	}
}

func (p *Peer) values(b []byte) (any, error) {
	return serialize.ParseValue(p.Link.Format, b, serialize.Limits{Depth: 64, Elements: 1 << 20, Bytes: 1 << 26})
}

func (p *Peer) nextOfPipe() (any, error) {
	late := time.AfterFunc(Deadline, func() { _ = p.pipe.Close() })
	defer late.Stop()
	m, err := p.pipe.Recv()
	if err != nil {
		return nil, err
	}
	if s, ok := m.(*wamp.Shared); ok {
		m = s.Msg
	}
	b, err := serialize.Append(nil, wamp.JSON, m)
	if err != nil {
		return nil, err
	}
	return parse(string(b))
}

// RecvFrame returns the next frame of any kind.
func (p *Peer) RecvFrame() Frame {
	p.t.Helper()
	_ = p.Conn.SetReadDeadline(time.Now().Add(Deadline))
	f, err := p.wire.read(p.Conn)
	if err != nil {
		p.t.Fatalf("%s: receive: %v", p.Name, err)
	}
	return f
}

// Recv returns the next message, read as values.
func (p *Peer) Recv() wamp.List {
	p.t.Helper()
	v, err := p.next()
	if err != nil {
		p.t.Fatalf("%s: receive: %v", p.Name, err)
	}
	list, ok := v.(wamp.List)
	if !ok {
		p.t.Fatalf("%s: received %s, which is no message", p.Name, show(v))
	}
	return list
}

// Expect receives one message for each document, in this order.
func (p *Peer) Expect(docs ...string) {
	p.t.Helper()
	for _, doc := range docs {
		want, err := parse(doc)
		if err != nil {
			p.t.Fatalf("document %s: %v", doc, err)
		}
		v, err := p.next()
		if err != nil {
			p.t.Fatalf("%s: %v; expected %s", p.Name, err, doc)
		}
		if d := p.match(want, v, "message"); d != "" {
			p.t.Fatalf("%s: received %s\nexpected %s\n%s", p.Name, show(v), doc, d)
		}
	}
}

// ExpectAny receives one message for each document, in any order.
func (p *Peer) ExpectAny(docs ...string) {
	p.t.Helper()
	wants := make([]any, len(docs))
	for i, doc := range docs {
		var err error
		if wants[i], err = parse(doc); err != nil {
			p.t.Fatalf("document %s: %v", doc, err)
		}
	}
	for len(wants) > 0 {
		v := any(p.Recv())
		i := slices.IndexFunc(wants, func(w any) bool { return p.match(w, v, "") == "" })
		if i < 0 {
			p.t.Fatalf("%s: received %s\nexpected one of %s", p.Name, show(v), show(wants))
		}
		wants = slices.Delete(wants, i, i+1)
	}
}

// Join says HELLO with every role and the features that change what the router
// does, and returns the session's ID.
func (p *Peer) Join(realm string) wamp.ID {
	p.t.Helper()
	authid := ""
	if p.pipe != nil {
		// In the process a session is who it says it is, and whoever is the same
		// takes over what the other has.
		authid = `"authid": "$authid", `
	}
	p.Send(`[1, "` + realm + `", {` + authid + `"roles": {
		"publisher": {"features": {"payload_passthru_mode": true}}, "subscriber": {"features": {"payload_passthru_mode": true}},
		"caller": {"features": {"progressive_call_invocations": true, "payload_passthru_mode": true}},
		"callee": {"features": {"call_canceling": true, "progressive_call_results": true, "progressive_call_invocations": true,
			"payload_passthru_mode": true}}}}]`)
	p.Unset("session")
	p.Expect(`[2, "$session", {"...": 0}]`)
	return p.Var("session")
}

// Fence fails unless everything that the router had for this peer up to now has
// been received: it sends a request whose refusal must come next. What other
// peers have sent counts once they had an answer of their own, from a Fence for
// example.
func (p *Peer) Fence() {
	p.t.Helper()
	p.Send(`[34, "+", 9007199254740992]`)
	p.Expect(`[8, 34, "=", {}, "wamp.error.no_such_subscription", "..."]`)
}

// ExpectClosed fails unless the other side closes the connection before it sends
// another message.
func (p *Peer) ExpectClosed() {
	p.t.Helper()
	v, err := p.next()
	var timeout net.Error
	switch {
	case err == nil:
		p.t.Fatalf("%s: received %s, expected the end", p.Name, show(v))
	case errors.As(err, &timeout) && timeout.Timeout():
		p.t.Fatalf("%s: the connection is still open after %v", p.Name, Deadline)
	}
}

// ExpectAbort receives an ABORT with the reason and the end of the connection,
// and nothing else.
func (p *Peer) ExpectAbort(reason wamp.URI) {
	p.t.Helper()
	p.Expect(`[3, {"...": 0}, "` + string(reason) + `", "..."]`)
	p.ExpectClosed()
}
