package exec_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	driver "gantry/drivers/exec"
	"gantry/internal/config"

	"github.com/google/go-cmp/cmp"
)

const onceText = `
command = ["/bin/sh", "-c", "echo '{\"t\":21.5,\"s\":\"ok\"}'"]
parse = { json = true }
[point.t]
from = "t"
[point.s]
from = "s"
type = "text"
[point.set]
silent = true
write = { command = ["/bin/true", "{value}"] }
[action.echo]
command = ["/bin/echo", "-n", "{what}"]
args = { what = { type = "text" } }
`

func TestConformanceOnce(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver { return newDriver(t, onceText, drivers.Env{}) })
}

const childText = `
mode = "child"
command = ["SELF"]
env = { EXEC_TEST = "child" }
max_output = 1024
[point.t]
writable = true
[action.count]
[action.wait]
[action.die]
[action.say]
args = { line = { type = "text" } }
`

func TestConformanceChild(t *testing.T) {
	text := strings.Replace(childText, "[action.die]\n", "", 1) // it would be started anew by the hub
	drivertest.Test(t, func(t *testing.T) drivers.Driver { return newDriver(t, text, drivers.Env{}) })
}

func read(t testing.TB, d drivers.Driver, ids ...string) []any {
	t.Helper()
	got, err := d.(drivers.Reader).Read(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	var all []any
	for _, r := range got {
		all = append(all, r.Value, r.Why)
	}
	return all
}

func TestOutputBecomesValues(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		script, more string
		want         []any
	}{
		{"echo ' 42.5 '", "", []any{42.5, ""}},
		{"echo 42 C", "", []any{nil, "not_a_number"}},
		{"printf 'a\\nt=7\\n'", "parse = { regex = 't=(?P<t>[0-9]+)' }\n[point.p]\nfrom = \"t\"\ntype = \"int\"", []any{int64(7), ""}},
		{"echo '{\"a\":{\"b\":true}}'", "parse = { json = true }\n[point.p]\nfrom = \"a.b\"\ntype = \"bool\"", []any{true, ""}},
		{"echo '{\"a\":1}'", "parse = { json = true }\n[point.p]\nfrom = \"x\"", []any{nil, "no_field"}},
		{"echo '{'", "parse = { json = true }\n[point.p]\nfrom = \"x\"", []any{nil, "not_json"}},
		{"exit 2", "", []any{nil, "exit_code"}},
		{"exit 2", "exit = { 2 = \"no_sensor\" }", []any{nil, "no_sensor"}},
		{"echo 5; exit 3", "exit = { 3 = \"ok\" }", []any{5.0, ""}},
		{"exit 3", "[point.p]\ncode = true\ntype = \"int\"", []any{int64(3), ""}},
		{"exit 3", "[point.p]\ncode = true\ntype = \"bool\"", []any{false, ""}},
	} {
		more := tt.more
		if !strings.Contains(more, "[point.p]") {
			more += "\n[point.p]\n"
		}
		d, _ := start(t, fmt.Sprintf("command = [\"/bin/sh\", \"-c\", '''%s''']\n%s", tt.script, more))
		if diff := cmp.Diff(tt.want, read(t, d, "p")); diff != "" {
			t.Errorf("%s: %s", tt.script, diff)
		}
	}
}

func TestProgramGetsWhatConfigurationSaysAndNoMore(t *testing.T) {
	t.Setenv("TOKEN", "of the gateway")
	d, _ := start(t, `
command = ["SELF", "a b", "$HOME; ls *"]
env = { EXEC_TEST = "environment" }
inherit = []
dir = "/"
parse = { json = true }
[point.n]
from = "n"
[point.token]
from = "token"
type = "text"
[point.dir]
from = "dir"
type = "text"
[point.one]
from = "args.0"
type = "text"
[point.two]
from = "args.1"
type = "text"
`)
	want := []any{1.0, "", "", "", "/", "", "a b", "", "$HOME; ls *", ""}
	if diff := cmp.Diff(want, read(t, d, "n", "token", "dir", "one", "two")); diff != "" {
		t.Error(diff)
	}
}

func TestValuesAreSingleArguments(t *testing.T) {
	t.Parallel()
	d, _ := start(t, onceText)
	got, err := d.(drivers.Doer).Do(t.Context(), "echo", map[string]any{"what": "a; rm -rf $(x) {what}"}, nil)
	if diff := cmp.Diff(any(map[string]any{"output": "a; rm -rf $(x) {what}"}), got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	d, _ = start(t, `
[point.p]
silent = true
write = { command = ["/bin/sh", "-c", "echo no way >&2; exit 1", "{value}"] }
`)
	if _, err := d.(drivers.Writer).Write(t.Context(), "p", 1.0); !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "no way") {
		t.Errorf("%v", err)
	}
}

// gone reports whether the process has ended.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(b, []byte(") Z "))
}

