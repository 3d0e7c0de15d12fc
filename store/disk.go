package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// Op is a step that changes the directory.
type Op uint8

// The steps. A failure of OpCommitted leaves the outcome unknown: everything is
// written, and the caller is told that it is not.
const (
	OpCreate    Op = iota + 1 // a file is made under its temporary name
	OpCommit                  // a transaction is written and synced
	OpCommitted               // it has been
	OpSync                    // a directory is synced
	OpRename
	OpRemove
)

var opNames = [...]string{"", "create", "commit", "committed", "sync", "rename", "remove"}

// String returns the step in one word.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return "op " + strconv.Itoa(int(o))
}

// disk is the one way to change the directory: each file is made, written,
// synced, renamed and removed here, and what that costs is counted.
type disk struct {
	vetting
	dir     string
	step    func(Op, string) error
	minFree int64
	beside  bool          // another process writes the files: copies of them are looked at, and nothing is changed
	written atomic.Uint64 // bytes of pages given to the kernel
	flushes atomic.Uint64 // syncs of files and directories
	commits atomic.Uint64

	mu   sync.Mutex // guards held
	held map[*bbolt.DB]*opened
}

// opened is a file that bbolt has open.
type opened struct {
	file *os.File
	// stuck: bbolt has panicked in a transaction that writes, and may hold its locks
	// for ever.
	stuck bool
}

func newDisk(dir string, step func(Op, string) error, minFree int64) *disk {
	if step == nil {
		step = func(Op, string) error { return nil }
	}
	return &disk{dir: dir, step: step, minFree: minFree, vetting: vetting{files: map[string]standing{}}, held: map[*bbolt.DB]*opened{}}
}

// room returns ErrFull when size more bytes at path would leave the system too little.
func (d *disk) room(path string, size int64) error {
	if d.minFree < 0 {
		return nil
	}
	return Room(path, size, d.minFree)
}

// Room returns ErrFull when size more bytes at path would leave the system less than
// minFree, 0 for the default of 64 MiB, or a twentieth of a small file system. It is for
// whoever else fills the disk that a store is on.
func Room(path string, size, minFree int64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return nil // then the write itself says what is wrong
	}
	unit := uint64(fs.Bsize)
	keep := uint64(minFree)
	if keep == 0 {
		keep = min(defaultMinFree, fs.Blocks*unit/20)
	}
	if fs.Bavail*unit < keep+uint64(size) {
		return fmt.Errorf("%w: %d bytes are free, of which %d are kept for the system", ErrFull, fs.Bavail*unit, keep)
	}
	return nil
}

const (
	newSuffix = ".new"

	defaultMinFree = 64 << 20

	page      = 4096
	allocSize = 1 << 20

	// keepDamaged is how many damaged files are kept beside one that is in use.
	keepDamaged = 4
)

// options returns bbolt's options for every file of the package. The free list
// is not written: it would be rewritten with each commit and never pays in files
// of this size. Nothing is ever left unsynced.
func options(mapped int64, readOnly bool) *bbolt.Options {
	return &bbolt.Options{
		Timeout: time.Second, PageSize: page, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		InitialMmapSize: int(mapped), ReadOnly: readOnly, NoStatistics: true,
	}
}

// open opens a file, unless there is something wrong with it.
func (d *disk) open(path string, mapped int64, readOnly bool) (*bbolt.DB, error) {
	if d.beside {
		copied, err := copyOf(path)
		if err != nil {
			return nil, err
		}
		// What is open needs no name.
		defer os.Remove(copied)
		path = copied
	}
	if err := d.vet(path)[0]; err != nil {
		return nil, err
	}
	return d.openVetted(path, mapped, readOnly)
}

// openVetted opens a file without looking at it before.
func (d *disk) openVetted(path string, mapped int64, readOnly bool) (db *bbolt.DB, err error) {
	o, opts := &opened{}, options(mapped, readOnly)
	opts.OpenFile = func(path string, flag int, mode os.FileMode) (_ *os.File, err error) {
		o.file, err = os.OpenFile(path, flag, mode)
		return o.file, err
	}
	err = guard(func() error {
		db, err = bbolt.Open(path, 0o600, opts)
		return err
	})
	if err != nil {
		if o.file != nil {
			_ = o.file.Close() // after a panic; a second time does no harm
		}
		return nil, err
	}
	db.AllocSize = allocSize
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held[db] = o
	return db, nil
}

// close closes a file. Of one that bbolt is stuck in, the lock is given back and the
// descriptor closed; what it has mapped stays so, and would keep both.
func (d *disk) close(db *bbolt.DB) error {
	d.mu.Lock()
	o := d.held[db]
	delete(d.held, db)
	d.mu.Unlock()
	if o != nil && o.stuck {
		return errors.Join(unix.Flock(int(o.file.Fd()), unix.LOCK_UN), o.file.Close())
	}
	return guard(db.Close)
}

