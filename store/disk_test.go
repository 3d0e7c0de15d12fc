package store

import (
	"errors"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// TestAFileThatBboltIsStuckIn has bbolt panic in a transaction, as on a disk that cannot
// be read, and keep its lock: nobody waits for it, and the file can be opened anew.
func TestAFileThatBboltIsStuckIn(t *testing.T) {
	t.Parallel()
	d := newDisk(t.TempDir(), nil, -1)
	path := filepath.Join(d.dir, "f.db")
	db, err := d.bear(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second does not get as far as bbolt
		err := d.commit(db, func(*bbolt.Tx) error { panic("unreadable") })
		if !errors.Is(err, errDamaged) {
			t.Errorf("%v", err)
		}
	}
	if _, err := db.Begin(true); err != nil { // what it may not have given back
		t.Fatal(err)
	}
	if err := d.close(db); err != nil {
		t.Error(err)
	}
	if db, err = d.openVetted(path, 0, false); err != nil {
		t.Fatal(err)
	}
	if err := d.close(db); err != nil {
		t.Error(err)
	}
	if len(d.held) > 0 {
		t.Errorf("%d files are held", len(d.held))
	}
}
