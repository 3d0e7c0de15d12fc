package crashtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"gantry/store"
)

// scenario is a way of using a store.
type scenario struct {
	outbox  store.OutboxConfig
	bounded bool
	writers int
	records int  // by each writer; 0 = until the process is killed
	sampled bool // taken at once and flushed now and then, in place of acknowledged one by one
	acks    bool // the reader follows
	table   bool // entries of a table change beside
	lanes   bool // what is urgent has an outbox of its own, beside
	again   int  // how many more times the store is closed and opened, and all is done once more
}

// scenarios are the ways of using a store that are judged.
var scenarios = map[string]scenario{
	"confirmed": {outbox: store.OutboxConfig{MaxBytes: 8 << 20, Linger: time.Millisecond}, writers: 3, records: 25, acks: true},
	"table":     {outbox: store.OutboxConfig{MaxBytes: 1 << 20, Linger: time.Millisecond}, writers: 3, records: 40, table: true},
	"sampled": {outbox: store.OutboxConfig{MaxBytes: 8 << 20, SampleInterval: 5 * time.Millisecond, SampleRecords: 16}, writers: 2, records: 120,
		sampled: true, acks: true},
	"rolling": {outbox: store.OutboxConfig{MaxBytes: 8 << 20, SegmentBytes: 128 << 10, Linger: time.Millisecond}, writers: 8, records: 60, acks: true},
	"bounded": {outbox: store.OutboxConfig{MaxBytes: 1 << 20, SegmentBytes: 128 << 10, SampleInterval: 2 * time.Millisecond, SampleBytes: 32 << 10}, bounded: true,
		writers: 2, records: 3000, sampled: true},
	"shared": {outbox: store.OutboxConfig{MaxBytes: 8 << 20, SegmentBytes: 128 << 10, Linger: time.Millisecond, SampleInterval: 5 * time.Millisecond,
		Readers: []string{"slow"}}, writers: 4, records: 60, acks: true},
	// Each commit takes pages of its own, and the files are packed as they fill.
	"packing": {outbox: store.OutboxConfig{MaxBytes: 8 << 20, SegmentBytes: 128 << 10, Linger: time.Microsecond}, writers: 1, records: 90},
	"wear": {outbox: store.OutboxConfig{MaxBytes: 8 << 20, SegmentBytes: 256 << 10, WearSaver: true, SampleInterval: 40 * time.Millisecond}, writers: 2,
		records: 1200, sampled: true, acks: true},
	// Epochs, and the mark of an orderly end.
	"restarts": {outbox: store.OutboxConfig{MaxBytes: 8 << 20, SegmentBytes: 128 << 10, Linger: time.Millisecond}, writers: 2, records: 8, acks: true, again: 4},
	// Readers that lose the same records, each at a place of its own.
	"readers": {outbox: store.OutboxConfig{MaxBytes: 8 << 20, SampleInterval: 5 * time.Millisecond, SampleRecords: 16, Readers: []string{"slow", "slower"}},
		writers: 2, records: 80, sampled: true, acks: true},
	"lanes": {outbox: store.OutboxConfig{MaxBytes: 8 << 20, SampleInterval: 5 * time.Millisecond, SampleRecords: 16, Linger: time.Millisecond},
		writers: 2, records: 80, sampled: true, acks: true, lanes: true},
	"endless": {outbox: store.OutboxConfig{MaxBytes: 64 << 20, SegmentBytes: 256 << 10, Linger: time.Millisecond, Readers: []string{"slow"}},
		writers: 8, acks: true},
}

// workload uses the store in dir as the scenario says and writes its ledger, a line
// with each write, to out. Its records are numbered from base. It returns when the
// store fails for good, or when all records are there.
func workload(dir string, s scenario, base uint64, out *os.File) error {
	w := &writer{out: out, next: base, s: s}
	for range 1 + s.again {
		if err := w.run(dir, base); err != nil {
			return err
		}
	}
	return nil
}