func TestTimeoutKillsAllThatTheProgramStarted(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "pids")
	d, _ := start(t, fmt.Sprintf("command = [\"SELF\"]\nenv = { EXEC_TEST = \"hang\", PID_FILE = %q }\n[point.p]\n", name))
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := d.(drivers.Reader).Read(ctx, []string{"p"})
		failed <- err
	}()
	var program, started int
	until(t, "its process ids", func() bool {
		b, _ := os.ReadFile(name)
		n, _ := fmt.Sscanf(string(b), "%d %d", &program, &started)
		return n == 2
	})
	cancel(nil)
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	until(t, "the end of both", func() bool { return gone(program) && gone(started) })
}

// until waits for something outside of this process.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(drivertest.Patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s did not come", what)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	d, _ := start(t, "command = [\"SELF\"]\nmax_output = 1000\nenv = { EXEC_TEST = \"endless\" }\n[point.p]\n")
	if _, err := d.(drivers.Reader).Read(t.Context(), []string{"p"}); err == nil || !strings.Contains(err.Error(), "max_output") {
		t.Errorf("%v", err)
	}
	d = newDriver(t, "command = [\"/no/such/program\"]\n[point.p]\n", drivers.Env{})
	if err := d.Run(t.Context(), &drivertest.Link{}); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("%v", err)
	}
	d, _ = start(t, "command = [\"/bin/sleep\", \"3600\"]\n[point.p]\n")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.(drivers.Reader).Read(ctx, []string{"p"}); !errors.Is(err, drivers.ErrTimeout) {
		t.Errorf("%v", err)
	}
}

func TestProgramsKeepTheirLimits(t *testing.T) {
	t.Parallel()
	d, _ := start(t, "command = [\"/bin/sh\", \"-c\", \"ulimit -n; nice\"]\nlimits = { open_files = 9, nice = 3 }\nparse = { regex = '(?P<n>[0-9]+)\\n(?P<nice>[0-9]+)' }\n[point.n]\nfrom = \"n\"\n[point.nice]\nfrom = \"nice\"\n")
	if diff := cmp.Diff([]any{9.0, "", 3.0, ""}, read(t, d, "n", "nice")); diff != "" {
		t.Error(diff)
	}
}

func TestChildSpeaks(t *testing.T) {
	t.Parallel()
	d, link := start(t, childText)
	if r := link.WaitReading(t, "t", 0, nil); r.Value != 21.5 || r.Time.Unix() != 1764000000 {
		t.Errorf("%+v", r)
	}
	w, do := d.(drivers.Writer), d.(drivers.Doer)
	if got, err := w.Write(t.Context(), "t", 5.5); got != 5.5 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := w.Write(t.Context(), "t", 13.0); !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "unlucky") {
		t.Errorf("%v", err)
	}
	got, err := do.Do(t.Context(), "count", nil, func(any) {})
	if diff := cmp.Diff(any(map[string]any{"n": 3.0}), got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := do.Do(ctx, "wait", nil, func(any) {}); !errors.Is(err, drivers.ErrTimeout) {
		t.Errorf("%v", err)
	}
	for _, line := range []string{`{"point":"t","value":"warm"}`, `{"point":"t","value":1,"quality":"uncertain","why":"cold"}`, `{"point":"t","quality":"bad","why":"broken"}`,
		`{"point":"x","value":1}`, `nonsense`, `{"point":"t","value":1,"quality":"fine"}`, `[]`, `{"hello":1}`, `{"point":"t"}`} {
		if _, err := do.Do(t.Context(), "say", map[string]any{"line": line}, func(any) {}); err != nil {
			t.Fatal(err)
		}
	}
	var said []any
	for _, r := range link.Readings()[1:] {
		said = append(said, r.Value, r.Why)
	}
	if diff := cmp.Diff([]any{nil, "not_a_number", 1.0, "cold", nil, "broken", nil, "not_a_number"}, said); diff != "" {
		t.Error(diff)
	}
	var whys []string
	for _, g := range link.AllGarbage() {
		whys = append(whys, g.Why)
	}
	if diff := cmp.Diff([]string{"no_point", "not_json", "no_quality", "not_json", "no_field"}, whys); diff != "" {
		t.Error(diff)
	}
}

func TestChildThatEndsIsLost(t *testing.T) {
	t.Parallel()
	d := newDriver(t, childText, drivers.Env{})
	for range 2 {
		link := &drivertest.Link{}
		done := make(chan error, 1)
		go func() { done <- d.Run(t.Context(), link) }()
		link.WaitUp(t, 1)
		if _, err := d.(drivers.Doer).Do(t.Context(), "die", nil, func(any) {}); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("%v", err)
		}
		if err := <-done; !errors.Is(err, drivers.ErrOffline) || !strings.Contains(err.Error(), "exit status 7") {
			t.Errorf("%v", err)
		}
	}
}

