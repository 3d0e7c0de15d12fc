package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/internal/config"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

// lookout is a finder that has found two boards.
type lookout struct{ reported chan struct{} }

func (l *lookout) Run(ctx context.Context, found drivers.Found) error {
	for _, id := range []string{"1", "2"} {
		err := found.Appeared(ctx, drivers.Candidate{Kind: "node", ID: id, Name: "node_" + id, Model: "Board", Description: "a\nboard",
			New: func(drivers.Env) (drivers.Driver, error) { return stillness{}, nil }})
		if err != nil {
			return err
		}
	}
	close(l.reported)
	<-ctx.Done()
	return nil
}

// stillness is a driver of a device that never comes up.
type stillness struct{}

func (stillness) Describe() drivers.Description { return drivers.Description{} }

func (stillness) Run(ctx context.Context, _ drivers.Link) error {
	<-ctx.Done()
	return nil
}

// startLookout runs a hub with a lookout on the realm's component.
func (r *realm) startLookout(decisions hub.Decisions) {
	r.t.Helper()
	l := &lookout{make(chan struct{})}
	h, err := hub.New(hub.Config{Gateway: "barn", Epoch: 1}, nil, r.session, hub.Deps{
		Decode: serialize.Values, Decisions: decisions, Sources: []hub.Source{{Name: "test", Finder: l}},
	}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	registered := r.registrations(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if err := h.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(func() { cancel(); running.Wait() })
	<-l.reported
	// The last one that the hub registers.
	await(r.t.Context(), r.t, registered, func(uri string) bool { return uri == "gantry.barn.do.." })
}

// registrations returns a channel of the URIs that are registered from now on.
func (r *realm) registrations(ctx context.Context) <-chan string {
	r.t.Helper()
	watcher, err := client.Join(ctx, r.connect(), client.SessionConfig{Realm: "gantry"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { watcher.Close() })
	uris := make(chan string, 64) // more than a hub registers
	_, err = watcher.Subscribe(ctx, "wamp.registration.on_create", wamp.SubscribeOptions{}, func(ev *wamp.Event) {
		args, _, _ := serialize.Values(ev.Payload)
		d, _ := args[1].(wamp.Dict)
		uri, _ := d["uri"].(string)
		uris <- uri
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return uris
}

func TestDevicesThatAppearAreDecidedAbout(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\n"})
	cfg, errs := config.Load(dir, kinds())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	r := newRealm(t)
	if code, _, errs := r.run("devices", "pending"); code != exitFailed || errs != "gantry: there is no gateway in the realm\n" {
		t.Errorf("without a gateway: code %d, %q", code, errs)
	}
	r.startLookout(cfg.Decisions())
	for _, step := range []struct {
		args string
		code int
		want string // the words of the output
	}{
		{"pending", exitOK, `CANDIDATE STATE NAME MODEL DESCRIPTION node:1 pending node_1 Board a\u000aboard node:2 pending node_2 Board a\u000aboard`},
		{"accept node:1 --name stable --gateway barn", exitOK, "stable"},
		{"accept node:1", exitFailed, ""},
		{"ignore node:2", exitOK, "node:2"},
		{"pending", exitOK, "no devices wait for a decision"},
		{"pending --all", exitOK, `CANDIDATE STATE NAME MODEL DESCRIPTION node:1 accepted stable Board a\u000aboard node:2 ignored node_2 Board a\u000aboard`},
		{"forget node:2", exitOK, "node:2"},
		{"forget node:1", exitOK, "node:1"},
		{"forget node:1", exitFailed, ""},
	} {
		code, out, errs := r.run(append([]string{"devices"}, strings.Fields(step.args)...)...)
		if code != step.code || strings.Join(strings.Fields(out), " ") != step.want {
			t.Errorf("devices %s: code %d, %q, %q", step.args, code, out, errs)
		}
		if step.args == "accept node:1" && !strings.Contains(errs, "node:1 is device stable already; forget it first") {
			t.Errorf("accept twice: %q", errs)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "devices.d")); err != nil || len(left) > 0 {
		t.Errorf("left in devices.d: %v, %v", left, err)
	}
	code, out, _ := r.run("devices", "pending", "--json")
	if code != exitOK || strings.Count(out, "\n") != 2 || !strings.Contains(out, `"candidate":"node:1"`) {
		t.Errorf("as JSON: %s", out)
	}
}
