package store

import (
	"encoding/binary"
	"os"
)

// salvageOutbox makes a segment in dir of what can be read of the damaged file of an
// outbox, of which it reads no more than limit bytes, and returns the first and the
// last sequence number in it; no segment and zeros when there is nothing, or nothing
// that belongs behind floor. After an error the numbers are those that could not be
// kept. It does not call bbolt on the damaged file.
func salvageOutbox(d *disk, from, dir, outbox string, floor uint64, limit int64) (first, last uint64, err error) {
	chunks := findChunks(readWhat(from, limit))
	if len(chunks) == 0 || chunks[0].first < floor {
		return 0, 0, nil
	}
	first, last = chunks[0].first, chunks[len(chunks)-1].last()
	heir, err := bearSegment(d, segmentPath(dir, first), outbox, 0, chunks)
	if err == nil {
		heir.seal()
	}
	return first, last, err
}

// salvageTable makes the table at to of what can be read of a damaged one.
func salvageTable(d *disk, from, to string) error {
	db, _, _, err := bearTable(d, to, salvage(from))
	if err != nil {
		return err
	}
	return d.close(db)
}

// salvage returns the entries of a damaged table that can be read: it walks the
// pages that the newest valid meta page leads to, as checkFile does, and passes
// over what is damaged. Pages that nothing leads to are not looked at, for they
// hold what has been removed or replaced.
func salvage(path string) []Change {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	s := salvager{checker: checker{f: f, size: fileSize(path)}}
	root, err := s.meta()
	if err != nil {
		return nil
	}
	s.subtree(root, 0)
	return s.found
}

type salvager struct {
	checker
	found []Change
}

// subtree salvages the subtree below page id.
func (s *salvager) subtree(id uint64, depth int) {
	n, err := s.load(id)
	if err != nil || depth > boltMaxDepth || n.need(n.extent) != nil {
		return
	}
	s.node(n.buf, depth)
}

// node salvages a page, or the page that is kept inline in a bucket's header.
func (s *salvager) node(b []byte, depth int) {
	if len(b) < boltHeader {
		return
	}
	flags, count := binary.LittleEndian.Uint16(b[8:]), int(binary.LittleEndian.Uint16(b[10:]))
	for i := range min(count, (len(b)-boltHeader)/boltElem) {
		at := boltHeader + i*boltElem
		e := b[at : at+boltElem]
		switch flags {
		case boltBranch:
			s.subtree(binary.LittleEndian.Uint64(e[8:]), depth+1)
		case boltLeaf:
			s.element(b, at, depth)
		}
	}
}

// element salvages the element of a leaf that begins at b[at].
func (s *salvager) element(b []byte, at, depth int) {
	e := b[at:]
	from := int64(at) + int64(binary.LittleEndian.Uint32(e[4:]))
	mid := from + int64(binary.LittleEndian.Uint32(e[8:]))
	to := mid + int64(binary.LittleEndian.Uint32(e[12:]))
	if to > int64(len(b)) || mid == from {
		return
	}
	key, v := b[from:mid], b[mid:to]
	if binary.LittleEndian.Uint32(e) == 0 {
		if value, ok := unsealed(key, v); ok {
			s.found = append(s.found, Change{key, value})
		}
		return
	}
	if len(v) < boltBucket || depth > boltMaxDepth {
		return
	}
	if root := binary.LittleEndian.Uint64(v); root != 0 {
		s.subtree(root, depth+1)
	} else {
		s.node(v[boltBucket:], depth+1)
	}
}
