package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gantry/internal/lyingfs"
	"gantry/wamp"
)

// TestUnwritableDisk takes the disk away from a running gateway and gives it back, in
// each way that disks have.
// Events go on, what has to be kept is refused where somebody waits, everybody can see
// the state, and what was published meanwhile arrives in the end.
func TestUnwritableDisk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		disk func(t *testing.T) disk
	}{
		{"writes fail", limitedFiles},
		{"ext4 is full", fullExt4},
		{"file system is read-only", readOnlyFS},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			unwritable(t, c.disk(t))
		})
	}
}

// disk is one that can be made unwritable for a program whose state is there.
type disk struct {
	dir        string
	fail, mend func(p *program)
}

func limitedFiles(t *testing.T) disk {
	return disk{t.TempDir(), func(p *program) { limitFiles(t, p, 1) }, func(p *program) { limitFiles(t, p, unix.RLIM_INFINITY) }}
}

// fullExt4 is an ext4 of 64 MiB that somebody else fills.
func fullExt4(t *testing.T) disk {
	dir, _ := lyingfs.Ext4(t, 64<<20)
	ballast := filepath.Join(dir, "ballast")
	return disk{dir, func(*program) {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(f, zeros{})
		if err = errors.Join(err, f.Sync(), f.Close()); !errors.Is(err, unix.ENOSPC) {
			t.Fatal("the disk takes everything:", err)
		}
	}, func(*program) {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}}
}

// readOnlyFS is a file system that refuses every change. One of the kernel's own
// becomes so only by errors after which it has to be mounted anew.
func readOnlyFS(t *testing.T) disk {
	fs, dir := lyingfs.ForTest(t)
	return disk{dir, func(*program) { fs.ReadOnly(true) }, func(*program) { fs.ReadOnly(false) }}
}

// zeros is a reader of zeros without an end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func unwritable(t *testing.T, d disk) {
	hqState, way := t.TempDir(), filepath.Join(t.TempDir(), "hq")
	config := `schema = 1
gateway.name = "field"
mqtt.listen = ""
[uplink.hq]
url = "rs+unix://` + filepath.Join(way, "gantry.sock") + `"
forward = ["alarm", "point"]
[[history]]
topic = "log."
match = "prefix"
`
	field := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": config}), filepath.Join(d.dir, "state"))
	s := field.join()
	seen := keep(t, s, "gantry.field.", wamp.SubscribeOptions{})
	publish := func(topic wamp.URI, value int64, ack bool) error {
		t.Helper()
		return s.Publish(t.Context(), topic, wamp.PublishOptions{Acknowledge: ack, IncludeMe: true}, wamp.Args(value))
	}
	is := func(topic string, value any) func(event) bool {
		return func(e event) bool { return e.topic == topic && e.value == value }
	}
	const alarm, point, state = "gantry.field.alarm.tank.full", "gantry.field.point.tank.level", "gantry.field.state.gateway_store.link"
	ready := field.url
	ready = "http" + strings.TrimSuffix(strings.TrimPrefix(ready, "ws"), "/ws") + "/readyz"

	if err := publish(alarm, 1, true); err != nil {
		t.Fatal(err)
	}
	if text := get(t, ready); text != "ready\n" {
		t.Errorf("%s says %q", ready, text)
	}
	settled(t, field)
	// Both look beside the gateway that runs.
	eventually(t, "alarm in gantry store status", func() bool {
		return strings.Contains(field.command("store", "status", "--state", field.state), ": 1 waiting")
	})
	field.command("store", "check", "--state", field.state)

	d.fail(field)
	if err := publish(alarm, 2, false); err != nil {
		t.Fatal(err)
	}
	seen.await(t, "degraded state", is(state, "degraded"))
	if err := publish(alarm, 3, true); !wamp.IsError(err, wamp.ErrURIStorageFull) {
		t.Errorf("an alarm that cannot be kept: %v", err)
	}
	if err := publish(point, 4, true); err != nil {
		t.Errorf("a sampled event: %v", err)
	}
	if err := publish(alarm, 5, false); err != nil {
		t.Error(err)
	}
	seen.await(t, "alarm for those who listen", is(alarm, int64(5)))
	seen.await(t, "reading for those who listen", is(point, int64(4)))
	if text := get(t, ready); !strings.HasPrefix(text, "ready\ndegraded: ") {
		t.Errorf("%s says %q", ready, text)
	}
	if text := get(t, strings.TrimSuffix(ready, "readyz")+"metrics"); !strings.Contains(text, "\ngantry_store_degraded 1\n") {
		t.Error("no metric tells of it")
	}
	if err := publish("log.a", 1, false); err != nil {
		t.Fatal(err)
	}
	refused := func() bool { return wamp.IsError(publish("log.b", 2, true), wamp.ErrURIStorageFull) }
	eventually(t, "refusal of what belongs to a history", refused)

	before := len(seen.all())
	d.mend(field)
	seen.awaitAfter(t, before, "recovery", is(state, "online"))
	if err := publish(alarm, 6, true); err != nil {
		t.Errorf("after the recovery: %v", err)
	}
	if text := get(t, ready); text != "ready\n" {
		t.Errorf("%s says %q", ready, text)
	}

	hq := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": hqConfig}), hqState)
	arrived := keep(t, hq.join(), "gantry.field.", wamp.SubscribeOptions{})
	// Not before somebody listens there.
	if err := os.Symlink(hqState, way); err != nil {
		t.Fatal(err)
	}
	drain(t, field)
	var alarms []int64
	for _, e := range allAt(t, hq, arrived) {
		if n, ok := e.value.(int64); ok && e.topic == alarm {
			alarms = append(alarms, n)
		}
	}
	if len(alarms) != 4 || alarms[0] != 1 || alarms[1] != 2 || alarms[2] != 5 || alarms[3] != 6 {
		t.Errorf("alarms %v arrived, want 1 2 5 6", alarms)
	}
}

// limitFiles bounds how large files may grow for a running program: beyond, its writes
// fail.
func limitFiles(t *testing.T, p *program, size uint64) {
	t.Helper()
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}, nil); err != nil {
		t.Fatal(err)
	}
}

// settled waits until all that an uplink has is on disk.
func settled(t *testing.T, p *program) {
	t.Helper()
	s := p.join()
	eventually(t, "commit", func() bool {
		d, err := queueStatus(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		return number(t, d, "committed") == number(t, d, "appended")
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	within(t, patience, what, ok)
}

// within waits until ok, and for no longer than limit.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(late) {
			t.Fatalf("no %s within %s", what, limit)
		}
	}
}
