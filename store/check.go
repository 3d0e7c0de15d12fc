package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// errDamaged marks a file whose structure or content is not what was written.
var errDamaged = errors.New("damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errDamaged}, args...)...)
}

// Layout of a bbolt file (bbolt v1.5.0, internal/common: page.go, meta.go,
// bucket.go). Numbers are in the byte order of the machine; every machine that
// Gantry is built for is little-endian.
const (
	boltMagic       = 0xED0CDAED
	boltVersion     = 2
	boltNoFreelist  = 1<<64 - 1
	boltBranch      = 0x01
	boltLeaf        = 0x02
	boltHeader      = 16 // id uint64, flags uint16, count uint16, overflow uint32
	boltElem        = 16 // branch: pos, ksize uint32, pgid uint64; leaf: flags, pos, ksize, vsize uint32
	boltBucket      = 16 // root uint64, sequence uint64
	boltMetaSum     = 56 // the meta's checksum follows these bytes
	boltMaxDepth    = 32
	boltMaxKey      = 32768
	boltMinPageSize = 1 << 10
	boltMaxPageSize = 1 << 16
)

// checkFile walks every branch and leaf page that the newest valid meta page of
// the file leads to and verifies what bbolt takes for granted: bounds, page
// numbers and types, order of keys, no page used twice. bbolt itself panics on
// such damage, partly in goroutines of its own where nobody can recover, or
// never comes back; so no file is given to it unchecked. Values are not read.
// The error wraps errDamaged unless the file could not be read.
func checkFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	c := checker{f: f, size: info.Size()}
	root, err := c.meta()
	if err != nil {
		return err
	}
	return c.tree(root, nil, nil, 0)
}

type checker struct {
	f    io.ReaderAt
	size int64
	page int64  // page size in bytes
	hwm  uint64 // pages in use, from the meta page
	seen []bool // by page number
}

// meta picks the meta page that bbolt would and returns the root page's number.
func (c *checker) meta() (uint64, error) {
	var best []byte
	var bestTx uint64
	for size := int64(boltMinPageSize); size <= boltMaxPageSize; size *= 2 {
		for i := range int64(2) {
			m := make([]byte, boltMetaSum+8)
			if _, err := c.f.ReadAt(m, i*size+boltHeader); err != nil {
				continue
			}
			if !validMeta(m) || int64(binary.LittleEndian.Uint32(m[8:])) != size {
				continue
			}
			if tx := binary.LittleEndian.Uint64(m[48:]); best == nil || tx > bestTx {
				best, bestTx, c.page = m, tx, size
			}
		}
	}
	if best == nil {
		return 0, damaged("no valid meta page")
	}
	root := binary.LittleEndian.Uint64(best[16:])
	free := binary.LittleEndian.Uint64(best[32:])
	c.hwm = binary.LittleEndian.Uint64(best[40:])
	if c.hwm < 3 || c.hwm > uint64(c.size/c.page) {
		return 0, damaged("%d pages in a file of %d bytes", c.hwm, c.size)
	}
	// Every file of this package is written without a free list on disk.
	if free != boltNoFreelist {
		return 0, damaged("free list on page %d", free)
	}
	c.seen = make([]bool, c.hwm)
	return root, nil
}

func validMeta(m []byte) bool {
	h := fnv.New64a()
	h.Write(m[:boltMetaSum])
	return binary.LittleEndian.Uint32(m) == boltMagic &&
		binary.LittleEndian.Uint32(m[4:]) == boltVersion &&
		binary.LittleEndian.Uint64(m[boltMetaSum:]) == h.Sum64()
}

// node is one page with its overflow, read as far as needed.
type node struct {
	c      *checker
	id     uint64
	extent int64 // bytes that belong to the page
	buf    []byte
}

// need makes the first n bytes of the node readable.
func (n *node) need(to int64) error {
	if to > n.extent {
		return damaged("page %d: content runs past its end", n.id)
	}
	if to <= int64(len(n.buf)) {
		return nil
	}
	// Doubling keeps a page of many keys from being read many times.
	to = min(n.extent, max(to, 2*int64(len(n.buf))))
	buf := make([]byte, to)
	copy(buf, n.buf)
	if _, err := n.c.f.ReadAt(buf[len(n.buf):], int64(n.id)*n.c.page+int64(len(n.buf))); err != nil {
		return fmt.Errorf("page %d: %w", n.id, err)
	}
	n.buf = buf
	return nil
}

