package crashtest

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

var (
	images  = flag.Int("images", 1600, "how many images of honest disks to look at, over all scenarios")
	lying   = flag.Int("lying", 200, "how many images of disks that do not write what they claim to")
	broken  = flag.Int("broken", 200, "how many images with damaged files")
	kills   = flag.Int("kills", 20, "how many times to kill a program under load")
	faults  = flag.Int("faults", 2, "at how many writes, and syncs, the disk fails")
	outages = flag.Int("outages", 40, "how many runs on a file system that fails and lies")
	seed    = flag.Uint64("seed", 1, "the choice of images")
	traces  = flag.String("traces", "", "the directory of recorded runs; made if there is none")
	only    = flag.String("image", "", "look at this image alone, as it was named by a failure")
)

func TestMain(m *testing.M) {
	if os.Getenv("GANTRY_CRASH_EXAMINER") != "" {
		os.Exit(serveExaminer())
	}
	if dir := os.Getenv("GANTRY_CRASH_WORKLOAD"); dir != "" {
		base, _ := strconv.ParseUint(os.Getenv("GANTRY_CRASH_BASE"), 10, 64)
		if err := workload(dir, scenarios[os.Getenv("GANTRY_CRASH_SCENARIO")], base, os.NewFile(3, "ledger")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	// The race detector makes each image eight times as dear.
	if testing.Short() || underRace {
		*images, *lying, *broken, *kills, *outages, *faults = *images/8, *lying/8, *broken/8, *kills/4, *outages/4, 1
	}
	goleak.VerifyTestMain(m)
}

// scratch returns a directory for images: in memory, where that is to be had.
func scratch(t testing.TB) string {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		if dir, err := os.MkdirTemp("/dev/shm", "gantry-crash-"); err == nil {
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			return dir
		}
	}
	return t.TempDir()
}

// program returns this program as the workload of a scenario, its ledger going to
// the file. before is what runs it, such as strace.
func program(dir, name string, base uint64, ledger *os.File, before ...string) *exec.Cmd {
	args := append(before, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "GANTRY_CRASH_WORKLOAD="+dir, "GANTRY_CRASH_SCENARIO="+name, "GANTRY_CRASH_BASE="+strconv.FormatUint(base, 10))
	cmd.ExtraFiles = []*os.File{ledger}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// needStrace skips where there is no strace, or fails where it has to be there.
func needStrace(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("GANTRY_REQUIRE_PEERS") != "" {
			t.Fatal("strace is missing")
		}
		t.Skip("strace is missing")
	}
}

// record runs a scenario in a directory with the files of from and returns what it
// did. The recording is kept in the file named, or taken from there.
func record(t testing.TB, name string, base uint64, from Image, file string) *Trace {
	t.Helper()
	where, err := os.ReadFile(file + ".dir")
	if err != nil {
		where = []byte(t.TempDir())
		dir := filepath.Join(string(where), "store")
		if err := errors.Join(from.Write(dir), os.WriteFile(file+".dir", where, 0o600)); err != nil {
			t.Fatal(err)
		}
		ledger, err := os.Create(filepath.Join(string(where), "ledger"))
		if err != nil {
			t.Fatal(err)
		}
		defer ledger.Close()
		cmd := program(dir, name, base, ledger, "strace", "-f", "-y", "-xx", "-s", "33554432", "-e", "trace="+calls, "-e", "signal=none", "-o", file)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, text)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	trace, err := ReadTrace(f, filepath.Join(string(where), "store"), filepath.Join(string(where), "ledger"), from)
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// shot is one image of a recorded run.
type shot struct {
	scenario string
	round    int // 0: from an empty directory; 1: after a crash
	at       int // steps done
	cut      Cut
	n        int // among those of the same step and cut
	forgot   int // syncs before the cut that were only claimed
	damage   int // with damaged files: which damage
}

func (s shot) String() string {
	return fmt.Sprintf("%s/%d/%d/%d/%d/%d/%d", s.scenario, s.round, s.at, s.cut, s.n, s.forgot, s.damage)
}

// random returns the choices of an image, which depend on nothing but its name.
func (s shot) random() *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(s.String()))
	return rand.New(rand.NewPCG(*seed, h.Sum64()))
}

// run is a recorded run and the ledger that it began with.
type run struct {
	scenario string
	round    int
	trace    *Trace
	start    *Ledger
	from     Image // what was in the directory
}

// disk returns the disk as the run began, and its ledger.
func (r *run) disk() (*Disk, *Ledger) {
	d := NewDisk()
	d.put(r.from)
	return d, r.start.Clone()
}

