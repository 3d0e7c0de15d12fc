package conformance

import (
	"fmt"
	"strings"
)

func pingCases() []Case {
	var cases []Case
	add := func(name string, run func(p *peer)) {
		cases = append(cases, Case{Group: pings, Name: name, run: run})
	}
	for what, payload := range map[string]string{
		"no payload": "", "a text": "Hello, world!", "octets that are no text": "\x00\xff\xfe\xfd\xfc\xfb\x00\xff", "125 octets": strings.Repeat("\xfe", 125),
	} {
		for _, w := range writings[1:] {
			add("a ping with "+what+", "+w.name, func(p *peer) {
				w.write(p, ping(payload))
				p.pong(payload)
				p.done()
			})
		}
		add("an unasked pong with "+what, func(p *peer) {
			p.send(frame{head: fin | opPong, payload: []byte(payload)})
			p.fence()
			p.done()
		})
	}
	for _, op := range []byte{opPing, opPong} {
		for _, n := range []int{126, 1000, 65536} {
			cases = append(cases, bad(pings, fmt.Sprintf("a control frame 0x%x with %d octets", op, n), 0, protocolError,
				frame{head: fin | op, payload: make([]byte, n)}))
		}
	}
	add("an unasked pong between pings", func(p *peer) {
		p.send(ping("one"), frame{head: fin | opPong, payload: []byte("two")}, ping("three"))
		p.pong("one")
		p.pong("three")
		p.done()
	})
	for _, w := range writings {
		add("ten pings "+w.name, func(p *peer) {
			var frames []frame
			for i := range 10 {
				frames = append(frames, ping(fmt.Sprintf("payload %d", i)))
			}
			w.write(p, frames...)
			for i := range 10 {
				p.pong(fmt.Sprintf("payload %d", i))
			}
			p.done()
		})
	}
	add("pings around messages keep their order", func(p *peer) {
		op := max(p.Only, opText)
		for i := range 10 {
			p.send(append(p.parts(op, []byte("message")), ping(fmt.Sprint(i)))...)
			// The pong need not wait for the echo.
			a, b := p.must("an echo or a pong"), p.must("an echo or a pong")
			if a.op == opPong {
				a, b = b, a
			}
			if a.op != op || b.op != opPong || string(b.payload) != fmt.Sprint(i) {
				p.Fatalf("received %v and %v in round %d", a, b, i)
			}
		}
		p.done()
	})
	return cases
}

func reservedCases() []Case {
	var cases []Case
	for rsv := byte(1); rsv < 8; rsv++ {
		bits := rsv << 4
		for what, f := range map[string]frame{
			"text":           {head: fin | bits | opText, payload: []byte("hello")},
			"binary message": {head: fin | bits | opBinary, payload: []byte("hello")},
			"empty text":     {head: fin | bits | opText},
			"ping":           {head: fin | bits | opPing, payload: []byte("hello")},
			"pong":           {head: fin | bits | opPong, payload: []byte("hello")},
			"close frame":    {head: fin | bits | opClose, payload: closing(1000, "")},
		} {
			cases = append(cases, bad(reserved, fmt.Sprintf("bits %03b in a %s", rsv, what), 0, protocolError, f, ping("ignored")))
		}
		more := frame{head: fin | bits | opMore, payload: []byte("lo")}
		cases = append(cases,
			bad(reserved, fmt.Sprintf("bits %03b in a continuation", rsv), opText, protocolError, frame{head: opText, payload: []byte("hel")}, more),
			Case{Group: reserved, Name: fmt.Sprintf("bits %03b octet by octet", rsv), run: func(p *peer) {
				good(p)
				// What lies behind the first octets may come too late to be read.
				p.write(p.encode(frame{head: fin | bits | opText, payload: []byte("hello")})[:2])
				p.fails(protocolError...)
			}})
	}
	return cases
}

func opcodeCases() []Case {
	var cases []Case
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		for what, f := range map[string]frame{
			"empty":          {head: fin | op},
			"with a payload": {head: fin | op, payload: []byte("reserved")},
			"not final":      {head: op, payload: []byte("reserved")},
		} {
			cases = append(cases, bad(opcodes, fmt.Sprintf("opcode %d, %s", op, what), 0, protocolError, f, ping("ignored")))
		}
		cases = append(cases, bad(opcodes, fmt.Sprintf("opcode %d within a message", op), opText, protocolError,
			frame{head: opText, payload: []byte("hel")}, frame{head: fin | op}))
	}
	return cases
}
