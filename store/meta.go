package store

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"go.etcd.io/bbolt"
)

const (
	metaName   = "meta.db"
	metaMapped = 1 << 20

	// keepDamaged is how many damaged files are kept beside one that is in use.
	keepDamaged = 4
)

var (
	bucketSys      = []byte("sys")
	bucketCursors  = []byte("cursors")
	bucketSettings = []byte("settings")
	keyID          = []byte("id")
	keyEpoch       = []byte("epoch")
)

// meta is meta.db.
type meta struct {
	db *bbolt.DB
	id string
}

// cursor is what meta.db keeps of one outbox.
type cursor struct {
	acked   uint64
	dropped uint64 // records dropped since the outbox was made
}

func openMeta(path string, events func(Event)) (*meta, error) {
	m := &meta{}
	err := checkFile(path)
	if err == nil {
		err = guard(func() (err error) {
			m.db, err = bbolt.Open(path, 0o600, options(metaMapped, false))
			if err != nil {
				return err
			}
			return m.load()
		})
		if err == nil {
			return m, nil
		}
	}
	if errors.Is(err, errDamaged) {
		// A handle that panicked may hold bbolt's locks; it is left alone, like the
		// file, which keeps its inode under the new name.
		m = &meta{}
		aside, moveErr := setAside(path)
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
	return guard(func() (err error) {
		m.db, err = bear(path, metaMapped, func(tx *bbolt.Tx) error {
			for _, name := range [][]byte{bucketSys, bucketCursors, bucketSettings} {
				if _, err := tx.CreateBucket(name); err != nil {
					return err
				}
			}
			return tx.Bucket(bucketSys).Put(keyID, []byte(m.id))
		}, func(*bbolt.Tx) error { return nil })
		return err
	})
}

func (m *meta) load() error {
	m.db.AllocSize = metaMapped
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
	return full(guard(func() error { return m.db.Update(fn) }))
}

func (m *meta) nextEpoch() (n uint64, err error) {
	err = m.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketSys)
		if v := b.Get(keyEpoch); len(v) == 8 {
			n = binary.BigEndian.Uint64(v)
		}
		n++
		return b.Put(keyEpoch, binary.BigEndian.AppendUint64(nil, n))
	})
	if err != nil {
		return 0, fmt.Errorf("epoch: %w", err)
	}
	return n, nil
}

func (m *meta) cursor(outbox string) (c cursor, err error) {
	err = guard(func() error {
		return m.db.View(func(tx *bbolt.Tx) error {
			if v := tx.Bucket(bucketCursors).Get([]byte(outbox)); len(v) == 16 {
				c.acked, c.dropped = binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])
			}
			return nil
		})
	})
	return c, err
}

func (m *meta) setCursor(outbox string, c cursor) error {
	v := binary.BigEndian.AppendUint64(nil, c.acked)
	v = binary.BigEndian.AppendUint64(v, c.dropped)
	return m.update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketCursors).Put([]byte(outbox), v) })
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

func (m *meta) close() error { return guard(m.db.Close) }

// full adds ErrFull to an error that says that the disk is full.
func full(err error) error {
	if err != nil && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		// bbolt hides the cause of a failed growth behind %s.
		strings.Contains(err.Error(), syscall.ENOSPC.Error())) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// setAside renames a damaged file to FILE.damaged-N with the next number and
// removes all but the newest of its predecessors.
func setAside(path string) (string, error) {
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
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	for n, name := range numbers {
		if n+keepDamaged <= last+1 {
			_ = os.Remove(name)
		}
	}
	return aside, syncDir(dir)
}
