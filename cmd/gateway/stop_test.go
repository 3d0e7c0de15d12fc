package main

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"gantry/wamp"
)

// TestClientsHearTheProgramLeave ends a program that has a client on each transport
// and one that says nothing any more and does not hang up either. HTTP long-poll is
// left out: a client that is between two requests does not come through any more.
func TestClientsHearTheProgramLeave(t *testing.T) {
	t.Parallel()
	p := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": "schema = 1\nmqtt.listen = \"\"\n"}), t.TempDir())
	addr := strings.TrimSuffix(strings.TrimPrefix(p.url, "ws://"), "/ws")

	stuck, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	hello := `[1,"gantry",{"roles":{"caller":{}}}]`
	if _, err := io.WriteString(stuck, "\x7f\xf1\x00\x00\x00\x00\x00"+string(rune(len(hello)))+hello); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stuck, make([]byte, 9)); err != nil { // WELCOME begins
		t.Fatal(err)
	}

	var peers []wamp.Peer
	for _, url := range []string{p.url, "rs://" + addr, "rs+unix://" + p.state + "/gantry.sock"} {
		peer := mustDial(t, url)
		defer peer.Close()
		if err := peer.TrySend(&wamp.Hello{Realm: "gantry", Details: wamp.Dict{"roles": wamp.Dict{"caller": wamp.Dict{}}}}); err != nil {
			t.Fatal(err)
		}
		if m, err := peer.Recv(); err != nil || m.Type() != wamp.TypeWelcome {
			t.Fatalf("%s: %v, %v", url, m, err)
		}
		peers = append(peers, peer)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, peer := range peers {
		m, err := peer.Recv()
		if g, ok := m.(*wamp.Goodbye); !ok || g.Reason != wamp.ErrURISystemShutdown {
			t.Errorf("%s: the program left with %v, %v", peer.Info().Transport, m, err)
		}
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatal("SIGTERM is ignored")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != exitOK {
		t.Errorf("stopped with %s", p.cmd.ProcessState)
	}
}
