package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gantry/internal/config"
	"gantry/store"
	"gantry/wamp"
)

// TestClientsHearTheProgramLeave ends a program that has a client on each transport
// and one that says nothing any more and does not hang up either.
func TestClientsHearTheProgramLeave(t *testing.T) {
	t.Parallel()
	p := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": "schema = 1\nmqtt.listen = \"\"\n"}), t.TempDir())
	addr := strings.TrimSuffix(strings.TrimPrefix(p.url, "ws://"), "/ws")

	knockRaw(t, addr)

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

// TestStopTakesFiveSecondsAtMost adds up what the program waits for.
func TestStopTakesFiveSecondsAtMost(t *testing.T) {
	t.Parallel()
	const stages = 3 // behind the front: uplinks, the router, the store
	if whole := frontLimit + flushLimit + stages*backLimit; whole > 5*time.Second {
		t.Errorf("an end takes up to %s", whole)
	}
}

// TestPollersHearTheProgramLeave has all clients of long-poll between two requests
// when the program is told to stop.
func TestPollersHearTheProgramLeave(t *testing.T) {
	t.Parallel()
	const clients = 100
	p := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": "schema = 1\nmqtt.listen = \"\"\nlisten.unix = \"\"\n"}), t.TempDir())
	web := &http.Client{Timeout: patience}
	defer web.CloseIdleConnections()
	post := func(path, body string) (int, string) {
		resp, err := web.Post("http"+strings.TrimSuffix(strings.TrimPrefix(p.url, "ws"), "/ws")+"/lp/"+path, "application/json", strings.NewReader(body))
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0, err.Error()
		}
		return resp.StatusCode, string(b)
	}
	const open = `{"protocols":["wamp.2.json"]}`
	var sessions []string
	for range clients {
		status, b := post("open", open)
		var answer struct{ Transport string }
		if err := json.Unmarshal([]byte(b), &answer); status != http.StatusOK || err != nil {
			t.Fatal(status, b)
		}
		if status, b := post(answer.Transport+"/send", `[1,"gantry",{"roles":{"caller":{}}}]`); status != http.StatusNoContent {
			t.Fatal(status, b)
		}
		if status, b := post(answer.Transport+"/receive", ""); status != http.StatusOK || !strings.HasPrefix(b, "[2,") {
			t.Fatal(status, b)
		}
		sessions = append(sessions, answer.Transport)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// Until then it may also say that there are too many sessions.
	for answer := ""; !strings.Contains(answer, "the server stops"); {
		var status int
		if status, answer = post("open", open); status == 0 {
			t.Fatal("the program takes no requests any more:", answer)
		}
	}
	var seen atomic.Int32
	var asking sync.WaitGroup
	for _, s := range sessions {
		asking.Go(func() {
			if status, b := post(s+"/receive", ""); status == http.StatusOK && strings.HasPrefix(b, "[6,") && strings.Contains(b, string(wamp.ErrURISystemShutdown)) {
				seen.Add(1)
			} else {
				t.Log(status, b)
			}
		})
	}
	asking.Wait()
	if n := seen.Load(); n != clients {
		t.Errorf("%d of %d have seen GOODBYE", n, clients)
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

// TestStopGivesATaskTheTimeThatIsLeft has the store take longer to end than its own share
// is, while nothing else takes any time.
func TestStopGivesATaskTheTimeThatIsLeft(t *testing.T) {
	t.Parallel()
	cfg, errs := config.Load(writeFiles(t, map[string]string{"gantry.toml": "schema = 1\nmqtt.listen = \"\"\n"}), kinds())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	cfg.Listen.HTTP, cfg.Listen.Unix = "", ""
	g, err := NewGateway(Options{Config: cfg, State: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	r := g.newRun(ctx, st, cancel)
	if err := r.start(ctx); err != nil {
		t.Fatal(err)
	}
	r.keep.run("slow disk", func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(2 * backLimit)
		return nil
	})
	if err := r.stop(ctx); err != nil {
		t.Error(err)
	}
}
