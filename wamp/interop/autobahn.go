// Package interop drives WAMP clients that other people wrote, for tests that run
// Gantry's router and client against them.
package interop

import (
	"bufio"
	"bytes"
	_ "embed" // peer.py
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// python is the interpreter that sees Debian's packages.
const python = "/usr/bin/python3"

// Patience is how long tests wait for what has to come.
const Patience = 20 * time.Second

//go:embed peer.py
var peerProgram string

// NeedAutobahn skips the test when Debian's python3-autobahn or python3-cbor2 is not
// installed, or fails it where peers are required.
func NeedAutobahn(t testing.TB) {
	t.Helper()
	check := exec.Command(python, "-c", "from autobahn.wamp.serializer import CBORSerializer, MsgPackSerializer")
	if err := check.Run(); err != nil {
		const text = "package missing: python3-autobahn or python3-cbor2"
		if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
}

// Autobahn is a session of Autobahn|Python in a process of its own; peer.py says
// which commands it takes. One goroutine uses it.
type Autobahn struct {
	t     testing.TB
	in    *json.Encoder
	lines chan map[string]any // closed when the program ends
	next  int
	kept  []map[string]any // lines that nobody has asked for yet
}

// StartAutobahn joins realm at url (ws:// or rs://) with json, msgpack or cbor. The
// session leaves when the test ends.
func StartAutobahn(t testing.TB, url, realm, serializer string) *Autobahn {
	t.Helper()
	cmd := exec.Command(python, "-c", peerProgram, url, realm, serializer)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Autobahn{t: t, in: json.NewEncoder(stdin), lines: make(chan map[string]any, 1024)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(p.lines)
		sc := bufio.NewScanner(stdout)
		sc.Buffer(nil, 1<<24)
		for sc.Scan() {
			var m map[string]any
			if json.Unmarshal(sc.Bytes(), &m) == nil {
				p.lines <- m
			}
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		stop := time.AfterFunc(Patience, func() { _ = cmd.Process.Kill() })
		defer stop.Stop()
		// What nobody asks for any more must not hold the program up.
		for range p.lines {
			continue
		}
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("peer.py: %v\n%s", err, stderr.String())
		}
	})
	p.Event("joined")
	return p
}

// Until returns the first line for which ok holds and keeps the others for later
// calls. what names it in the failure.
func (p *Autobahn) Until(what string, ok func(map[string]any) bool) map[string]any {
	p.t.Helper()
	for i, m := range p.kept {
		if ok(m) {
			p.kept = append(p.kept[:i:i], p.kept[i+1:]...)
			return m
		}
	}
	timeout := time.After(Patience)
	for {
		select {
		case m, open := <-p.lines:
			if !open {
				p.t.Fatalf("the peer ended while waiting for %s", what)
			}
			if ok(m) {
				return m
			}
			p.kept = append(p.kept, m)
		case <-timeout:
			p.t.Fatalf("no %s within %s; heard %v", what, Patience, p.kept)
		}
	}
}

// Event returns the next line of that name: joined, event, progress, left.
func (p *Autobahn) Event(name string) map[string]any {
	p.t.Helper()
	return p.Until(name, func(m map[string]any) bool { return m["event"] == name })
}

// Do sends a command and returns its reply.
func (p *Autobahn) Do(command map[string]any) map[string]any {
	p.t.Helper()
	p.next++
	id := float64(p.next)
	command["id"] = id
	if err := p.in.Encode(command); err != nil {
		p.t.Fatal(err)
	}
	return p.Until(fmt.Sprint("reply to ", command), func(m map[string]any) bool { return m["reply"] == id })
}

// OK is Do for a command that has to succeed; it returns the result.
func (p *Autobahn) OK(command map[string]any) any {
	p.t.Helper()
	m := p.Do(command)
	if e, failed := m["error"]; failed {
		p.t.Fatalf("%v: %v %v", command, e, m["args"])
	}
	return m["ok"]
}

// Leave ends the session in order.
func (p *Autobahn) Leave() {
	p.t.Helper()
	if err := p.in.Encode(map[string]any{"op": "leave"}); err != nil {
		p.t.Fatal(err)
	}
	p.Event("left")
}
