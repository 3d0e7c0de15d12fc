package conformance

import (
	"bufio"
	"bytes"
	"cmp"
	"net"
	"slices"
	"testing"
)

// Case is one dialogue with an endpoint.
type Case struct {
	Group string // as it is in Groups
	Name  string // unique, a phrase

	role role
	op   byte // the one type of message that it needs; 0 if none or both
	echo bool // it needs an endpoint without a protocol of its own

	offers []params // a raw client's offers of compression
	agreed *params  // a raw server's answer to offers of compression; nil: fits any

	deflated bool          // compression has to be agreed on
	open     func(p *peer) // replaces the handshake, and run
	run      func(p *peer)
}

// role says which side the raw peer can play.
type role byte

const (
	either role = iota
	client
	server
)

// Groups are the names of the groups, in order. The numbers are those of the
// Autobahn testsuite, which has no 0.
func Groups() []string {
	return []string{
		opening, framing, pings, reserved, opcodes, fragmentation, encoding, closure, limits, fragmenting, compression, parameters,
	}
}

const (
	opening       = "0 opening handshake"
	framing       = "1 framing, masks and lengths"
	pings         = "2 pings and pongs"
	reserved      = "3 reserved bits"
	opcodes       = "4 reserved opcodes"
	fragmentation = "5 fragmentation"
	encoding      = "6 UTF-8"
	closure       = "7 closing handshake"
	limits        = "9 limits and load"
	fragmenting   = "10 automatic fragmentation"
	compression   = "12 compression, payloads"
	parameters    = "13 compression, parameters"
)

// Cases returns all cases, group by group and by name within one.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{
		openingCases(), framingCases(), pingCases(), reservedCases(), opcodeCases(), fragmentCases(),
		encodingCases(), closingCases(), limitCases(), fragmentingCases(), compressionCases(), parameterCases(),
	} {
		slices.SortFunc(group, func(a, b Case) int { return cmp.Compare(a.Name, b.Name) })
		all = append(all, group...)
	}
	return all
}

// Deflated reports whether the case needs an endpoint that compresses.
func (c Case) Deflated() bool { return c.deflated || c.offers != nil || c.agreed != nil }

// ForServer reports whether the case can judge a server, and ForClient whether a
// client.
func (c Case) ForServer(e Endpoint) bool { return c.role != server && c.suits(e) }

// ForClient is ForServer for clients.
func (c Case) ForClient(e Endpoint) bool { return c.role != client && c.suits(e) }

func (c Case) suits(e Endpoint) bool {
	return (c.op == 0 || e.takes(c.op)) && !(c.echo && e.Wrap != nil)
}

// JudgeServer plays a client over conn, a fresh connection to a server, and closes
// it. The server must offer compression in Deflated cases. It fails t, at once,
// when the server does not behave as it has to.
func (c Case) JudgeServer(t testing.TB, conn net.Conn, e Endpoint) {
	t.Helper()
	defer conn.Close()
	p := &peer{TB: t, Endpoint: e, conn: conn, br: bufio.NewReader(conn), client: true}
	defer func() { p.deflate.release() }()
	if c.open != nil {
		c.open(p)
		return
	}
	offers := c.offers
	if c.deflated {
		offers = []params{{clientBits: bare}}
	}
	p.openClient(offers...)
	if p.deflate == nil && offers != nil {
		t.Fatalf("compression %v is declined", offers)
	}
	p.greet()
	c.run(p)
}

// JudgeClient is JudgeServer for a client that has connected over conn.
func (c Case) JudgeClient(t testing.TB, conn net.Conn, e Endpoint) {
	t.Helper()
	defer conn.Close()
	c.judgeClient(&peer{TB: t, Endpoint: e, conn: conn, br: bufio.NewReader(conn)})
}

func (c Case) judgeClient(p *peer) {
	p.Helper()
	defer func() { p.deflate.release() }()
	if c.open != nil {
		c.open(p)
		return
	}
	if p.openServer(c) {
		c.run(p)
	}
}

// openServer does the handshake of a raw server. It reports whether it is over;
// false means that the client has refused an answer that it had to refuse.
func (p *peer) openServer(c Case) bool {
	p.Helper()
	key, offers := p.asked()
	if !c.Deflated() {
		p.write(p.accept(key))
		return true
	}
	if len(offers) == 0 {
		p.Fatal("the client offers no compression")
	}
	offer := offers[0]
	agreed := params{serverNoTakeover: offer.serverNoTakeover, serverBits: max(0, offer.serverBits)}
	legal := true
	if c.agreed != nil {
		agreed = *c.agreed
		i := slices.IndexFunc(offers, func(o params) bool { return agreed.answers(o) == "" })
		if legal = i >= 0; legal {
			offer = offers[i]
		}
	}
	p.write(p.accept(key, "Sec-WebSocket-Extensions: "+agreed.String()))
	if !legal {
		p.hangsUp()
		return false
	}
	p.deflate = newDeflate(agreed, offer, false)
	return true
}

// greet does what an endpoint with a protocol of its own needs first.
func (p *peer) greet() {
	p.Helper()
	op := max(p.Only, opText)
	for _, m := range p.Greet {
		p.send(frame{head: fin | op, payload: m})
		if r := p.must("an answer to " + string(m)); r.op != op {
			p.Fatalf("received %v in answer to %q", r, m)
		}
	}
}

// name tells the type of a message.
func name(op byte) string {
	if op == opText {
		return "text"
	}
	return "binary"
}

// data are the two types of messages.
var data = []byte{opText, opBinary}

// fill returns n octets for a message of a type.
func fill(op byte, n int) []byte {
	if op == opText {
		return bytes.Repeat([]byte("the quick brown fox "), n/20+1)[:n]
	}
	b := make([]byte, n)
	x := uint32(n + 1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// writings are the ways to write frames: at once, each alone, octet by octet.
var writings = []struct {
	name  string
	write func(p *peer, frames ...frame)
}{
	{"at once", func(p *peer, frames ...frame) { p.Helper(); p.send(frames...) }},
	{"frame by frame", func(p *peer, frames ...frame) {
		p.Helper()
		for _, f := range frames {
			p.send(f)
		}
	}},
	{"octet by octet", func(p *peer, frames ...frame) { p.Helper(); p.chop(1, frames...) }},
}
