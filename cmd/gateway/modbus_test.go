package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	oracle "github.com/simonvetter/modbus"

	"gantry/internal/config"
	"gantry/internal/mosquitto"
	"gantry/wamp"
)

// slave is a Modbus TCP server by somebody else's library: unit 3 with holding
// registers 1000 + n, and coils.
type slave struct {
	addr string

	mu    sync.Mutex // guards the rest
	regs  [1000]uint16
	read  int // registers
	coils [100]bool
}

func newSlave(t testing.TB) *slave {
	t.Helper()
	s := &slave{addr: mosquitto.FreeAddr(t)}
	for i := range s.regs {
		s.regs[i] = uint16(1000 + i)
	}
	srv, err := oracle.NewServer(&oracle.ServerConfiguration{URL: "tcp://" + s.addr, Timeout: time.Minute, MaxClients: 10, Logger: log.New(io.Discard, "", 0)}, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *slave) HandleCoils(r *oracle.CoilsRequest) ([]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.UnitId != 3 || int(r.Addr)+int(r.Quantity) > len(s.coils) {
		return nil, oracle.ErrIllegalDataAddress
	}
	if r.IsWrite {
		copy(s.coils[r.Addr:], r.Args)
	}
	return append([]bool(nil), s.coils[r.Addr:int(r.Addr)+int(r.Quantity)]...), nil
}

func (s *slave) HandleDiscreteInputs(*oracle.DiscreteInputsRequest) ([]bool, error) {
	return nil, oracle.ErrIllegalFunction
}

func (s *slave) HandleHoldingRegisters(r *oracle.HoldingRegistersRequest) ([]uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.UnitId != 3:
		return nil, oracle.ErrGWTargetFailedToRespond
	case int(r.Addr)+int(r.Quantity) > len(s.regs):
		return nil, oracle.ErrIllegalDataAddress
	case r.IsWrite:
		copy(s.regs[r.Addr:], r.Args)
	}
	s.read += int(r.Quantity)
	return append([]uint16(nil), s.regs[r.Addr:int(r.Addr)+int(r.Quantity)]...), nil
}

func (s *slave) HandleInputRegisters(*oracle.InputRegistersRequest) ([]uint16, error) {
	return nil, oracle.ErrIllegalFunction
}

func modbusApp(ctx context.Context, args ...string) (code int, out, errs string) {
	o, e := newOutput(), newOutput()
	code = newApp(strings.NewReader(""), o, e, func(string) string { return "" }).main(ctx, append([]string{"modbus"}, args...))
	return code, o.String(), e.String()
}

