package client_test

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/transport"
)

// place is a way to a router, for a component that must not tell it from others.
type place struct {
	name string
	dial client.Dialer
}

// places starts a router and returns all the ways to it.
func places(t testing.TB, realms ...router.RealmConfig) []place {
	t.Helper()
	if len(realms) == 0 {
		realms = []router.RealmConfig{{Name: "realm1"}}
	}
	r, err := router.New(router.Config{Realms: realms}, nil)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := transport.NewServer(transport.ServerConfig{}, r.Admit, nil)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "router.sock")
	unix, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	for _, l := range []net.Listener{tcp, unix} {
		wg.Go(func() { _ = srv.Serve(ctx, l) })
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	all := []place{{"embedded", client.Embedded(r, transport.PipeConfig{})}}
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		cfg := transport.DialConfig{Formats: []wamp.Format{f}}
		for name, url := range map[string]string{
			"websocket": "ws://" + tcp.Addr().String(), "rawsocket": "rs://" + tcp.Addr().String(),
			"longpoll": "lp://" + tcp.Addr().String(), "unix": "rs+unix://" + socket,
		} {
			all = append(all, place{name + " " + f.String(), client.URL(url, cfg)})
		}
	}
	return all
}

// everywhere runs a test over every way to a router of its own.
func everywhere(t *testing.T, f func(t *testing.T, dial client.Dialer)) {
	t.Helper()
	t.Parallel()
	for _, p := range places(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			f(t, p.dial)
		})
	}
}

// connect joins realm1, and leaves when the test ends.
func connect(t testing.TB, dial client.Dialer, cfg client.SessionConfig) *client.Session {
	t.Helper()
	if cfg.Realm == "" {
		cfg.Realm = "realm1"
	}
	s, err := client.Connect(context.Background(), dial, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Leave(context.Background()) })
	return s
}