func TestDeafChildIsKilled(t *testing.T) {
	t.Parallel()
	d := newDriver(t, strings.Replace(childText, `EXEC_TEST = "child"`, `EXEC_TEST = "deaf"`, 1), drivers.Env{})
	ctx, cancel := context.WithCancel(t.Context())
	link := &drivertest.Link{}
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, link) }()
	link.WaitUp(t, 1)
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(drivertest.Patience):
		t.Error("it lives")
	}
}

// A gateway that is killed takes the program with it.
func TestProgramEndsWithTheGateway(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "pids")
	gateway := exec.Command(os.Args[0], "-test.run", "^TestPlayGateway$", "-test.timeout", "60s")
	gateway.Env = append(os.Environ(), "PLAY_GATEWAY="+name)
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	var program, started int
	until(t, "the program", func() bool {
		b, _ := os.ReadFile(name)
		n, _ := fmt.Sscanf(string(b), "%d %d", &program, &started)
		return n == 2
	})
	_ = gateway.Process.Kill()
	_ = gateway.Wait()
	until(t, "the program's end", func() bool { return gone(program) })
	_ = syscall.Kill(started, syscall.SIGKILL) // the kernel's signal is for the program alone
}

func TestPlayGateway(t *testing.T) {
	name := os.Getenv("PLAY_GATEWAY")
	if name == "" {
		t.Skip("run by TestProgramEndsWithTheGateway")
	}
	d, _ := start(t, fmt.Sprintf("command = [\"SELF\"]\nenv = { EXEC_TEST = \"hang\", PID_FILE = %q }\n[point.p]\n", name))
	_, _ = d.(drivers.Reader).Read(t.Context(), []string{"p"})
}

func TestComplaintsAreLoggedNowAndThen(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var log bytes.Buffer
	d := newDriver(t, "command = [\"/bin/sh\", \"-c\", \"echo secret-arg >/dev/null; echo oops >&2; exit 1\"]\nenv = { TOKEN = \"hush\" }\n[point.p]\n",
		drivers.Env{Log: slog.New(slog.NewTextHandler(writer(func(p []byte) { mu.Lock(); log.Write(p); mu.Unlock() }), nil))})
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	for range 3 {
		read(t, d, "p")
	}
	mu.Lock()
	defer mu.Unlock()
	if s := log.String(); strings.Count(s, "oops") != 1 || strings.Contains(s, "hush") || strings.Contains(s, "secret-arg") {
		t.Errorf("%s", s)
	}
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

// The example, with the Python of this machine.
func TestExampleInPython(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
			t.Fatal("package missing: python3")
		}
		t.Skip("package missing: python3")
	}
	cfg, errs := config.Load(filepath.Join("..", "..", "examples", "exec"), []drivers.Kind{driver.Kind})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, dev := range cfg.Devices {
		if dev.Name != "lamp" {
			continue
		}
		d, err := driver.New(*dev.Driver.(*driver.Config), drivers.Env{Dir: filepath.Dir(dev.File)})
		if err != nil {
			t.Fatal(err)
		}
		link := drivertest.Start(t, d)
		link.WaitUp(t, 1)
		if got, err := d.(drivers.Writer).Write(t.Context(), "brightness", 40.0); got != 40.0 || err != nil {
			t.Errorf("%v, %v", got, err)
		}
		if got, err := d.(drivers.Doer).Do(t.Context(), "fade", map[string]any{"to": 80.0}, func(any) {}); got != 80.0 || err != nil {
			t.Errorf("%v, %v", got, err)
		}
		link.WaitReading(t, "on", 0, func(r drivers.Reading) bool { return r.Value == true })
		return
	}
	t.Error("no lamp")
}

func TestGarbageIsNoValue(t *testing.T) {
	t.Parallel()
	t.Run("once", func(t *testing.T) {
		t.Parallel()
		drivertest.GarbageIsNoValue(t, newDriver(t, "command = [\"/bin/echo\", \"21.5x\"]\n[point.t]\n", drivers.Env{}), func() {})
	})
	for name, line := range map[string]string{
		"no JSON": "21.5 Cel", "cut off": `{"point":"t","value":21.5`, "no UTF-8": "\xff\xfe", "a list": `["t",21.5]`,
		"another type": `{"point":"t","value":"warm"}`, "another point": `{"point":"x","value":1}`, "an unknown quality": `{"point":"t","value":1,"quality":"superb"}`,
	} {
		t.Run("child, "+name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "said")
			if err := os.WriteFile(file, []byte("{\"up\":true}\n"+line+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("mode = \"child\"\ncommand = [\"/bin/sh\", \"-c\", 'cat %s; exec sleep 600']\n[point.t]\n", file)
			drivertest.GarbageIsNoValue(t, newDriver(t, text, drivers.Env{}), func() {})
		})
	}
}
