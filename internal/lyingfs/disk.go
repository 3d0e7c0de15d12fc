// Package lyingfs is a file system in memory, for tests, that forgets all that was not
// made durable, as a disk whose power is cut, and that fails as worn and full disks do.
// It is mounted by FUSE, so that real programs run on it.
//
// What is assumed of a sync is what ext4 does: that of a file makes its content durable,
// and with it every change of a directory so far; so does that of a directory. What was
// not synced is lost in pieces: of a file any 4 KiB pages, some of them only up to a
// sector, of the directories' changes all but the first few.
package lyingfs

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
)

const (
	page   = 4096
	sector = 512

	// plenty is the size of a disk that is not full.
	plenty = 16 << 30
	// nearlyFull is what is left of a disk that others have filled but for a little.
	nearlyFull = 16 << 20
)

// object is a file, a directory or a socket.
type object struct {
	ino       uint64
	mode      uint32             // with the type
	mtime     int64              // ns
	now, safe []byte             // content: as programs see it, and as it is without what was not synced
	names     map[string]*object // of a directory
	safeNames map[string]*object
	unsynced  bool // now and safe differ
}

// allocated returns the bytes that a file takes from the disk: pages of zeros are
// holes, into which databases grow their files.
func (o *object) allocated() (n int64) {
	var zeros [page]byte
	for p := range slices.Chunk(o.now, page) {
		if !bytes.Equal(p, zeros[:len(p)]) {
			n += page
		}
	}
	return n
}

func (o *object) dir() bool { return o.names != nil }

// renaming is a change of directories that is not durable yet: what each name is to
// stand for, nil for nothing.
type renaming []struct {
	dir  *object
	name string
	to   *object
}

// FS is a mounted file system. Its faults are set and its power is cut while programs
// use it; all methods are safe for concurrent use.
type FS struct {
	unmount func() error
	forget  func() // has the kernel forget the content of files

	mu         sync.Mutex // guards what follows
	root       *object
	nextIno    uint64
	journal    []renaming
	used       int64
	full       int64 // bytes that there is room for; 0 = plenty
	readOnly   bool
	lies       bool
	eio        int // every how many writes fail; 0 = none
	writes     int
	cut        int // changes until the power fails; -1 = it does not
	dark       bool
	unreadable bool
	low        bool
}

func newFS() *FS {
	f := &FS{cut: -1}
	f.root = f.object(syscall.S_IFDIR | 0o777)
	return f
}

func (f *FS) object(mode uint32) *object {
	f.nextIno++
	o := &object{ino: f.nextIno, mode: mode}
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		o.names, o.safeNames = map[string]*object{}, map[string]*object{}
	}
	return o
}

// Lie makes syncs succeed without doing anything.
func (f *FS) Lie(on bool) { f.set(func() { f.lies = on }) }

// ReadOnly has every change refused with EROFS, as by a card that has locked itself.
func (f *FS) ReadOnly(on bool) { f.set(func() { f.readOnly = on }) }

// Full has writes refused with ENOSPC that need more than size bytes in all; 0 ends it.
func (f *FS) Full(size int64) { f.set(func() { f.full = size }) }

// Low has the file system say that 16 MiB are free at most, while writes succeed.
func (f *FS) Low(on bool) { f.set(func() { f.low = on }) }

// FailWrites has every nth write fail with EIO; 0 ends it.
func (f *FS) FailWrites(n int) { f.set(func() { f.eio = n }) }

// Unreadable has every read fail with EIO, also of what the kernel has remembered until
// now. A program that has the file mapped gets SIGBUS.
func (f *FS) Unreadable(on bool) {
	f.set(func() { f.unreadable = on })
	if on {
		f.forget()
	}
}

// CutAfter has the power fail after n more changes: from then on every change fails with
// EIO, until Restore. Reads go on: a program whose machine is off reads nothing, so what
// it would do about pages that cannot be read is no part of a cut.
func (f *FS) CutAfter(n int) { f.set(func() { f.cut = n }) }

// Dark reports whether the power has failed.
func (f *FS) Dark() (dark bool) {
	f.set(func() { dark = f.dark })
	return dark
}

// Used returns the bytes of all files.
func (f *FS) Used() (n int64) {
	f.set(func() { n = f.used })
	return n
}

