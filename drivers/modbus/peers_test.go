package modbus

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/serialport"
	"gantry/internal/mosquitto"

	"github.com/google/go-cmp/cmp"
)

// python is the interpreter that sees Debian's packages.
const python = "/usr/bin/python3"

// missing skips the test, or fails it where all peers have to be.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// process runs a program until the test ends.
func process(t testing.TB, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	said := &bytes.Buffer{} // read once the program has ended
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // the signal
		if t.Failed() {
			t.Logf("%s: %s", name, said)
		}
	})
}

// dialable waits until somebody listens.
func dialable(t testing.TB, addr string) {
	t.Helper()
	for late := time.Now().Add(drivertest.Patience); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return
		}
	}
	t.Fatalf("nobody listens at %s", addr)
}

func needPymodbus(t testing.TB) {
	t.Helper()
	mosquitto.Need(t, python, "python3")
	for module, debian := range map[string]string{"pymodbus": "python3-pymodbus", "serial_asyncio": "python3-serial-asyncio"} {
		if err := exec.Command(python, "-c", "import "+module).Run(); err != nil {
			missing(t, "Python's "+module+" is missing: install the package "+debian)
		}
	}
}

// pymodbusTCP starts a slave; framing is "" or "rtu".
func pymodbusTCP(framing string) func(t *testing.T) Config {
	return func(t *testing.T) Config {
		needPymodbus(t)
		addr := mosquitto.FreeAddr(t)
		host, port, _ := net.SplitHostPort(addr)
		args := []string{"testdata/slave.py", "tcp", host, port}
		if framing != "" {
			args = append(args, framing)
		}
		process(t, python, args...)
		dialable(t, addr)
		return Config{TCP: TCPConfig{Address: addr, Framing: framing}}
	}
}

// pymodbusRTU starts a slave at the far end of a pair of pseudo terminals.
func pymodbusRTU(t *testing.T) Config {
	needPymodbus(t)
	dir := t.TempDir()
	near, far := filepath.Join(dir, "near"), filepath.Join(dir, "far")
	process(t, mosquitto.Need(t, "socat", "socat"), "pty,raw,echo=0,link="+near, "pty,raw,echo=0,link="+far)
	for late := time.Now().Add(drivertest.Patience); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(far); err == nil {
			break
		}
		if time.Now().After(late) {
			t.Fatal("socat makes no terminals")
		}
	}
	process(t, python, "testdata/slave.py", "rtu", far)
	return Config{Port: serialport.Config{Path: near}, Line: serialport.LineConfig{Baud: 19200}}
}

func jsmodbus(t *testing.T) Config {
	node := mosquitto.Need(t, "node", "nodejs")
	if _, err := os.Stat("testdata/js/node_modules/jsmodbus"); err != nil {
		missing(t, "jsmodbus is missing: npm ci in drivers/modbus/testdata/js")
	}
	addr := mosquitto.FreeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	process(t, node, "testdata/js/slave.js", host, port)
	dialable(t, addr)
	return Config{TCP: TCPConfig{Address: addr}}
}

func simonvetter(t *testing.T) Config { return newServer(t).config(nil) }

// TestPeers talks to slaves by other people's libraries.
func TestPeers(t *testing.T) {
	t.Parallel()
	at := func(a uint16) *uint16 { return &a }
	for _, peer := range []struct {
		name  string
		open  func(t *testing.T) Config
		masks bool // knows functions 22 and 23
		ends  bool // refuses addresses that do not exist
	}{
		{"pymodbus tcp", pymodbusTCP(""), true, true},
		{"pymodbus rtu over tcp", pymodbusTCP("rtu"), true, true},
		{"pymodbus rtu", pymodbusRTU, true, true},
		{"jsmodbus", jsmodbus, false, false},
		{"simonvetter", simonvetter, false, true},
	} {
		t.Run(peer.name, func(t *testing.T) {
			t.Parallel()
			cfg := peer.open(t)
			cfg.AnswerTimeout = drivers.Duration(2 * time.Second)
			cfg.Points = map[string]PointConfig{
				"a": {Address: at(1), Write: "single"}, "b": {Address: at(2), Write: "multiple"},
				"coil_on": {Table: "coil", Address: at(1), Write: "single"}, "coil_off": {Table: "coil", Address: at(2), Write: "multiple"},
				"beyond": {Address: at(60001)},
			}
			want := map[string]any{"a": int64(1001), "b": int64(1002)}
			ids := []string{"a", "b"}
			if peer.ends {
				ids, want["beyond"] = append(ids, "beyond"), "illegal_address"
			}
			if peer.name != "simonvetter" {
				cfg.Points["in"] = PointConfig{Table: "input", Address: at(3)}
				ids = append(ids, "in", "coil_on", "coil_off")
				want["in"], want["coil_on"], want["coil_off"] = int64(2003), true, false
			}
			if peer.masks {
				cfg.Points["f"] = PointConfig{Address: at(10), Type: "f32"}
				cfg.Points["i"] = PointConfig{Address: at(12), Type: "i16"}
				cfg.Points["part"] = PointConfig{Address: at(20), Bit: ptr(uint8(4)), Bits: 4, Write: "mask"}
				cfg.Points["bit"] = PointConfig{Address: at(21), Bit: ptr(uint8(0)), Write: "modify"}
				cfg.Points["back"] = PointConfig{Address: at(22), Type: "i32", Write: "readback"}
				ids = append(ids, "f", "i")
				want["f"], want["i"] = 21.5, int64(-10)
			}
			d := startPeer(t, cfg)
			if diff := cmp.Diff(want, values(t, d, ids...)); diff != "" {
				t.Error(diff)
			}
			write := map[string]drivers.Value{"a": int64(5), "b": int64(6), "coil_on": false, "coil_off": true}
			if peer.masks {
				write["part"], write["bit"], write["back"] = int64(9), true, int64(-70000)
			}
			for id, v := range write {
				if _, err := d.Write(within(t), id, v); err != nil {
					t.Errorf("write %s: %v", id, err)
				}
				if got := values(t, d, id); !cmp.Equal(got[id], v) {
					t.Errorf("%s reads %v, written %v", id, got[id], v)
				}
			}
		})
	}
}

