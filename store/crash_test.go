package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// record returns record seq of a writer that numbers its records itself: the
// number, and a filling that only that number has.
func record(epoch, n uint64) []byte {
	b := fmt.Appendf(nil, "%d/%d ", epoch, n)
	return append(b, bytes.Repeat([]byte{byte(n)}, int(n%300))...)
}

// child is the process that the kill test kills: it appends from several
// goroutines, writes every acknowledged record to standard output, and moves the
// cursor now and then, which it writes too, first.
func child(dir string) int {
	s, err := Open(Config{Dir: dir, Events: func(e Event) { fmt.Fprintln(os.Stderr, e) }})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	o, err := s.Outbox("up", OutboxConfig{MaxBytes: 64 << 20, SegmentBytes: 256 << 10})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() { _ = s.Run(context.Background()) }()
	ctx := context.Background()
	var mu sync.Mutex
	var n uint64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				mu.Lock()
				n++
				b := record(s.Epoch(), n)
				mu.Unlock()
				seq, err := o.Append(ctx, b)
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				// One write per line, so that a line is whole or absent.
				fmt.Printf("%d %s\n", seq, bytes.Fields(b)[0])
				if seq%500 == 0 {
					fmt.Printf("ack %d\n", seq-300)
					if err := o.Ack(ctx, seq-300); err != nil {
						os.Exit(1)
					}
				}
			}
		})
	}
	wg.Wait()
	return 0
}

func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acknowledged := make(map[uint64]string)
	var cursor uint64
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "GANTRY_STORE_CHILD="+dir)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, killAfter := 0, 200+rand.IntN(1500)
		in := bufio.NewScanner(out)
		for in.Scan() {
			a, b, _ := strings.Cut(in.Text(), " ")
			if a == "ack" {
				n, _ := strconv.ParseUint(b, 10, 64)
				cursor = max(cursor, n)
			} else {
				n, _ := strconv.ParseUint(a, 10, 64)
				acknowledged[n] = b
			}
			if lines++; lines == killAfter {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
		if stderr.Len() > 0 {
			t.Fatal(stderr.String())
		}
		verify(t, dir, acknowledged, cursor)
	}
}

// verify opens the store as it was left and compares it with what was promised.
func verify(t *testing.T, dir string, acknowledged map[uint64]string, cursor uint64) {
	t.Helper()
	r := start(t, dir, OutboxConfig{MaxBytes: 64 << 20, SegmentBytes: 256 << 10})
	defer r.stop(t)
	there := make(map[uint64]bool)
	for _, g := range readAll(t, r.o, 0) {
		if g.lost > 0 {
			t.Fatalf("%d records up to %d are missing", g.lost, g.seq)
		}
		name, _, _ := strings.Cut(g.data, " ")
		e, n, _ := strings.Cut(name, "/")
		epoch, _ := strconv.ParseUint(e, 10, 64)
		num, _ := strconv.ParseUint(n, 10, 64)
		if g.data != string(record(epoch, num)) || epoch != g.epoch {
			t.Fatalf("record %d was never appended: %.40q", g.seq, g.data)
		}
		if want := acknowledged[g.seq]; want != "" && want != name {
			t.Fatalf("record %d is %s, was %s", g.seq, name, want)
		}
		there[g.seq] = true
	}
	for seq, name := range acknowledged {
		if seq > cursor && !there[seq] {
			t.Fatalf("record %d (%s) is gone; cursor %d, acked %d", seq, name, cursor, r.o.Acked())
		}
	}
	if n := r.kinds(); len(n) > 0 {
		t.Fatal(n)
	}
}

// snapshot returns the content of every file below dir at one moment.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	var last map[string]string
	for {
		files := make(map[string]string)
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) || err == nil && d.IsDir() {
				return nil
			}
			b, err := os.ReadFile(path)
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			rel, _ := filepath.Rel(dir, path)
			files[rel] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if last != nil && maps.Equal(files, last) {
			return files
		}
		last = files
	}
}

// copyDir copies the state as a crash at this moment would leave it.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	for rel, b := range snapshot(t, from) {
		path := filepath.Join(to, rel)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(b), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// model is what an outbox is expected to hold.
type model struct {
	records map[uint64]string // every record ever appended, by number
	safe    uint64            // all up to here were acknowledged to the writer
	acked   uint64
	loose   bool            // sampled records were taken in this run
	gaps    map[uint64]bool // the numbers that stand for what crashes have cost
}

// TestSimulation drives an outbox and a model with random operations, among them
// orderly restarts and crashes, and compares the two after each.
func TestSimulation(t *testing.T) {
	t.Parallel()
	steps := 400
	if testing.Short() {
		steps = 100
	}
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			simulate(t, rand.New(rand.NewPCG(seed, 1)), steps)
		})
	}
}