func (f *FS) set(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
}

// change is asked before each change. It is called with mu held, as all below.
func (f *FS) change() syscall.Errno {
	switch {
	case f.dark:
		return syscall.EIO
	case f.readOnly:
		return syscall.EROFS
	case f.cut > 0:
		f.cut--
	case f.cut == 0:
		f.dark = true
		return syscall.EIO
	}
	return 0
}

// name makes changes of directories, all or none of which survive a cut.
func (f *FS) name(changes renaming) {
	for _, c := range changes {
		if c.to == nil {
			delete(c.dir.names, c.name)
		} else {
			c.dir.names[c.name] = c.to
		}
	}
	f.journal = append(f.journal, changes)
}

// commit makes the first n changes of directories durable.
func (f *FS) commit(n int) {
	for _, changes := range f.journal[:n] {
		for _, c := range changes {
			if c.to == nil {
				delete(c.dir.safeNames, c.name)
			} else {
				c.dir.safeNames[c.name] = c.to
			}
		}
	}
	f.journal = f.journal[n:]
}

func (f *FS) sync(o *object) syscall.Errno {
	if e := f.change(); e != 0 {
		return e
	}
	if f.lies {
		return 0
	}
	if o.unsynced {
		o.safe, o.unsynced = append([]byte(nil), o.now...), false
	}
	f.commit(len(f.journal))
	return 0
}

func (f *FS) write(o *object, b []byte, at int64) syscall.Errno {
	if e := f.change(); e != 0 {
		return e
	}
	if f.writes++; f.eio > 0 && f.writes%f.eio == 0 {
		return syscall.EIO
	}
	if grows := at + int64(len(b)) - int64(len(o.now)); grows > 0 {
		if f.full > 0 && f.used+grows > f.full {
			return syscall.ENOSPC
		}
		f.resize(o, at+int64(len(b)))
	}
	copy(o.now[at:], b)
	o.unsynced = true
	return 0
}

func (f *FS) resize(o *object, size int64) {
	f.used += size - int64(len(o.now))
	if size <= int64(len(o.now)) {
		o.now = o.now[:size:size]
	} else {
		o.now = append(o.now, make([]byte, size-int64(len(o.now)))...)
	}
	o.unsynced = true
}

// Settle makes all that there is durable.
func (f *FS) Settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commit(len(f.journal))
	walk(f.root, func(o *object) {
		o.safe, o.unsynced = append([]byte(nil), o.now...), false
	})
}

// Restore gives the disk its power back, after a cut that may come now. Files and
// directories are what was durable, and any part of the rest, which r chooses. Faults
// end. No program may have a file open.
func (f *FS) Restore(r *rand.Rand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commit(r.IntN(len(f.journal) + 1))
	f.journal, f.used = nil, 0
	f.readOnly, f.lies, f.dark, f.unreadable, f.low = false, false, false, false, false
	f.full, f.eio, f.cut = 0, 0, -1
	walk(f.root, func(o *object) {
		if o.dir() {
			o.names = maps.Clone(o.safeNames)
			return
		}
		if o.unsynced {
			o.tear(r)
		}
		f.used += int64(len(o.now))
	})
}

// tear loses pages that were not synced.
func (o *object) tear(r *rand.Rand) {
	for at := 0; at < len(o.now); at += page {
		p := o.now[at:min(at+page, len(o.now))]
		switch r.IntN(4) {
		case 0, 1:
			continue
		case 2:
			p = p[:min(len(p), sector*(1+r.IntN(page/sector)))]
		}
		if end := at + len(p); len(o.safe) < end {
			o.safe = append(o.safe, make([]byte, end-len(o.safe))...)
		}
		copy(o.safe[at:], p)
	}
	o.now, o.unsynced = append([]byte(nil), o.safe...), false
}

// walk calls fn once for everything below o, a directory before what is in it.
func walk(o *object, fn func(*object)) {
	seen := map[*object]bool{}
	var visit func(o *object)
	visit = func(o *object) {
		if seen[o] {
			return
		}
		seen[o] = true
		fn(o)
		// In order, so that a seed chooses the same again.
		for _, name := range slices.Sorted(maps.Keys(o.names)) {
			visit(o.names[name])
		}
	}
	visit(o)
}
