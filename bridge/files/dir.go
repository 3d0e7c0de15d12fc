// Package files takes and gives files in pieces, over WAMP, and goes on where it was
// interrupted (docs/files.md). Dir is the directory, Files the procedures.
package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"gantry/wamp"
)

// Bounds of a directory.
const (
	MaxChunk = 256 << 10 // bytes of one piece
	MaxFile  = 64 << 20  // bytes of one file
	maxBytes = 256 << 20 // of all files, those under way counted as whole
	maxFiles = 64        // those under way included
	maxOwn   = 8         // under way, of one user

	// abandoned is how long a file under way has not grown when it gives its place to
	// another one.
	abandoned = 24 * time.Hour
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
	own  string
	room func(size int64) error
	now  func() time.Time

	mu     sync.Mutex // one operation at a time
	root   *os.Root
	owners map[string]string // of the files under way, since the start, by name
}

// Config says where files are kept.
type Config struct {
	// Path is the directory, made if it is missing.
	Path string
	// Own begins the names of the gateway's own files, which Put keeps and users cannot
	// send; "" = there are none.
	Own string
	// Room returns an error when the disk has no room for so many bytes more. Required.
	Room func(size int64) error
	// Now is the clock that the disk's times are of; nil = time.Now.
	Now func() time.Time
}

