package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"gantry/internal/avrhil"
	"gantry/wamp"
	"gantry/wamp/client"
)

// safeNode is the device file that users start from, for this board, with a safe
// value for the LED.
func safeNode(t *testing.T, board *avrhil.Board, safe string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "serial", "devices.d", "node.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]string{
		{`(?m)^port = .*$`, fmt.Sprintf("port = { path = %q }\nretry = { max = \"300ms\" }", board.Path())},
		{`(?m)^settle = .*$`, `settle = "0s"`},
		{`(?m)^from = "led"$`, "from = \"led\"\nsafe = " + safe},
	} {
		text = regexp.MustCompile(r[0]).ReplaceAll(text, []byte(r[1]))
	}
	return writeFiles(t, map[string]string{
		"devices.d/node.toml": string(text), "gantry.toml": "schema = 1\ngateway.name = \"field\"\nmqtt.listen = \"\"\n",
	})
}

// switchOn switches the LED on as soon as the node is there.
func switchOn(t *testing.T, p *program) *client.Session {
	t.Helper()
	s := p.join()
	keep(t, s, "gantry.field.state.node.", wamp.SubscribeOptions{GetRetained: true}).
		await(t, "node", func(e event) bool { return e.value == "online" })
	if _, err := s.Call(t.Context(), "gantry.field.set.node.led", wamp.CallOptions{}, wamp.Args(true)); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSafeValueAfterACrash kills the program while it holds an actuator on: nobody
// can switch it off then, but the next start does, before anything is asked of it.
// An orderly end does so itself.
func TestSafeValueAfterACrash(t *testing.T) {
	t.Parallel()
	board := avrhil.Start(t, avrhil.Options{NoReset: true})
	config, state := safeNode(t, board, `{ value = false }`), t.TempDir()
	p := startProgram(t, config, state)
	switchOn(t, p)
	board.WaitLED(true)
	p.kill()
	board.WaitClosed()
	if !board.LED() {
		t.Fatal("the LED went out with the program: the test shows nothing")
	}

	p = startProgram(t, config, state)
	seen := keep(t, p.join(), "gantry.field.point.node.led", wamp.SubscribeOptions{GetRetained: true})
	board.WaitLED(false)
	seen.await(t, "word of it", func(e event) bool { return e.value == false && e.quality == "good" })

	switchOn(t, p)
	board.WaitLED(true)
	p.stop()
	board.WaitClosed()
	if board.LED() {
		t.Error("the LED is still on after an orderly end")
	}
}

// TestSafeValueWhenTheControllerGoesQuiet switches the LED on and says nothing more.
func TestSafeValueWhenTheControllerGoesQuiet(t *testing.T) {
	t.Parallel()
	board := avrhil.Start(t, avrhil.Options{NoReset: true})
	p := startProgram(t, safeNode(t, board, `{ value = false, after = "1s" }`), t.TempDir())
	s := switchOn(t, p)
	if _, err := s.Call(t.Context(), "gantry.field.sys.device.keepalive", wamp.CallOptions{}, wamp.Args("node")); err != nil {
		t.Fatal(err)
	}
	board.WaitChanges(2) // on, and off again
	board.WaitLED(false)
	p.stop()
}