// run is one run of a workload.
func (w *writer) run(dir string, base uint64) error {
	s := w.s
	st, err := store.Open(store.Config{Dir: dir, Events: w.event})
	if err != nil {
		return err
	}
	if w.box, err = st.Outbox("up", s.outbox); err != nil {
		return err
	}
	if s.lanes {
		if w.urgent, err = openUrgent(st, w.box); err != nil {
			return err
		}
	}
	if w.table, err = st.Table("entries", tableConfig); err != nil {
		return err
	}
	w.note("open %d %s", st.Epoch(), w.box.ID())
	if s.lanes {
		w.note("beside open %d %s", st.Epoch(), w.urgent.ID())
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- st.Run(ctx) }()
	var wg sync.WaitGroup
	for i := range s.writers {
		r := rand.New(rand.NewPCG(base, uint64(i)))
		if s.table {
			wg.Go(func() { w.change(ctx, r, uint64(i)) })
		} else {
			wg.Go(func() { w.write(ctx, r) })
		}
	}
	wg.Wait()
	fctx, stop := context.WithTimeout(ctx, 5*time.Second)
	last := w.box.Status().Appended
	if err := w.box.Flush(fctx); err == nil {
		w.note("flushed %d", last)
	}
	stop()
	cancel()
	<-done
	return st.Close()
}

const urgentName = "up-urgent"

// openUrgent opens the outbox of what is urgent, before which the other one gives way.
func openUrgent(st *store.Store, other *store.Outbox) (*store.Outbox, error) {
	return st.Outbox(urgentName, store.OutboxConfig{MaxBytes: 8 << 20, Linger: time.Millisecond, Over: other})
}

// writer is a workload under way.
type writer struct {
	s      scenario
	out    *os.File
	box    *store.Outbox
	urgent *store.Outbox // nil where there is one alone

	table *store.Table

	mu   sync.Mutex // makes the lines of the ledger follow each other
	next uint64
}

func (w *writer) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(w.out, format+"\n", args...)
}

func (w *writer) event(e store.Event) {
	switch {
	case e.Kind == store.Dropped && e.Outbox == urgentName:
		w.note("beside dropped %d %d", e.From, e.To)
	case e.Kind == store.Dropped:
		w.note("dropped %d %d", e.From, e.To)
	}
}

// offer takes the next number and says so, in a line that begins with prefix.
func (w *writer) offer(prefix string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	fmt.Fprintf(w.out, "%soffer %d\n", prefix, w.next)
	return w.next
}

func (w *writer) write(ctx context.Context, r *rand.Rand) {
	for i := 0; w.s.records == 0 || i < w.s.records; i++ {
		if w.urgent != nil && r.IntN(4) == 0 {
			w.alarm(ctx, r)
			continue
		}
		n := w.offer("")
		if w.s.sampled {
			line, urgent := "taken %d %d", r.IntN(8) == 0
			if urgent {
				line = "urgent %d %d"
			}
			if seq, err := w.box.Enqueue(ctx, Record(n), urgent); err == nil {
				w.note(line, n, seq)
			}
			if last := w.box.Committed(); i%20 == 19 {
				w.note("flushed %d", last)
			}
		} else if seq, err := w.box.Append(ctx, Record(n)); err == nil {
			w.note("ok %d %d", n, seq)
		}
		if w.s.acks && r.IntN(10) == 0 {
			w.ack(ctx, r)
		}
	}
}

// alarm appends a record to the outbox of what is urgent, whose reader follows.
func (w *writer) alarm(ctx context.Context, r *rand.Rand) {
	n := w.offer("beside ")
	if seq, err := w.urgent.Append(ctx, Record(n)); err == nil {
		w.note("beside ok %d %d", n, seq)
	}
	if last := w.urgent.Committed(); r.IntN(4) == 0 && last > 5 {
		w.note("beside cursor %d", last-5)
		// A failing disk may refuse it.
		_ = w.urgent.Ack(ctx, last-5)
	}
}

// ack moves the cursor of a reader. Where there are several, they go at paces of
// their own.
func (w *writer) ack(ctx context.Context, r *rand.Rand) {
	i, name := r.IntN(1+len(w.s.outbox.Readers)), ""
	if i > 0 {
		name = w.s.outbox.Readers[i-1]
	}
	last := w.box.Committed()
	if back := uint64(r.IntN(20 + 60*i)); last > back {
		w.note("cursor %d %s", last-back, name)
		// A failing disk may refuse it.
		_ = w.box.Reader(name).Ack(ctx, last-back)
	}
}

// tableConfig is that of every table here.
var tableConfig = store.TableConfig{Linger: time.Millisecond}

// keys is how many pairs of entries each writer changes.
const keys = 5

// key returns the key of an entry in a table.
func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// change changes entries of the table, two at a time, which are the writer's alone.
func (w *writer) change(ctx context.Context, r *rand.Rand, self uint64) {
	for range w.s.records {
		w.mu.Lock()
		w.next++
		n, k := w.next, self*keys+r.Uint64N(keys)
		fmt.Fprintf(w.out, "put %d %d\n", k, n)
		w.mu.Unlock()
		if w.table.Apply(ctx, []store.Change{{Key: key(k), Value: Record(n)}, {Key: key(k + Twin), Value: Record(n)}}) == nil {
			w.note("done %d %d", k, n)
		}
	}
}

