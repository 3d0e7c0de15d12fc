package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// TableConfig bounds a table and sets its pace. Zero fields take the default.
type TableConfig struct {
	// MaxEntries bounds the number of entries. Default 65,536; 1 to 16 Mi.
	MaxEntries int
	// MaxBytes bounds the bytes of keys and values together; the file takes up to
	// four times that. Default 16 MiB; 4 KiB to 1 GiB.
	MaxBytes int64
	// Linger is how long a change waits for company before the commit. Default
	// 5 ms; at most 1 s.
	Linger time.Duration
}

const (
	// MaxKey is the longest key of a table in bytes.
	MaxKey = 4096

	tablePrefix = "t-"
	tableSum    = 4 // CRC32C over key and value, little-endian, in front of each value
	tableSlack  = 4 << 20
	tableMapped = 1 << 20
)

var bucketTable = []byte("table")

func (c TableConfig) withDefaults() TableConfig {
	if c.MaxEntries == 0 {
		c.MaxEntries = 1 << 16
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 16 << 20
	}
	if c.Linger == 0 {
		c.Linger = 5 * time.Millisecond
	}
	return c
}

// Validate checks the values. The error is a *ConfigError.
func (c TableConfig) Validate() error {
	d := c.withDefaults()
	switch {
	case d.MaxEntries < 1 || d.MaxEntries > 1<<24:
		return &ConfigError{"max_entries", strconv.Itoa(d.MaxEntries) + " is out of range", "1 to 16777216"}
	case d.MaxBytes < 4<<10 || d.MaxBytes > 1<<30:
		return &ConfigError{"max_bytes", strconv.FormatInt(d.MaxBytes, 10) + " is out of range", "4 KiB to 1 GiB"}
	case d.Linger < 0 || d.Linger > time.Second:
		return &ConfigError{"linger", d.Linger.String() + " is out of range", "at most 1s"}
	}
	return nil
}

// Change is one change of a table: Key gets Value, which may be empty; a nil
// Value removes Key. Keys have 1 to MaxKey bytes.
type Change struct {
	Key, Value []byte
}

// Table is a durable map from keys to values, for what changes in place: sessions,
// last values, jobs. It keeps no values in memory: whoever needs them reads them
// at the start with Each and remembers them. All methods are safe for concurrent
// use.
type Table struct {
	disk   *disk
	name   string
	path   string
	cfg    TableConfig
	events func(Event)

	// wake tells run, its only receiver, of a change. Capacity 1: one pending hint
	// is as good as many. Never closed.
	wake chan struct{}

	mu      sync.Mutex // guards what follows
	queue   []*tableTx
	entries int
	bytes   int64
	commits uint64
	changes uint64
	full    uint64
	failing error
	shutErr error

	fileMu sync.RWMutex // guards db: written when the file is replaced, read to use it
	db     *bbolt.DB

	distrusted bool // run's own: the file is to be replaced before it is written again
}

// tableTx is one call of Apply.
type tableTx struct {
	changes []Change
	err     error      // the bound that it would have passed
	done    chan error // gets the outcome once; capacity 1, never closed
}

