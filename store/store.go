// Package store keeps what must survive a restart in a directory of bbolt files:
// outboxes (bounded queues of records with a cursor), tables (bounded maps), an
// epoch counter, and small settings. It knows nothing of what it stores, and it does not log: it
// returns errors and reports damage and loss as events.
//
// # Files
//
// DIR/lock is held by the one process that uses the directory. DIR/meta.db has
// the cursors, the epoch and the settings. DIR/t-NAME.db is the table NAME.
// DIR/NAME/q-FIRST.db are the segments
// of the outbox NAME, each named by the sequence number of its first record in
// hexadecimal. A segment is written by one process, rolled over when it is full,
// and unlinked whole when its last record has been acknowledged or the bound of
// the outbox demands it; no record is ever deleted by itself.
//
// # Promises
//
// What Append has acknowledged is on disk, or has been acknowledged by the
// reader. Records come out in the order of their sequence numbers, never twice
// within a run, and each is exactly what went in: chunks carry a checksum, and
// every file is checked by own code, and one that was not closed in order is opened
// by another process (Config.Apart), before bbolt, which would panic on a damaged
// one, opens it here. A hole in the sequence, from a bound, from damage or from
// records that were never committed before a crash, is shown to the reader.
//
// The identity (ID, epoch, sequence number) never names two records: the epoch
// grows by one at each Open, the sequence number within an epoch by one, and ID
// is drawn anew if the directory is new or its meta.db was lost.
package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Errors of the store. All are returned wrapped.
var (
	// ErrLocked: another process uses the directory.
	ErrLocked = errors.New("store is in use")
	// ErrFull: the outbox is at its bound and rejects new records, or the disk is
	// full. Nothing was stored.
	ErrFull = errors.New("store is full")
	// ErrTooLarge: the record is larger than OutboxConfig.MaxRecord.
	ErrTooLarge = errors.New("record is too large")
	// ErrClosed: the store has been closed.
	ErrClosed = errors.New("store is closed")
)

// ConfigError tells which setting is wrong and what would be right.
type ConfigError struct {
	Key     string // field in the form used in configuration files: "max_bytes"
	Text    string // what is wrong
	Allowed string // what is allowed
}

// Error returns key, text and what is allowed.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("%s: %s; allowed: %s", e.Key, e.Text, e.Allowed)
}

// EventKind says what an Event tells of.
type EventKind uint8

// The kinds of events.
const (
	// DamagedFile: a file was set aside under another name, File, and what could
	// be read of it was kept.
	DamagedFile EventKind = iota + 1
	// DamagedChunk: some records of File fail their checksum and were passed over.
	DamagedChunk
	// Dropped: the records From..To were dropped unacknowledged to stay within a
	// bound.
	Dropped
	// Degraded: a commit failed with Err; sampled records are kept in memory and
	// confirmed ones refused.
	Degraded
	// Recovered: commits work again.
	Recovered
)

var eventNames = [...]string{"", "damaged file", "damaged records", "dropped", "degraded", "recovered"}

// String returns the kind in words.
func (k EventKind) String() string {
	if int(k) < len(eventNames) {
		return eventNames[k]
	}
	return "event " + strconv.Itoa(int(k))
}

// Event tells of something that the operator should know.
type Event struct {
	Kind     EventKind
	Outbox   string // "" for meta.db and tables
	Table    string // "" for meta.db and outboxes
	File     string // path; may be empty
	From, To uint64 // sequence numbers; 0 where they do not apply
	Err      error  // may be nil
}

// Config configures a store.
type Config struct {
	// Dir is the directory; it is made if missing, its parent is not.
	Dir string
	// Events is called for each event, from any goroutine, and must return soon.
	// nil discards them.
	Events func(Event)
	// Now is the wall clock, for ageing only; nil is time.Now.
	Now func() time.Time
	// Synced reports whether Now can be trusted; once it can, it can for good. Until
	// then nothing is too old. nil: it can after 2025.
	Synced func() bool
	// MinFree is how many bytes of the file system the store leaves free for the
	// rest of the system. 0 is 64 MiB, or a twentieth of a file system where that
	// is less; negative leaves none.
	MinFree int64
	// Apart runs Apart with these words in a process of its own, within limits of
	// time and memory, and returns what that has written. The error wraps ErrDied
	// when the process ended before it was done, or had to be ended; any other says
	// that there was no such process. A file that was not closed in order is opened
	// there first, and a damaged one salvaged. nil: this process makes do with its own
	// check of the structure.
	Apart func(args []string) ([]byte, error)
	// Step is called before each step that changes the directory, with the path
	// that it changes, from any goroutine; an error is taken for the step's. It is
	// there for tests that trace steps or fail them. nil does nothing.
	Step func(op Op, path string) error
}

// Store is an open directory. All methods are safe for concurrent use.
type Store struct {
	cfg     Config
	lock    *os.File
	disk    *disk
	meta    *meta
	epoch   uint64
	deflate deflater
	now     func() time.Time
	ageing  *ageClock
	closed  atomic.Bool

	mu      sync.Mutex // guards what follows
	outs    map[string]*Outbox
	tables  map[string]*Table
	running bool
}

