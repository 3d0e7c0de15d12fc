package conformance

import (
	"fmt"
	"strings"
)

func closingCases() []Case {
	var cases []Case
	add := func(name string, run func(p *peer)) {
		cases = append(cases, Case{Group: closure, Name: name, run: run})
	}
	end := closing(1000, "")
	add("nothing but the closing handshake", func(p *peer) { p.done() })
	add("a message before", func(p *peer) {
		good(p)
		p.done()
	})
	for what, behind := range map[string][]frame{
		"another close frame": {{head: fin | opClose, payload: end}},
		"a ping":              {ping("too late")},
		"a pong":              {{head: fin | opPong}},
		"text":                {{head: fin | opText, payload: []byte("too late")}},
		"a binary message":    {{head: fin | opBinary, payload: []byte("too late")}},
		"half a message":      {{head: opText, payload: []byte("too")}},
		"a frame that is bad": {{head: fin | rsv2 | opText}},
		"many frames":         {ping("a"), ping("b"), {head: opText}, {head: fin | opMore}, ping("c")},
	} {
		add("what follows is ignored: "+what, func(p *peer) { p.closes(end, 1000, behind...) })
	}
	for _, op := range data {
		cases = append(cases, Case{Group: closure, op: op, Name: "a close frame within a " + name(op) + " message", run: func(p *peer) {
			f := p.parts(op, []byte("half"), []byte("of it"))
			p.send(f[0])
			p.closes(end, 1000, f[1])
		}})
	}
	add("large messages before", func(p *peer) {
		op := max(p.Only, opText)
		p.say(op, fill(op, 256<<10))
		p.say(op, []byte("and a small one"))
		p.send(frame{head: fin | opClose, payload: end}, ping("too late"))
		p.echoes(op, fill(op, 256<<10))
		p.echoes(op, []byte("and a small one"))
		p.answersClose(1000)
	})
	cases[len(cases)-1].echo = true
	for _, w := range writings[1:] {
		add("no payload, "+w.name, func(p *peer) {
			w.write(p, frame{head: fin | opClose})
			p.answersClose(noStatus)
		})
		add("a code and a reason, "+w.name, func(p *peer) {
			w.write(p, frame{head: fin | opClose, payload: closing(1000, "Good bye, \u00e4\u20ac\U0001f300.")})
			p.answersClose(1000)
		})
	}
	add("a reason of 123 octets", func(p *peer) { p.closes(closing(1000, strings.Repeat("*", 123)), 1000) })
	for what, payload := range map[string]string{
		"one octet": "\x03", "126 octets": string(closing(1000, strings.Repeat("*", 124))), "1000 octets": string(closing(1000, strings.Repeat("*", 998))),
	} {
		cases = append(cases, bad(closure, "a payload of "+what, 0, protocolError, frame{head: fin | opClose, payload: []byte(payload)}))
	}
	for what, reason := range map[string]string{"an impossible octet": "\xff", "half a character": kosme + "\xce", "a surrogate": kosme + "\xed\xa0\x80edited"} {
		cases = append(cases, bad(closure, "a reason with "+what, 0, invalidText, frame{head: fin | opClose, payload: closing(1000, reason)}))
	}
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		for what, reason := range map[string]string{"": "", " with a reason": "because"} {
			add(fmt.Sprintf("code %d%s", code, what), func(p *peer) { p.closes(closing(code, reason), code) })
		}
	}
	for _, code := range []uint16{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 9999, 65535} {
		cases = append(cases, bad(closure, fmt.Sprintf("code %d", code), 0, protocolError, frame{head: fin | opClose, payload: closing(code, "")}))
	}
	return cases
}
