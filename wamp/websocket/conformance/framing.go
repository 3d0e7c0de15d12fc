package conformance

import "fmt"

func framingCases() []Case {
	var cases []Case
	add := func(op byte, name string, run func(p *peer)) {
		cases = append(cases, Case{Group: framing, Name: name, op: op, run: run})
	}
	for _, op := range data {
		for _, n := range []int{0, 1, 2, 125, 126, 127, 128, 1000, 65535, 65536, 65537} {
			add(op, fmt.Sprintf("%s of %d octets", name(op), n), func(p *peer) {
				p.say(op, fill(op, n))
				p.echoes(op, fill(op, n))
				p.done()
			})
			chop := 1
			if n > 1000 {
				chop = 997
			}
			add(op, fmt.Sprintf("%s of %d octets in pieces of %d", name(op), n, chop), func(p *peer) {
				p.chop(chop, p.parts(op, fill(op, n))...)
				p.echoes(op, fill(op, n))
				p.done()
			})
		}
		add(op, "many "+name(op)+" messages in one segment", func(p *peer) {
			var frames []frame
			for n := range 20 {
				frames = append(frames, p.parts(op, fill(op, n*7))...)
			}
			p.send(frames...)
			for n := range 20 {
				p.echoes(op, fill(op, n*7))
			}
			p.done()
		})
	}
	return append(append(cases, maskCases()...), lengthCases()...)
}

// good is a message, sent and echoed, before something goes wrong.
func good(p *peer) {
	p.Helper()
	op := max(p.Only, opText)
	p.say(op, []byte("all is well"))
	p.echoes(op, []byte("all is well"))
}

// bad is a case in which frames behind a good message fail the connection.
func bad(group, name string, op byte, codes []uint16, frames ...frame) Case {
	return Case{Group: group, Name: name, op: op, run: func(p *peer) {
		good(p)
		p.send(frames...)
		p.fails(codes...)
	}}
}

// protocolError is the close code of whatever is against the rules of framing.
var protocolError = []uint16{1002}

// maskCases mask where the role forbids it and the other way round (RFC 6455, 5.1).
func maskCases() []Case {
	var cases []Case
	for _, f := range []struct {
		name string
		frame
	}{
		{"text", frame{head: fin | opText, payload: []byte("hello")}},
		{"binary message", frame{head: fin | opBinary, payload: []byte("hello")}},
		{"empty text", frame{head: fin | opText}},
		{"ping", ping("hello")},
		{"pong", frame{head: fin | opPong}},
		{"close frame", frame{head: fin | opClose, payload: closing(1000, "")}},
	} {
		f.wrongMask = true
		cases = append(cases, bad(framing, "a "+f.name+" with the wrong mask bit", 0, protocolError, f.frame))
	}
	return append(cases, bad(framing, "a continuation with the wrong mask bit", opText, protocolError,
		frame{head: opText, payload: []byte("hel")}, frame{head: fin | opMore, payload: []byte("lo"), wrongMask: true}))
}

// lengthCases tell lengths in another form than the shortest, or impossible ones
// (RFC 6455, 5.2).
func lengthCases() []Case {
	var cases []Case
	for _, l := range []struct{ n, wide int }{{0, 2}, {125, 2}, {0, 8}, {125, 8}, {126, 8}, {65535, 8}} {
		cases = append(cases, bad(framing, fmt.Sprintf("%d octets whose length is told in %d", l.n, l.wide), 0, protocolError,
			frame{head: fin | opBinary, payload: fill(opBinary, l.n), wide: l.wide}))
	}
	for _, wide := range []int{2, 8} {
		cases = append(cases, bad(framing, fmt.Sprintf("a ping whose length is told in %d octets", wide), 0, protocolError,
			frame{head: fin | opPing, payload: []byte("hello"), wide: wide}))
	}
	for _, n := range []uint64{1 << 63, 1<<64 - 1} {
		cases = append(cases, bad(framing, fmt.Sprintf("a length of 0x%x", n), 0, []uint16{1002, 1009},
			frame{head: fin | opBinary, announced: n, wide: 8}))
	}
	return cases
}

// fragmentingCases are messages that a sender cuts by size.
func fragmentingCases() []Case {
	var cases []Case
	for _, op := range data {
		for _, cut := range []int{1, 125, 126, 1300, 65535} {
			n := min(65536, cut*1000)
			cases = append(cases, Case{Group: fragmenting, op: op, Name: fmt.Sprintf("%s of %d octets cut every %d", name(op), n, cut), run: func(p *peer) {
				p.send(p.parts(op, cutEvery(fill(op, n), cut)...)...)
				p.echoes(op, fill(op, n))
				p.done()
			}})
		}
	}
	return cases
}

func cutEvery(b []byte, n int) [][]byte {
	var parts [][]byte
	for len(b) > n {
		parts = append(parts, b[:n])
		b = b[n:]
	}
	return append(parts, b)
}
