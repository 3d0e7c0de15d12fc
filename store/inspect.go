package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/bbolt"
)

// Report is what Inspect found of one file.
type Report struct {
	Path    string
	Outbox  string // "" for meta.db and tables
	Table   string // "" for meta.db and outboxes
	Bytes   int64  // on disk
	Records uint64 // undamaged records of an outbox, or entries of a table
	First   uint64 // sequence numbers of an outbox's records; 0 where there are none
	Last    uint64
	Acked   uint64 // the cursor of the outbox's slowest reader
	Err     error  // what is wrong with the file; nil when all of it is in order
}

// Inspect reads every file of a store, with every record, and changes nothing. When a
// process uses the store it looks at a copy of each file, as it was between two commits,
// in the directory for temporary files; what that process has in memory alone is not seen.
func Inspect(dir string) ([]Report, error) {
	var all []Report
	err := look(dir, func(d *disk) error {
		m := &meta{disk: d}
		head := Report{Path: filepath.Join(dir, metaName)}
		head.Bytes = bytesOf(head.Path)
		if m.db, head.Err = d.open(head.Path, 0, true); head.Err == nil {
			defer func() { _ = m.close() }()
			head.Err = guard(m.load)
		}
		all = append(all, head)
		tables, err := tableFiles(dir)
		if err != nil {
			return err
		}
		for name, path := range tables {
			all = append(all, inspectTable(d, name, path))
		}
		return eachOutbox(d, dir, func(name string, segs []*segment) error {
			acked := uint64(0)
			if head.Err == nil {
				all, _, err := m.outbox(name)
				if err != nil {
					return err
				}
				acked = slowestOf(all).acked
			}
			for _, s := range segs {
				r := inspectSegment(s)
				if d.beside && errors.Is(r.Err, os.ErrNotExist) {
					continue // acknowledged meanwhile
				}
				r.Outbox, r.Acked = name, acked
				all = append(all, r)
			}
			return nil
		})
	})
	return all, err
}

// Export hands each undamaged record of an outbox to each, oldest first, those already
// acknowledged included while their file is there. A process may use the store: see
// Inspect. clock is when the record was written, in microseconds UTC. The
// record is only valid during the call.
func Export(dir, outbox string, each func(epoch, seq uint64, clock int64, record []byte) error) error {
	found := false
	err := look(dir, func(d *disk) error {
		return eachOutbox(d, dir, func(name string, segs []*segment) error {
			if name != outbox {
				return nil
			}
			found = true
			for _, s := range segs {
				var failed error
				_, err := s.chunks(func(c *chunk) error {
					for i, b := range c.records {
						if failed = each(c.epoch, c.first+uint64(i), c.clock, b); failed != nil {
							return failed
						}
					}
					return nil
				})
				if d.beside && errors.Is(err, os.ErrNotExist) {
					continue
				}
				if failed != nil || err != nil && !errors.Is(err, errDamaged) {
					return errors.Join(failed, err)
				}
			}
			return nil
		})
	})
	if err == nil && !found {
		return fmt.Errorf("%s has no outbox %q", dir, outbox)
	}
	return err
}

// Compact rewrites the files of a store that no process uses where that makes
// them smaller. It returns the bytes on disk before and after.
func Compact(dir string) (before, after int64, err error) {
	err = offline(dir, func(d *disk) error {
		if err := d.takeMark(); err != nil {
			return err
		}
		tables, err := tableFiles(dir)
		if err != nil {
			return err
		}
		for name, path := range tables {
			before += bytesOf(path)
			t := &Table{disk: d, name: name, path: path, events: func(Event) {}}
			// Damage is for the gateway to repair, which tells of it.
			if t.db, err = d.open(path, tableMapped, false); err == nil {
				err = t.renew()
			}
			t.close()
			if err != nil && !errors.Is(err, errDamaged) {
				return fmt.Errorf("%s: %w", path, full(err))
			}
			after += bytesOf(path)
		}
		return eachOutbox(d, dir, func(name string, segs []*segment) error {
			for _, s := range segs {
				before += bytesOf(s.path)
				if _, err := s.chunks(func(*chunk) error { return nil }); err == nil {
					s.pack(func() bool { return true }, name)
				}
				after += bytesOf(s.path)
			}
			return nil
		})
	})
	return before, after, err
}

