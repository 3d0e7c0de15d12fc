package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"
	"go.uber.org/goleak"

	"gantry/internal/launch"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

// asProgram in the environment makes the test binary the program gantry.
const asProgram = "GANTRY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	launch.Main(os.Args)
	if os.Getenv(asProgram) != "" {
		if underRace {
			trials.limits.Memory = 0 // the race detector alone wants more
		}
		main()
	}
	if state := os.Getenv(asFiller); state != "" {
		fmt.Fprintln(os.Stderr, fillOutbox(state))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// patience is how long tests wait for what has to come.
const patience = 30 * time.Second

// program is gantry run in a process of its own.
type program struct {
	t         testing.TB
	cmd       *exec.Cmd
	url, mqtt string // where it listens; mqtt is empty without a listener
	mqtts     string // the same with TLS
	state     string // its directory
	out       *output
	ended     chan struct{} // closed when the process has ended
}

var (
	saidURL  = regexp.MustCompile(`WAMP +(wss?://\S+)`)
	saidMQTT = regexp.MustCompile(`MQTT +(\S+)`)
	saidTLS  = regexp.MustCompile(`MQTTS +(\S+)`)
)

// startProgram starts a gateway and returns once it is ready. What is left of it
// is killed when the test ends. env is added to its environment.
func startProgram(t testing.TB, config, state string, env ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"run", "--config", config, "--state", state, "--listen", "127.0.0.1:0"}
	p := &program{t: t, state: state, cmd: exec.Command(self, args...), out: newOutput(), ended: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		// The exit code is looked at by those who wait for it.
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%v said:\n%s", args, p.out)
		}
	})
	p.out.await(t, "Try in another terminal")
	said := p.out.String()
	m := saidURL.FindStringSubmatch(said)
	if m == nil {
		t.Fatalf("no address in:\n%s", said)
	}
	p.url = m[1]
	if m := saidMQTT.FindStringSubmatch(said); m != nil {
		p.mqtt = m[1]
	}
	if m := saidTLS.FindStringSubmatch(said); m != nil {
		p.mqtts = m[1]
	}
	return p
}

// kill ends the process as a power cut would, without a chance to tidy up.
func (p *program) kill() {
	// It may have ended by itself.
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop asks the program to end, as the service manager does, and fails the test
// when it does not do so in time: a program that has had to leave a task behind at the end
// of its time says so by its exit code.
func (p *program) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal("SIGTERM is ignored")
	}
	if p.cmd.ProcessState.ExitCode() != exitOK {
		p.t.Errorf("stopped with %s", p.cmd.ProcessState)
	}
}

// proc names a file of the process in /proc.
func (p *program) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name)
}

// status reads a size, in bytes, from the status of the process.
func (p *program) status(key string) int64 {
	p.t.Helper()
	b, err := os.ReadFile(p.proc("status"))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return kb << 10
		}
	}
	p.t.Fatalf("no %s in the status of the process", key)
	return 0
}

// host is the address of its port.
func (p *program) host() string {
	return strings.TrimSuffix(strings.TrimPrefix(p.url, "ws://"), "/ws")
}

// metric reads the sum of all values of a metric.
func (p *program) metric(name string) float64 {
	p.t.Helper()
	sum := 0.0
	for line := range strings.Lines(get(p.t, "http://"+p.host()+"/metrics")) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			f := strings.Fields(line)
			v, err := strconv.ParseFloat(f[len(f)-1], 64)
			if err != nil {
				p.t.Fatal(err)
			}
			sum += v
		}
	}
	return sum
}

// join joins a program's realm; the session ends with the test at the latest.
func (p *program) join() *client.Session {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	peer, err := dialRouter(ctx, p.url, "")
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := client.Join(ctx, peer, client.SessionConfig{Realm: "gantry"})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { s.Close() })
	return s
}

// writeFiles writes a configuration and returns its directory.
func writeFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// event is one event as a subscriber saw it.
type event struct {
	topic   string
	ep, seq int64
	value   any
	quality any
	why     string // the reason of a state
	live    bool   // beside the stream
}

// ledger notes the events of a prefix in the order of their arrival.
type ledger struct {
	mu     sync.Mutex // guards what follows
	events []event
	change chan struct{} // closed and replaced when events grows
}

// keep subscribes and notes until the session ends.
func keep(t *testing.T, s *client.Session, prefix wamp.URI, opts wamp.SubscribeOptions) *ledger {
	t.Helper()
	l := &ledger{change: make(chan struct{})}
	opts.Match = wamp.MatchPrefix
	if _, err := s.Subscribe(t.Context(), prefix, opts, func(ev *wamp.Event) {
		args, kwargs, err := serialize.Values(ev.Payload)
		if err != nil || len(args) != 1 {
			t.Errorf("%s: %v, %v", ev.Details.Topic, args, err)
			return
		}
		e := event{topic: string(ev.Details.Topic), value: args[0], quality: kwargs["q"]}
		e.ep, _ = kwargs["ep"].(int64)
		e.seq, _ = kwargs["seq"].(int64)
		e.why, _ = kwargs["reason"].(string)
		e.live, _ = kwargs["live"].(bool)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.events = append(l.events, e)
		close(l.change)
		l.change = make(chan struct{})
	}); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *ledger) all() []event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// await waits for an event and returns it.