// forsake closes a file without calling bbolt, whose state is not known.
func (d *disk) forsake(db *bbolt.DB) {
	d.mu.Lock()
	d.held[db].stuck = true
	d.mu.Unlock()
	_ = d.close(db)
}

// bear makes a bbolt file at path with the given transactions in it, in place of
// one that may be there. The file has a temporary name until its content is safe,
// since a power cut while bbolt initialises a file leaves one that cannot be
// opened. The caller closes the result.
func (d *disk) bear(path string, mapped int64, txs ...func(*bbolt.Tx) error) (db *bbolt.DB, err error) {
	tmp := path + newSuffix
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := d.step(OpCreate, tmp); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			if db != nil {
				_ = d.close(db)
			}
			_ = os.Remove(tmp)
			db = nil
		}
	}()
	if db, err = d.openVetted(tmp, mapped, false); err != nil {
		return nil, err
	}
	d.written.Add(4 * page)
	d.flushes.Add(2) // bbolt's own at its birth, and Sync below
	for _, fn := range txs {
		if err := d.commit(db, fn); err != nil {
			return nil, err
		}
	}
	if err := db.Sync(); err != nil {
		return nil, err
	}
	if err := d.rename(tmp, path); err != nil {
		return nil, err
	}
	d.set(path, standing{sound: true})
	return db, nil
}

// commit runs fn in a transaction and returns once that is on disk.
func (d *disk) commit(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
	if err := d.step(OpCommit, db.Path()); err != nil {
		return err
	}
	d.mu.Lock()
	o := d.held[db]
	stuck := o.stuck
	d.mu.Unlock()
	if stuck {
		return damaged("it could not be read while it was written")
	}
	returned := false
	err := guard(func() error {
		err := d.transact(db, fn)
		returned = true
		return err
	})
	if !returned {
		d.mu.Lock()
		o.stuck = true
		d.mu.Unlock()
	}
	if err != nil {
		return err
	}
	return d.step(OpCommitted, db.Path())
}

func (d *disk) transact(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
	tx, err := db.Begin(true)
	if err != nil {
		return err
	}
	// Does nothing after Commit.
	defer func() { _ = tx.Rollback() }()
	size := fileSize(db.Path())
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	stats := tx.Stats()
	d.written.Add(uint64(stats.GetPageAlloc()) + page) // and the meta page
	d.commits.Add(1)
	d.flushes.Add(2)
	if fileSize(db.Path()) != size {
		d.flushes.Add(1)
	}
	return nil
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// rename renames a file within its directory, durably.
func (d *disk) rename(from, to string) error {
	if err := d.step(OpRename, to); err != nil {
		return err
	}
	d.doubt(from)
	d.doubt(to)
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return d.syncDir(filepath.Dir(to))
}

func (d *disk) remove(path string) error {
	if err := d.step(OpRemove, path); err != nil {
		return err
	}
	d.doubt(path)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (d *disk) syncDir(dir string) error {
	if err := d.step(OpSync, dir); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	d.flushes.Add(1)
	return f.Sync()
}

// mkdir makes a directory, durably; it may be there already.
func (d *disk) mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); errors.Is(err, os.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	return d.syncDir(filepath.Dir(path))
}

// setAside renames a damaged file to FILE.damaged-N with the next number and
// removes all but the newest of its predecessors.
func (d *disk) setAside(path string) (string, error) {
	dir, prefix := filepath.Dir(path), ".damaged-"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var last uint64
	numbers := make(map[uint64]string)
	for _, e := range entries {
		_, num, ok := strings.Cut(e.Name(), prefix)
		n, err := strconv.ParseUint(num, 10, 32)
		if !ok || err != nil {
			continue
		}
		numbers[n] = filepath.Join(dir, e.Name())
		last = max(last, n)
	}
	aside := fmt.Sprintf("%s%s%d", path, prefix, last+1)
	if err := d.rename(path, aside); err != nil {
		return "", err
	}
	for n, name := range numbers {
		if n+keepDamaged <= last+1 {
			_ = d.remove(name)
		}
	}
	return aside, nil
}

// onDisk returns the bytes that a file takes from the disk: bbolt grows its files
// ahead of their content, so they have holes.
func onDisk(info os.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int64(st.Blocks) * 512
	}
	return info.Size()
}

// full adds ErrFull to an error that says that the disk is full.
func full(err error) error {
	if err != nil && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		// bbolt hides the cause of a failed growth behind %s.
		strings.Contains(err.Error(), syscall.ENOSPC.Error())) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// guard runs fn, which calls into bbolt, and turns a panic, or a fault in the
// memory map such as an unreadable sector causes, into an error.
func guard(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			err = damaged("%v", r)
		}
	}()
	return fn()
}
