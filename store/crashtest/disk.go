package crashtest

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// sector is what a disk writes as a whole; page is what one step of a write covers.
const (
	sector = 512
	page   = 4096
)

// change is a part of a write, or a truncation, that has not been synced.
type change struct {
	op     int // index of its step
	data   []byte
	offset int64
	cut    bool // a truncation to offset
}

// file is the content of a file, whatever its names are.
type file struct {
	safe    []byte
	pending []change
}

// naming is a change of a directory that has not been synced.
type naming struct {
	op       int
	dir      string
	from, to string // one of them may be ""
	file     *file  // what to names; nil for a directory
}

// Disk is a directory on a disk whose power may be cut.
type Disk struct {
	live    map[string]*file // as the program sees it; nil for a directory
	safe    map[string]*file // as it is without anything that is not synced
	pending []naming
	at      int // steps done
}

// NewDisk returns a disk with an empty directory.
func NewDisk() *Disk { return &Disk{live: map[string]*file{}, safe: map[string]*file{}} }

// ReadImage returns the directory dir as it is.
func ReadImage(dir string) (Image, error) {
	img := Image{}
	return img, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		if e.IsDir() {
			img[rel] = nil
			return nil
		}
		b, err := os.ReadFile(path)
		img[rel] = append([]byte{}, b...)
		return err
	})
}

// put puts an image on the disk, safe.
func (d *Disk) put(img Image) {
	for path, b := range img {
		var f *file
		if b != nil {
			f = &file{safe: append([]byte{}, b...)}
		}
		d.live[path], d.safe[path] = f, f
	}
}

// Do makes the next step of a trace. honest = false is a sync that the disk only
// claims to have done.
func (d *Disk) Do(op *Op, honest bool) {
	i := d.at
	d.at++
	name := func(from, to string, f *file) {
		d.pending = append(d.pending, naming{i, filepath.Dir(op.Path), from, to, f})
	}
	switch op.Kind {
	case OpMkdir:
		d.live[op.Path] = nil
		name("", op.Path, nil)
	case OpCreate:
		f := &file{}
		d.live[op.Path] = f
		name("", op.Path, f)
	case OpRemove:
		delete(d.live, op.Path)
		name(op.Path, "", nil)
	case OpRename:
		f := d.live[op.Path]
		d.live[op.To] = f
		delete(d.live, op.Path)
		name(op.Path, op.To, f)
	case OpWrite:
		d.write(op, i)
	case OpTruncate:
		if f := d.live[op.Path]; f != nil {
			f.pending = append(f.pending, change{op: i, offset: op.Offset, cut: true})
		}
	case OpSync:
		if honest {
			d.sync(op)
		}
	}
}

// write splits a write where the kernel may.
func (d *Disk) write(op *Op, i int) {
	f := d.live[op.Path]
	if f == nil {
		return
	}
	for data, at := op.Data, op.Offset; len(data) > 0; {
		n := min(int64(len(data)), page-at%page)
		f.pending = append(f.pending, change{op: i, data: data[:n], offset: at})
		data, at = data[n:], at+n
	}
}

// sync makes what was done to a file or directory before the sync began safe.
func (d *Disk) sync(op *Op) {
	if f := d.live[op.Path]; f != nil {
		var rest []change
		for _, c := range f.pending {
			if c.op < op.From {
				f.safe = c.apply(f.safe)
			} else {
				rest = append(rest, c)
			}
		}
		f.pending = rest
		return
	}
	var rest []naming
	for _, n := range d.pending {
		if n.dir == op.Path && n.op < op.From {
			n.apply(d.safe)
		} else {
			rest = append(rest, n)
		}
	}
	d.pending = rest
}

// apply returns b with the change in it. It may use b's memory.
func (c *change) apply(b []byte) []byte {
	end := c.offset
	if !c.cut {
		end += int64(len(c.data))
	}
	if int64(len(b)) < end {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	if c.cut {
		return b[:c.offset]
	}
	copy(b[c.offset:], c.data)
	return b
}

func (n *naming) apply(names map[string]*file) {
	if n.from != "" {
		delete(names, n.from)
	}
	if n.to != "" {
		names[n.to] = n.file
	}
}

// Cut says how much of what is not synced is on the disk when the power goes.
type Cut uint8

// The cuts.
const (
	CutNone Cut = iota // nothing
	CutAll             // everything
	CutLast            // the newest change of each file alone
	CutSome            // any of the changes
	CutTorn            // any of the changes, the newest of a file up to a sector
	Cuts
)

// Image is a directory as a power cut leaves it: content by path, nil for a
// directory.
type Image map[string][]byte

// Image returns what a cut leaves. The random choices are r's.
func (d *Disk) Image(cut Cut, r *rand.Rand) Image {
	names := make(map[string]*file, len(d.safe))
	for k, v := range d.safe {
		names[k] = v
	}
	// A directory's changes come in order: a cut takes the last ones.
	keep := map[string]int{}
	for _, n := range d.pending {
		keep[n.dir]++
	}
	for _, dir := range sortedKeys(keep) {
		switch cut {
		case CutNone:
			keep[dir] = 0
		case CutSome, CutTorn, CutLast:
			keep[dir] = r.IntN(keep[dir] + 1)
		}
	}
	for i := range d.pending {
		if n := &d.pending[i]; keep[n.dir] > 0 {
			keep[n.dir]--
			n.apply(names)
		}
	}
	img := Image{}
	for _, path := range sortedKeys(names) {
		if dir := filepath.Dir(path); dir != "." {
			if _, ok := names[dir]; !ok {
				continue
			}
		}
		if f := names[path]; f != nil {
			img[path] = f.content(cut, r)
		} else {
			img[path] = nil
		}
	}
	return img
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// content returns the file after a cut; never nil.
func (f *file) content(cut Cut, r *rand.Rand) []byte {
	b := append([]byte{}, f.safe...)
	for i := range f.pending {
		c := f.pending[i]
		last := i == len(f.pending)-1
		switch cut {
		case CutNone:
			continue
		case CutLast:
			if !last {
				continue
			}
		case CutSome:
			if r.IntN(2) == 0 {
				continue
			}
		case CutTorn:
			if last && !c.cut && len(c.data) > sector {
				c.data = c.data[:sector*(1+r.IntN(len(c.data)/sector))]
			} else if r.IntN(2) == 0 {
				continue
			}
		}
		b = c.apply(b)
	}
	return b
}

// Write makes the directory dir out of the image. Pages of zeros become holes.
func (img Image) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// Sorted: a directory comes before what is in it.
	for _, path := range sortedKeys(img) {
		to := filepath.Join(dir, path)
		if img[path] == nil {
			if err := os.MkdirAll(to, 0o700); err != nil {
				return err
			}
			continue
		}
		if err := writeSparse(to, img[path]); err != nil {
			return err
		}
	}
	return nil
}

var zeros [page]byte

func writeSparse(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(int64(len(b))); err != nil {
		return err
	}
	for at := 0; at < len(b); at += page {
		part := b[at:min(at+page, len(b))]
		if bytes.Equal(part, zeros[:len(part)]) {
			continue
		}
		if _, err := f.WriteAt(part, int64(at)); err != nil {
			return err
		}
	}
	return nil
}
