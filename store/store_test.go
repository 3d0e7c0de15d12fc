package store

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"gantry/internal/launch"
)

func TestMain(m *testing.M) {
	launch.Main(os.Args)
	if os.Getenv(isApart) != "" {
		os.Exit(apartProcess())
	}
	if dir := os.Getenv("GANTRY_STORE_CHILD"); dir != "" {
		os.Exit(child(dir))
	}
	if dir := os.Getenv("GANTRY_STORE_SMALL_DISK"); dir != "" {
		os.Exit(smallDisk(dir))
	}
	if flag.Parse(); flag.Lookup("test.bench").Value.String() == "" {
		inMemory()
	}
	goleak.VerifyTestMain(m)
}

// inMemory moves the directories of the tests into memory where there is enough of
// it. No test here cuts the power, so a sync proves nothing and takes most of the
// time on a disk that others use; the benchmarks stay on the disk.
func inMemory() {
	const dir = "/dev/shm"
	var fs unix.Statfs_t
	if os.Getenv("TMPDIR") == "" && unix.Statfs(dir, &fs) == nil && uint64(fs.Bavail)*uint64(fs.Bsize) > 4<<30 {
		_ = os.Setenv("TMPDIR", dir) // it is a valid name
	}
}

// rig is an open store, mostly with one outbox, whose committers run.
type rig struct {
	*Store
	o      *Outbox
	mu     sync.Mutex
	events []Event
	cancel context.CancelFunc
	ended  chan error
}

func start(t testing.TB, dir string, cfg OutboxConfig) *rig {
	t.Helper()
	r := open(t, Config{Dir: dir})
	var err error
	if r.o, err = r.Outbox("up", cfg); err != nil {
		t.Fatal(err)
	}
	r.run()
	return r
}

// open opens a store whose events are kept.
func open(t testing.TB, cfg Config) *rig {
	t.Helper()
	r := &rig{ended: make(chan error, 1)}
	cfg.Events = func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}
	var err error
	if r.Store, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) run() {
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	go func() { r.ended <- r.Run(ctx) }()
}

// stop ends the committer and closes the files.
func (r *rig) stop(t testing.TB) {
	t.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func (r *rig) kinds() map[EventKind]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := make(map[EventKind]int)
	for _, e := range r.events {
		n[e.Kind]++
	}
	return n
}

// got is one thing that a reader saw.
type got struct {
	epoch, seq uint64
	data       string
	lost       uint64
}

// readAll reads from after up to the newest record.
func readAll(t testing.TB, o *Outbox, after uint64) []got {
	t.Helper()
	var all []got
	last := o.Status().Appended
	after = max(after, o.Acked())
	for after < last {
		before := after
		err := o.Read(t.Context(), after, 100, func(epoch, seq uint64, b []byte, lost uint64) {
			if lost > 0 && seq-lost != after || lost == 0 && seq != after+1 {
				t.Fatalf("after %d came %d (lost %d)", after, seq, lost)
			}
			after = seq
			all = append(all, got{epoch, seq, string(b), lost})
		})
		if err != nil {
			t.Fatal(err)
		}
		if after == before {
			t.Fatal("Read returned nothing")
		}
	}
	return all
}

func appendN(t testing.TB, o *Outbox, n int) {
	t.Helper()
	var batch [][]byte
	for range n {
		batch = append(batch, []byte("record "+fmt.Sprint(o.Status().Appended+uint64(len(batch))+1)))
	}
	if _, err := o.AppendAll(t.Context(), batch...); err != nil {
		t.Fatal(err)
	}
}

func TestAppendReadAckReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, dir, OutboxConfig{})
	for i := range 10 {
		seq, err := r.o.Append(t.Context(), fmt.Appendf(nil, "record %d", i+1))
		if err != nil || seq != uint64(i+1) {
			t.Fatal(seq, err)
		}
	}
	if c := r.o.Committed(); c != 10 {
		t.Fatalf("committed %d", c)
	}
	all := readAll(t, r.o, 0)
	if len(all) != 10 || all[9] != (got{1, 10, "record 10", 0}) {
		t.Fatal(all)
	}
	if err := r.o.Ack(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	if err := r.o.Ack(t.Context(), 11); err == nil {
		t.Fatal("a record that does not exist was acknowledged")
	}
	id := r.o.ID()
	r.stop(t)

	r = start(t, dir, OutboxConfig{})
	defer r.stop(t)
	if r.o.ID() != id || r.Epoch() != 2 {
		t.Fatal(r.o.ID(), r.Epoch())
	}
	appendN(t, r.o, 1)
	all = readAll(t, r.o, 0)
	if len(all) != 7 || all[0] != (got{1, 5, "record 5", 0}) || all[6] != (got{2, 11, "record 11", 0}) {
		t.Fatal(all)
	}
}

func TestReadWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, t.TempDir(), OutboxConfig{})
		defer r.stop(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.o.Read(ctx, 0, 1, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		var seen string
		read := make(chan error)
		go func() {
			read <- r.o.Read(t.Context(), 0, 1, func(_, _ uint64, b []byte, _ uint64) { seen = string(b) })
		}()
		synctest.Wait()
		if _, err := r.o.Enqueue(t.Context(), []byte("x"), false); err != nil {
			t.Fatal(err)
		}
		if err := <-read; err != nil || seen != "x" {
			t.Fatal(err, seen)
		}
	})
}