// Table opens the table of that name, one or more of a-z 0-9 _ -, making it if
// it is new. A damaged one is set aside, and what can be read of it is kept. All
// tables must be opened before Run.
func (s *Store) Table(name string, cfg TableConfig) (*Table, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if err := validName(name); err != nil {
		return nil, err
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("table %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return nil, fmt.Errorf("table %s: opened after Run", name)
	}
	if s.tables[name] != nil {
		return nil, fmt.Errorf("table %s: already open", name)
	}
	t := &Table{
		disk: s.disk, name: name, path: filepath.Join(s.cfg.Dir, tablePrefix+name+segSuffix), cfg: cfg.withDefaults(),
		events: s.cfg.Events, wake: make(chan struct{}, 1),
	}
	if err := t.load(); err != nil {
		return nil, fmt.Errorf("table %s: %w", name, full(err))
	}
	s.tables[name] = t
	return t, nil
}

// load opens the file, or makes a new one if there is none, it is damaged, or it
// has outgrown its content.
func (t *Table) load() error {
	err := t.adopt()
	switch {
	case err == nil && fileSize(t.path) > 4*t.bytes+tableSlack:
		return t.renew()
	case errors.Is(err, os.ErrNotExist):
		return t.replace(nil)
	case errors.Is(err, errDamaged):
		return t.repair(err)
	}
	return err
}

// adopt goes on with the file that is there.
func (t *Table) adopt() error {
	db, err := t.disk.open(t.path, tableMapped, false)
	if err != nil {
		return err
	}
	t.fileMu.Lock()
	t.db = db
	t.fileMu.Unlock()
	entries, size := 0, int64(0)
	err = t.view(func(key, value []byte) error {
		entries++
		size += int64(len(key) + len(value))
		return nil
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries, t.bytes = entries, size
	return err
}

// repair sets a damaged file aside and makes a new one of what can be read.
func (t *Table) repair(cause error) error {
	// A handle that panicked may hold bbolt's locks; it is left alone, like the
	// file, which keeps its inode under the new name.
	t.fileMu.Lock()
	t.db = nil
	t.fileMu.Unlock()
	aside, err := t.disk.setAside(t.path)
	if err != nil {
		return errors.Join(cause, err)
	}
	if err = t.disk.rescueTable(aside, t.path); err == nil {
		err = t.adopt()
	}
	if err != nil {
		cause = errors.Join(cause, err)
		if err := t.replace(nil); err != nil {
			return err
		}
	}
	t.events(Event{Kind: DamagedFile, Table: t.name, File: aside, Err: cause})
	return nil
}

// renew writes the content into a new file, through descriptors of its own: after
// a failed sync the kernel may believe pages clean that never got to the disk.
func (t *Table) renew() error {
	var all []Change
	err := t.view(func(key, value []byte) error {
		all = append(all, Change{bytes.Clone(key), bytes.Clone(value)})
		return nil
	})
	if err != nil {
		return err
	}
	return t.replace(all)
}

// bearTable makes the file of a table with that content, and tells how much that is.
func bearTable(d *disk, path string, all []Change) (db *bbolt.DB, entries int, size int64, err error) {
	db, err = d.bear(path, tableMapped, func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bucketTable)
		return err
	}, func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketTable)
		for _, c := range all {
			if err := b.Put(c.Key, sealed(c)); err != nil {
				return err
			}
			entries++
			size += int64(len(c.Key) + len(c.Value))
		}
		return nil
	})
	return db, entries, size, err
}

// replace makes a new file with that content and goes on with it.
func (t *Table) replace(all []Change) error {
	db, entries, size, err := bearTable(t.disk, t.path, all)
	if err != nil {
		return err
	}
	t.fileMu.Lock()
	old := t.db
	t.db = db
	t.fileMu.Unlock()
	if old != nil {
		_ = t.disk.close(old)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries, t.bytes = entries, size
	return nil
}

// sealed returns the value as it is in the file.
func sealed(c Change) []byte {
	sum := crc32.Update(crc32.Checksum(c.Key, castagnoli), castagnoli, c.Value)
	return append(binary.LittleEndian.AppendUint32(make([]byte, 0, tableSum+len(c.Value)), sum), c.Value...)
}

// unsealed returns the value that v in the file stands for; ok is false when it
// is damaged.
func unsealed(key, v []byte) (value []byte, ok bool) {
	if len(v) < tableSum {
		return nil, false
	}
	value = v[tableSum:]
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
	return value, sum == binary.LittleEndian.Uint32(v)
}

// view calls fn for each entry of the file.
func (t *Table) view(fn func(key, value []byte) error) error {
	t.fileMu.RLock()
	defer t.fileMu.RUnlock()
	if t.db == nil {
		return ErrClosed
	}
	return guard(func() error {
		return t.db.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucketTable)
			if b == nil {
				return damaged("no table in it")
			}
			return b.ForEach(func(k, v []byte) error {
				value, ok := unsealed(k, v)
				if !ok {
					return damaged("entry %.40q: checksum", k)
				}
				return fn(k, value)
			})
		})
	})
}

