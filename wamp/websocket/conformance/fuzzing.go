package conformance

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// FuzzingServer offers cases to a client that asks for them, one connection each,
// by the paths of the Autobahn testsuite's fuzzing server: /getCaseCount is answered
// by one text with a number, /runCase?case=N&agent=A is case N, from 1 on, and
// /updateReports?agent=A ends it.
type FuzzingServer struct {
	Endpoint
	Cases []Case
}

// Serve runs cases as subtests of t until the client asks for the report, or has
// not come back for half a minute. It fails t when a case has not been run.
func (f FuzzingServer) Serve(t *testing.T, ln *net.TCPListener) {
	t.Helper()
	ran := map[int]bool{}
	for {
		_ = ln.SetDeadline(time.Now().Add(patience))
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if f.serve(t, conn, ran) {
			break
		}
	}
	if len(ran) != len(f.Cases) {
		t.Errorf("%d of %d cases were asked for", len(ran), len(f.Cases))
	}
}

// serve does what one connection asks for and reports whether it was the last.
func (f FuzzingServer) serve(t *testing.T, conn net.Conn, ran map[int]bool) (last bool) {
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	br := bufio.NewReader(conn)
	r, err := http.ReadRequest(br)
	if err != nil {
		t.Errorf("a client's request: %v", err)
		return false
	}
	p := &peer{TB: t, Endpoint: f.Endpoint, conn: conn, br: br, got: r}
	agent := r.URL.Query().Get("agent")
	switch r.URL.Path {
	case "/getCaseCount":
		key, _ := p.asked()
		p.write(p.accept(key))
		p.say(opText, strconv.AppendInt(nil, int64(len(f.Cases)), 10))
		p.done()
	case "/runCase":
		n, err := strconv.Atoi(r.URL.Query().Get("case"))
		if err != nil || n < 1 || n > len(f.Cases) || agent == "" || ran[n] {
			t.Errorf("asked for %s", r.URL)
			return false
		}
		ran[n] = true
		c := f.Cases[n-1]
		t.Run(fmt.Sprintf("%s/%s", c.Group, c.Name), func(t *testing.T) {
			p.TB = t
			c.judgeClient(p)
		})
	case "/updateReports":
		key, _ := p.asked()
		p.write(p.accept(key))
		p.done()
		return true
	default:
		t.Errorf("asked for %s", r.URL)
	}
	return false
}
