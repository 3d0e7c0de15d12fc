package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gantry/internal/avrhil"
	"gantry/wamp"
	"gantry/wamp/client"
)

// pluggable is a board as TestBoardsThatSayWhatTheyAre has it: in its hand.
type pluggable struct {
	serial string
	model  string
	plug   func(path string)
	unplug func()
	led    func(on bool) // waits until the LED is so; nil: nobody can see it
	hot    bool          // it has a thermometer
}

// TestBoardsThatSayWhatTheyAre has the firmware of both processors on simulated
// chips, and the whole program: a board is plugged in, waits, is accepted, measures,
// obeys; is pulled out, and is back at another port; and is known when the gateway
// starts again.
func TestBoardsThatSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	t.Run("Arduino Uno", func(t *testing.T) {
		t.Parallel()
		b := avrhil.Start(t, avrhil.Options{Serial: "5573630383"})
		b.Unplug()
		testPluggable(t, pluggable{"5573630383", "Arduino Uno 1.0.0", b.ReplugAt, b.Unplug, b.WaitLED, true})
	})
	t.Run("micro:bit", func(t *testing.T) {
		t.Parallel()
		m := avrhil.NewMicrobit(t)
		testPluggable(t, pluggable{avrhil.MicrobitSerial, "BBC micro:bit 1.0.0", m.Plug, m.Unplug, nil, false})
	})
}

func testPluggable(t *testing.T, b pluggable) {
	ports := t.TempDir()
	config := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\ngateway.name = \"barn\"\nmqtt.listen = \"\"\n[discovery.node]\nports = [\"" + ports + "/tty*\"]\n"})
	state := t.TempDir()
	p := startProgram(t, config, state)
	s := p.join()
	seen := keep(t, s, "gantry.barn.", wamp.SubscribeOptions{})
	b.plug(filepath.Join(ports, "ttyA"))
	seen.await(t, "event of a device that appears", func(e event) bool {
		d, _ := e.value.(wamp.Dict)
		return e.topic == "gantry.barn.sys.device.appeared" && d["candidate"] == "node:"+b.serial && d["model"] == b.model
	})
	if out := p.command("devices", "pending"); !strings.Contains(out, "node:"+b.serial) || !strings.Contains(out, "temperature, led, interval, blink(), restart() at ") {
		t.Errorf("pending: %s", out)
	}
	if out := p.command("devices", "accept", "node:"+b.serial, "--name", "stable"); out != "stable\n" {
		t.Errorf("accept: %q", out)
	}
	if _, err := os.Stat(filepath.Join(config, "devices.d", "stable.toml")); err != nil {
		t.Error(err)
	}
	testObeys(t, s, seen, b)

	mark := len(seen.all())
	b.unplug()
	seen.awaitAfter(t, mark, "state offline", func(e event) bool { return e.topic == "gantry.barn.state.stable.link" && e.value == "offline" })
	_, err := s.Call(t.Context(), "gantry.barn.set.stable.led", wamp.CallOptions{}, wamp.Args(true))
	if !wamp.IsError(err, wamp.ErrURIOffline) {
		t.Errorf("set of a board that is not there = %v", err)
	}
	mark = len(seen.all())
	b.plug(filepath.Join(ports, "ttyB"))
	seen.awaitAfter(t, mark, "state online", func(e event) bool { return e.topic == "gantry.barn.state.stable.link" && e.value == "online" })
	testObeys(t, s, seen, b)

	// The file is all that the next start needs.
	p.stop()
	p = startProgram(t, config, state)
	s = p.join()
	seen = keep(t, s, "gantry.barn.", wamp.SubscribeOptions{GetRetained: true})
	seen.await(t, "state online after a start", func(e event) bool { return e.topic == "gantry.barn.state.stable.link" && e.value == "online" })
	testObeys(t, s, seen, b)
	p.command("devices", "forget", "node:"+b.serial)
	if out := p.command("devices", "pending"); !strings.Contains(out, "node:"+b.serial) {
		t.Errorf("pending after forget: %s", out)
	}
	p.stop()
}

// testObeys reads, sets and does.
func testObeys(t *testing.T, s *client.Session, seen *ledger, b pluggable) {
	t.Helper()
	seen.awaitAfter(t, len(seen.all()), "temperature", func(e event) bool {
		f, _ := e.value.(float64)
		good := e.quality == "good" && f > avrhil.Room-avrhil.Tolerance && f < avrhil.Room+avrhil.Tolerance
		return e.topic == "gantry.barn.point.stable.temperature" && (good || !b.hot && e.quality == "bad")
	})
	call := func(procedure wamp.URI, p wamp.Payload) any {
		t.Helper()
		got, err := answerOf(s.Call(t.Context(), procedure, wamp.CallOptions{}, p))
		if err != nil {
			t.Errorf("%s: %v", procedure, err)
		}
		return got
	}
	if got := call("gantry.barn.set.stable.interval", wamp.Args(int64(100))); got != int64(100) {
		t.Errorf("interval set to 100: %v", got)
	}
	for _, on := range []bool{true, false} {
		if got := call("gantry.barn.set.stable.led", wamp.Args(on)); got != on {
			t.Errorf("led set to %v: %v", on, got)
		}
		if b.led != nil {
			b.led(on)
		}
	}
	call("gantry.barn.do.stable.blink", wamp.Values(nil, wamp.Dict{"times": int64(2)}))
	_, err := s.Call(t.Context(), "gantry.barn.set.stable.interval", wamp.CallOptions{}, wamp.Args(int64(5)))
	if !wamp.IsError(err, wamp.ErrURIOutOfRange) {
		t.Errorf("interval out of its range = %v", err)
	}
}