// Each calls fn for every entry, in the order of the keys, until fn returns an
// error, which it returns. The slices are only valid during the call.
func (t *Table) Each(fn func(key, value []byte) error) error {
	if err := t.view(fn); err != nil {
		return fmt.Errorf("table %s: %w", t.name, err)
	}
	return nil
}

// Apply makes all the changes, in their order, or none, and returns once they are
// on disk. Calls at the same time share a commit. ErrFull: the table would pass
// its bounds, or the disk is full, and nothing was changed; changes that make the
// table smaller are never refused for its bounds. ErrTooLarge: a key or value
// could never be kept. After any other error, and when ctx ends, the outcome is
// not known, and applying the changes again is right.
func (t *Table) Apply(ctx context.Context, changes []Change) error {
	if len(changes) == 0 {
		return nil
	}
	req := &tableTx{changes: make([]Change, len(changes)), done: make(chan error, 1)}
	for i, c := range changes {
		if len(c.Key) == 0 || len(c.Key) > MaxKey || int64(len(c.Key)+len(c.Value)) > t.cfg.MaxBytes {
			return fmt.Errorf("table %s: key %.40q of %d bytes, value of %d bytes: %w", t.name, c.Key, len(c.Key), len(c.Value), ErrTooLarge)
		}
		req.changes[i] = Change{bytes.Clone(c.Key), bytes.Clone(c.Value)}
	}
	t.mu.Lock()
	if t.shutErr != nil {
		defer t.mu.Unlock()
		return t.shutErr
	}
	t.queue = append(t.queue, req)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
	select {
	case err := <-req.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Delete removes the keys, as Apply does.
func (t *Table) Delete(ctx context.Context, keys ...[]byte) error {
	changes := make([]Change, len(keys))
	for i, k := range keys {
		changes[i].Key = k
	}
	return t.Apply(ctx, changes)
}

// run commits what is applied until ctx ends, and then the rest.
func (t *Table) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			t.shut()
			return t.commit()
		case <-t.wake:
		}
		linger := time.NewTimer(t.cfg.Linger)
		select {
		case <-ctx.Done():
		case <-linger.C:
		}
		linger.Stop()
		// Whoever applied it has been told; the next one tries again.
		_ = t.commit()
	}
}

// shut refuses further changes.
func (t *Table) shut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shutErr == nil {
		t.shutErr = fmt.Errorf("table %s: %w", t.name, ErrClosed)
	}
}

// commit writes what has been applied and answers.
func (t *Table) commit() error {
	t.mu.Lock()
	batch := t.queue
	t.queue = nil
	entries, size := t.entries, t.bytes
	t.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := t.write(batch, &entries, &size)
	if err != nil {
		err = fmt.Errorf("table %s: %w", t.name, err)
	}
	event := t.settle(batch, entries, size, err)
	for _, req := range batch {
		if err != nil {
			req.err = err
		}
		req.done <- req.err
	}
	if event != 0 {
		t.events(Event{Kind: event, Table: t.name, Err: err})
	}
	return err
}

// settle counts the outcome of a commit and returns the event that it is, if any.
func (t *Table) settle(batch []*tableTx, entries int, size int64, err error) (event EventKind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil && t.failing != nil:
		event = Recovered
	case err != nil && t.failing == nil:
		event = Degraded
	}
	t.failing = err
	if err != nil {
		return event
	}
	t.entries, t.bytes = entries, size
	t.commits++
	for _, req := range batch {
		if req.err != nil {
			t.full++
		} else {
			t.changes += uint64(len(req.changes))
		}
	}
	return event
}

