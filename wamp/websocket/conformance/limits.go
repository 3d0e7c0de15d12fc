package conformance

import "fmt"

// tooBig is the close code of messages over the limit.
var tooBig = []uint16{1009}

func limitCases() []Case {
	var cases []Case
	add := func(op byte, name string, run func(p *peer)) {
		cases = append(cases, Case{Group: limits, Name: name, op: op, run: run})
	}
	for _, op := range data {
		for _, n := range []int{64 << 10, 256 << 10, 512 << 10} {
			add(op, fmt.Sprintf("%s of %d KiB", name(op), n>>10), func(p *peer) {
				p.say(op, fill(op, n))
				p.echoes(op, fill(op, n))
				p.done()
			})
		}
		for _, cut := range []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10} {
			add(op, fmt.Sprintf("%s of 128 KiB in fragments of %d", name(op), cut), func(p *peer) {
				p.send(p.parts(op, cutEvery(fill(op, 128<<10), cut)...)...)
				p.echoes(op, fill(op, 128<<10))
				p.done()
			})
		}
		for _, chop := range []int{64, 128, 256, 512, 1 << 10, 2 << 10} {
			add(op, fmt.Sprintf("%s of 64 KiB in pieces of %d", name(op), chop), func(p *peer) {
				p.chop(chop, p.parts(op, fill(op, 64<<10))...)
				p.echoes(op, fill(op, 64<<10))
				p.done()
			})
		}
		for _, n := range []int{0, 16, 256, 4 << 10} {
			add(op, fmt.Sprintf("a hundred round trips of %d octets, %s", n, name(op)), func(p *peer) {
				for range 100 {
					p.say(op, fill(op, n))
					p.echoes(op, fill(op, n))
				}
				p.done()
			})
		}
		add(op, "the largest "+name(op), func(p *peer) {
			most := p.most(op)
			p.say(op, most)
			p.echoes(op, most)
			p.send(p.parts(op, cutEvery(most, 100_000)...)...)
			p.echoes(op, most)
			p.done()
		})
		add(op, "one octet more, "+name(op), func(p *peer) {
			good(p)
			p.try(p.parts(op, append(p.most(op), 'x'))...)
			p.fails(tooBig...)
		})
		add(op, "one octet more in fragments, "+name(op), func(p *peer) {
			good(p)
			p.try(p.parts(op, cutEvery(append(p.most(op), 'x'), 100_000)...)...)
			p.fails(tooBig...)
		})
		add(op, "fragments without end, "+name(op), func(p *peer) {
			good(p)
			endless := frame{head: op, payload: fill(op, 100_000)}
			for range p.limit()/100_000 + 1 {
				p.try(endless)
				endless.head = opMore
			}
			p.fails(tooBig...)
		})
		for _, n := range []uint64{1 << 31, 1 << 32, 1 << 40, 1<<63 - 1} {
			add(op, fmt.Sprintf("%s of 0x%x octets, none of them sent", name(op), n), func(p *peer) {
				good(p)
				p.send(frame{head: fin | op, announced: n})
				p.fails(tooBig...)
			})
		}
		add(op, "a continuation of 2^63-1 octets, "+name(op), func(p *peer) {
			good(p)
			p.send(frame{head: op, payload: fill(op, 10)}, frame{head: fin, announced: 1<<63 - 1})
			p.fails(tooBig...)
		})
	}
	return cases
}

// most returns the largest content that is taken.
func (p *peer) most(op byte) []byte {
	around := 0
	for _, part := range p.wrap(op, [][]byte{{'x'}}) {
		around += len(part)
	}
	return fill(op, p.limit()-around+1)
}

// try sends frames of which the endpoint need not take all.
func (p *peer) try(frames ...frame) {
	_, _ = p.conn.Write(p.encode(frames...))
}