// look runs fn, which changes nothing, on a store that a process may use.
func look(dir string, fn func(d *disk) error) error {
	err := offline(dir, fn)
	if !errors.Is(err, ErrLocked) {
		return err
	}
	d := newDisk(dir, nil, 0)
	d.beside = true
	return fn(d)
}

// copyOf copies a file of bbolt that another process writes, as it was between two
// commits, and returns where; the caller removes the copy. What the meta pages lead to
// stays as it is until they are written again.
func copyOf(path string) (copied string, err error) {
	from, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer from.Close()
	to, err := os.CreateTemp("", "gantry-*"+segSuffix)
	if err != nil {
		return "", err
	}
	defer func() {
		if err = errors.Join(err, to.Close()); err != nil {
			_ = os.Remove(to.Name())
		}
	}()
	for range copyTries {
		var before, after [2 * page]byte
		n, err := from.ReadAt(before[:], 0)
		if err != nil && err != io.EOF {
			return "", err
		}
		if err := copyFile(to, from); err != nil {
			return "", err
		}
		if m, _ := from.ReadAt(after[:], 0); m == n && before == after {
			return to.Name(), nil
		}
	}
	return "", fmt.Errorf("%s changes too fast to be looked at", path)
}

// copyTries is how often a copy is tried of a file that is being written: one takes
// milliseconds, and so long are the pauses between commits of a gateway with much to do.
const copyTries = 1000

// copyFile makes to the same as from.
func copyFile(to, from *os.File) error {
	if err := to.Truncate(0); err != nil {
		return err
	}
	_, err := to.Seek(0, io.SeekStart)
	if err == nil {
		_, err = from.Seek(0, io.SeekStart)
	}
	if err == nil {
		_, err = io.Copy(to, from)
	}
	return err
}

// offline runs fn while it holds the lock of an existing store.
func offline(dir string, fn func(d *disk) error) error {
	if _, err := os.Stat(filepath.Join(dir, "lock")); err != nil {
		return fmt.Errorf("%s is no store: %w", dir, err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer func() { _ = unlockDir(lock) }()
	return fn(newDisk(dir, nil, 0))
}

func bytesOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return onDisk(info)
}

// tableFiles returns the files of the tables by the tables' names.
func tableFiles(dir string) (map[string]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, tablePrefix+"*"+segSuffix))
	files := make(map[string]string)
	for _, p := range paths {
		files[strings.TrimSuffix(strings.TrimPrefix(filepath.Base(p), tablePrefix), segSuffix)] = p
	}
	return files, err
}

// eachOutbox calls fn with every outbox and its segments.
func eachOutbox(d *disk, dir string, fn func(name string, segs []*segment) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || validName(e.Name()) != nil {
			continue
		}
		segs, err := listSegments(d, filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		if err := fn(e.Name(), segs); err != nil {
			return err
		}
	}
	return nil
}

func inspectTable(d *disk, name, path string) Report {
	r := Report{Path: path, Table: name, Bytes: bytesOf(path)}
	t := &Table{disk: d, name: name, path: path}
	defer t.close()
	if t.db, r.Err = d.open(path, 0, true); r.Err == nil {
		r.Err = t.view(func(_, _ []byte) error { r.Records++; return nil })
	}
	return r
}

func inspectSegment(s *segment) Report {
	r := Report{Path: s.path, Bytes: s.bytes.Load()}
	bad, err := s.chunks(func(c *chunk) error {
		if r.First == 0 {
			r.First = c.first
		}
		r.Last = max(r.Last, c.last())
		r.Records += uint64(len(c.records))
		return nil
	})
	r.Err = errors.Join(bad, err)
	return r
}

// chunks calls fn for every undamaged chunk of a file that is not written, oldest
// first, and closes it. bad tells of a damaged one.
func (s *segment) chunks(fn func(*chunk) error) (bad, err error) {
	defer s.rest()
	_, err = s.view(func(tx *bbolt.Tx) error {
		cur := tx.Cursor()
		for k, _ := cur.Seek(binary.BigEndian.AppendUint64(nil, 1)); len(k) == 8; k, _ = cur.Next() {
			b := tx.Bucket(k)
			if b == nil {
				bad = damaged("chunk %x", k)
				continue
			}
			c, err := decodeChunk(b.Get([]byte(chunkKey)))
			if err != nil {
				bad = err
				continue
			}
			if err := fn(c); err != nil {
				return err
			}
		}
		return nil
	})
	return bad, err
}