func (c *checker) load(id uint64) (*node, error) {
	if id < 2 || id >= c.hwm {
		return nil, damaged("page %d is outside the file", id)
	}
	n := &node{c: c, id: id, extent: c.page}
	if err := n.need(c.page); err != nil {
		return nil, err
	}
	if got := binary.LittleEndian.Uint64(n.buf); got != id {
		return nil, damaged("page %d calls itself %d", id, got)
	}
	pages := uint64(binary.LittleEndian.Uint32(n.buf[12:])) + 1
	if pages > c.hwm-id {
		return nil, damaged("page %d: overflow runs past the end of the file", id)
	}
	for i := id; i < id+pages; i++ {
		if c.seen[i] {
			return nil, damaged("page %d is used twice", i)
		}
		c.seen[i] = true
	}
	n.extent = int64(pages) * c.page
	return n, nil
}

// tree checks the subtree below page id, whose keys must be in [low, high); nil
// stands for no bound.
func (c *checker) tree(id uint64, low, high []byte, depth int) error {
	if depth > boltMaxDepth {
		return damaged("page %d is nested too deep", id)
	}
	n, err := c.load(id)
	if err != nil {
		return err
	}
	flags, count := binary.LittleEndian.Uint16(n.buf[8:]), int64(binary.LittleEndian.Uint16(n.buf[10:]))
	if err := n.need(boltHeader + count*boltElem); err != nil {
		return err
	}
	switch flags {
	case boltLeaf:
		return c.leaf(n, count, low, high, depth)
	case boltBranch:
		return c.branch(n, count, low, high, depth)
	}
	return damaged("page %d has type %#x", id, flags)
}

func (c *checker) branch(n *node, count int64, low, high []byte, depth int) error {
	if count == 0 {
		return damaged("page %d: branch without children", n.id)
	}
	keys, pages := make([][]byte, count+1), make([]uint64, count)
	for i := range count {
		at := boltHeader + i*boltElem
		e := n.buf[at:]
		from := at + int64(binary.LittleEndian.Uint32(e))
		to := from + int64(binary.LittleEndian.Uint32(e[4:]))
		pages[i] = binary.LittleEndian.Uint64(e[8:])
		if to-from > boltMaxKey {
			return damaged("page %d: key %d of %d bytes", n.id, i, to-from)
		}
		if err := n.need(to); err != nil {
			return err
		}
		keys[i] = bytes.Clone(n.buf[from:to])
		if err := n.order(keys[i], low, high, i); err != nil {
			return err
		}
		low = keys[i]
	}
	keys[count] = high
	for i := range count {
		if err := c.tree(pages[i], keys[i], keys[i+1], depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) order(key, low, high []byte, i int64) error {
	less := bytes.Compare(low, key)
	if low != nil && (less > 0 || less == 0 && i > 0) || high != nil && bytes.Compare(key, high) >= 0 {
		return damaged("page %d: key %d is out of order", n.id, i)
	}
	return nil
}

func (c *checker) leaf(n *node, count int64, low, high []byte, depth int) error {
	for i := range count {
		at := boltHeader + i*boltElem
		e := n.buf[at : at+boltElem]
		flags := binary.LittleEndian.Uint32(e)
		from := at + int64(binary.LittleEndian.Uint32(e[4:]))
		mid := from + int64(binary.LittleEndian.Uint32(e[8:]))
		to := mid + int64(binary.LittleEndian.Uint32(e[12:]))
		if mid == from || mid-from > boltMaxKey || flags > 1 || to > n.extent {
			return damaged("page %d: element %d", n.id, i)
		}
		if err := n.need(mid); err != nil {
			return err
		}
		key := bytes.Clone(n.buf[from:mid])
		if err := n.order(key, low, high, i); err != nil {
			return err
		}
		low = key
		if flags == 0 {
			continue
		}
		if err := n.need(to); err != nil {
			return err
		}
		if err := c.bucket(n.buf[mid:to], n.id, depth); err != nil {
			return err
		}
	}
	return nil
}

// bucket checks the header of a nested bucket and its tree, or the page inside
// the header where it is kept inline.
func (c *checker) bucket(v []byte, id uint64, depth int) error {
	if len(v) < boltBucket {
		return damaged("page %d: bucket header of %d bytes", id, len(v))
	}
	if root := binary.LittleEndian.Uint64(v); root != 0 {
		return c.tree(root, nil, nil, depth+1)
	}
	v = v[boltBucket:]
	if len(v) < boltHeader || binary.LittleEndian.Uint16(v[8:]) != boltLeaf {
		return damaged("page %d: inline bucket", id)
	}
	count := int64(binary.LittleEndian.Uint16(v[10:]))
	if boltHeader+count*boltElem > int64(len(v)) {
		return damaged("page %d: inline bucket of %d keys", id, count)
	}
	inline := node{c: c, id: id, extent: int64(len(v)), buf: v}
	// A bucket inside an inline bucket does not exist: bbolt never writes one.
	for i := range count {
		if binary.LittleEndian.Uint32(v[boltHeader+i*boltElem:]) != 0 {
			return damaged("page %d: bucket in an inline bucket", id)
		}
	}
	return c.leaf(&inline, count, nil, nil, depth)
}
