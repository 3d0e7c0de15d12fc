package conformance

import "fmt"

func fragmentCases() []Case {
	var cases []Case
	add := func(op byte, name string, run func(p *peer)) {
		cases = append(cases, Case{Group: fragmentation, Name: name, op: op, run: run})
	}
	for what, op := range map[string]byte{"ping": opPing, "pong": opPong, "close frame": opClose} {
		cases = append(cases, bad(fragmentation, "a "+what+" in two fragments", 0, protocolError,
			frame{head: op}, frame{head: fin | opMore}))
	}
	for _, op := range data {
		a, b, whole := []byte("fragment1"), []byte("fragment2"), []byte("fragment1fragment2")
		for _, w := range writings {
			add(op, name(op)+" in two fragments "+w.name, func(p *peer) {
				w.write(p, p.parts(op, a, b)...)
				p.echoes(op, whole)
				p.done()
			})
			add(op, name(op)+" in two fragments around a ping "+w.name, func(p *peer) {
				f := p.parts(op, a, b)
				w.write(p, f[0], ping("between"), f[1])
				p.pong("between")
				p.echoes(op, whole)
				p.done()
			})
			for _, end := range []byte{fin, 0} {
				add(op, fmt.Sprintf("a continuation of nothing, FIN %d, before %s %s", end>>7, name(op), w.name), func(p *peer) {
					good(p)
					w.write(p, frame{head: end | opMore, payload: a}, frame{head: fin | op, payload: b})
					p.fails(protocolError...)
				})
			}
			add(op, name(op)+" within a message "+w.name, func(p *peer) {
				good(p)
				w.write(p, frame{head: op, payload: p.parts(op, a, b)[0].payload}, frame{head: fin | op, payload: b})
				p.fails(protocolError...)
			})
		}
		add(op, "a continuation behind "+name(op)+" that is complete", func(p *peer) {
			p.send(p.parts(op, a, b)...)
			p.echoes(op, whole)
			p.send(frame{head: fin | opMore, payload: b})
			p.fails(protocolError...)
		})
		add(op, name(op)+" in five fragments with pings between", func(p *peer) {
			five := p.parts(op, []byte("f1"), []byte("f2"), []byte("f3"), []byte("f4"), []byte("f5"))
			for i, f := range five[:4] {
				p.send(f, ping(fmt.Sprint("pongme ", i)))
				p.pong(fmt.Sprint("pongme ", i))
			}
			p.send(five[4])
			p.echoes(op, []byte("f1f2f3f4f5"))
			p.done()
		})
		for what, parts := range map[string][][]byte{
			"nothing in the first":     {{}, a},
			"nothing in the last":      {a, {}},
			"nothing in the middle":    {a, {}, b},
			"nothing in any":           {{}, {}, {}},
			"a thousand of one octet":  cutEvery(fill(op, 1000), 1),
			"nothing in a hundred":     append(make([][]byte, 100), a),
			"all lengths up to twenty": cutGrowing(fill(op, 210)),
		} {
			add(op, name(op)+" in fragments, "+what, func(p *peer) {
				p.send(p.parts(op, parts...)...)
				var whole []byte
				for _, part := range parts {
					whole = append(whole, part...)
				}
				p.echoes(op, whole)
				p.done()
			})
		}
		add(op, "messages in fragments one after the other, "+name(op), func(p *peer) {
			var frames []frame
			for n := 1; n < 10; n++ {
				frames = append(frames, p.parts(op, cutEvery(fill(op, 100), n)...)...)
			}
			p.send(frames...)
			for n := 1; n < 10; n++ {
				p.echoes(op, fill(op, 100))
			}
			p.done()
		})
	}
	return cases
}

// cutGrowing cuts b into parts of 1, 2, 3 and so on octets.
func cutGrowing(b []byte) [][]byte {
	var parts [][]byte
	for n := 1; len(b) > n; n++ {
		parts = append(parts, b[:n])
		b = b[n:]
	}
	return append(parts, b)
}
