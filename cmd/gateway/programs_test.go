package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gantry/drivers/hub"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/interop"
	"gantry/wamp/serialize"
)

// called calls and returns the first result.
func called(t *testing.T, s *client.Session, procedure wamp.URI, args wamp.List, kwargs wamp.Dict) (any, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p, err := s.Call(ctx, procedure, wamp.CallOptions{}, wamp.Values(args, kwargs))
	if err != nil {
		return nil, err
	}
	list, _, err := serialize.Values(p)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// TestDriverInPython runs the example: a driver that the gateway starts.
func TestDriverInPython(t *testing.T) {
	t.Parallel()
	interop.NeedAutobahn(t)
	config := t.TempDir()
	if err := os.CopyFS(config, os.DirFS(filepath.Join("..", "..", "examples", "driver-python"))); err != nil {
		t.Fatal(err)
	}
	main := filepath.Join(config, "gantry.toml")
	text, err := os.ReadFile(main)
	if err != nil {
		t.Fatal(err)
	}
	// The port of MQTT is for one program on a machine.
	if err := os.WriteFile(main, append(text, "[mqtt]\nlisten = \"\"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, config, t.TempDir())
	s := p.join()
	seen := keep(t, s, "gantry.shed.", wamp.SubscribeOptions{GetRetained: true})
	online := func(after int64) int64 {
		return seen.await(t, "the oven online", func(e event) bool {
			return e.topic == "gantry.shed.state.oven.link" && e.value == "online" && e.seq > after
		}).seq
	}
	online(0)
	seen.await(t, "what it is asked for", func(e event) bool { return e.topic == "gantry.shed.point.oven.temperature" && e.value == 20.0 })
	seen.await(t, "what it says by itself", func(e event) bool { return e.topic == "gantry.shed.point.oven.door" && e.value == true })
	// While the door is open, it refuses.
	open := int64(0)
	for late := time.Now().Add(2 * patience); time.Now().Before(late); {
		open = seen.await(t, "an open door", func(e event) bool {
			return e.topic == "gantry.shed.point.oven.door" && e.value == true && e.seq > open
		}).seq
		if _, err = called(t, s, "gantry.shed.set.oven.target", wamp.List{250}, nil); err != nil {
			break // else the machine was busy until it was closed again
		}
	}
	if !wamp.IsError(err, hub.ErrURIRefused) || !strings.Contains(err.Error(), "not that hot while the door is open") {
		t.Errorf("set while the door is open: %v", err)
	}
	if got, err := called(t, s, "gantry.shed.set.oven.target", wamp.List{150}, nil); got != 150.0 || err != nil {
		t.Errorf("set: %v, %v", got, err)
	}
	if _, err := called(t, s, "gantry.shed.set.oven.target", wamp.List{301}, nil); !wamp.IsError(err, wamp.ErrURIOutOfRange) {
		t.Errorf("set beyond the range: %v", err)
	}

	// Progress with who asks, and cancel.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	steps := 0
	_, err = s.CallProgress(ctx, "gantry.shed.do.oven.bake", wamp.CallOptions{}, wamp.Values(nil, wamp.Dict{"steps": 1000}), func(p wamp.Payload) {
		args, _, _ := serialize.Values(p)
		if d, _ := args[0].(wamp.Dict); d["for"] != "anonymous" {
			t.Errorf("progress %v", args)
		}
		if steps++; steps == 3 {
			cancel()
		}
	})
	// One more may have been on its way.
	if steps < 3 || steps == 1000 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d steps, %v", steps, err)
	}
	late := time.Now().Add(patience)
	for { // it lets go of the action it was told to give up
		got, err := called(t, s, "gantry.shed.do.oven.bake", nil, wamp.Dict{"steps": 1})
		if err == nil && fmt.Sprint(got) == "map[baked:1]" {
			break
		}
		if !wamp.IsError(err, wamp.ErrURIBusy) || time.Now().After(late) {
			t.Fatalf("%v, %v", got, err)
		}
	}
	p.stop()
}

// TestDriverInPythonWithoutUnixSocket has the example come by WebSocket.
func TestDriverInPythonWithoutUnixSocket(t *testing.T) {
	t.Parallel()
	interop.NeedAutobahn(t)
	oven, err := filepath.Abs(filepath.Join("..", "..", "examples", "driver-python", "oven.py"))
	if err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, writeFiles(t, map[string]string{
		"gantry.toml":         "schema = 1\ngateway.name = \"shed\"\nmqtt.listen = \"\"\nlisten.unix = \"\"\n",
		"devices.d/oven.toml": fmt.Sprintf("[device.oven]\ndriver = \"external\"\ncommand = [\"/usr/bin/python3\", %q]\n[device.oven.point.temperature]\n", oven),
	}), t.TempDir())
	keep(t, p.join(), "gantry.shed.", wamp.SubscribeOptions{GetRetained: true}).await(t, "what it is asked for", func(e event) bool {
		return e.topic == "gantry.shed.point.oven.temperature" && e.value == 20.0
	})
	p.stop()
}

// TestDriverThatLies has a driver say what it must not, die and eat.
func TestDriverThatLies(t *testing.T) {
	t.Parallel()
	interop.NeedAutobahn(t)
	dir := func(parts ...string) string {
		abs, err := filepath.Abs(filepath.Join(parts...))
		if err != nil {
			t.Fatal(err)
		}
		return abs
	}
	p := startProgram(t, writeFiles(t, map[string]string{
		"gantry.toml": "schema = 1\ngateway.name = \"shed\"\nmqtt.listen = \"\"\nlisten.quiet_rawsocket = true\n",
		"devices.d/liar.toml": fmt.Sprintf(`[device.liar]
driver = "external"
command = ["/usr/bin/python3", %q]
env = { OVEN = %q }
limits = { memory_bytes = 268435456 }
every = "0s"
timeout = "5s"
retry = { min = "50ms", max = "200ms" }
[device.liar.point]
v = {}
pid = { type = "int" }
mode = { type = "text", writable = true }
[device.liar.action.try]
args = { how = { type = "text" }, uri = { type = "text" } }
`, dir("testdata", "liar.py"), dir("..", "..", "examples", "driver-python")),
	}), t.TempDir())
	s := p.join()
	seen := keep(t, s, "gantry.shed.state.liar.", wamp.SubscribeOptions{GetRetained: true})
	online := func(after int64) int64 {
		return seen.await(t, "the liar online", func(e event) bool { return (e.value == "online" || e.value == "degraded") && e.seq > after }).seq
	}
	at := online(0)
	for mode, want := range map[string]any{"fine": 21.5, "nan": nil, "text": nil, "list": nil, "null": nil, "bytes": nil, "garbage": nil} {
		if _, err := called(t, s, "gantry.shed.set.liar.mode", wamp.List{mode}, nil); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		if got, err := called(t, s, "gantry.shed.get.liar.v", nil, nil); got != want || err != nil {
			t.Errorf("%s: %v, %v", mode, got, err)
		}
	}
	// A number that only its own serializer has: nothing of the answer is believed.
	if _, err := called(t, s, "gantry.shed.set.liar.mode", wamp.List{"huge"}, nil); err != nil {
		t.Error(err)
	}
	if got, err := called(t, s, "gantry.shed.get.liar.v", nil, nil); got != nil || err == nil {
		t.Errorf("10^30: %v, %v", got, err)
	}
	if _, err := called(t, s, "gantry.shed.set.liar.mode", wamp.List{"wrong"}, nil); !wamp.IsError(err, wamp.ErrURINotVerified) {
		t.Errorf("wrong answer to set: %v", err)
	}
	if _, err := called(t, s, "gantry.shed.set.liar.mode", wamp.List{"silent"}, nil); err != nil {
		t.Error(err)
	}
	if _, err := called(t, s, "gantry.shed.get.liar.v", nil, nil); !wamp.IsError(err, wamp.ErrURIDevTimeout) {
		t.Errorf("silence: %v", err)
	}
	// What it may.
	for _, try := range []wamp.Dict{
		{"how": "call", "uri": "gantry.shed.sys.device.list"}, {"how": "call", "uri": "wamp.session.count"},
		{"how": "register", "uri": "gantry.shed.driver.other.run"}, {"how": "register", "uri": "gantry.shed.set.liar.v"},
	} {
		if got, err := called(t, s, "gantry.shed.do.liar.try", nil, try); got != string(wamp.ErrURINotAuthorized) || err != nil {
			t.Errorf("%v: %v, %v", try, got, err)
		}
	}

	// It is killed, and it eats more than it may: both times another comes.
	pid := func() int {
		t.Helper()
		if _, err := called(t, s, "gantry.shed.set.liar.mode", wamp.List{"fine"}, nil); err != nil {
			t.Fatal(err)
		}
		got, err := called(t, s, "gantry.shed.get.liar.pid", nil, nil)
		n, ok := got.(int64)
		if err != nil || !ok {
			t.Fatalf("%v, %v", got, err)
		}
		return int(n)
	}
	first := pid()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	lost := func(why string) {
		t.Helper()
		e := seen.await(t, "the liar offline", func(e event) bool { return e.value == "offline" && e.seq > at })
		if !strings.Contains(e.why, why) {
			t.Errorf("lost because of %q, not of %s", e.why, why)
		}
		at = online(e.seq)
	}
	lost("signal: killed")
	second := pid()
	if _, err := called(t, s, "gantry.shed.set.liar.mode", wamp.List{"eat"}, nil); err == nil {
		t.Error("it ate 1 GiB")
	}
	lost("exit status 9")
	third := pid()
	if first == second || second == third {
		t.Errorf("processes %d, %d, %d", first, second, third)
	}
	p.stop()
	late := time.Now().Add(patience)
	for syscall.Kill(third, 0) == nil {
		if time.Now().After(late) {
			t.Fatal("the program outlives the gateway")
		}
	}
}

// TestDriverThatRunsElsewhere serves a device by a session that the gateway has not
// started: it comes, goes and comes again.
func TestDriverThatRunsElsewhere(t *testing.T) {
	t.Parallel()
	p := startProgram(t, writeFiles(t, map[string]string{
		"gantry.toml":         "schema = 1\ngateway.name = \"shed\"\nmqtt.listen = \"\"\n",
		"devices.d/lamp.toml": "[device.lamp]\ndriver = \"external\"\nevery = \"0s\"\nretry = { min = \"50ms\", max = \"200ms\" }\n[device.lamp.point.on]\ntype = \"bool\"\nwritable = true\n",
	}), t.TempDir())
	s := p.join()
	seen := keep(t, s, "gantry.shed.state.lamp.", wamp.SubscribeOptions{GetRetained: true})
	state := func(want string, after int64) int64 {
		t.Helper()
		return seen.await(t, "lamp "+want, func(e event) bool { return e.value == want && e.seq > after }).seq
	}
	at := state("offline", 0)
	if _, err := called(t, s, "gantry.shed.set.lamp.on", wamp.List{true}, nil); !wamp.IsError(err, wamp.ErrURIOffline) {
		t.Errorf("before it is there: %v", err)
	}
	for range 2 {
		far := p.join()
		for verb, serve := range map[string]wamp.InvocationHandler{
			"write": func(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
				args, kwargs, err := serialize.Values(inv.Payload)
				if caller, _ := kwargs["caller"].(wamp.Dict); err != nil || len(args) != 2 || caller["authrole"] != "anonymous" {
					t.Errorf("write %v, %v, %v", args, kwargs, err)
				}
				return wamp.Args(args[1]), nil
			},
			"run": func(ctx context.Context, _ *wamp.Invocation, progress func(wamp.Payload) error) (wamp.Payload, error) {
				if err := progress(wamp.Args(wamp.Dict{"up": true})); err != nil {
					t.Error(err)
				}
				<-ctx.Done()
				return wamp.Payload{}, ctx.Err()
			},
		} {
			if _, err := far.Register(t.Context(), wamp.URI("gantry.shed.driver.lamp."+verb), wamp.RegisterOptions{}, serve); err != nil {
				t.Fatal(err)
			}
		}
		at = state("online", at)
		if got, err := called(t, s, "gantry.shed.set.lamp.on", wamp.List{true}, nil); got != true || err != nil {
			t.Errorf("%v, %v", got, err)
		}
		far.Close()
		at = state("offline", at)
	}
	p.stop()
}

// TestDriverThatDescribesItself leaves points out of the file: the device has those that
// its program describes, and others when that says so at its next start.
func TestDriverThatDescribesItself(t *testing.T) {
	t.Parallel()
	p := startProgram(t, writeFiles(t, map[string]string{
		"gantry.toml":         "schema = 1\ngateway.name = \"shed\"\nmqtt.listen = \"\"\n",
		"devices.d/lamp.toml": "[device.lamp]\ndriver = \"external\"\nretry = { min = \"50ms\", max = \"200ms\" }\n",
	}), t.TempDir())
	s := p.join()
	seen := keep(t, s, "gantry.shed.", wamp.SubscribeOptions{GetRetained: true})
	for _, point := range []string{"warm", "cold"} {
		far := p.join()
		for _, verb := range []string{"describe", "read", "run"} {
			_, err := far.Register(t.Context(), wamp.URI("gantry.shed.driver.lamp."+verb), wamp.RegisterOptions{}, func(ctx context.Context, _ *wamp.Invocation, progress func(wamp.Payload) error) (wamp.Payload, error) {
				switch verb {
				case "describe":
					return wamp.Args(wamp.Dict{"points": wamp.Dict{point: wamp.Dict{"unit": "Cel"}}}), nil
				case "read":
					return wamp.Args(wamp.List{wamp.Dict{"point": point, "value": 21.5}}), nil
				}
				if err := progress(wamp.Args(wamp.Dict{"up": true})); err != nil {
					t.Error(err)
				}
				<-ctx.Done()
				return wamp.Payload{}, ctx.Err()
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		seen.await(t, point, func(e event) bool { return e.topic == "gantry.shed.point.lamp."+point && e.value == 21.5 })
		far.Close()
	}
	if _, err := called(t, s, "gantry.shed.get.lamp.warm", nil, nil); !wamp.IsError(err, wamp.ErrURINoSuchProcedure) {
		t.Errorf("a point that is no more: %v", err)
	}
	p.stop()
}
