package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/router"
)

const (
	// onceMarksPeriod is how often marks go to disk, in one commit at most. Only what
	// an uplink has sent without getting an answer is sent again, so that a longer
	// one costs few repetitions, and it spares the disk.
	onceMarksPeriod = 5 * time.Second
	// onceMarksBatch bounds that commit.
	onceMarksBatch = 4096
)

// onceMarks keeps over a restart how far the streams of uplinks have been routed, so
// that what they send again after it is not routed again (docs/fleet.md). What is on
// disk is never ahead of what the histories have there: whoever may have lost an event
// in a crash gets it again.
type onceMarks struct {
	table     *store.Table
	router    *router.Router
	histories []*historyLog
	log       *slog.Logger

	mu      sync.Mutex     // one saves at a time; guards the rest
	turn    uint64         // of the batch before: keeps the order of use
	waiting []store.Change // a batch that is not on disk
	behind  []uint64       // how far each history has to be on disk before
}

// openOnceMarks opens the table of marks, before the store runs.
func (r *run) openOnceMarks() (err error) {
	// The router bounds the number of entries (limits.streams).
	r.onceTable, err = r.store.Table("once", store.TableConfig{MaxEntries: 1 << 24, MaxBytes: 128 << 20})
	return err
}

// startOnceMarks puts the marks of the run before into the router, and keeps those of
// this one from then on. It comes before all who publish.
func (r *run) startOnceMarks() error {
	k := &onceMarks{table: r.onceTable, router: r.router, histories: r.histories, log: r.log.With("room", "marks of streams")}
	if err := k.restore(); err != nil {
		return err
	}
	r.once = k
	r.core.run("marks of streams", k.run)
	return nil
}

// restore reads the table. What is damaged, or of a realm that is not there any more,
// goes with the first batch.
func (k *onceMarks) restore() error {
	type kept struct {
		router.Mark
		turn uint64
	}
	var all []kept
	err := k.table.Each(func(key, value []byte) error {
		m, turn, err := readOnceMark(key, value)
		if err != nil {
			k.waiting = append(k.waiting, store.Change{Key: slices.Clone(key)})
			return nil
		}
		all = append(all, kept{m, turn})
		k.turn = max(k.turn, turn)
		return nil
	})
	if err != nil {
		return fmt.Errorf("marks of streams: %w", err)
	}
	if n := len(k.waiting); n > 0 {
		k.log.Warn("marks of streams are damaged and left out", "count", n, "hint", "some events of uplinks may come twice")
	}
	slices.SortStableFunc(all, func(a, b kept) int { return cmp.Compare(a.turn, b.turn) })
	marks := make([]router.Mark, len(all))
	for i := range all {
		marks[i] = all[i].Mark
	}
	for _, m := range k.router.RestoreMarks(marks) {
		k.waiting = append(k.waiting, store.Change{Key: onceMarkKey(m)})
	}
	return nil
}

// run saves now and then until ctx ends. The last save is finish's.
func (k *onceMarks) run(ctx context.Context) error {
	pause := time.NewTimer(onceMarksPeriod)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		k.mu.Lock()
		_, err := k.step(ctx)
		k.mu.Unlock()
		switch {
		case errors.Is(err, errHistoriesBehind):
			pause.Reset(time.Second) // which is how long they take
			continue
		case err != nil && ctx.Err() == nil:
			k.log.Warn("marks of streams not saved; trying again", "error", err)
		}
		pause.Reset(onceMarksPeriod)
	}
}

// finish saves all marks. No stream goes on, but the gateway's own parts may still
// publish what a history keeps: that an uplink is not connected.
func (k *onceMarks) finish(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		more, err := k.step(ctx)
		if errors.Is(err, errHistoriesBehind) {
			for _, l := range k.histories {
				if err := l.flush(ctx); err != nil {
					return err
				}
			}
			more, err = k.step(ctx)
		}
		if err != nil || !more {
			return err
		}
	}
}

var errHistoriesBehind = errors.New("marks of streams not saved: a history is not on disk yet")

// step brings one batch to disk if the histories are there, and reports whether there
// may be more.
func (k *onceMarks) step(ctx context.Context) (more bool, err error) {
	if len(k.waiting) == 0 {
		k.take()
	}
	if len(k.waiting) == 0 {
		return false, nil
	}
	for i, l := range k.histories {
		if i < len(k.behind) && l.committed() < k.behind[i] {
			return false, errHistoriesBehind
		}
	}
	if err := k.table.Apply(ctx, k.waiting); err != nil {
		return false, err
	}
	k.waiting = k.waiting[:0]
	return true, nil
}

// take makes a batch of what has moved.
func (k *onceMarks) take() {
	moved, gone := k.router.TakeMarks(onceMarksBatch)
	k.turn++
	// First, as it makes room.
	for _, m := range gone {
		k.waiting = append(k.waiting, store.Change{Key: onceMarkKey(m)})
	}
	for _, m := range moved {
		if key := onceMarkKey(m); len(key) <= store.MaxKey {
			k.waiting = append(k.waiting, store.Change{Key: key, Value: onceMarkValue(m, k.turn)})
		}
	}
	k.behind = k.behind[:0]
	for _, l := range k.histories {
		k.behind = append(k.behind, l.Last())
	}
}

// onceMarkKey is realm, NUL, and the mark's key.
func onceMarkKey(m router.Mark) []byte { return []byte(string(m.Realm) + "\x00" + m.Key) }

const onceMarkVersion = 1

// onceMarkValue is the version, and the turn, epoch and seq as uvarint.
func onceMarkValue(m router.Mark, turn uint64) []byte {
	b := []byte{onceMarkVersion}
	for _, n := range []uint64{turn, m.Epoch, m.Seq} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

var errOnceMark = errors.New("not the mark of a stream")

// readOnceMark is the way back. It never panics, whatever it gets.
func readOnceMark(key, value []byte) (m router.Mark, turn uint64, err error) {
	realm, rest, ok := strings.Cut(string(key), "\x00")
	if !ok || len(value) == 0 || value[0] != onceMarkVersion {
		return m, 0, errOnceMark
	}
	m.Realm, m.Key = wamp.URI(realm), rest
	value = value[1:]
	for _, p := range []*uint64{&turn, &m.Epoch, &m.Seq} {
		n, size := binary.Uvarint(value)
		if size <= 0 {
			return m, 0, errOnceMark
		}
		*p, value = n, value[size:]
	}
	if len(value) > 0 {
		return m, 0, errOnceMark
	}
	return m, turn, nil
}
