package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/internal/launch"
)

// isApart in the environment makes this program the process of Config.Apart; diesAt
// makes that panic, where nobody can recover, at a file of that name.
const (
	isApart = "GANTRY_STORE_APART"
	diesAt  = "GANTRY_STORE_DIES_AT"
)

// apartProcess is the process of Config.Apart.
func apartProcess() int {
	for i, a := range os.Args[2:] {
		if os.Args[1] == apartCheck && filepath.Base(a) == os.Getenv(diesAt) {
			_ = Apart(slices.Concat(os.Args[1:2], os.Args[2:2+i]), os.Stdout)
			go func() { panic("as bbolt does") }()
			select {}
		}
	}
	if err := Apart(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// asked runs processes and notes what for.
type asked struct {
	env []string

	mu    sync.Mutex
	calls [][]string
}

func (a *asked) apart(args []string) ([]byte, error) {
	short := []string{args[0]}
	for _, arg := range args[1:] {
		short = append(short, filepath.Base(arg))
	}
	a.mu.Lock()
	a.calls = append(a.calls, short)
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), isApart+"=1"), a.env...)
	launch.Wrap(cmd, launch.Limits{Memory: 1 << 30, CPUTime: 5 * time.Second})
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState != nil && cmd.ProcessState.ExitCode() != 1 {
		first, _, _ := strings.Cut(stderr.String(), "\n")
		err = fmt.Errorf("%w: %v: %s", ErrDied, err, first)
	}
	return out, err
}

// take returns what was asked since the last time.
func (a *asked) take() [][]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	calls := a.calls
	a.calls = nil
	return calls
}

// startApart starts a store that has other processes open its files.
func startApart(t *testing.T, dir string, cfg OutboxConfig, apart func([]string) ([]byte, error)) (*rig, *Table) {
	t.Helper()
	r := open(t, Config{Dir: dir, Apart: apart})
	var err error
	if r.o, err = r.Outbox("up", cfg); err != nil {
		t.Fatal(err)
	}
	table, err := r.Table("t", TableConfig{})
	if err != nil {
		t.Fatal(err)
	}
	r.run()
	return r, table
}

// filled returns a directory with an outbox of several files and a table, as a kill
// leaves it and as an orderly end does.
func filled(t *testing.T, cfg OutboxConfig) (killed, closed string) {
	t.Helper()
	closed, killed = filepath.Join(t.TempDir(), "closed"), filepath.Join(t.TempDir(), "killed")
	r, table := startApart(t, closed, cfg, nil)
	appendN(t, r.o, 1)
	for range 40 {
		if _, err := r.o.Append(t.Context(), noise(9000)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		if err := table.Apply(t.Context(), []Change{put(fmt.Sprint("key ", i), "value")}); err != nil {
			t.Fatal(err)
		}
	}
	copyDir(t, closed, killed)
	r.stop(t)
	return killed, closed
}

var smallFiles = OutboxConfig{SegmentBytes: minSegment}

func segmentNames(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "up", "q-*.db"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	return files
}

func TestOnlyWhatWasNotClosedInOrderIsOpenedApart(t *testing.T) {
	t.Parallel()
	killed, closed := filled(t, smallFiles)
	var a asked

	r, _ := startApart(t, closed, smallFiles, a.apart)
	readAll(t, r.o, 0)
	if calls := a.take(); len(calls) > 0 {
		t.Errorf("closed in order, but %v", calls)
	}
	if _, err := os.Stat(filepath.Join(closed, markName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mark is there while the store is in use: %v", err)
	}
	r.stop(t)

	names := segmentNames(t, killed)
	r, _ = startApart(t, killed, smallFiles, a.apart)
	if calls, want := a.take(), []string{apartCheck, metaName, "t-t.db", names[len(names)-1]}; len(calls) != 1 || !slices.Equal(calls[0], want) {
		t.Errorf("after a kill: %v, want %v", calls, want)
	}
	if all := readAll(t, r.o, 0); len(all) != 41 {
		t.Errorf("%d records", len(all))
	}
	readAll(t, r.o, 0)
	calls := a.take()
	for i, call := range calls {
		if !slices.Equal(call, []string{apartCheck, names[i]}) {
			t.Errorf("reading asked for %v", call)
		}
	}
	if len(calls) != len(names)-1 || len(r.kinds()) > 0 {
		t.Errorf("%d files, asked %d times, %v", len(names), len(calls), r.kinds())
	}
	r.stop(t)
	r, _ = startApart(t, killed, smallFiles, a.apart)
	readAll(t, r.o, 0)
	r.stop(t)
	if calls := a.take(); len(calls) > 0 {
		t.Errorf("closed in order after that, but %v", calls)
	}
}

func TestTheMarkOfAnOrderlyEnd(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(dir string) error{
		"a file was changed": func(dir string) error {
			return os.Chtimes(filepath.Join(dir, metaName), time.Time{}, time.Unix(1, 0))
		},
		"it is cut short": func(dir string) error { return os.Truncate(filepath.Join(dir, markName), 40) },
		"it is empty":     func(dir string) error { return os.Truncate(filepath.Join(dir, markName), 0) },
		"it is another's": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, markName), []byte("x\n00000000\n"), 0o600)
		},
		"it is gone": func(dir string) error { return os.Remove(filepath.Join(dir, markName)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, closed := filled(t, smallFiles)
			if err := change(closed); err != nil {
				t.Fatal(err)
			}
			var a asked
			r, _ := startApart(t, closed, smallFiles, a.apart)
			defer r.stop(t)
			if calls := a.take(); len(calls) != 1 || !slices.Contains(calls[0], metaName) {
				t.Error(calls)
			}
		})
	}
}