// Open opens a directory. Close it.
func Open(cfg Config) (*Dir, error) {
	path := cfg.Path
	for _, d := range []string{whole, parts} {
		if err := os.MkdirAll(filepath.Join(path, d), 0o750); err != nil {
			return nil, fmt.Errorf("directory of files: %w", err)
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("directory of files: %w", err)
	}
	d := &Dir{root: root, own: cfg.Own, room: cfg.Room, now: cfg.Now, owners: map[string]string{}}
	if d.now == nil {
		d.now = time.Now
	}
	return d, nil
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

	changed time.Time // when it grew last
}

func badName(name string) error {
	return wamp.NewError(wamp.ErrURIInvalidArgument, fmt.Sprintf("%.100q is no name of a file", name),
		wamp.Dict{"argument": "name", "allowed": "1 to 100 of A-Z a-z 0-9 . _ -, a letter or digit first"})
}

// begin announces a file of a user and returns how much of it is there.
func (d *Dir) begin(owner, name string, size int64, sum string) (int64, error) {
	switch {
	case !validName.MatchString(name):
		return 0, badName(name)
	case d.ours(name):
		return 0, wamp.NewError(wamp.ErrURIInvalidArgument, fmt.Sprintf("%q is a name of the gateway's own files: choose one that does not begin with %s", name, d.own),
			wamp.Dict{"argument": "name", "reserved": d.own})
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
	all = slices.DeleteFunc(all, func(i Info) bool { return d.ours(i.Name) })
	if i := slices.IndexFunc(all, func(i Info) bool { return i.Partial && i.Name == name }); i >= 0 {
		old := all[i]
		if old.Size == size && old.SHA256 == sum {
			d.owners[name] = owner
			return old.Offset, nil
		}
		if of, known := d.owners[name]; known && of != owner && !d.abandoned(old) {
			return 0, wamp.NewError(wamp.ErrURIBusy, "somebody else is sending another file of that name", wamp.Dict{"name": name})
		}
		if err := d.give(old); err != nil {
			return 0, err
		}
		all = slices.Delete(all, i, i+1)
	}
	if err := d.admit(owner, name, size, all); err != nil {
		return 0, err
	}
	f, err := d.root.OpenFile(part(Info{Name: name, Size: size, SHA256: sum}), os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return 0, full(err)
	}
	d.owners[name] = owner
	return 0, f.Close()
}

// admit returns an error when there is no place for one more file beside all others.
// Abandoned ones give theirs.
func (d *Dir) admit(owner, name string, size int64, all []Info) error {
	own := 0
	for _, i := range all {
		if of, known := d.owners[i.Name]; known && of == owner && i.Partial {
			own++
		}
	}
	if own >= maxOwn {
		return wamp.NewError(wamp.ErrURILimit, "you have as many files under way as you may: finish or remove one", wamp.Dict{"max_under_way": int64(maxOwn)})
	}
	crowded := func() bool {
		total := size
		for _, i := range all {
			if i.Partial || i.Name != name { // the file of that name is replaced
				total += i.Size
			}
		}
		return len(all) >= maxFiles || total > maxBytes
	}
	for crowded() {
		i := slices.IndexFunc(all, d.abandoned)
		if i < 0 {
			return wamp.NewError(wamp.ErrURILimit, "no room: remove files first", wamp.Dict{"max_files": int64(maxFiles), "max_bytes": int64(maxBytes)})
		}
		if err := d.give(all[i]); err != nil {
			return err
		}
		all = slices.Delete(all, i, i+1)
	}
	return d.fits(size)
}

// fits returns an error when the disk has no room for so many bytes.
func (d *Dir) fits(size int64) error {
	if err := d.room(size); err != nil {
		return wamp.NewError(wamp.ErrURIStorageFull, err.Error(), wamp.Dict{"bytes": size})
	}
	return nil
}

// abandoned reports whether a file is under way and does not grow. A clock that was set
// back does not make it so.
func (d *Dir) abandoned(i Info) bool { return i.Partial && d.now().Sub(i.changed) > abandoned }

// give removes a file under way.
func (d *Dir) give(i Info) error {
	delete(d.owners, i.Name)
	return d.root.Remove(part(i))
}

// full makes an error of a disk that takes no more one that a sender understands.
func full(err error) error {
	if err == nil || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	return wamp.NewError(wamp.ErrURIStorageFull, "the disk is full: remove files, and go on with begin", nil)
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
			i := Info{Name: e.Name(), Size: stat.Size(), Offset: stat.Size(), Partial: dir == parts, changed: stat.ModTime()}
			if i.Partial {
				f := strings.Split(e.Name(), ",")
				if len(f) != 3 {
					continue // of Put, or not ours
				}
				i.Name, i.SHA256 = f[0], f[2]
				if i.Size, err = strconv.ParseInt(f[1], 10, 64); err != nil {
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
	return offset + int64(n), full(errors.Join(err, f.Close()))
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
		return full(err)
	}
	if sum != i.SHA256 {
		return errors.Join(wamp.NewError(wamp.ErrURINotVerified, "the SHA-256 is another one; send the file again", wamp.Dict{"sha256": sum, "expected": i.SHA256}),
			d.give(i))
	}
	delete(d.owners, name)
	return d.finish(part(i), name)
}

// finish makes a file on disk one of those that can be read.
func (d *Dir) finish(path, name string) error {
	if err := d.root.Rename(path, whole+"/"+name); err != nil {
		return full(err)
	}
	dir, err := d.root.Open(whole)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// ours reports whether a name is one of the gateway's own files.
func (d *Dir) ours(name string) bool { return d.own != "" && strings.HasPrefix(name, d.own) }

// Put keeps a file of the gateway's own, and of the others the last by name, so that there
// are keep, at least 1. They do not take the room of what users send.
func (d *Dir) Put(name string, keep int, content []byte) (Info, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fits(int64(len(content))); err != nil {
		return Info{}, err
	}
	const path = parts + "/own"
	f, err := d.root.Create(path)
	if err != nil {
		return Info{}, full(err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = d.finish(path, name)
	}
	if err != nil {
		return Info{}, errors.Join(full(err), d.root.Remove(path))
	}
	all, err := d.all()
	if err != nil {
		return Info{}, err
	}
	keep--                               // for this one, although the clock may have been set back since the others
	for i := len(all) - 1; i >= 0; i-- { // a directory is in order
		if all[i].Partial || !d.ours(all[i].Name) || all[i].Name == name {
			continue
		}
		if keep--; keep < 0 {
			if err := d.root.Remove(whole + "/" + all[i].Name); err != nil {
				return Info{}, err
			}
		}
	}
	sum, err := sumOf(bytes.NewReader(content))
	return Info{Name: name, Size: int64(len(content)), Offset: int64(len(content)), SHA256: sum}, err
}

func sumOf(r io.Reader) (string, error) {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), err
}

// stat describes a complete file, with its sum and that of its first bytes, by which a
// receiver that has so many finds out whether they are of this file; "" if it is shorter.
func (d *Dir) stat(name string, first int64) (i Info, start string, err error) {
	f, err := d.open(name)
	if err != nil {
		return i, "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return i, "", err
	}
	h := sha256.New()
	if first > 0 && first <= info.Size() {
		_, err = io.CopyN(h, f, first)
		start = hex.EncodeToString(h.Sum(nil))
	}
	if err == nil {
		_, err = io.Copy(h, f)
	}
	return Info{Name: name, Size: info.Size(), Offset: info.Size(), SHA256: hex.EncodeToString(h.Sum(nil))}, start, err
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
		gone = d.give(i)
	}
	if errors.Is(gone, fs.ErrNotExist) {
		return noFile(name)
	}
	return gone
}
