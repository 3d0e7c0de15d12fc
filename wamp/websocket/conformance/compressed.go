package conformance

import (
	"bytes"
	"fmt"
	"strings"
)

// deflated returns the frames of a compressed message, cut every n octets; 0 means
// not at all.
func (p *peer) deflated(op byte, content []byte, n int) []frame {
	whole := p.deflate.compress(bytes.Join(p.wrap(op, [][]byte{content}), nil))
	if n == 0 {
		n = len(whole) + 1
	}
	return rawDeflated(op, cutEvery(whole, n)...)
}

// rawDeflated returns the frames of a message whose parts are as they are on the
// wire.
func rawDeflated(op byte, parts ...[]byte) []frame {
	frames := make([]frame, len(parts))
	for i, part := range parts {
		frames[i] = frame{head: opMore, payload: part}
	}
	frames[0].head = rsv1 | op
	frames[len(frames)-1].head |= fin
	return frames
}

// sizes are lengths of messages and where they are cut, 0 for nowhere.
var sizes = []struct{ length, cut int }{
	{16, 0}, {64, 0}, {256, 0}, {1 << 10, 0}, {4 << 10, 0}, {8 << 10, 0}, {16 << 10, 0}, {32 << 10, 0}, {64 << 10, 0},
	{8 << 10, 256}, {16 << 10, 256}, {32 << 10, 256}, {16 << 10, 1 << 10}, {16 << 10, 4 << 10}, {16 << 10, 8 << 10},
}

// contents are the kinds of payload, from what compresses well to what does not.
var contents = []struct {
	name string
	op   byte
	make func(n, seed int) []byte
}{
	{"prose", opBinary, func(n, seed int) []byte { return words(n, seed, " ", "") }},
	{"picture", opBinary, picture},
	{"noise", opBinary, func(n, seed int) []byte { return fill(opBinary, n+seed)[seed:] }},
	{"json", opText, func(n, seed int) []byte { return words(n, seed, `","`, `"id":`) }},
	{"markup", opText, func(n, seed int) []byte { return words(n, seed, "</td><td>", "<tr>") }},
}

// words are n octets of words of a small language, with between between them and
// a number behind lead now and then.
func words(n, seed int, between, lead string) []byte {
	vocabulary := strings.Fields("the gateway keeps what every sensor has told and tells it to whoever asks for pressure humidity " +
		"temperature flow level voltage current state alarm bridge meter valve pump line uplink night morning")
	b := make([]byte, 0, n+32)
	x := uint32(seed)*2654435761 + 1
	for len(b) < n {
		x = x*1664525 + 1013904223
		b = append(append(b, vocabulary[int(x>>16)%len(vocabulary)]...), between...)
		if x>>28 == 0 {
			b = fmt.Appendf(b, "%s%d", lead, x)
		}
	}
	return b[:n]
}

// picture is smooth with some noise in it.
func picture(n, seed int) []byte {
	b := make([]byte, n)
	noise := fill(opBinary, n)
	for i := range b {
		x, y := i%512, i/512+seed
		b[i] = byte(x/3+y/5) + noise[i]&3
	}
	return b
}

// exchange sends count compressed messages and expects them back.
func (p *peer) exchange(c int, length, cut, count int) {
	p.Helper()
	kind := contents[c]
	for i := range count {
		m := kind.make(length, i)
		p.send(p.deflated(kind.op, m, cut)...)
		p.echoes(kind.op, m)
	}
}

// rounds is how many messages of a length a case exchanges.
func rounds(length int) int { return min(10, max(1, 4<<10/length)) }

func compressionCases() []Case {
	var cases []Case
	for c, kind := range contents {
		for _, s := range sizes {
			cases = append(cases, Case{
				Group: compression, op: kind.op, deflated: true,
				Name: fmt.Sprintf("%s, %d octets cut every %d", kind.name, s.length, s.cut),
				run: func(p *peer) {
					p.exchange(c, s.length, s.cut, rounds(s.length))
					p.done()
				}})
		}
	}
	return append(append(cases, formCases()...), abuseCases()...)
}

