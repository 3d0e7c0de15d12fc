// Command relay forwards WebSocket and RawSocket frames without looking into
// them: what a router could cost at best on this machine. The first frame of a
// connection says what it is, two words: "caller 7", "callee 7", "pub 7", "sub 7"
// or "idle 7"; it is sent back once it holds. Frames of a caller go to the callee
// of the same name, which answers in order; frames of a publisher to all
// subscribers of the same name.
//
// Each frame is a write of its own, or, with -batch, what came with one read goes
// to each receiver in one write.
package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
)

func main() {
	ws := flag.String("ws", "127.0.0.1:0", "address for WebSocket")
	rs := flag.String("rs", "127.0.0.1:0", "address for RawSocket")
	batch := flag.Bool("batch", false, "write once per read and receiver")
	flag.Parse()
	r := &relay{batch: *batch, groups: map[string]*group{}}
	for _, side := range []struct {
		addr  string
		greet func(net.Conn) (bool, error)
	}{{*ws, upgrade}, {*rs, handshake}} {
		l, err := net.Listen("tcp", side.addr)
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					log.Fatal(err)
				}
				go r.serve(c, side.greet)
			}
		}()
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
}

type relay struct {
	batch  bool
	mu     sync.Mutex // guards groups and what is in them
	groups map[string]*group
}

// group is what shares a name.
type group struct {
	subs   []net.Conn
	callee *callee
	refs   int
}

// callee is where calls go. The answers go back in the same order.
type callee struct {
	net.Conn
	mu      sync.Mutex // held while a call is written, so that the order is that of waiting
	waiting []net.Conn
}

// upgrade is the server's side of the WebSocket handshake.
func upgrade(c net.Conn) (masked bool, err error) {
	r, err := http.ReadRequest(bufio.NewReaderSize(c, 1024)) // the client waits for the answer: nothing is read ahead
	if err != nil {
		return false, err
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, err = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]), r.Header.Get("Sec-WebSocket-Protocol"))
	return true, err
}

// handshake is that of RawSocket.
func handshake(c net.Conn) (masked bool, err error) {
	var b [4]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return false, err
	}
	_, err = c.Write([]byte{0x7F, 0xF0 | b[1]&0x0F, 0, 0})
	return false, err
}

var errFrame = errors.New("not a whole frame")

// next returns the length of the first frame in b and that of its header, 0 if it
// is not complete.
func next(b []byte, masked bool) (head, size int) {
	if !masked {
		if len(b) < 4 {
			return 0, 0
		}
		n := int(binary.BigEndian.Uint32(b) & 0xFFFFFF)
		return 4, 4 + n
	}
	if len(b) < 2 {
		return 0, 0
	}
	n, head := int(b[1]&0x7F), 2
	switch n {
	case 126:
		if head = 4; len(b) < head {
			return 0, 0
		}
		n = int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if head = 10; len(b) < head {
			return 0, 0
		}
		n = int(binary.BigEndian.Uint64(b[2:]))
	}
	return head + 4, head + 4 + n
}

// bare appends a client's frame as a server sends it: without the mask.
func bare(dst, f []byte, head int, masked bool) []byte {
	if !masked {
		return append(dst, f...)
	}
	start := len(dst)
	dst = append(dst, f[:head-4]...)
	dst[start+1] &^= 0x80
	at := len(dst)
	dst = append(dst, f[head:]...)
	b := dst[at:]
	k := uint64(binary.LittleEndian.Uint32(f[head-4:]))
	k |= k << 32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= f[head-4+i&3]
	}
	return dst
}

