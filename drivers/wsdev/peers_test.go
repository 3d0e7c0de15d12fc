package wsdev_test

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/internal/mosquitto"
)

// peer is a device in another language: the program and its script.
type peer struct {
	name, program, script string
	need                  func(t *testing.T)
}

var peers = []peer{
	{"python", "/usr/bin/python3", "testdata/device.py", func(t *testing.T) {
		mosquitto.Need(t, "/usr/bin/python3", "python3")
		if exec.Command("/usr/bin/python3", "-c", "import websockets").Run() != nil {
			missing(t, "Python's websockets is missing: install the package python3-websockets")
		}
	}},
	{"node", "node", "testdata/js/device.js", func(t *testing.T) {
		mosquitto.Need(t, "node", "nodejs")
		if _, err := os.Stat("testdata/js/node_modules/ws"); err != nil {
			missing(t, "ws is missing: npm ci in drivers/wsdev/testdata/js")
		}
	}},
}

// missing skips the test, or fails it where all peers have to be.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// run runs the device until the test ends and returns what it prints.
func (p *peer) run(t *testing.T, args ...string) *bufio.Reader {
	t.Helper()
	cmd := exec.Command(p.program, append([]string{p.script}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // the signal
	})
	return bufio.NewReader(out)
}

func TestDevicesInOtherLanguages(t *testing.T) {
	t.Parallel()
	for _, p := range peers {
		t.Run(p.name+" dialled", func(t *testing.T) {
			t.Parallel()
			p.need(t)
			at, err := p.run(t, "serve").ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			d := newDriver(t, who(t, thermostatText, "ws://127.0.0.1:"+strings.TrimSpace(at)), drivers.Env{})
			exercise(t, d, drivertest.Start(t, d))
		})
		t.Run(p.name+" dialling in", func(t *testing.T) {
			t.Parallel()
			p.need(t)
			gw := newPort(t)
			d := newDriver(t, who(t, thermostatText, ""), drivers.Env{Mount: gw.Mount})
			link := drivertest.Start(t, d)
			gw.Wait(t)
			p.run(t, "dial", gw.url(), token)
			exercise(t, d, link)
		})
	}
}
