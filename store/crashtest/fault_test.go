package crashtest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKilled kills a program under load again and again: the kernel has what it wrote,
// so nothing that was acknowledged may be missing, and none is there twice.
func TestKilled(t *testing.T) {
	tmp := t.TempDir()
	dir := filepath.Join(tmp, "store")
	l := &Ledger{}
	b := newBench(t, Mode{Honest: true})
	defer b.finish()
	e := startExaminer(t)
	defer func() { e.stop() }()
	acknowledged := 0
	for round := range *kills {
		path := filepath.Join(tmp, fmt.Sprintf("ledger-%d", round))
		ledger, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		cmd := program(dir, "endless", uint64(round+1)<<32, ledger)
		var text strings.Builder
		cmd.Stderr = &text
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		size := rand.New(rand.NewPCG(*seed, uint64(round))).Int64N(40 << 10)
		grown(t, cmd, path, size)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = ledger.Close()
		if text.Len() > 0 {
			t.Fatal(text.String())
		}
		notes(t, l, path)
		acknowledged = l.Durable()
		n := uint64(round+1)<<32 | 1<<31
		f, died := e.look(task{Dir: dir, Scenario: "endless", N: n})
		if died != "" {
			t.Fatal(died)
		}
		if bad := l.Check(f, Mode{Honest: true}); len(bad) > 0 {
			b.fault(shot{scenario: "endless", round: round}, bad, f)
			return
		}
		b.ok.Add(1)
		// What the examiner wrote is there from now on.
		last := f.Acked
		if k := len(f.Items); k > 0 {
			last = f.Items[k-1].Seq
		}
		for _, line := range []string{
			fmt.Sprintf("open %d %s", f.Epoch, f.ID), fmt.Sprintf("offer %d", n), fmt.Sprintf("ok %d %d", n, last+1), fmt.Sprintf("put %d %d", Twin-1, n), fmt.Sprintf("done %d %d", Twin-1, n),
		} {
			if err := l.Note(line); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d records acknowledged in %d runs", acknowledged, *kills)
}

// grown waits until the ledger has a size, or the program has ended.
func grown(t *testing.T, cmd *exec.Cmd, path string, size int64) {
	t.Helper()
	for late := time.Now().Add(patience); time.Now().Before(late); {
		if info, err := os.Stat(path); err == nil && info.Size() >= size {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%s wrote no %d bytes", cmd.Path, size)
}

// TestFaults lets writes, syncs and other calls of the disk fail, one or all from
// some moment on: the program goes on, and what it was told is true afterwards.
func TestFaults(t *testing.T) {
	needStrace(t)
	b := newBench(t, Mode{Honest: true})
	defer b.finish()
	// A full disk is a bound: the oldest records make room, and the store says so.
	full := newBench(t, Mode{Honest: true, Bounded: true})
	defer full.finish()
	injected := 0
	defer func() {
		t.Logf("%d calls failed", injected)
		if injected == 0 {
			t.Error("no call failed")
		}
	}()
	for fault, b := range map[string]*bench{
		"pwrite64:error=ENOSPC":  full,
		"ftruncate:error=ENOSPC": full,
		"fdatasync:error=EIO":    b,
		"fsync:error=EIO":        b,
		"pwrite64:error=EROFS":   b,
		"renameat:error=EIO":     b,
	} {
		for n := range *faults {
			for _, from := range []string{"", "+"} {
				name := []string{"confirmed", "rolling", "sampled"}[n%3]
				// strace counts the calls of each thread by itself.
				when := fmt.Sprintf("%s:when=%d%s", fault, 1+n*n/(*faults/6+1), from)
				t.Run(name+"/"+when, func(t *testing.T) { injected += failing(t, b, name, when) })
			}
		}
	}
}

// failing runs a scenario on a disk that fails and returns how often it did.
func failing(t *testing.T, b *bench, name, inject string) int {
	tmp := t.TempDir()
	dir, path := filepath.Join(tmp, "store"), filepath.Join(tmp, "ledger")
	ledger, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	call, _, _ := strings.Cut(inject, ":")
	cmd := program(dir, name, 0, ledger, "strace", "-f", "-qqq", "-s", "0", "-o", filepath.Join(tmp, "trace"), "-e", "trace="+call, "-e", "inject="+inject)
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = io.Discard, &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(2*patience, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	if !hung.Stop() {
		t.Fatalf("hangs: %s", text.String())
	}
	if strings.Contains(text.String(), "goroutine ") {
		t.Fatalf("%v: %s", err, text.String())
	}
	l := &Ledger{}
	notes(t, l, path)
	img, err := ReadImage(dir)
	if err != nil {
		t.Fatal(err)
	}
	b.tasks <- looking{shot{scenario: name}, img, l}
	trace, err := os.ReadFile(filepath.Join(tmp, "trace"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(trace), "(INJECTED)")
}
