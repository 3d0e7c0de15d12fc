package transport_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"testing"

	"gantry/wamp/transport"
)

// A connection that a handler takes over counts for as long as it lasts, but not as
// one that is about to log in.
func TestConnectionsTakenOverAreNotHalfOpen(t *testing.T) {
	t.Parallel()
	ours, theirs := certificate(t)
	t.Run("plain", func(t *testing.T) { takeOver(t, nil, nil) })
	t.Run("encrypted", func(t *testing.T) { takeOver(t, ours, theirs) })
}

func takeOver(t *testing.T, ours, theirs *tls.Config) {
	taken := make(chan net.Conn, 1)
	s := serve(t, "tcp", transport.ServerConfig{Options: hasty, TLS: ours, HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/take" {
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprintf(rw, "yours\n")
		_ = rw.Flush()
		taken <- conn
	})}, echo)
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	if theirs != nil {
		conn = tls.Client(conn, theirs)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	fmt.Fprintf(conn, "GET /plain HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := http.ReadResponse(r, nil); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Open != 1 || st.HalfOpen != 1 {
		t.Errorf("after a plain request: %+v", st)
	}
	fmt.Fprintf(conn, "GET /take HTTP/1.1\r\nHost: x\r\n\r\n")
	if line, err := r.ReadString('\n'); line != "yours\n" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	if st := s.Stats(); st.Open != 1 || st.HalfOpen != 0 {
		t.Errorf("after it was taken over: %+v", st)
	}
	_ = (<-taken).Close()
	until(t, "it is gone", func() bool { return s.Stats().Open == 0 })
}
