package store

import (
	"errors"
	"os"
	"path/filepath"
)

// newestEpoch returns the newest epoch that the segments of any outbox tell of. It is
// that of meta.db or less, unless the disk has lost what it claimed to have written
// there: then an epoch would be given twice, and with it the identity of a record.
func newestEpoch(d *disk, dir string) (newest uint64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		segs, err := listSegments(d, filepath.Join(dir, e.Name()))
		if err != nil {
			return 0, err
		}
		if len(segs) > 0 {
			newest = max(newest, segs[len(segs)-1].newestEpoch())
		}
	}
	return newest, nil
}

// newestEpoch returns the newest epoch of the segment's chunks, also of a damaged one.
func (s *segment) newestEpoch() (newest uint64) {
	end, err := s.end()
	s.rest()
	if !errors.Is(err, errDamaged) {
		return end.head.epoch
	}
	for _, c := range findChunks(readWhat(s.path, maxSegment+maxTx+maxRecord)) {
		if h, _, err := parseChunkHead(c.bytes); err == nil {
			newest = max(newest, h.epoch)
		}
	}
	return newest
}
