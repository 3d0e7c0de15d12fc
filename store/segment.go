package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

const (
	segPrefix = "q-"
	segSuffix = ".db"

	// formatKey names the bucket that says what the file is. It sorts before
	// every chunk, whose bucket is named by its first sequence number in eight
	// bytes, big-endian.
	formatKey = "\x00"
	chunkKey  = "c"
	// cursorsKey is beside chunkKey where several read the outbox: their cursors when
	// the chunk was written.
	cursorsKey = "r"
)

// segment is one file of an outbox. It is written once in its life, by the
// process that made it, and only read after that.
type segment struct {
	disk  *disk
	first uint64 // sequence number of its first record, also in its name
	path  string

	mu      sync.Mutex // guards what follows; it is the owner's lock of the file and held while it is read
	db      *bbolt.DB  // nil while closed
	writing bool       // open for writing: the committer closes it, not the reader
	gone    bool       // unlinked

	bytes  atomic.Int64 // on disk
	newest lastWrite    // only the outbox's committer touches it
}

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%016x%s", segPrefix, first, segSuffix))
}

// listSegments returns the segments in dir, oldest first, and removes files that
// were being born when the process ended, unless it looks at those of another.
func listSegments(d *disk, dir string) ([]*segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var segs []*segment
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, newSuffix) {
			if d.beside {
				continue
			}
			if err := d.remove(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
			continue
		}
		hex, ok := strings.CutPrefix(name, segPrefix)
		hex, ok2 := strings.CutSuffix(hex, segSuffix)
		first, err := strconv.ParseUint(hex, 16, 64)
		if !ok || !ok2 || err != nil || len(hex) != 16 || first == 0 {
			continue
		}
		s := &segment{disk: d, first: first, path: filepath.Join(dir, name)}
		if info, err := e.Info(); err == nil {
			s.newest = lastWrite{at: time.Now(), day: info.ModTime(), ask: true}
			s.bytes.Store(onDisk(info))
		}
		segs = append(segs, s)
	}
	// os.ReadDir sorts by name, which is by first.
	return segs, nil
}

// bearSegment makes a segment with its first chunks in it, in place of one that
// may be there.
func bearSegment(d *disk, path, outbox string, mapped int64, chunks []foundChunk) (*segment, error) {
	s := &segment{disk: d, first: chunks[0].first, path: path}
	var err error
	s.db, err = d.bear(s.path, mapped, func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte(formatKey))
		if err != nil {
			return err
		}
		return errors.Join(b.Put([]byte("format"), []byte{1}), b.Put([]byte("outbox"), []byte(outbox)))
	}, func(tx *bbolt.Tx) error { return putChunks(tx, chunks) })
	if err != nil {
		return nil, err
	}
	s.writing = true
	s.measure()
	return s, nil
}

func putChunks(tx *bbolt.Tx, chunks []foundChunk) error {
	// Keys only grow, so pages may be filled to the brim.
	tx.Cursor().Bucket().FillPercent = 1
	for _, c := range chunks {
		b, err := tx.CreateBucket(binary.BigEndian.AppendUint64(nil, c.first))
		if err != nil {
			return err
		}
		if err := b.Put([]byte(chunkKey), c.bytes); err != nil {
			return err
		}
		if c.cursors != nil {
			if err := b.Put([]byte(cursorsKey), c.cursors); err != nil {
				return err
			}
		}
	}
	return nil
}

// put commits chunks to the segment, which must be open for writing.
func (s *segment) put(chunks []foundChunk) error {
	err := s.disk.commit(s.db, func(tx *bbolt.Tx) error { return putChunks(tx, chunks) })
	if err != nil {
		s.disk.doubt(s.path)
	}
	s.measure()
	return err
}

// measure notes how large the segment is.
func (s *segment) measure() {
	if info, err := os.Stat(s.path); err == nil {
		s.bytes.Store(onDisk(info))
	}
}

// seal ends the writing; the file can be read again.
func (s *segment) seal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	s.close()
}

// busy reports whether the file is being written.
func (s *segment) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writing
}

// rest closes the file until it is read again.
func (s *segment) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.writing {
		s.close()
	}
}

// abandon makes the segment unreadable for good without calling bbolt, whose
// state after a panic is not known.
func (s *segment) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil {
		s.disk.forsake(s.db)
	}
	s.db, s.gone = nil, true
}

// close is called with mu held.
func (s *segment) close() {
	if s.db != nil {
		// Nothing is lost by an error here: every commit was synced.
		_ = s.disk.close(s.db)
		s.db = nil
	}
}

// drop closes and unlinks the file.
func (s *segment) drop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
	s.gone = true
	return s.disk.remove(s.path)
}

// view opens the file for reading if it is closed and runs fn. ok is false when the
// file has been dropped.
func (s *segment) view(fn func(*bbolt.Tx) error) (ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return false, nil
	}
	if s.db == nil {
		var err error
		if s.db, err = s.disk.open(s.path, 0, true); err != nil {
			return true, err
		}
	}
	return true, guard(func() error { return s.db.View(fn) })
}

// errLast is what after says when there is no later chunk in the segment.
var errLast = errors.New("no later chunk")

// after returns the chunk that holds the sequence number that follows seq, or
// else the next one. bad tells of a damaged chunk that was passed over.
func (s *segment) after(seq uint64) (c *chunk, bad, err error) {
	ok, err := s.view(func(tx *bbolt.Tx) error {
		cur := tx.Cursor()
		k, _ := cur.Seek(binary.BigEndian.AppendUint64(nil, seq+1))
		if k == nil || binary.BigEndian.Uint64(k) != seq+1 {
			// The chunk before may reach over seq.
			if k == nil {
				k, _ = cur.Last()
			} else {
				k, _ = cur.Prev()
			}
			if len(k) != 8 {
				k, _ = cur.Next()
			}
		}
		for ; len(k) == 8; k, _ = cur.Next() {
			got, err := decodeChunk(tx.Bucket(k).Get([]byte(chunkKey)))
			switch {
			case err != nil:
				bad = err
			case got.last() > seq:
				c = got
				return nil
			}
		}
		return errLast
	})
	if !ok {
		return nil, nil, errLast
	}
	return c, bad, err
}

// segmentEnd is the end of a segment.
type segmentEnd struct {
	last    uint64            // sequence number
	head    chunkHead         // of the last undamaged chunk
	cursors map[string]uint64 // of several readers, as of then; nil for none
}

// end returns the end of the segment.
func (s *segment) end() (e segmentEnd, err error) {
	ok, err := s.view(func(tx *bbolt.Tx) error {
		cur := tx.Cursor()
		for k, _ := cur.Last(); len(k) == 8; k, _ = cur.Prev() {
			e.last = max(e.last, binary.BigEndian.Uint64(k))
			if e.head, _, err = parseChunkHead(tx.Bucket(k).Get([]byte(chunkKey))); err == nil {
				e.last = max(e.last, e.head.last())
				e.cursors = unpackCursors(tx.Bucket(k).Get([]byte(cursorsKey)))
				return nil
			}
		}
		return damaged("no chunk in it")
	})
	if !ok {
		return segmentEnd{}, errLast
	}
	return e, err
}