// Open takes possession of the directory and opens meta.db; a damaged one is set
// aside and replaced. It returns ErrLocked when another process is there. It
// starts nothing: Run does the committing.
func Open(cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, &ConfigError{"dir", "is empty", "a directory"}
	}
	if err := os.Mkdir(cfg.Dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	s := &Store{cfg: cfg, now: cfg.Now, disk: newDisk(cfg.Dir, cfg.Step, cfg.MinFree), outs: make(map[string]*Outbox), tables: make(map[string]*Table)}
	if s.now == nil {
		s.now = time.Now
	}
	if s.cfg.Events == nil {
		s.cfg.Events = func(Event) {}
	}
	s.ageing = &ageClock{wall: s.now, synced: cfg.Synced}
	s.disk.apart = cfg.Apart
	var err error
	if s.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	if err := s.disk.vetStart(); err != nil {
		return nil, errors.Join(err, unlockDir(s.lock))
	}
	if s.meta, err = openMeta(s.disk, filepath.Join(cfg.Dir, metaName), s.cfg.Events); err != nil {
		return nil, errors.Join(err, unlockDir(s.lock))
	}
	seen, err := newestEpoch(s.disk, cfg.Dir)
	if err == nil {
		s.epoch, err = s.meta.nextEpoch(seen)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// lockDir takes the directory's lock, which ends with the process.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		// The number is only for the message of the next process that tries.
		_ = f.Truncate(0)
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
		return f, nil
	}
	defer f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid := make([]byte, 16)
		n, _ := f.ReadAt(pid, 0)
		return nil, fmt.Errorf("%w: %s belongs to process %s", ErrLocked, dir, strings.TrimSpace(string(pid[:n])))
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// unlockDir gives the lock back by name: a child that is just being started has
// a copy of the descriptor until it runs its own program, and would keep it.
func unlockDir(f *os.File) error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}

// ID returns the identity of this store's data: eight hexadecimal digits, drawn
// when the directory was made or its meta.db lost.
func (s *Store) ID() string { return s.meta.id }

// Epoch returns this run's epoch, which is above that of every earlier Open.
func (s *Store) Epoch() uint64 { return s.epoch }

// NextEpoch returns a number above every earlier one of the same counter as
// Epoch; it is on disk before it is returned.
func (s *Store) NextEpoch() (uint64, error) {
	if s.closed.Load() {
		return 0, ErrClosed
	}
	return s.meta.nextEpoch(0)
}

// Get returns the setting, nil if there is none.
func (s *Store) Get(key string) ([]byte, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	return s.meta.get(key)
}

// Put stores a setting of at most 64 KiB durably; a nil value removes it.
func (s *Store) Put(key string, value []byte) error {
	if s.closed.Load() {
		return ErrClosed
	}
	if key == "" || len(key) > 256 || len(value) > 64<<10 {
		return fmt.Errorf("setting %.40q of %d bytes: %w", key, len(value), ErrTooLarge)
	}
	return s.meta.put(key, value)
}

// Outbox opens the outbox of that name, one or more of a-z 0-9 _ -, making it
// if it is new. All outboxes must be opened before Run.
func (s *Store) Outbox(name string, cfg OutboxConfig) (*Outbox, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if err := validName(name); err != nil {
		return nil, err
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("outbox %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return nil, fmt.Errorf("outbox %s: opened after Run", name)
	}
	if s.outs[name] != nil {
		return nil, fmt.Errorf("outbox %s: already open", name)
	}
	o, err := openOutbox(s, name, cfg.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("outbox %s: %w", name, err)
	}
	s.outs[name] = o
	return o, nil
}

// Costs returns what the store has cost the disk since Open: bytes of pages given
// to the kernel, syncs, and transactions.
func (s *Store) Costs() (written, flushes, commits uint64) {
	return s.disk.written.Load(), s.disk.flushes.Load(), s.disk.commits.Load()
}

// Outboxes returns the open outboxes by name, in a map of the caller's own.
func (s *Store) Outboxes() map[string]*Outbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.outs)
}

// Tables returns the open tables by name, in a map of the caller's own.
func (s *Store) Tables() map[string]*Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.tables)
}

func validName(name string) error {
	if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return &ConfigError{"name", fmt.Sprintf("%q is no name of an outbox or a table", name), "1 to 64 of a-z 0-9 _ -"}
	}
	return nil
}

// Run commits what is appended and applied until ctx ends; then it commits the
// rest, saves the cursors and returns. What comes after that is refused with
// ErrClosed. Run is called once.
func (s *Store) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = true
	var g errgroup.Group
	for _, o := range s.outs {
		g.Go(func() error { return o.run(ctx) })
		g.Go(func() error { return o.packer(ctx) })
	}
	for _, t := range s.tables {
		g.Go(func() error { return t.run(ctx) })
	}
	s.mu.Unlock()
	<-ctx.Done()
	return g.Wait()
}

// Close closes the files. It does not commit: end Run first. A second call does
// nothing.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.outs {
		o.shut(ErrClosed)
		o.forget()
		o.closeFiles()
	}
	for _, t := range s.tables {
		t.close()
	}
	err := s.meta.close()
	if err == nil {
		// Without the mark the next start only takes a little longer.
		_ = s.disk.leaveMark()
	}
	// Closing the lock last lets the next process in only when all is done.
	return errors.Join(err, unlockDir(s.lock))
}
