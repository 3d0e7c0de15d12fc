package store

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"go.etcd.io/bbolt"
)

const (
	metaName   = "meta.db"
	metaMapped = 1 << 20
)

var (
	bucketSys      = []byte("sys")
	bucketCursors  = []byte("cursors")
	bucketSettings = []byte("settings")
	bucketGaps     = []byte("gaps")
	keyID          = []byte("id")
	keyEpoch       = []byte("epoch")
)

// meta is meta.db.
type meta struct {
	disk *disk
	path string
	db   *bbolt.DB
	id   string
}

// cursor is what meta.db keeps of a reader.
type cursor struct {
	acked   uint64
	dropped uint64 // records dropped before it had acknowledged them
}

func openMeta(d *disk, path string, events func(Event)) (*meta, error) {
	m := &meta{disk: d, path: path}
	var err error
	if m.db, err = d.open(path, metaMapped, false); err == nil {
		if err = guard(m.load); err == nil {
			return m, nil
		}
	}
	if errors.Is(err, errDamaged) {
		// A handle that panicked may hold bbolt's locks; it is left alone, like the
		// file, which keeps its inode under the new name.
		m = &meta{disk: d, path: path}
		aside, moveErr := d.setAside(path)
		if moveErr != nil {
			return nil, errors.Join(err, moveErr)
		}
		events(Event{Kind: DamagedFile, File: aside, Err: err})
		err = os.ErrNotExist
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := m.create(path); err != nil {
		return nil, fmt.Errorf("%s: %w", path, full(err))
	}
	return m, nil
}

func (m *meta) create(path string) error {
	id := make([]byte, 4)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	m.id = hex.EncodeToString(id)
	var err error
	m.db, err = m.disk.bear(path, metaMapped, func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketSys, bucketCursors, bucketSettings} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketSys).Put(keyID, []byte(m.id))
	}, func(*bbolt.Tx) error { return nil })
	return err
}

func (m *meta) load() error {
	return m.db.View(func(tx *bbolt.Tx) error {
		sys := tx.Bucket(bucketSys)
		if sys == nil || tx.Bucket(bucketCursors) == nil || tx.Bucket(bucketSettings) == nil {
			return damaged("a bucket is missing")
		}
		if m.id = string(sys.Get(keyID)); len(m.id) != 8 {
			return damaged("identity %q", m.id)
		}
		return nil
	})
}

func (m *meta) update(fn func(*bbolt.Tx) error) error {
	err := m.disk.commit(m.db, fn)
	if err != nil {
		m.disk.doubt(m.path)
	}
	return full(err)
}

// nextEpoch returns a number above every one that it returned before, and above seen.
func (m *meta) nextEpoch(seen uint64) (n uint64, err error) {
	err = m.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketSys)
		if v := b.Get(keyEpoch); len(v) == 8 {
			n = binary.BigEndian.Uint64(v)
		}
		n = max(n, seen) + 1
		return b.Put(keyEpoch, binary.BigEndian.AppendUint64(nil, n))
	})
	if err != nil {
		return 0, fmt.Errorf("epoch: %w", err)
	}
	return n, nil
}

// cursorKey is where the cursor of a reader is kept: an outbox with one reader
// without a name has it under its own name.
func cursorKey(outbox, reader string) []byte {
	if reader == "" {
		return []byte(outbox)
	}
	return []byte(outbox + "/" + reader)
}

// outbox returns the cursors of an outbox by the names of its readers, and the losses as
// they were packed.
func (m *meta) outbox(name string) (all map[string]cursor, kept []byte, err error) {
	all = map[string]cursor{}
	err = guard(func() error {
		return m.db.View(func(tx *bbolt.Tx) error {
			if b := tx.Bucket(bucketGaps); b != nil {
				kept = bytes.Clone(b.Get([]byte(name)))
			}
			return eachCursor(tx, name, func(reader string, v []byte) error {
				if len(v) == 16 {
					all[reader] = cursor{binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])}
				}
				return nil
			})
		})
	})
	return all, kept, err
}

func eachCursor(tx *bbolt.Tx, outbox string, fn func(reader string, v []byte) error) error {
	b := tx.Bucket(bucketCursors)
	if v := b.Get([]byte(outbox)); v != nil {
		if err := fn("", v); err != nil {
			return err
		}
	}
	prefix := []byte(outbox + "/")
	c := b.Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if err := fn(string(k[len(prefix):]), v); err != nil {
			return err
		}
	}
	return nil
}

// setOutbox puts all in the place of the cursors of an outbox, and kept in that of its
// losses.
func (m *meta) setOutbox(outbox string, all map[string]cursor, kept []byte) error {
	return m.update(func(tx *bbolt.Tx) error {
		if err := setGaps(tx, outbox, kept); err != nil {
			return err
		}
		var gone []string
		if err := eachCursor(tx, outbox, func(reader string, _ []byte) error {
			if _, stays := all[reader]; !stays {
				gone = append(gone, reader)
			}
			return nil
		}); err != nil {
			return err
		}
		b := tx.Bucket(bucketCursors)
		for _, reader := range gone {
			if err := b.Delete(cursorKey(outbox, reader)); err != nil {
				return err
			}
		}
		for reader, c := range all {
			v := binary.BigEndian.AppendUint64(nil, c.acked)
			if err := b.Put(cursorKey(outbox, reader), binary.BigEndian.AppendUint64(v, c.dropped)); err != nil {
				return err
			}
		}
		return nil
	})
}

// setGaps changes what is kept of an outbox beside its cursors. Stores that were made
// before that was kept have no place for it yet.
func setGaps(tx *bbolt.Tx, outbox string, kept []byte) error {
	b := tx.Bucket(bucketGaps)
	if kept == nil {
		if b == nil {
			return nil
		}
		return b.Delete([]byte(outbox))
	}
	b, err := tx.CreateBucketIfNotExists(bucketGaps)
	if err != nil {
		return err
	}
	return b.Put([]byte(outbox), kept)
}

func (m *meta) get(key string) (v []byte, err error) {
	err = guard(func() error {
		return m.db.View(func(tx *bbolt.Tx) error {
			if b := tx.Bucket(bucketSettings).Get([]byte(key)); b != nil {
				v = append([]byte{}, b...)
			}
			return nil
		})
	})
	return v, err
}

func (m *meta) put(key string, value []byte) error {
	return m.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketSettings)
		if value == nil {
			return b.Delete([]byte(key))
		}
		return b.Put([]byte(key), value)
	})
}

func (m *meta) close() error { return m.disk.close(m.db) }
