package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// Patience is how long tests wait for what has to come.
const Patience = time.Minute

// Library is a Kind that is installed.
type Library struct{ command []string }

// Peer is a process that runs a library, and has a session once it has joined;
// peer.py says which commands it takes. One goroutine uses it.
type Peer struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    *json.Encoder
	lines chan map[string]any // closed when the program ends
	next  float64
	kept  []map[string]any // lines that nobody has asked for yet
	dead  bool             // Kill was called
}

// Join says where and as whom a peer becomes a session.
type Join struct {
	URL        string // of a Link
	Realm      string
	Serializer string // json, msgpack or cbor
	// CA is the file of the certificate that the router's own is signed by. Needed
	// with TLS.
	CA   string
	Auth *Credentials // nil: anonymous
}

// Credentials prove who a peer is.
type Credentials struct {
	Method string `json:"method"` // of Kind.Methods
	AuthID string `json:"authid"`
	// Secret is a ticket or password; for cryptosign the seed of the key in hex.
	Secret string `json:"secret"`
	// Cert and Key are the files of a client certificate, for the method tls.
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`
}

// Start starts the program, which ends with the test.
func (l *Library) Start(t testing.TB) *Peer {
	t.Helper()
	cmd := exec.Command(l.command[0], l.command[1:]...)
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
	p := &Peer{t: t, cmd: cmd, in: json.NewEncoder(stdin), lines: make(chan map[string]any, 1024)}
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
		if err := cmd.Wait(); err != nil && !p.dead {
			t.Errorf("the peer: %v", err)
		}
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("the peer said:\n%s", stderr.String())
		}
	})
	return p
}

// Join joins a realm and returns what WELCOME told: session, authid, authrole,
// authmethod.
func (p *Peer) Join(j Join) map[string]any {
	p.t.Helper()
	m, _ := p.OK(j.Command()).(map[string]any)
	return m
}

// Command returns the command that joins, for a peer that is to be refused.
func (j Join) Command() map[string]any {
	c := map[string]any{"op": "join", "url": j.URL, "realm": j.Realm, "serializer": j.Serializer}
	if j.CA != "" {
		c["ca"] = j.CA
	}
	if j.Auth != nil {
		c["auth"] = j.Auth
	}
	return c
}

// Until returns the first line for which ok holds and keeps the others for later
// calls. what names it in the failure.
func (p *Peer) Until(what string, ok func(map[string]any) bool) map[string]any {
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

// Event returns the next line of that name that no command asked for: left,
// invoked, interrupted, or any event or progress.
func (p *Peer) Event(name string) map[string]any {
	p.t.Helper()
	return p.Until(name, func(m map[string]any) bool { return m["event"] == name })
}

// EventFor returns the next event or progress that belongs to the command id.
func (p *Peer) EventFor(id float64) map[string]any {
	p.t.Helper()
	return p.Until(fmt.Sprint("event for command ", id), func(m map[string]any) bool { return m["event"] != nil && m["for"] == id })
}

// Heard reports whether an event or progress has come that belongs to the command
// id and that nobody has asked for.
func (p *Peer) Heard(id float64) bool {
	return slices.ContainsFunc(p.kept, func(m map[string]any) bool { return m["for"] == id })
}

// Use makes t the test that failures go to.
func (p *Peer) Use(t testing.TB) { p.t = t }

// Send sends a command and returns its ID.
func (p *Peer) Send(command map[string]any) (id float64) {
	p.t.Helper()
	p.next++
	command["id"] = p.next
	if err := p.in.Encode(command); err != nil {
		p.t.Fatal(err)
	}
	return p.next
}

// Reply returns the reply to a command that was sent.
func (p *Peer) Reply(id float64) map[string]any {
	p.t.Helper()
	return p.Until(fmt.Sprint("reply to command ", id), func(m map[string]any) bool { return m["reply"] == id })
}

// Do sends a command and returns its reply.
func (p *Peer) Do(command map[string]any) map[string]any {
	p.t.Helper()
	return p.Reply(p.Send(command))
}

// OK is Do for a command that has to succeed; it returns the result.
func (p *Peer) OK(command map[string]any) any {
	p.t.Helper()
	m := p.Do(command)
	if e, failed := m["error"]; failed {
		p.t.Fatalf("%.500s: %v %v", fmt.Sprint(command), e, m["args"])
	}
	return m["ok"]
}

// Leave ends the session in order and returns the router's reason, nil where the
// library does not tell.
func (p *Peer) Leave() any {
	p.t.Helper()
	p.OK(map[string]any{"op": "leave"})
	return p.Event("left")["reason"]
}

// Kill ends the process as a crash would.
func (p *Peer) Kill() {
	p.t.Helper()
	p.dead = true
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
}