// TestAFileThatEndsItsReader has the process die of one file; it is set aside, all in
// it is kept, the other files are opened, and the store goes on.
func TestAFileThatEndsItsReader(t *testing.T) {
	t.Parallel()
	killed, _ := filled(t, smallFiles)
	names := segmentNames(t, killed)
	for _, bad := range []string{names[0], names[len(names)-1], "t-t.db", metaName} {
		t.Run(bad, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "s")
			copyDir(t, killed, dir)
			a := asked{env: []string{diesAt + "=" + bad}}
			r, table := startApart(t, dir, smallFiles, a.apart)
			all := readAll(t, r.o, 0)
			entries := 0
			if err := table.Each(func(_, _ []byte) error { entries++; return nil }); err != nil {
				t.Error(err)
			}
			if len(all) != 41 || all[40].lost > 0 || entries != 50 {
				t.Errorf("%d records of 41, %d entries of 50", len(all), entries)
			}
			if r.kinds()[DamagedFile] != 1 || !strings.Contains(fmt.Sprint(r.events[0].Err), "panic: as bbolt does") {
				t.Errorf("%+v", r.events)
			}
			appendN(t, r.o, 1)
			r.stop(t)
		})
	}
}

// TestWithoutAProcess opens files where no process can be had, and where it dies
// whatever it does.
func TestWithoutAProcess(t *testing.T) {
	t.Parallel()
	killed, _ := filled(t, smallFiles)
	for name, c := range map[string]struct {
		err     error
		records int
		damaged bool
	}{
		"none can be had": {errors.New("no memory"), 41, false},
		"it always dies":  {ErrDied, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "s")
			copyDir(t, killed, dir)
			r, _ := startApart(t, dir, smallFiles, func([]string) ([]byte, error) { return nil, c.err })
			kept := 0
			for _, g := range readAll(t, r.o, 0) {
				if g.lost == 0 {
					kept++
				}
			}
			if kept != c.records || (r.kinds()[DamagedFile] > 0) != c.damaged {
				t.Errorf("%d records, %v", kept, r.kinds())
			}
			appendN(t, r.o, 1)
			r.stop(t)
		})
	}
}

// TestAProcessThatDiesLate has the process give its verdict of a damaged file, begin
// with the next one, and only then die of the former.
func TestAProcessThatDiesLate(t *testing.T) {
	t.Parallel()
	killed, _ := filled(t, smallFiles)
	var paths []string
	for _, name := range segmentNames(t, killed) {
		paths = append(paths, filepath.Join(killed, "up", name))
	}
	if err := os.Truncate(paths[0], page); err != nil {
		t.Fatal(err)
	}
	a := asked{env: []string{diesAt + "=" + filepath.Base(paths[1])}}
	late := true
	verdicts := probe(func(args []string) ([]byte, error) {
		if !late {
			return new(asked).apart(args)
		}
		late = false
		return a.apart(args)
	}, paths)
	if !errors.Is(verdicts[0], errDamaged) {
		t.Errorf("the damaged file: %v", verdicts[0])
	}
	for i, err := range verdicts[1:] {
		if err != nil {
			t.Errorf("sound file %d: %v", i+1, err)
		}
	}
}

// TestDamagedFilesApart gives damaged files to bbolt without a check before: whatever
// becomes of the process, there is a verdict.
func TestDamagedFilesApart(t *testing.T) {
	t.Parallel()
	killed, _ := filled(t, smallFiles)
	orig, err := os.ReadFile(filepath.Join(killed, "t-t.db"))
	if err != nil {
		t.Fatal(err)
	}
	rounds := 40
	if testing.Short() || raceEnabled {
		rounds = 8
	}
	dir := t.TempDir()
	var paths []string
	for round := range rounds {
		path := filepath.Join(dir, fmt.Sprint(round))
		b := bytes.Clone(orig)
		rnd := rand.New(rand.NewPCG(uint64(round), 11))
		for range 4 {
			// Page headers and the first elements, behind the meta pages.
			b[(2+rnd.IntN(5))*page+rnd.IntN(64)] ^= 1 << rnd.IntN(8)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	var a asked
	bad := 0
	for i, err := range probe(a.apart, paths) {
		if err == nil {
			continue
		}
		bad++
		if checkFile(paths[i]) == nil {
			t.Errorf("the own check finds nothing wrong with file %d, of which the other says: %v", i, err)
		}
	}
	t.Logf("%d of %d files are damaged, %d processes died", bad, rounds, len(a.calls)-1)
	if bad == 0 {
		t.Error("none of them is damaged")
	}
}

func TestApartRefusesNonsense(t *testing.T) {
	t.Parallel()
	for _, words := range [][]string{nil, {"x"}, {apartTable}, {apartOutbox, "a", "b", "c", "-", "1"}} {
		if err := Apart(words, &bytes.Buffer{}); err == nil {
			t.Errorf("%q", words)
		}
	}
}

func FuzzMark(f *testing.F) {
	f.Add([]byte("1 2 meta.db\n00000000\n"))
	f.Add([]byte("3 4 up/q-0000000000000001.db\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for rel := range parseMark(b) {
			if !filepath.IsLocal(rel) {
				t.Errorf("%q is outside", rel)
			}
		}
	})
}

func FuzzVerdict(f *testing.F) {
	f.Add("sound")
	f.Add(`damaged "page 3"`)
	f.Fuzz(func(t *testing.T, line string) {
		if err := parseVerdict(line); err == nil && line != verdictSound {
			t.Errorf("%q is taken for sound", line)
		}
	})
}