// image replays the run up to a shot.
func (r *run) image(t testing.TB, s shot) (Image, *Ledger) {
	t.Helper()
	d, l := r.disk()
	syncs := 0
	for i := range r.trace.Ops[:s.at] {
		if r.trace.Ops[i].Kind == OpSync {
			syncs++
		}
	}
	for i := range r.trace.Ops[:s.at] {
		op := &r.trace.Ops[i]
		if op.Kind == OpSync {
			syncs--
		}
		step(t, d, l, op, syncs >= s.forgot)
	}
	return d.Image(s.cut, s.random()), l
}

func step(t testing.TB, d *Disk, l *Ledger, op *Op, honest bool) {
	t.Helper()
	d.Do(op, honest)
	if op.Kind == OpNote {
		if err := l.Note(string(op.Data)); err != nil {
			t.Error(err)
		}
	}
}

// bench looks at images, several at a time.
type bench struct {
	t     *testing.T
	dir   string
	mode  Mode // of the disk; whether the outbox is bounded, its scenario says
	tasks chan looking
	done  sync.WaitGroup

	ok, bad atomic.Int64
	number  atomic.Int64
	mu      sync.Mutex
	kinds   map[string]int // of faults
	told    int
}

type looking struct {
	shot shot
	img  Image
	l    *Ledger
}

const lookers = 2

func newBench(t *testing.T, mode Mode) *bench {
	b := &bench{t: t, dir: scratch(t), mode: mode, tasks: make(chan looking, lookers), kinds: map[string]int{}}
	for range lookers {
		b.done.Go(b.look)
	}
	return b
}

// look looks at images until there are no more.
func (b *bench) look() {
	e := startExaminer(b.t)
	defer func() { e.stop() }()
	for k := range b.tasks {
		dir := filepath.Join(b.dir, strconv.FormatInt(b.number.Add(1), 10))
		if err := k.img.Write(dir); err != nil {
			b.t.Error(err)
			continue
		}
		f, died := e.look(task{Dir: dir, Scenario: k.shot.scenario, N: 1 << 40})
		_ = os.RemoveAll(dir)
		if died != "" {
			b.fault(k.shot, []string{"died: " + died}, nil)
			e = startExaminer(b.t)
			continue
		}
		mode := b.mode
		mode.Bounded = mode.Bounded || scenarios[k.shot.scenario].bounded
		bad := k.l.Check(f, mode)
		if len(bad) == 0 {
			b.ok.Add(1)
			continue
		}
		b.fault(k.shot, bad, f)
	}
}

// fault tells of an image that broke a promise, of the first few in full.
func (b *bench) fault(s shot, bad []string, f *Found) {
	b.bad.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, text := range bad {
		kind, _, _ := strings.Cut(text, ":")
		b.kinds[kind]++
	}
	if b.told++; b.told > 5 {
		return
	}
	slices.Sort(bad)
	more := ""
	if f != nil {
		more = fmt.Sprintf("\nthe store found: %q", f.Damage)
	}
	b.t.Errorf("image %s (again: -traces %s -seed %d -image %s):\n%s%s", s, *traces, *seed, s, strings.Join(bad[:min(len(bad), 8)], "\n"), more)
}

func (b *bench) finish() {
	close(b.tasks)
	b.done.Wait()
	b.t.Logf("%d images in order, %d not %v", b.ok.Load(), b.bad.Load(), b.kinds)
	if b.bad.Load() > 0 && !b.t.Failed() {
		b.t.Fail()
	}
	if b.ok.Load()+b.bad.Load() == 0 && *only == "" {
		b.t.Error("no image was looked at")
	}
}

// traced are the scenarios that images are made of.
var traced = []string{"confirmed", "table", "sampled", "rolling", "bounded", "shared", "packing", "wear", "restarts", "readers", "lanes"}

// recordAll records two rounds of every scenario: from nothing, and from a directory
// that a cut has left. The recordings are kept when the test fails.
func recordAll(t *testing.T) []*run {
	needStrace(t)
	if *traces == "" {
		dir, err := os.MkdirTemp("", "gantry-crash-traces-")
		if err != nil {
			t.Fatal(err)
		}
		*traces = dir
		t.Cleanup(func() {
			if *traces = ""; !t.Failed() {
				_ = os.RemoveAll(dir)
			}
		})
	}
	file := func(name string, round int) string { return filepath.Join(*traces, fmt.Sprintf("%s-%d", name, round)) }
	runs := make([]*run, 0, 2*len(traced))
	for _, name := range traced {
		first := &run{scenario: name, start: &Ledger{}, trace: record(t, name, 0, nil, file(name, 0))}
		second := &run{scenario: name, round: 1}
		second.from, second.start = first.image(t, shot{scenario: name, at: len(first.trace.Ops) * 2 / 3, cut: CutSome})
		second.trace = record(t, name, 1<<20, second.from, file(name, 1))
		runs = append(runs, first, second)
	}
	for _, r := range runs {
		t.Logf("%s, round %d: %d steps", r.scenario, r.round, len(r.trace.Ops))
	}
	return runs
}