// entries returns what is in a table.
func entries(table *store.Table) (map[uint64]uint64, error) {
	found := map[uint64]uint64{}
	return found, table.Each(func(k, v []byte) error {
		n, ok := Number(v)
		if len(k) != 8 || !ok {
			n = 0
		}
		found[binary.BigEndian.Uint64(append(k, make([]byte, 8)...))] = n
		return nil
	})
}

// examine opens the store in dir, as a gateway does after a cut, reads what is there,
// appends record n and makes it the last two entries of the table.
func examine(dir string, s scenario, n uint64) *Found {
	f := &Found{}
	var mu sync.Mutex // guards f.Damage
	st, err := store.Open(store.Config{Dir: dir, Events: func(e store.Event) {
		mu.Lock()
		defer mu.Unlock()
		f.Damage = append(f.Damage, fmt.Sprintf("%v %s %d-%d: %v", e.Kind, e.File, e.From, e.To, e.Err))
	}})
	if err != nil {
		f.Why = "open: " + err.Error()
		return f
	}
	box, err := st.Outbox("up", s.outbox)
	if err != nil {
		f.Why = "outbox: " + err.Error()
		return f
	}
	var urgent *store.Outbox
	if s.lanes {
		if urgent, err = openUrgent(st, box); err != nil {
			f.Why = "outbox: " + err.Error()
			return f
		}
	}
	table, err := st.Table("entries", tableConfig)
	if err != nil {
		f.Why = "table: " + err.Error()
		return f
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = st.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
		_ = st.Close()
	}()
	f.Epoch = st.Epoch()
	if f.Entries, err = entries(table); err != nil {
		f.Why = "entries: " + err.Error()
		return f
	}
	if urgent != nil {
		f.Beside = &Found{Epoch: st.Epoch()}
		f.Beside.outbox(ctx, urgent, nil, n)
	}
	if f.outbox(ctx, box, s.outbox.Readers, n); f.Wrote {
		err = table.Apply(ctx, []store.Change{{Key: key(Twin - 1), Value: Record(n)}, {Key: key(2*Twin - 1), Value: Record(n)}})
		if f.Wrote = err == nil; err != nil {
			f.Why = "apply: " + err.Error()
		}
	}
	return f
}

// outbox reads what is in an outbox and appends record n.
func (f *Found) outbox(ctx context.Context, box *store.Outbox, readers []string, n uint64) {
	f.ID = box.ID()
	// No more than what was there before: what is written below is no finding.
	if err := f.read(ctx, box, readers, box.Status().Appended); err != nil {
		f.Why = "read: " + err.Error()
		return
	}
	seq, err := box.Append(ctx, Record(n))
	if err != nil {
		f.Why = "append: " + err.Error()
		return
	}
	again, err := read(ctx, box.Reader(""), seq-1, seq)
	switch {
	case err != nil:
		f.Why = "read of what was appended: " + err.Error()
	case len(again) != 1 || again[0] != Item{Epoch: f.Epoch, Seq: seq, N: n}:
		f.Why = fmt.Sprintf("record %d was appended as number %d of epoch %d; read back: %v", n, seq, f.Epoch, again)
	default:
		f.Wrote = true
	}
}

// read has every reader of an outbox read what is there for it up to a record.
func (f *Found) read(ctx context.Context, box *store.Outbox, names []string, last uint64) (err error) {
	f.Acked, f.Others = box.Acked(), map[string]Reading{}
	f.Items, err = read(ctx, box.Reader(""), f.Acked, last)
	for _, name := range names {
		r := box.Reader(name)
		other := Reading{Acked: r.Acked()}
		if err == nil {
			other.Items, err = read(ctx, r, other.Acked, last)
		}
		f.Others[name] = other
	}
	return err
}

// read reads what follows after, up to a record.
func read(ctx context.Context, r *store.Reader, after, to uint64) (items []Item, err error) {
	for after < to && err == nil {
		err = r.Read(ctx, after, 256, func(epoch, seq uint64, b []byte, lost uint64) {
			it := Item{Epoch: epoch, Seq: seq, Lost: lost}
			if lost == 0 {
				n, ok := Number(b)
				it.N, it.Foreign = n, !ok
			} else {
				it.Why = string(b)
			}
			items, after = append(items, it), seq
		})
	}
	return items, err
}