// startPeer runs a driver once the slave answers.
func startPeer(t *testing.T, cfg Config) *Driver {
	t.Helper()
	d := newDriver(t, cfg, nil)
	for late := time.Now().Add(drivertest.Patience); ; {
		link := &drivertest.Link{}
		done := make(chan error, 1)
		up := make(chan struct{})
		ctx := t.Context()
		go func() { done <- d.Run(ctx, upLink{link, up}) }()
		select {
		case <-up:
			t.Cleanup(func() { <-done }) // t's context has ended
			return d
		case err := <-done:
			if time.Now().After(late) {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// upLink tells when the device comes up.
type upLink struct {
	drivers.Link
	up chan struct{}
}

func (l upLink) Up() { close(l.up) }

func TestScan(t *testing.T) {
	t.Parallel()
	t.Run("rtu", func(t *testing.T) {
		t.Parallel()
		silent, refusing := newUnit(), newUnit()
		silent.dead = true
		refusing.refuse = map[byte]uint8{fcReadHolding: illegalFunction, fcEncapsulated: illegalFunction}
		w := newWire(t, 0, map[byte]*unit{1: newUnit(), 2: silent, 4: refusing})
		cfg := w.config(1, nil)
		cfg.AnswerTimeout = drivers.Duration(500 * time.Millisecond)
		var got []Found
		if err := Scan(within(t), cfg, []uint8{1, 2, 3, 4}, func(f Found) { got = append(got, f) }, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Found{{UnitID: 1, Answer: "register 0 = 1000"}, {UnitID: 4, Answer: "illegal_function"}}, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("pymodbus", func(t *testing.T) {
		t.Parallel()
		cfg := pymodbusTCP("")(t)
		cfg.AnswerTimeout = drivers.Duration(2 * time.Second)
		var got []Found
		if err := Scan(within(t), cfg, []uint8{1, 7}, func(f Found) { got = append(got, f) }, nil); err != nil {
			t.Fatal(err)
		}
		want := Found{Answer: "register 0 = 1000", Vendor: "Pymodbus", Product: "PM", Version: "3.0"}
		for i, f := range got {
			if f.UnitID = 0; f != want {
				t.Errorf("%d: %+v", i, f)
			}
		}
		if len(got) != 2 {
			t.Errorf("found %v", got)
		}
	})
}

// TestProxy lets libmodbus, by the program mbpoll, use a line through the proxy
// while the driver polls it.
func TestProxy(t *testing.T) {
	t.Parallel()
	mbpoll := mosquitto.Need(t, "mbpoll", "mbpoll")
	u := newUnit()
	w := newWire(t, 0, map[byte]*unit{1: newUnit(), 9: u})
	poll := func(addr string, args ...string) string {
		t.Helper()
		host, port, _ := net.SplitHostPort(addr)
		args = append([]string{"-1", "-0", "-a", "9", "-o", "5", "-p", port, host}, args...)
		out, _ := exec.CommandContext(within(t), mbpoll, args...).CombinedOutput()
		return string(out)
	}
	addr := mosquitto.FreeAddr(t)
	cfg := w.config(1, regs(0))
	cfg.AnswerTimeout = drivers.Duration(500 * time.Millisecond)
	cfg.Proxy = &ProxyConfig{Listen: addr}
	d, _ := start(t, cfg, nil)
	stop := make(chan struct{})
	var polling sync.WaitGroup
	polling.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := d.Read(within(t), []string{"r0"}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer polling.Wait()
	defer close(stop)
	dialable(t, addr)
	if out := poll(addr, "-r", "3", "-c", "2"); !regexp.MustCompile(`(?s)\[3\]:\s+1003\s+\[4\]:\s+1004`).MatchString(out) {
		t.Errorf("read: %s", out)
	}
	if out := poll(addr, "-r", "5", "77", "78"); !strings.Contains(out, "Written 2 references") {
		t.Errorf("write: %s", out)
	}
	u.change(func(u *unit) {
		if u.regs[5] != 77 || u.regs[6] != 78 {
			t.Errorf("registers %v", u.regs)
		}
		u.last = 10
	})
	if out := poll(addr, "-r", "50"); !strings.Contains(out, "Illegal data address") {
		t.Errorf("exception: %s", out)
	}
	if out := poll(addr, "-a", "3", "-r", "0"); !strings.Contains(out, "Target device failed to respond") && !strings.Contains(out, "time") {
		t.Errorf("absent unit: %s", out)
	}
}
