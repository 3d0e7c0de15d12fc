// Package files takes and gives files in pieces, over WAMP, and goes on where it was
// interrupted (docs/files.md). Dir is the directory, Files the procedures.
package files

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"gantry/wamp"
)

// Bounds of a directory.
const (
	MaxChunk = 256 << 10 // bytes of one piece
	MaxFile  = 64 << 20  // bytes of one file
	maxBytes = 256 << 20 // of all files, those under way counted as whole
	maxFiles = 64        // those under way included
)

const (
	whole = "whole" // files that are complete
	parts = "parts" // NAME,SIZE,SHA256 of those that are not
)

var (
	validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	validSum  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Dir is a directory of files. Nothing outside it is ever touched: names are a single
// component, and the system call resolves them below it. It is safe for concurrent use.
type Dir struct {
	mu   sync.Mutex // one operation at a time
	root *os.Root
}

// Open opens a directory, made if it is missing. Close it.
func Open(path string) (*Dir, error) {
	for _, d := range []string{whole, parts} {
		if err := os.MkdirAll(filepath.Join(path, d), 0o750); err != nil {
			return nil, fmt.Errorf("directory of files: %w", err)
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("directory of files: %w", err)
	}
	return &Dir{root: root}, nil
}

// Close gives the directory back.
func (d *Dir) Close() error { return d.root.Close() }

// Info is a file. SHA256 is in hex, and empty where it has not been asked for.
type Info struct {
	Name    string
	Size    int64 // bytes of the whole file
	Offset  int64 // bytes that are there
	SHA256  string
	Partial bool
}

func badName(name string) error {
	return wamp.NewError(wamp.ErrURIInvalidArgument, fmt.Sprintf("%.100q is no name of a file", name),
		wamp.Dict{"argument": "name", "allowed": "1 to 100 of A-Z a-z 0-9 . _ -, a letter or digit first"})
}

// begin announces a file and returns how much of it is there.
func (d *Dir) begin(name string, size int64, sum string) (int64, error) {
	switch {
	case !validName.MatchString(name):
		return 0, badName(name)
	case size < 0 || size > MaxFile:
		return 0, wamp.NewError(wamp.ErrURILimit, "the file is too large", wamp.Dict{"bytes": size, "max": int64(MaxFile)})
	case !validSum.MatchString(sum):
		return 0, wamp.NewError(wamp.ErrURIInvalidArgument, "the SHA-256 is 64 hexadecimal digits in lower case", wamp.Dict{"argument": "sha256"})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := d.all()
	if err != nil {
		return 0, err
	}
	total := size
	for _, i := range all {
		switch {
		case !i.Partial || i.Name != name:
			total += i.Size
		case i.Size == size && i.SHA256 == sum:
			return i.Offset, nil
		default: // another file is to have the name
			if err := d.root.Remove(part(i)); err != nil {
				return 0, err
			}
		}
	}
	if len(all) >= maxFiles || total > maxBytes {
		return 0, wamp.NewError(wamp.ErrURILimit, "no room: remove files first", wamp.Dict{"max_files": int64(maxFiles), "max_bytes": int64(maxBytes)})
	}
	f, err := d.root.OpenFile(part(Info{Name: name, Size: size, SHA256: sum}), os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return 0, err
	}
	return 0, f.Close()
}

func part(i Info) string { return fmt.Sprintf("%s/%s,%d,%s", parts, i.Name, i.Size, i.SHA256) }

// all returns all files, those under way first.
func (d *Dir) all() (list []Info, err error) {
	for _, dir := range []string{parts, whole} {
		entries, err := fs.ReadDir(d.root.FS(), dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			stat, err := e.Info()
			if err != nil {
				return nil, err
			}
			i := Info{Name: e.Name(), Size: stat.Size(), Offset: stat.Size(), Partial: dir == parts}
			if f := strings.Split(e.Name(), ","); i.Partial && len(f) == 3 {
				i.Name, i.SHA256 = f[0], f[2]
				if _, err := fmt.Sscan(f[1], &i.Size); err != nil {
					continue
				}
			}
			list = append(list, i)
		}
	}
	return list, nil
}

func noFile(name string) error {
	return wamp.NewError(wamp.ErrURIInvalidArgument, fmt.Sprintf("there is no file %.100q, or it is not under way", name), wamp.Dict{"name": name})
}

// underWay returns the partial file of that name.
func (d *Dir) underWay(name string) (Info, error) {
	all, err := d.all()
	if err != nil {
		return Info{}, err
	}
	for _, i := range all {
		if i.Partial && i.Name == name {
			return i, nil
		}
	}
	return Info{}, noFile(name)
}

// chunk appends a piece, which must begin where the file ends, and returns where it
// ends then.
func (d *Dir) chunk(name string, offset int64, data []byte) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, err := d.underWay(name)
	if err != nil {
		return 0, err
	}
	if offset != i.Offset || len(data) > MaxChunk || int64(len(data)) > i.Size-i.Offset {
		return 0, wamp.NewError(wamp.ErrURIOutOfRange, "the piece does not continue the file, or is too large",
			wamp.Dict{"offset": i.Offset, "size": i.Size, "max": int64(MaxChunk)})
	}
	f, err := d.root.OpenFile(part(i), os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	n, err := f.WriteAt(data, offset)
	return offset + int64(n), errors.Join(err, f.Close())
}

// end makes a file that has come whole one of those that can be read, once it is on
// disk. One whose sum is not what was announced is removed.
func (d *Dir) end(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, err := d.underWay(name)
	if err != nil {
		return err
	}
	if i.Offset != i.Size {
		return wamp.NewError(wamp.ErrURIOutOfRange, "the file is not complete", wamp.Dict{"offset": i.Offset, "size": i.Size})
	}
	f, err := d.root.OpenFile(part(i), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	sum, err := sumOf(f)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if sum != i.SHA256 {
		return errors.Join(wamp.NewError(wamp.ErrURINotVerified, "the SHA-256 is another one; send the file again", wamp.Dict{"sha256": sum, "expected": i.SHA256}),
			d.root.Remove(part(i)))
	}
	if err := d.root.Rename(part(i), whole+"/"+name); err != nil {
		return err
	}
	dir, err := d.root.Open(whole)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func sumOf(r io.Reader) (string, error) {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), err
}

// stat describes a complete file, with its sum.
func (d *Dir) stat(name string) (Info, error) {
	f, err := d.open(name)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	sum, err := sumOf(f)
	return Info{Name: name, Size: info.Size(), Offset: info.Size(), SHA256: sum}, err
}

// open opens a complete file. A later one of the same name does not change it.
func (d *Dir) open(name string) (*os.File, error) {
	if !validName.MatchString(name) {
		return nil, badName(name)
	}
	f, err := d.root.Open(whole + "/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noFile(name)
	}
	return f, err
}

// read returns up to n bytes from offset on; none at the end.
func (d *Dir) read(name string, offset, n int64) ([]byte, error) {
	if offset < 0 || n < 1 || n > MaxChunk {
		return nil, wamp.NewError(wamp.ErrURIOutOfRange, "offset or size is out of range", wamp.Dict{"max": int64(MaxChunk)})
	}
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, n)
	got, err := f.ReadAt(b, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:got], err
}

// list returns all files.
func (d *Dir) list() ([]Info, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all()
}

// remove removes a file, complete or under way.
func (d *Dir) remove(name string) error {
	if !validName.MatchString(name) {
		return badName(name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	gone := d.root.Remove(whole + "/" + name)
	if i, err := d.underWay(name); err == nil {
		gone = d.root.Remove(part(i))
	}
	if errors.Is(gone, fs.ErrNotExist) {
		return noFile(name)
	}
	return gone
}