func (l *ledger) await(t *testing.T, what string, ok func(event) bool) event {
	t.Helper()
	return l.awaitAfter(t, 0, what, ok)
}

// awaitAfter waits for an event behind the first seen ones.
func (l *ledger) awaitAfter(t *testing.T, seen int, what string, ok func(event) bool) event {
	t.Helper()
	late := time.After(patience)
	for {
		l.mu.Lock()
		events, change := l.events, l.change
		l.mu.Unlock()
		for ; seen < len(events); seen++ {
			if ok(events[seen]) {
				return events[seen]
			}
		}
		select {
		case <-change:
		case <-late:
			t.Fatalf("no %s within %s among %d events, at last %+v", what, patience, len(events), events[max(0, len(events)-5):])
		}
	}
}

// command runs one command of gantry in this process and returns what it printed.
func (p *program) command(args ...string) string {
	p.t.Helper()
	var out, errs bytes.Buffer
	a := newApp(bytes.NewReader(nil), &out, &errs, func(k string) string {
		return map[string]string{"GANTRY_URL": p.url}[k]
	})
	if code := a.main(p.t.Context(), args); code != exitOK {
		p.t.Fatalf("gantry %v: code %d, %s", args, code, errs.String())
	}
	return out.String()
}

// TestReadyMeansReady asks for the gateway, its device and its rules at once.
func TestReadyMeansReady(t *testing.T) {
	t.Parallel()
	config := writeFiles(t, map[string]string{
		"gantry.toml": `schema = 1
gateway.name = "shed"
[mqtt]
listen = "127.0.0.1:0"
[[mqtt.map]]
topic = "sensors/{room}"
device = "{room}"
point = "t"
type = "int"
`,
		"devices.d/pump.toml": "[device.pump]\ndriver = \"sim\"\n[device.pump.point.relay]\nkind = \"relay\"\n",
	})
	for range 3 {
		p := startProgram(t, config, t.TempDir())
		nc, err := net.Dial("tcp", p.mqtt)
		if err != nil {
			t.Fatal(err)
		}
		if _, code := mqttJoin(t, nc, "sensor", "", ""); code != 0 {
			t.Fatalf("CONNACK %#x", code)
		}
		if _, err := (&v5.Publish{Topic: "sensors/hall", Payload: []byte("21"), Properties: &v5.Properties{}}).WriteTo(nc); err != nil {
			t.Fatal(err)
		}
		if out := p.command("devices", "pending"); out != "no devices wait for a decision\n" {
			t.Errorf("pending: %q", out)
		}
		if got, err := answerOf(p.join().Call(t.Context(), "gantry.shed.sys.device.list", wamp.CallOptions{}, wamp.Payload{})); err != nil || len(got.(wamp.List)) != 1 {
			t.Errorf("devices: %v, %v", got, err)
		}
		keep(t, p.join(), "gantry.shed.point.hall.", wamp.SubscribeOptions{GetRetained: true}).await(t, "reading of the first message", func(e event) bool { return e.value == int64(21) })
		p.stop()
	}
}

// TestABadDeviceStopsItselfOnly has one device file in order and two that are not.
func TestABadDeviceStopsItselfOnly(t *testing.T) {
	t.Parallel()
	p := startProgram(t, writeFiles(t, map[string]string{
		"gantry.toml":         "schema = 1\ngateway.name = \"shed\"\nmqtt.listen = \"\"\n",
		"devices.d/good.toml": "[device.good]\ndriver = \"sim\"\n[device.good.point.t]\nkind = \"drift\"\n",
		"devices.d/bad.toml":  "[device.bad]\ndriver = \"sim\"\n[device.bad.point.t]\nkind = \"drift\"\nwindow = { every = \"1s\", of = \"median\" }\n",
		"devices.d/none.toml": "[device.none\n",
	}), t.TempDir())
	for _, want := range []string{"bad.toml:5: device.bad.point.t.window.of: is", "allowed:", "all", "none.toml:1: expected"} {
		p.out.await(t, want)
	}
	s := p.join()
	keep(t, s, "gantry.shed.state.", wamp.SubscribeOptions{GetRetained: true}).await(t, "the good one", func(e event) bool {
		return e.topic == "gantry.shed.state.good.link" && e.value == "online"
	})
	if got, err := s.Call(t.Context(), "gantry.shed.get.bad.t", wamp.CallOptions{}, wamp.Payload{}); !wamp.IsError(err, wamp.ErrURINoSuchProcedure) {
		t.Errorf("a device that does not run: %v, %v", got, err)
	}
	p.stop()
}
