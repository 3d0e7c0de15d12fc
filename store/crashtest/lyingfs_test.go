package crashtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gantry/internal/lyingfs"
)

// misfortune is what a disk does to a program before its power is cut.
type misfortune struct {
	name   string
	mode   Mode
	strike func(f *lyingfs.FS, r *rand.Rand)
	relent func(f *lyingfs.FS) // nil: it goes on until the cut
	// fatal: it may end the program by SIGBUS, after which the service manager starts
	// it again.
	fatal bool
}

var misfortunes = []misfortune{
	{name: "cut", mode: Mode{Honest: true}, strike: func(*lyingfs.FS, *rand.Rand) {}},
	{name: "lying", strike: func(f *lyingfs.FS, _ *rand.Rand) { f.Lie(true) }},
	{name: "failing writes", mode: Mode{Honest: true}, strike: func(f *lyingfs.FS, r *rand.Rand) { f.FailWrites(3 + r.IntN(20)) }},
	{name: "full", mode: Mode{Honest: true, Bounded: true}, strike: func(f *lyingfs.FS, _ *rand.Rand) { f.Full(f.Used() + 64<<10) },
		relent: func(f *lyingfs.FS) { f.Full(0) }},
	// Others have filled the disk but for what the store leaves to them.
	{name: "nearly full", mode: Mode{Honest: true, Bounded: true}, strike: func(f *lyingfs.FS, _ *rand.Rand) { f.Low(true) },
		relent: func(f *lyingfs.FS) { f.Low(false) }},
	{name: "read-only", mode: Mode{Honest: true}, strike: func(f *lyingfs.FS, _ *rand.Rand) { f.ReadOnly(true) },
		relent: func(f *lyingfs.FS) { f.ReadOnly(false) }},
	// After a write that has failed bbolt walks the file in a goroutine of its own, where
	// nobody can catch the fault of a page that cannot be read.
	{name: "unreadable", fatal: true, strike: func(f *lyingfs.FS, r *rand.Rand) {
		f.FailWrites(3 + r.IntN(20))
		f.Unreadable(true)
	}},
}

// TestLyingFileSystem runs the scenarios on a file system that fails, lies, and loses
// its power: the kernel is between them and the disk, as in the field.
func TestLyingFileSystem(t *testing.T) {
	f, mnt := lyingfs.ForTest(t)
	benches := map[Mode]*bench{}
	names := sortedKeys(scenarios)
	died := 0
	defer func() { t.Logf("%d of %d programs ended by a page that could not be read", died, *outages) }()
	for n := range *outages {
		m := misfortunes[n%len(misfortunes)]
		name := names[n%len(names)]
		b := benches[m.mode]
		if b == nil {
			b = newBench(t, m.mode)
			defer b.finish()
			benches[m.mode] = b
		}
		died += outage(t, f, filepath.Join(mnt, fmt.Sprint(n)), b, m, shot{scenario: name, n: n})
	}
}

// outage runs a scenario until the power fails and has what is left looked at. It
// returns how many programs the misfortune has ended: none or one.
func outage(t *testing.T, f *lyingfs.FS, dir string, b *bench, m misfortune, s shot) (died int) {
	t.Helper()
	r := s.random()
	path := filepath.Join(t.TempDir(), "ledger")
	ledger, err := os.Create(path)
	if err := errors.Join(err, os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	f.Settle()
	cmd := program(dir, s.scenario, 0, ledger)
	var text strings.Builder
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	over := false
	// reach waits until the ledger has grown by n bytes, or for as long as it does.
	reach := func(n int64) {
		for from, idle := size(), 0; !over && size() < from+n && idle < 100; idle++ {
			before := size()
			select {
			case err := <-ended:
				over = true
				ended <- err
			case <-time.After(5 * time.Millisecond):
			}
			if size() != before {
				idle = 0
			}
		}
	}
	reach(1 + r.Int64N(4<<10))
	m.strike(f, r)
	reach(1 + r.Int64N(2<<10))
	if m.relent != nil {
		m.relent(f)
		reach(1 + r.Int64N(2<<10))
	}
	f.CutAfter(r.IntN(60))
	for late := time.Now().Add(2 * time.Second); !over && !f.Dark() && time.Now().Before(late); {
		reach(1)
	}
	_ = cmd.Process.Kill()
	<-ended
	f.Restore(r)
	if strings.Contains(text.String(), "goroutine ") {
		if !m.fatal || !strings.Contains(text.String(), "SIGBUS") {
			t.Errorf("%s on a disk that is %s: %s", s.scenario, m.name, text.String())
		}
		died = 1
	}
	l := &Ledger{}
	notes(t, l, path)
	img, err := ReadImage(dir)
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Settle()
	b.tasks <- looking{s, img, l}
	return died
}