// TestPowerCuts cuts the power at every step of recorded runs.
func TestPowerCuts(t *testing.T) {
	runs := recordAll(t)
	t.Run("honest", func(t *testing.T) { honest(t, runs) })
	t.Run("lying", func(t *testing.T) { unflushed(t, runs) })
	t.Run("damaged", func(t *testing.T) { damaged(t, runs) })
}

// honest looks at images of disks that do what they claim: nothing that was
// acknowledged may be missing.
func honest(t *testing.T, runs []*run) {
	b := newBench(t, Mode{Honest: true})
	defer b.finish()
	steps := 0
	for _, r := range runs {
		steps += len(r.trace.Ops)
	}
	// Each step has this many images, in the mean.
	each := float64(*images) / float64(steps)
	for _, r := range runs {
		d, l := r.disk()
		due := 0.0
		for i := range r.trace.Ops {
			step(t, d, l, &r.trace.Ops[i], true)
			due += each
			for n := 0; due >= 1; n++ {
				due--
				s := shot{scenario: r.scenario, round: r.round, at: i + 1, n: n}
				s.cut = Cut((n + i) % int(Cuts))
				b.take(s, func() (Image, *Ledger) { return d.Image(s.cut, s.random()), l.Clone() })
			}
		}
	}
}

// take has an image looked at, unless another one was asked for.
func (b *bench) take(s shot, image func() (Image, *Ledger)) {
	if *only != "" && *only != s.String() {
		return
	}
	img, l := image()
	b.tasks <- looking{s, img, l}
}

// unflushed looks at images of disks that had not yet written the last things that
// they were told to sync: that may cost records, but never silently.
func unflushed(t *testing.T, runs []*run) {
	b := newBench(t, Mode{})
	defer b.finish()
	for n := range *lying {
		r := runs[n%len(runs)]
		pick := rand.New(rand.NewPCG(*seed, uint64(n)))
		s := shot{scenario: r.scenario, round: r.round, at: 1 + pick.IntN(len(r.trace.Ops)), cut: Cut(pick.IntN(int(Cuts))), n: n, forgot: 1 + pick.IntN(8)}
		b.take(s, func() (Image, *Ledger) { return r.image(t, s) })
	}
}

// damaged looks at images with flipped bits, empty pages and missing ends.
func damaged(t *testing.T, runs []*run) {
	b := newBench(t, Mode{})
	defer b.finish()
	for n := range *broken {
		r := runs[n%len(runs)]
		pick := rand.New(rand.NewPCG(*seed, uint64(n)))
		// Half of them at the end of a run, where there is most to damage.
		at := len(r.trace.Ops)
		if n/len(runs)%2 == 1 {
			at = 1 + pick.IntN(at)
		}
		s := shot{scenario: r.scenario, round: r.round, at: at, cut: CutAll, n: n, damage: 1 + pick.IntN(3)}
		b.take(s, func() (Image, *Ledger) {
			img, l := r.image(t, s)
			img.damage(s.damage, s.random())
			return img, l
		})
	}
}

// damage spoils one file.
func (img Image) damage(kind int, r *rand.Rand) {
	var files []string
	for _, path := range sortedKeys(img) {
		if len(img[path]) > 0 {
			files = append(files, path)
		}
	}
	if len(files) == 0 {
		return
	}
	path := files[r.IntN(len(files))]
	b := img[path]
	switch kind {
	case 1:
		for range 1 + r.IntN(3) {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
	case 2:
		at := r.IntN(len(b)) / page * page
		clear(b[at:min(at+page, len(b))])
	case 3:
		img[path] = b[:r.IntN(len(b))]
	}
}

// notes reads the lines of a ledger that a program has written.
func notes(t testing.TB, l *Ledger, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if !strings.HasSuffix(line, "\n") {
			continue // it was killed while writing
		}
		if err := l.Note(strings.TrimSuffix(line, "\n")); err != nil {
			t.Fatal(err)
		}
	}
}