// formCases are all forms that a compressed message may have (RFC 7692, 7.2.3).
func formCases() []Case {
	var cases []Case
	add := func(name string, op byte, run func(p *peer)) {
		cases = append(cases, Case{Group: compression, Name: name, op: op, deflated: true, run: run})
	}
	for what, parts := range map[string][]string{
		"one block":                      {"\xf2\x48\xcd\xc9\xc9\x07\x00"},
		"one block in two fragments":     {"\xf2\x48\xcd", "\xc9\xc9\x07\x00"},
		"one block, each octet alone":    strings.Split("\xf2\x48\xcd\xc9\xc9\x07\x00", ""),
		"a block without compression":    {"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"},
		"the last block with its mark":   {"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"},
		"two blocks":                     {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"},
		"an empty last fragment":         {"\xf2\x48\xcd\xc9\xc9\x07\x00", ""},
		"an empty first fragment":        {"", "\xf2\x48\xcd\xc9\xc9\x07\x00"},
		"empty blocks before and behind": {"\x00\x00\x00\xff\xff\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff\x00"},
	} {
		raw := make([][]byte, len(parts))
		for i, part := range parts {
			raw[i] = []byte(part)
		}
		add("Hello as "+what, 0, func(p *peer) {
			p.send(rawDeflated(opText, raw...)...)
			p.echoes(opText, []byte("Hello"))
			p.done()
		})
		cases[len(cases)-1].echo = true
	}
	for _, op := range data {
		add("an empty message, "+name(op), op, func(p *peer) {
			p.send(p.deflated(op, nil, 0)...)
			p.echoes(op, nil)
			p.done()
		})
		add("a message without compression, "+name(op), op, func(p *peer) {
			for range 3 {
				p.say(op, fill(op, 5000))
				p.echoes(op, fill(op, 5000))
				p.send(p.deflated(op, fill(op, 5000), 0)...)
				p.echoes(op, fill(op, 5000))
			}
			p.done()
		})
		add("pings between fragments, "+name(op), op, func(p *peer) {
			for i, f := range p.deflated(op, fill(op, 5000), 20) {
				p.send(f)
				if f.head&fin == 0 {
					p.send(ping(fmt.Sprint(i)))
					p.pong(fmt.Sprint(i))
				}
			}
			p.echoes(op, fill(op, 5000))
			p.done()
		})
		add("a close frame between fragments, "+name(op), op, func(p *peer) {
			f := p.deflated(op, fill(op, 5000), 20)
			p.send(f[0])
			p.closes(closing(1000, ""), 1000, f[1:]...)
		})
		add("a large message comes back compressed, "+name(op), op, func(p *peer) {
			m := bytes.Repeat([]byte("abcdefgh"), 2000)
			p.send(p.deflated(op, m, 0)...)
			p.echoes(op, m)
			if p.deflate.seen == 0 {
				p.Fatal("16,000 octets came back as they are")
			}
			p.done()
		})
		add("the largest "+name(op)+" there is after inflating", op, func(p *peer) {
			p.send(p.deflated(op, p.most(op), 0)...)
			p.echoes(op, p.most(op))
			p.done()
		})
	}
	return cases
}

// abuseCases are compressed messages that are damaged, too large or out of place.
func abuseCases() []Case {
	var cases []Case
	add := func(c Case) {
		c.deflated = true
		cases = append(cases, c)
	}
	half := []byte("\xf2\x48\xcd")
	for rsv := byte(1); rsv < 8; rsv++ {
		for what, op := range map[string]byte{"ping": opPing, "pong": opPong, "close frame": opClose} {
			add(bad(compression, fmt.Sprintf("bits %03b in a %s", rsv, what), 0, protocolError, frame{head: fin | rsv<<4 | op}))
		}
		more := frame{head: fin | rsv<<4 | opMore, payload: []byte("\xc9\xc9\x07\x00")}
		add(bad(compression, fmt.Sprintf("bits %03b in a continuation", rsv), opText, protocolError, frame{head: rsv1 | opText, payload: half}, more))
		add(bad(compression, fmt.Sprintf("bits %03b in a continuation of what is not compressed", rsv), opText, protocolError,
			frame{head: opText, payload: []byte("x")}, more))
		if rsv != rsv1>>4 {
			add(bad(compression, fmt.Sprintf("bits %03b in a text", rsv), 0, protocolError, frame{head: fin | rsv<<4 | opText}))
		}
	}
	for what, damaged := range map[string]string{
		"a block of no kind":              "\xff",
		"an impossible kind of block":     "\x07",
		"a stored block of wrong length":  "\x01\xff\xff\x00\x00",
		"a stored block with less inside": "\x00\x05\x00\xfa\xffab",
		"a distance before the start":     "\xf2\x48\xff\xff\xff",
		"a distance without context":      "\xf2\x00\x11\x00\x00",
		"nothing at all":                  "",
	} {
		for _, op := range data {
			add(bad(compression, what+" in a "+name(op), op, []uint16{1002, 1007}, rawDeflated(op, []byte(damaged))...))
		}
	}
	add(Case{Group: compression, Name: "text that is not UTF-8", op: opText, run: func(p *peer) {
		good(p)
		p.send(p.deflated(opText, []byte(strings.Repeat("a", 3000)+"\xed\xa0\x80"), 100)...)
		p.fails(invalidText...)
	}})
	for _, op := range data {
		for _, times := range []int{1, 2, 5} {
			add(Case{Group: compression, op: op, Name: fmt.Sprintf("%d times the limit and more after inflating, %s", times, name(op)), run: func(p *peer) {
				good(p)
				p.try(p.deflated(op, append(bytes.Repeat([]byte("0"), times*p.limit()), '0'), 0)...)
				p.fails(tooBig...)
			}})
		}
	}
	return cases
}

func parameterCases() []Case {
	var cases []Case
	for _, q := range combinations() {
		cases = append(cases,
			Case{Group: parameters, Name: "offer of " + q.String(), role: client, op: opText, offers: []params{q}, run: brief},
			Case{Group: parameters, Name: "answer with " + q.String(), role: server, op: opText, agreed: &q, run: brief})
	}
	for _, q := range []params{{}, {serverNoTakeover: true}, {serverBits: 8}, {serverBits: 15}, {serverNoTakeover: true, serverBits: 8}, {serverNoTakeover: true, serverBits: 15}} {
		cases = append(cases, exchangeCases(q.String(), []params{q})...)
	}
	cases = append(cases, exchangeCases("any of three", []params{{serverNoTakeover: true, serverBits: 8}, {serverNoTakeover: true}, {}})...)
	return append(cases, declineCases()...)
}

// combinations are all parameters together, with some of the windows' sizes.
func combinations() []params {
	var all []params
	for _, serverBits := range []int{0, 8, 9, 12, 15} {
		for _, clientBits := range []int{0, bare, 8, 9, 12, 15} {
			for both := range 4 {
				all = append(all, params{serverNoTakeover: both&1 != 0, clientNoTakeover: both&2 != 0, serverBits: serverBits, clientBits: clientBits})
			}
		}
	}
	return all
}

// brief exchanges messages that refer far back, if anything does.
func brief(p *peer) {
	p.exchange(3, 40, 0, 2)
	p.exchange(3, 2000, 300, 2)
	p.exchange(4, 10_000, 0, 1)
	p.done()
}

func exchangeCases(what string, offers []params) []Case {
	var cases []Case
	for _, s := range sizes {
		if s.length > 8<<10 {
			continue // the group before has them all
		}
		cases = append(cases, Case{
			Group: parameters, role: client, op: opText, offers: offers,
			Name: fmt.Sprintf("%s, %d octets cut every %d", what, s.length, s.cut),
			run: func(p *peer) {
				p.exchange(3, s.length, s.cut, rounds(s.length))
				p.done()
			}})
	}
	return cases
}

// declineCases are offers that no server may take (RFC 7692, 7.1).
func declineCases() []Case {
	var cases []Case
	for what, ext := range map[string]string{
		"an unknown parameter":                  "permessage-deflate; nothing",
		"a parameter twice":                     "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
		"a value where none belongs":            "permessage-deflate; server_no_context_takeover=1",
		"a value where none belongs, client":    "permessage-deflate; client_no_context_takeover=1",
		"a window without a value":              "permessage-deflate; server_max_window_bits",
		"a window that is too small":            "permessage-deflate; server_max_window_bits=7",
		"a window that is too large":            "permessage-deflate; server_max_window_bits=16",
		"a window with a zero in front":         "permessage-deflate; server_max_window_bits=09",
		"a window that is no number":            "permessage-deflate; server_max_window_bits=x",
		"a client's window that is too small":   "permessage-deflate; client_max_window_bits=7",
		"a client's window that is too large":   "permessage-deflate; client_max_window_bits=16",
		"a client's window that is no number":   "permessage-deflate; client_max_window_bits=x",
		"a client's window with an empty value": "permessage-deflate; client_max_window_bits=",
		"another extension's name":              "permessage-bzip2",
		"the old name":                          "x-webkit-deflate-frame",
	} {
		cases = append(cases, Case{Group: parameters, Name: "declined: " + what, role: client, deflated: true, open: func(p *peer) {
			p.write(p.request("Sec-WebSocket-Extensions: " + ext))
			resp := p.answer()
			p.checkAccept(resp)
			if got := resp.Header.Get("Sec-Websocket-Extensions"); got != "" {
				p.Fatalf("offer %q is answered by %q", ext, got)
			}
			p.fence()
			p.greet()
			p.done()
		}}, Case{Group: parameters, Name: "taken behind one declined: " + what, role: client, deflated: true, open: func(p *peer) {
			p.write(p.request("Sec-WebSocket-Extensions: " + ext + ", permessage-deflate"))
			resp := p.answer()
			p.checkAccept(resp)
			agreed, err := parseParams(resp.Header.Get("Sec-Websocket-Extensions"), false)
			if err != nil || agreed.answers(params{}) != "" {
				p.Fatalf("offers are answered by %q", resp.Header.Get("Sec-Websocket-Extensions"))
			}
			p.deflate = newDeflate(agreed, params{}, true)
			p.greet()
			if p.takes(opText) {
				p.exchange(3, 5000, 300, 2)
			}
			p.done()
		}})
	}
	return cases
}