func simulate(t *testing.T, rnd *rand.Rand, steps int) {
	cfg := OutboxConfig{MaxBytes: 64 << 20, SegmentBytes: minSegment, SampleInterval: 20 * time.Millisecond, Linger: time.Millisecond}
	dir := filepath.Join(t.TempDir(), "0")
	r := start(t, dir, cfg)
	defer func() { r.stop(t) }()
	m := model{records: make(map[uint64]string), gaps: make(map[uint64]bool)}
	for step := range steps {
		switch op := rnd.IntN(20); {
		case op < 8: // append and wait
			var batch [][]byte
			for i := range 1 + rnd.IntN(40) {
				b := make([]byte, rnd.IntN(2000))
				for j := range b {
					b[j] = byte(rnd.Uint32() >> rnd.IntN(8))
				}
				batch = append(batch, binary.AppendUvarint(b, uint64(step*1000+i)))
			}
			last, err := r.o.AppendAll(t.Context(), batch...)
			if err != nil {
				t.Fatal(err)
			}
			for i, b := range batch {
				m.records[last-uint64(len(batch)-1-i)] = string(b)
			}
			m.safe = last
		case op < 14: // append without waiting
			b := fmt.Appendf(nil, "step %d", step)
			urgent := rnd.IntN(2) == 0
			seq, err := r.o.Enqueue(t.Context(), b, urgent)
			if err != nil {
				t.Fatal(err)
			}
			m.loose = m.loose || !urgent
			m.records[seq] = string(b)
		case op < 17: // acknowledge
			if n := r.o.Status().Appended; n > m.acked {
				m.acked += rnd.Uint64N(n-m.acked) + 1
				if err := r.o.Ack(t.Context(), m.acked); err != nil {
					t.Fatal(err)
				}
			}
		case op == 17: // orderly restart
			r.stop(t)
			m.safe, m.loose = r.o.Status().Appended, false
			r = start(t, dir, cfg)
		case op == 18: // crash: go on with a copy made under way
			to := filepath.Join(t.TempDir(), fmt.Sprint(step))
			// Writes that nobody waits for may or may not be in the copy.
			copyDir(t, dir, to)
			r.stop(t)
			dir = to
			r = start(t, dir, cfg)
			m.crash(t, r.o)
		default:
			if err := r.o.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			m.safe = r.o.Status().Appended
		}
		m.compare(t, r)
	}
}

// crash takes over what a crash may have changed: records that were not safe are
// gone, and the cursor may have gone back.
func (m *model) crash(t *testing.T, o *Outbox) {
	t.Helper()
	s := o.Status()
	if s.Appended < m.safe && m.safe > m.acked {
		t.Fatalf("%d records left, %d were safe, %d acknowledged", s.Appended, m.safe, m.acked)
	}
	if s.Acked > m.acked {
		t.Fatalf("cursor %d is ahead of %d", s.Acked, m.acked)
	}
	m.acked = s.Acked
	for seq := range m.records {
		if seq > s.Appended {
			delete(m.records, seq)
		}
	}
	if m.loose {
		// One number says that sampled records may be missing.
		if m.safe >= s.Appended && m.safe > m.acked {
			t.Fatalf("number %d stands for what is lost, %d was safe", s.Appended, m.safe)
		}
		delete(m.records, s.Appended)
		m.gaps[s.Appended], m.loose = true, false
	}
	m.safe = min(m.safe, s.Appended)
}

func (m *model) compare(t *testing.T, r *rig) {
	t.Helper()
	next := m.acked + 1
	for _, g := range readAll(t, r.o, m.acked) {
		if g.lost > 0 && g.data == "crash" {
			for ; m.gaps[next] && next <= g.seq; next++ {
			}
			if next == g.seq+1 {
				continue
			}
		}
		if g.lost > 0 || m.gaps[g.seq] || g.seq != next || m.records[g.seq] != g.data {
			t.Fatalf("record %d (lost %d): %.20q, want %d %.20q", g.seq, g.lost, g.data, next, m.records[next])
		}
		next++
	}
	if next-1 < m.safe {
		t.Fatalf("the last record is %d, %d was acknowledged", next-1, m.safe)
	}
	if n := r.kinds(); len(n) > 0 {
		t.Fatal(n)
	}
	if s := r.o.Status(); s.Acked != m.acked {
		t.Fatalf("%+v", s)
	}
}

// TestDiskFull runs smallDisk in a process of its own with a file system of
// its own, where the kernel lets us.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GANTRY_STORE_SMALL_DISK="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() == 77 {
		t.Skipf("no user namespace here: %v %s", err, out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func smallDisk(dir string) int {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		fmt.Println(err)
		return 77
	}
	if err := fillSmallDisk(dir); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func fillSmallDisk(dir string) error {
	events := make(map[EventKind]int)
	var mu sync.Mutex
	s, err := Open(Config{Dir: filepath.Join(dir, "s"), Events: func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		events[e.Kind]++
	}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	reject, err := s.Outbox("reject", OutboxConfig{OnFull: RejectNew, SegmentBytes: 512 << 10})
	if err != nil {
		return err
	}
	drop, err := s.Outbox("drop", OutboxConfig{SegmentBytes: 256 << 10})
	if err != nil {
		return err
	}
	go func() { _ = s.Run(ctx) }()
	rnd := rand.New(rand.NewPCG(3, 3))
	noise := func() []byte {
		b := make([]byte, 4000)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	var last uint64
	for {
		seq, err := reject.Append(ctx, noise())
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || seq > 1000 {
			return fmt.Errorf("disk never full: %d %w", seq, err)
		}
		last = seq
	}
	fmt.Println(last, "records on the small disk")
	if err := reject.Ack(ctx, last); err != nil {
		return err
	}
	// With the cursor moved the files go, and there is room again.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := reject.Append(ctx, noise()); err == nil {
			break
		} else if time.Now().After(deadline) {
			return fmt.Errorf("no recovery: %w", err)
		}
	}
	// The other policy makes room by itself.
	for range 150 {
		var batch [][]byte
		for range 10 {
			batch = append(batch, noise())
		}
		if _, err := drop.AppendAll(ctx, batch...); err != nil {
			return fmt.Errorf("drop-oldest: %w", err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if events[Degraded] == 0 || events[Recovered] == 0 || events[Dropped] == 0 {
		return fmt.Errorf("events %v", events)
	}
	return nil
}