// serve forwards what one connection sends, until it ends.
func (r *relay) serve(c net.Conn, greet func(net.Conn) (bool, error)) {
	defer func() { _ = c.Close() }()
	masked, err := greet(c)
	if err != nil {
		return
	}
	first := make([]byte, 256)
	n, err := c.Read(first)
	if err != nil {
		return
	}
	head, size := next(first[:n], masked)
	if head == 0 || size != n {
		log.Print(errFrame)
		return
	}
	hello := bare(nil, first[:n], head, masked)
	var role, name string
	_, err = fmt.Sscan(string(hello[head-4*bit(masked):]), &role, &name)
	if err != nil {
		log.Print(err)
		return
	}
	r.mu.Lock()
	g := r.groups[name]
	if g == nil {
		g = &group{}
		r.groups[name] = g
	}
	g.refs++
	var me *callee
	switch role {
	case "sub":
		g.subs = append(slices.Clip(g.subs), c)
	case "callee":
		me = &callee{Conn: c}
		g.callee = me
	}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		g.subs = slices.DeleteFunc(slices.Clone(g.subs), func(s net.Conn) bool { return s == c })
		if g.refs--; g.refs == 0 {
			delete(r.groups, name)
		}
	}()
	if _, err := c.Write(hello); err != nil {
		return
	}
	f := &forwarder{relay: r, group: g, conn: c, me: me, role: role, masked: masked}
	f.run()
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

type forwarder struct {
	*relay
	group  *group
	conn   net.Conn
	me     *callee
	role   string
	masked bool
	out    []byte
	ends   []int  // of each frame in out
	same   []byte // answers to one caller
}

func (f *forwarder) run() {
	in := make([]byte, 0, 4096)
	for {
		n, err := f.conn.Read(in[len(in):cap(in)])
		if err != nil {
			return
		}
		in = in[:len(in)+n]
		f.out, f.ends = f.out[:0], f.ends[:0]
		rest := in
		for {
			head, size := next(rest, f.masked)
			if head == 0 || size > len(rest) {
				if size > cap(in) {
					in = append(make([]byte, 0, size), rest...)
				} else {
					in = in[:copy(in[:cap(in)], rest)]
				}
				break
			}
			f.out = bare(f.out, rest[:size], head, f.masked)
			f.ends = append(f.ends, len(f.out))
			rest = rest[size:]
		}
		if len(in) == 0 && n == cap(in) && cap(in) < 64<<10 {
			in = make([]byte, 0, 4*cap(in)) // busy: read more at once
		}
		if len(f.ends) > 0 {
			f.forward()
		}
	}
}

// forward writes out to whoever is to have it. Errors are the business of the
// receiver's own goroutine.
func (f *forwarder) forward() {
	switch f.role {
	case "pub":
		f.mu.Lock()
		subs := f.group.subs
		f.mu.Unlock()
		for _, s := range subs {
			f.write(s)
		}
	case "caller":
		f.mu.Lock()
		c := f.group.callee
		f.mu.Unlock()
		if c == nil {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for range f.ends {
			c.waiting = append(c.waiting, f.conn)
		}
		f.write(c)
	case "callee":
		f.me.mu.Lock()
		to := slices.Clone(f.me.waiting[:min(len(f.ends), len(f.me.waiting))])
		f.me.waiting = append(f.me.waiting[:0], f.me.waiting[len(to):]...)
		f.me.mu.Unlock()
		f.answer(to)
	}
}

// write sends out to one receiver.
func (f *forwarder) write(c net.Conn) {
	if f.batch {
		_, _ = c.Write(f.out)
		return
	}
	start := 0
	for _, end := range f.ends {
		_, _ = c.Write(f.out[start:end])
		start = end
	}
}

// answer sends each frame of out to its own receiver.
func (f *forwarder) answer(to []net.Conn) {
	frame := func(i int) []byte {
		if i == 0 {
			return f.out[:f.ends[0]]
		}
		return f.out[f.ends[i-1]:f.ends[i]]
	}
	for i, c := range to {
		if c == nil {
			continue
		}
		if !f.batch {
			_, _ = c.Write(frame(i))
			continue
		}
		f.same = append(f.same[:0], frame(i)...)
		for j := i + 1; j < len(to); j++ {
			if to[j] == c {
				f.same = append(f.same, frame(j)...)
				to[j] = nil
			}
		}
		_, _ = c.Write(f.same)
	}
}
