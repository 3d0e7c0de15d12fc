package conformance_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"gantry/wamp/websocket"
	"gantry/wamp/websocket/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// endpoint is what both sides of the library are judged by.
var endpoint = conformance.Endpoint{Limit: 600_000}

// config sends no pings, which a case would take for something unexpected, and
// compresses everything if it compresses at all.
func config(deflate bool) websocket.Config {
	return websocket.Config{MaxMessage: endpoint.Limit, PingInterval: -1, Deflate: deflate, DeflateFrom: 1}
}

// echo answers every message with itself until the connection ends.
func echo(c *websocket.Conn) {
	defer c.Close(websocket.CloseNormal, "")
	for {
		op, b, err := c.Read()
		if err != nil || c.Write(op, b) != nil {
			return
		}
	}
}

// TestConformance judges the library's server and its client.
func TestConformance(t *testing.T) {
	t.Parallel()
	keepTable(t)
	t.Run("server", judgeServer)
	t.Run("client", judgeClient)
}

// each runs the cases that suit, side by side.
func each(t *testing.T, suits func(conformance.Case, conformance.Endpoint) bool, run func(t *testing.T, c conformance.Case)) {
	t.Parallel()
	side := t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]
	all := conformance.Cases()
	for _, group := range conformance.Groups() {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			for _, c := range all {
				if c.Group != group || !suits(c, endpoint) {
					continue
				}
				t.Run(c.Name, func(t *testing.T) {
					t.Parallel()
					keep(t, side, group)
					run(t, c)
				})
			}
		})
	}
}

// serve starts an echo server and returns its URL.
func serve(t *testing.T, cfg websocket.Config) string {
	t.Helper()
	s := &websocket.Server{Config: cfg}
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := s.Upgrade(w, r); err == nil {
			echo(c)
		}
	}))
	t.Cleanup(hs.Close)
	return "ws" + strings.TrimPrefix(hs.URL, "http")
}

func judgeServer(t *testing.T) {
	plain, deflating := serve(t, config(false)), serve(t, config(true))
	each(t, conformance.Case.ForServer, func(t *testing.T, c conformance.Case) {
		url := plain
		if c.Deflated() {
			url = deflating
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "ws://"))
		if err != nil {
			t.Fatal(err)
		}
		c.JudgeServer(t, conn, endpoint)
	})
}

func judgeClient(t *testing.T) {
	each(t, conformance.Case.ForClient, func(t *testing.T, c conformance.Case) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c, err := (&websocket.Dialer{Config: config(c.Deflated())}).Dial(context.Background(), "ws://"+ln.Addr().String())
			if err == nil {
				echo(c)
			}
		}()
		defer func() { <-ended }()
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.JudgeClient(t, conn, endpoint)
	})
}
