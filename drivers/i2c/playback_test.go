package i2c

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// step is one transfer of a recording: what the driver writes, and what the chip answers,
// in hexadecimal digits.
type step struct{ w, r string }

// playback is a bus with one chip that plays a recording and takes nothing else.
type playback struct {
	t       testing.TB
	address uint8
	steps   []step
	failure error // what every transfer gives, if not nil
}

func (p *playback) Close() error { return nil }

func (p *playback) Transfer(address uint8, w, r []byte) error {
	if p.failure != nil {
		return p.failure
	}
	if len(p.steps) == 0 {
		p.t.Errorf("after the end of the recording: % x, %d bytes back", w, len(r))
		return unix.EREMOTEIO
	}
	s := p.steps[0]
	p.steps = p.steps[1:]
	answer := unhex(s.r)
	if address != p.address || !bytes.Equal(w, unhex(s.w)) || len(r) != len(answer) {
		p.t.Errorf("%#x: % x, %d bytes back; the recording has %#x: %s, %d bytes", address, w, len(r), p.address, s.w, len(answer))
		return unix.EREMOTEIO
	}
	copy(r, answer)
	return nil
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// registers is a bus with chips that are files of registers, as the kernel's i2c-stub
// has them: the first byte written is the register, and addresses go up by themselves.
type registers struct {
	mu    sync.Mutex // guards the rest
	chips map[uint8]*[256]byte
	open  int
	log   []string // transfers, where a test asks for them by making it not nil
}

func (g *registers) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	return nil
}

func (g *registers) Transfer(address uint8, w, r []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.chips[address]
	if c == nil {
		return unix.EREMOTEIO
	}
	if g.log != nil {
		g.log = append(g.log, fmt.Sprintf("%#x: % x", address, w))
	}
	copy(c[w[0]:], w[1:])
	copy(r, c[w[0]:])
	return nil
}

// buses returns buses of which each is g.
func (g *registers) buses() *Buses {
	b := NewBuses()
	b.open = func(string) (port, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.open++
		return g, nil
	}
	return b
}

func (g *registers) set(address uint8, register int, b ...byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	copy(g.chips[address][register:], b)
}

func (g *registers) get(address uint8, register int) byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.chips[address][register]
}

func (g *registers) unplug(address uint8) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.chips, address)
}

// glitch is a bus whose first transfers are not acknowledged.
type glitch struct {
	*registers
	left int
}

func (g *glitch) Transfer(address uint8, w, r []byte) error {
	if g.left > 0 {
		g.left--
		return unix.EREMOTEIO
	}
	return g.registers.Transfer(address, w, r)
}