func TestModbusCommands(t *testing.T) {
	t.Parallel()
	s := newSlave(t)
	tcp := "--tcp=" + s.addr
	const late = "--answer-timeout=25s" // of units that all answer
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string // in output or errors
	}{
		{"scan", []string{"scan", tcp, late, "--units", "1-4"}, exitOK, "3       -       register 0 = 1000"},
		{"scan as JSON", []string{"scan", tcp, late, "--units", "3,4", "--json"}, exitOK, `{"answer":"register 0 = 1000","unit_id":3}` + "\n"},
		{"scan in vain", []string{"scan", tcp, late, "--units", "7-8"}, exitFailed, "no unit answers"},
		{"read", []string{"read", tcp, late, "-u", "3", "holding", "7"}, exitOK, "holding_7  1007         good"},
		{"read more", []string{"read", tcp, late, "-u", "3", "holding", "0x10", "2", "--type", "i32", "--json"}, exitOK,
			`{"point":"holding_16","q":"good","value":66585593}` + "\n" + `{"point":"holding_18","q":"good","value":66716667}` + "\n"},
		{"read over the end", []string{"read", tcp, late, "-u", "3", "holding", "999", "2"}, exitOK, "bad: illegal_address"},
		{"read nothing", []string{"read", tcp, late, "-u", "3", "input", "5"}, exitFailed, "illegal_function"},
		{"read of an absent unit", []string{"read", tcp, late, "-u", "9", "holding", "5"}, exitFailed, "gateway_no_response"},
		{"write a register", []string{"write", tcp, late, "-u", "3", "holding", "20", "0x1F"}, exitOK, "holding 20 = 31\n"},
		{"write a float", []string{"write", tcp, late, "-u", "3", "holding", "30", "-2.5", "--type", "f32"}, exitOK, "holding 30 = -2.5\n"},
		{"write a coil", []string{"write", tcp, late, "-u", "3", "coil", "4", "true"}, exitOK, "coil 4 = true\n"},
		{"write a part", []string{"write", tcp, late, "-u", "3", "holding", "21", "1", "--bit", "0", "--bits", "4", "--how", "modify"}, exitOK, "holding 21 = 1\n"},
		{"write what does not fit", []string{"write", tcp, late, "-u", "3", "holding", "20", "70000"}, exitFailed, "70000 is not from 0 to 65535"},
		{"write no number", []string{"write", tcp, late, "-u", "3", "holding", "20", "x"}, exitUsage, "VALUE"},
		{"profiles", []string{"profiles"}, exitOK, "eastron_sdm630"},
		{"points of a profile", []string{"profiles", "sunspec_inverter"}, exitOK, "holding  40083"},
		{"no such profile", []string{"profiles", "x"}, exitUsage, "allowed: abb_b23"},
		{"no bus", []string{"read", "holding", "1"}, exitUsage, "exactly one of --port"},
		{"no subcommand", nil, exitUsage, "needs a subcommand"},
		{"no such table", []string{"read", tcp, "register", "1"}, exitUsage, "TABLE"},
		{"no such address", []string{"read", tcp, "holding", "65536"}, exitUsage, "register 40001 is holding 0"},
		{"no such type", []string{"read", tcp, "holding", "1", "--type", "f33"}, exitUsage, `--type: "f33" is unknown; allowed: u16, i16`},
		{"no such type of a value", []string{"write", tcp, "holding", "1", "5", "--type", "f33"}, exitUsage, `--type: "f33" is unknown; allowed: u16, i16`},
		{"a table that is read only", []string{"write", tcp, "input", "0", "5"}, exitUsage, "TABLE: input cannot be written; allowed: coil, holding"},
		{"the usage", []string{"write", tcp, "holding", "0"}, exitUsage, "Usage: gantry modbus write TABLE ADDRESS VALUE [flags]\nTry: gantry modbus write --help\n"},
		{"no such units", []string{"scan", tcp, "--units", "5-3"}, exitUsage, "--units"},
		{"no such port", []string{"read", "--port", filepath.Join(t.TempDir(), "no"), "holding", "1"}, exitFailed, "no such port"},
		{"no such speed", []string{"scan", "--port", "/dev/null", "--baud", "1"}, exitUsage, "--baud"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		code, out, errs := modbusApp(ctx, tt.args...)
		cancel()
		if code != tt.code || !strings.Contains(out+errs, tt.want) {
			t.Errorf("%s: code %d, want %d\n%s%s\nwant %q", tt.name, code, tt.code, out, errs, tt.want)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.regs[20] != 31 || s.regs[30] != 0xC020 || s.regs[31] != 0 || s.regs[21] != 1021&^15|1 || !s.coils[4] {
		t.Errorf("registers %d %x %x %d, coil %v", s.regs[20], s.regs[30], s.regs[31], s.regs[21], s.coils[4])
	}
}

func TestModbusScanIsInterrupted(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if code, out, errs := modbusApp(ctx, "scan", "--tcp", ln.Addr().String(), "--answer-timeout", "1m"); code == exitOK {
		t.Errorf("%s%s", out, errs)
	}
}

// TestModbusDeviceInAGateway reads and writes a unit through a whole gateway.
func TestModbusDeviceInAGateway(t *testing.T) {
	t.Parallel()
	s := newSlave(t)
	gateway := startProgram(t, writeFiles(t, map[string]string{
		"gantry.toml": "schema = 1\ngateway.name = \"gw\"\nmqtt.listen = \"\"\n",
		"devices.d/boiler.toml": `[device.boiler]
driver = "modbus"
tcp = { address = "` + s.addr + `" }
answer_timeout = "5s"
unit_id = 3
every = "50ms"
point.flow = { address = 250, type = "i16", scale = 0.1, unit = "Cel" }
point.setpoint = { address = 20, scale = 0.1, write = "multiple", min = 20.0, max = 75.0 }
`}), t.TempDir())
	session := gateway.join()
	arrived := keep(t, session, "gantry.gw.point.boiler.", wamp.SubscribeOptions{GetRetained: true})
	arrived.await(t, "the flow's temperature", func(e event) bool { return e.topic == "gantry.gw.point.boiler.flow" && e.value == 125.0 })
	if _, err := session.Call(t.Context(), "gantry.gw.set.boiler.setpoint", wamp.CallOptions{}, wamp.Args(55.5)); err != nil {
		t.Error(err)
	}
	if _, err := session.Call(t.Context(), "gantry.gw.set.boiler.setpoint", wamp.CallOptions{}, wamp.Args(80.0)); !wamp.IsError(err, wamp.ErrURIOutOfRange) {
		t.Errorf("80 was set: %v", err)
	}
	arrived.await(t, "the setpoint", func(e event) bool { return e.topic == "gantry.gw.point.boiler.setpoint" && e.value == 55.5 })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.regs[20] != 555 {
		t.Errorf("the unit has %d", s.regs[20])
	}
}

// piShare is how many times longer a core of a Raspberry Pi 4 (Cortex-A72 at 1.5
// GHz) is taken to need than one of the machine that runs the benchmark: six times
// is on the safe side for servers of the 2020s.
const piShare = 6

// BenchmarkModbusPoints polls 1000 points a second from one Modbus TCP peer and
// tells what that costs the whole gateway: the share of a core, here and by
// piShare, and its memory.
func BenchmarkModbusPoints(b *testing.B) {
	for _, watched := range []bool{false, true} {
		b.Run(fmt.Sprintf("watched=%v", watched), func(b *testing.B) {
			s := newSlave(b)
			var device strings.Builder
			fmt.Fprintf(&device, "[device.meter]\ndriver = \"modbus\"\nevery = \"1s\"\nunit_id = 3\ntcp = { address = %q }\n", s.addr)
			for i := range 1000 {
				fmt.Fprintf(&device, "point.p%d = { address = %d, scale = 0.1, unit = \"V\" }\n", i, i)
			}
			gateway := startProgram(b, writeFiles(b, map[string]string{
				"gantry.toml": "schema = 1\ngateway.name = \"gw\"\nmqtt.listen = \"\"\n", "devices.d/meter.toml": device.String()}), b.TempDir())
			var events atomic.Int64
			if watched {
				if _, err := gateway.join().Subscribe(b.Context(), "gantry.gw.point.", wamp.SubscribeOptions{Match: wamp.MatchPrefix},
					func(*wamp.Event) { events.Add(1) }); err != nil {
					b.Fatal(err)
				}
			}
			time.Sleep(2 * time.Second)
			for b.Loop() {
				s.mu.Lock()
				before := s.read
				s.mu.Unlock()
				seen, cpu, start := events.Load(), cpuTime(b, gateway), time.Now()
				time.Sleep(10 * time.Second)
				took := time.Since(start).Seconds()
				share := 100 * (cpuTime(b, gateway) - cpu).Seconds() / took
				s.mu.Lock()
				polled := s.read - before
				s.mu.Unlock()
				b.ReportMetric(float64(polled)/took, "points/s")
				if watched {
					b.ReportMetric(float64(events.Load()-seen)/took, "events/s")
				}
				b.ReportMetric(share, "%core")
				b.ReportMetric(piShare*share, "%core-pi4")
				b.ReportMetric(residentMiB(b, gateway), "MiB-rss")
			}
		})
	}
}

// cpuTime returns what a program has used of all cores.
func cpuTime(b *testing.B, p *program) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	// The fields behind the name in parentheses; ticks are hundredths of a second.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

func residentMiB(b *testing.B, p *program) float64 {
	b.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		b.Fatal(err)
	}
	return float64(pages) * float64(os.Getpagesize()) / (1 << 20)
}

func TestModbusDevicesOfOneLineAreCheckedTogether(t *testing.T) {
	t.Parallel()
	device := func(name, line string) string {
		return "[device." + name + "]\ndriver = \"modbus\"\nport = { path = \"/dev/ttyUSB0\" }\nprofile = \"xy_md02\"\n" + line + "\n"
	}
	dir := writeFiles(t, map[string]string{
		"gantry.toml": "schema = 1\ngateway.name = \"gw\"\n", "devices.d/a.toml": device("a", ""), "devices.d/b.toml": device("b", "line = { baud = 19200 }"),
		"devices.d/c.toml": device("c", "disabled = true\nline = { baud = 2400 }")})
	cfg, errs := config.Load(dir, kinds())
	if len(errs) != 1 || errs[0].Device != "b" || errs[0].Key != "device.b.line.baud" || errs[0].Line != 5 || filepath.Base(errs[0].File) != "b.toml" {
		t.Errorf("%v", errs)
	}
	if cfg == nil || len(cfg.Devices) != 2 {
		t.Fatalf("%+v", cfg)
	}
}
