package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

// pipeliner is a client that writes without waiting for answers, which it reads
// once it is told to.
type pipeliner struct {
	t    *testing.T
	conn net.Conn
	out  chan []byte // what is to be written, in order; it has room for everything

	results, invocations int
}

// newPipeliner joins and registers a procedure, "" = none.
func newPipeliner(t *testing.T, p *program, procedure string) *pipeliner {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(p.url, "ws://"), "/ws"))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(3 * patience))
	c := &pipeliner{t: t, conn: conn, out: make(chan []byte, 1<<17)}
	var writer sync.WaitGroup
	writer.Go(func() {
		w := bufio.NewWriterSize(conn, 32<<10)
		for b := range c.out {
			_, _ = w.Write(b) // how it ends is seen by the one who reads
			if len(c.out) == 0 {
				_ = w.Flush()
			}
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		close(c.out)
		writer.Wait()
	})
	c.out <- []byte("\x7f\xf1\x00\x00")
	c.say(`[1,"gantry",{"roles":{"caller":{},"callee":{}}}]`)
	if procedure != "" {
		c.say(`[64,1,{},"` + procedure + `"]`)
	}
	return c
}

func (c *pipeliner) say(message string) { c.out <- frames(message) }

// read reads until n calls have been answered, and answers invocations.
func (c *pipeliner) read(n int) {
	r := bufio.NewReaderSize(c.conn, 64<<10)
	_, err := r.Discard(4)
	for err == nil && c.results < n {
		var h [4]byte
		if _, err = io.ReadFull(r, h[:]); err != nil {
			break
		}
		body := make([]byte, int(h[1])<<16|int(h[2])<<8|int(h[3]))
		if _, err = io.ReadFull(r, body); err != nil || h[0] != 0 { // or a ping
			continue
		}
		kind, rest, _ := strings.Cut(string(body[1:]), ",")
		switch kind {
		case "2", "65": // WELCOME, REGISTERED
		case "50": // RESULT
			c.results++
		case "68": // INVOCATION
			c.invocations++
			id, _, _ := strings.Cut(rest, ",")
			c.say("[70," + id + `,{},["x"]]`)
		default:
			c.t.Errorf("received %.200s", body)
			return
		}
	}
	if err != nil {
		c.t.Errorf("after %d of %d results: %v", c.results, n, err)
	}
}

// paused is how often the program has read a message later than it could.
func (p *program) paused() int {
	p.t.Helper()
	return int(p.metric("gantry_router_paused_total"))
}

// awaitPause waits until a session has been read late.
func (p *program) awaitPause() {
	p.t.Helper()
	for late := time.Now().Add(patience); p.paused() == 0; {
		if time.Now().After(late) {
			p.t.Fatal("nobody is read late")
		}
	}
}

const quietGateway = "schema = 1\nmqtt.listen = \"\"\nlisten.unix = \"\"\n"

// question is a procedure that a program answers with a kilobyte once talkative has
// made it so.
const question = `"wamp.reflection.procedure.list"`

func talkative(p *program) *client.Session {
	p.t.Helper()
	s := p.join()
	for i := range 20 {
		if _, err := s.Register(p.t.Context(), wamp.URI(fmt.Sprintf("test.%050d", i)), wamp.RegisterOptions{}, nil); err != nil {
			p.t.Fatal(err)
		}
	}
	return s
}

// TestPipelinesAreHeldUpNotEnded has a client send far more requests than there is
// room for answers before it reads the first one. Another one is served meanwhile.
func TestPipelinesAreHeldUpNotEnded(t *testing.T) {
	t.Parallel()
	p := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": quietGateway}), t.TempDir())
	s := talkative(p)
	c := newPipeliner(t, p, "")
	const n = 30_000 // the network holds some megabytes
	for i := range n {
		c.say(fmt.Sprintf(`[48,%d,{},%s]`, i+1, question))
	}
	p.awaitPause()
	if _, err := s.Call(t.Context(), "wamp.session.count", wamp.CallOptions{}, wamp.Payload{}); err != nil {
		t.Errorf("another session: %v", err)
	}
	c.read(n)
}

// TestSessionsThatCallEachOtherInPipelines has two clients call each other, and the
// router, with nothing read before both are in a pause.
func TestSessionsThatCallEachOtherInPipelines(t *testing.T) {
	t.Parallel()
	p := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": quietGateway}), t.TempDir())
	const calls, questions = 2000, 20_000
	names := []string{"test.a", "test.b"}
	var both []*pipeliner
	for _, name := range names {
		both = append(both, newPipeliner(t, p, name))
	}
	s := talkative(p)
	for _, name := range names { // both are there
		for {
			if id, err := s.Call(t.Context(), "wamp.registration.lookup", wamp.CallOptions{}, wamp.Args(name)); err != nil {
				t.Fatal(err)
			} else if args, _, _ := serialize.Values(id); len(args) == 1 && args[0] != nil {
				break
			}
		}
	}
	for i := range calls + questions {
		for k, c := range both {
			if i%(questions/calls) == 0 && i/(questions/calls) < calls {
				c.say(fmt.Sprintf(`[48,%d,{},"%s",["%0100d"]]`, i+1, names[1-k], i))
			} else {
				c.say(fmt.Sprintf(`[48,%d,{},%s]`, i+1, question))
			}
		}
	}
	p.awaitPause()
	var readers sync.WaitGroup
	for _, c := range both {
		readers.Go(func() { c.read(calls + questions) })
	}
	readers.Wait()
	for _, c := range both {
		if c.invocations != calls {
			t.Errorf("%d invocations, expected %d", c.invocations, calls)
		}
	}
}