func TestSampledRecordsAcknowledgedInTimeAreNeverWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := start(t, dir, OutboxConfig{})
		for range 600 {
			for range 20 {
				seq, err := r.o.Enqueue(t.Context(), bytes.Repeat([]byte("x"), 200), false)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Millisecond)
				if err := r.o.Ack(t.Context(), seq); err != nil {
					t.Fatal(err)
				}
			}
		}
		if s := r.o.Status(); s.Files != 0 || s.Committed != 12000 {
			t.Fatalf("%+v", s)
		}
		seq, _ := r.o.Enqueue(t.Context(), []byte("late"), false)
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if s := r.o.Status(); s.Files != 1 || s.Committed != seq {
			t.Fatalf("%+v", s)
		}
		r.stop(t)
		r = start(t, dir, OutboxConfig{})
		defer r.stop(t)
		if all := readAll(t, r.o, 0); len(all) != 1 || all[0].data != "late" {
			t.Fatal("the reader sees a gap where all was acknowledged:", all)
		}
	})
}

func TestCommitTimes(t *testing.T) {
	for name, c := range map[string]struct {
		urgent bool
		n      int
		size   int
		within time.Duration
	}{
		"urgent records wait for the linger time": {true, 1, 10, 5 * time.Millisecond},
		"sampled records wait for a second":       {false, 255, 10, time.Second},
		"256 sampled records wait for nothing":    {false, 256, 10, 0},
		"64 KiB wait for nothing":                 {false, 8, 8 << 10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, t.TempDir(), OutboxConfig{})
				defer r.stop(t)
				synctest.Wait()
				for range c.n {
					if _, err := r.o.Enqueue(t.Context(), make([]byte, c.size), c.urgent); err != nil {
						t.Fatal(err)
					}
				}
				if c.within > 0 {
					time.Sleep(c.within - time.Nanosecond)
					synctest.Wait()
					if n := r.o.Committed(); n != 0 {
						t.Fatalf("%d committed too early", n)
					}
					time.Sleep(time.Nanosecond)
				}
				synctest.Wait()
				if n := r.o.Committed(); n != uint64(c.n) {
					t.Fatalf("%d committed of %d", n, c.n)
				}
			})
		})
	}
}

func TestConcurrentAppendsShareCommits(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), OutboxConfig{})
	defer r.stop(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 4 {
				if _, err := r.o.Append(t.Context(), []byte("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	chunks := 0
	for after := uint64(0); after < 200; chunks++ {
		c, _, err := r.o.segs[0].after(after)
		if err != nil {
			t.Fatal(err)
		}
		after = c.last()
	}
	if chunks > 100 {
		t.Errorf("%d commits for 200 concurrent appends", chunks)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, dir, OutboxConfig{})
	_, err := Open(Config{Dir: dir})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Error(err)
	}
	// What a child has between its fork and its exec.
	copied, err := unix.Dup(int(r.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(copied)
	r.stop(t)
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := s.NextEpoch(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestSettingsAndEpochsSurvive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for want := uint64(1); want < 10; want += 2 {
		s, err := Open(Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.NextEpoch()
		if err != nil || s.Epoch() != want || n != want+1 {
			t.Fatal(n, s.Epoch(), err)
		}
		if v, err := s.Get("k"); err != nil || want == 1 && v != nil || want > 1 && string(v) != fmt.Sprint(want-2) {
			t.Fatalf("%q %v", v, err)
		}
		if err := s.Put("k", []byte(fmt.Sprint(want))); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSettingsAreBounded(t *testing.T) {
	t.Parallel()
	s, err := Open(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Put("k", make([]byte, 64<<10+1)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if err := s.Put("k", []byte("v")); err != nil {
		t.Error(err)
	}
	if err := s.Put("k", nil); err != nil {
		t.Error(err)
	}
	if v, err := s.Get("k"); v != nil || err != nil {
		t.Error(v, err)
	}
}

func TestConfigErrorsNameTheKey(t *testing.T) {
	t.Parallel()
	s, err := Open(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for key, cfg := range map[string]OutboxConfig{
		"max_bytes":     {MaxBytes: 1000},
		"segment_bytes": {SegmentBytes: 1 << 40},
		"max_record":    {MaxRecord: 9 << 20},
		"linger":        {Linger: -1},
		"on_full":       {OnFull: 7},
		"max_pending":   {MaxPending: 1, MaxRecord: 100},
	} {
		var ce *ConfigError
		if _, err := s.Outbox("x", cfg); !errors.As(err, &ce) || ce.Key != key || ce.Allowed == "" {
			t.Errorf("%s: %v", key, err)
		}
	}
	for _, name := range []string{"", "A", "../x", "a/b", strings.Repeat("x", 65)} {
		if _, err := s.Outbox(name, OutboxConfig{}); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
	if _, err := os.Stat(filepath.Join(s.cfg.Dir, "x")); err == nil {
		t.Error("a refused outbox left a directory")
	}
	if _, err := Open(Config{}); err == nil {
		t.Error("no directory")
	}
}

func TestOutboxesAreIndependent(t *testing.T) {
	t.Parallel()
	s, err := Open(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, err1 := s.Outbox("a", OutboxConfig{})
	b, err2 := s.Outbox("b", OutboxConfig{})
	_, err3 := s.Outbox("a", OutboxConfig{})
	if err1 != nil || err2 != nil || err3 == nil {
		t.Fatal(err1, err2, err3)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	appendN(t, a, 3)
	appendN(t, b, 5)
	if err := a.Ack(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if n := len(readAll(t, b, 0)); n != 5 || len(readAll(t, a, 0)) != 0 {
		t.Error(n)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := a.Enqueue(t.Context(), nil, false); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := s.Outbox("c", OutboxConfig{}); err == nil {
		t.Error("opened after Run")
	}
}