// write commits the batch, in a new file if the last commit has failed in a way
// that leaves doubts.
func (t *Table) write(batch []*tableTx, entries *int, size *int64) error {
	if t.distrusted {
		if err := t.recover(); err != nil {
			return full(err)
		}
		t.mu.Lock()
		*entries, *size = t.entries, t.bytes
		t.mu.Unlock()
		t.distrusted = false
	}
	grows := int64(0)
	for _, req := range batch {
		for _, c := range req.changes {
			grows += int64(len(c.Value))
		}
	}
	if grows > 0 {
		if err := t.disk.room(filepath.Dir(t.path), grows); err != nil {
			return err
		}
	}
	err := t.disk.commit(t.db, func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketTable)
		for _, req := range batch {
			var err error
			if req.err, err = t.apply(b, req.changes, entries, size); err != nil {
				return err
			}
		}
		return nil
	})
	// A write that fails changes nothing that can be reached.
	var refused *fs.PathError
	t.distrusted = err != nil && !errors.As(err, &refused)
	if err != nil {
		t.disk.doubt(t.path)
	}
	return full(err)
}

func (t *Table) recover() error {
	err := t.renew()
	if errors.Is(err, errDamaged) {
		return t.repair(err)
	}
	return err
}

// apply makes the changes of one call. When they pass a bound it takes them back
// and says which.
func (t *Table) apply(b *bbolt.Bucket, changes []Change, entries *int, size *int64) (refused, err error) {
	n, bytes := *entries, *size
	undo := make([]Change, 0, len(changes))
	for _, c := range changes {
		old := b.Get(c.Key)
		if old != nil {
			n--
			bytes -= int64(len(c.Key) + len(old) - tableSum)
			old = append([]byte{}, old...)
		}
		undo = append(undo, Change{c.Key, old})
		if c.Value == nil {
			err = b.Delete(c.Key)
		} else {
			n++
			bytes += int64(len(c.Key) + len(c.Value))
			err = b.Put(c.Key, sealed(c))
		}
		if err != nil {
			return nil, err
		}
	}
	if n > t.cfg.MaxEntries && n > *entries {
		refused = fmt.Errorf("table %s: %w: %d entries are allowed", t.name, ErrFull, t.cfg.MaxEntries)
	} else if bytes > t.cfg.MaxBytes && bytes > *size {
		refused = fmt.Errorf("table %s: %w: %d bytes are allowed", t.name, ErrFull, t.cfg.MaxBytes)
	}
	if refused == nil {
		*entries, *size = n, bytes
		return nil, nil
	}
	for i := len(undo) - 1; i >= 0 && err == nil; i-- {
		if c := undo[i]; c.Value == nil {
			err = b.Delete(c.Key)
		} else {
			err = b.Put(c.Key, c.Value)
		}
	}
	return refused, err
}

// close closes the file; it waits for Each.
func (t *Table) close() {
	t.shut()
	t.mu.Lock()
	for _, req := range t.queue {
		req.done <- t.shutErr
	}
	t.queue = nil
	t.mu.Unlock()
	t.fileMu.Lock()
	defer t.fileMu.Unlock()
	if t.db != nil {
		// Nothing is lost by an error here: every commit was synced.
		_ = t.disk.close(t.db)
		t.db = nil
	}
}

// Counters returns by name: entries, bytes (of keys and values), commits, changes
// and refused (calls of Apply at a bound) since Open, and failing (0 or 1).
func (t *Table) Counters() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := map[string]uint64{
		"entries": uint64(t.entries), "bytes": uint64(t.bytes), "commits": t.commits, "changes": t.changes,
		"refused": t.full, "failing": 0,
	}
	if t.failing != nil {
		c["failing"] = 1
	}
	return c
}
