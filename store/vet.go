package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// vetting knows which files may be given to bbolt. One that the run before has
// closed in order, and one that another process has opened without harm, needs
// nothing but the check of this package; what this run has written needs none.
type vetting struct {
	apart func(args []string) ([]byte, error) // Config.Apart

	mu    sync.Mutex // guards files
	files map[string]standing
}

// standing is what is known of a file; the zero value: nothing.
type standing struct {
	ordered bool  // the run before has closed it
	sound   bool  // this run has written it, or found it in order
	err     error // how this run has found it damaged
}

func (v *vetting) of(path string) standing {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.files[path]
}

func (v *vetting) set(path string, s standing) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.files[path] = s
}

// doubt has a file looked at anew before it is opened again.
func (v *vetting) doubt(path string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.files, path)
}

// vet returns nil for each file that may be given to bbolt, and for any other what
// is wrong with it. Those that need a process of their own share it: to start one
// takes longer than to look at a file.
func (v *vetting) vet(paths ...string) []error {
	errs := make([]error, len(paths))
	var rest []string
	var at []int // where they are in paths
	for i, path := range paths {
		s := v.of(path)
		if s.sound || s.err != nil {
			errs[i] = s.err
			continue
		}
		errs[i] = checkFile(path)
		if errs[i] == nil && !s.ordered && v.apart != nil {
			rest, at = append(rest, path), append(at, i)
			continue
		}
		v.judge(path, errs[i])
	}
	for i, err := range probe(v.apart, rest) {
		errs[at[i]] = err
		v.judge(rest[i], err)
	}
	return errs
}

// judge notes what a look at a file has found. That it could not be read need not
// be so the next time.
func (v *vetting) judge(path string, err error) {
	if err == nil || errors.Is(err, errDamaged) {
		v.set(path, standing{sound: err == nil, err: err})
	}
}

// markName is the file that says which files were closed in order. It is there
// while nobody uses the directory, and not after a power cut.
const markName = "clean"

// takeMark reads the mark and removes it: from here on the files may change.
func (d *disk) takeMark() error {
	path := filepath.Join(d.dir, markName)
	if err := os.Remove(path + newSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		for rel, stamp := range parseMark(b) {
			if path := filepath.Join(d.dir, rel); stampOf(path) == stamp {
				d.set(path, standing{ordered: true})
			}
		}
	}
	return errors.Join(d.remove(path), d.syncDir(d.dir))
}

// leaveMark writes the mark when all files are closed.
func (d *disk) leaveMark() error {
	d.mu.Lock()
	var paths []string
	for path, s := range d.files {
		if s.sound || s.ordered {
			paths = append(paths, path)
		}
	}
	d.mu.Unlock()
	slices.Sort(paths)
	var b []byte
	for _, path := range paths {
		rel, err := filepath.Rel(d.dir, path)
		if stamp := stampOf(path); err == nil && stamp != "" {
			b = fmt.Appendf(b, "%s %s\n", stamp, rel)
		}
	}
	b = fmt.Appendf(b, "%08x\n", crc32.Checksum(b, castagnoli))
	path := filepath.Join(d.dir, markName)
	if err := d.step(OpCreate, path+newSuffix); err != nil {
		return err
	}
	if err := writeSynced(path+newSuffix, b); err != nil {
		return err
	}
	d.flushes.Add(1)
	return d.rename(path+newSuffix, path)
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return errors.Join(err, f.Sync(), f.Close())
}

// parseMark returns the stamps of a mark by relative path, none when it is not
// whole. Its lines are "SIZE MTIME PATH", the last one is their CRC32C.
func parseMark(b []byte) map[string]string {
	body, sum, ok := cutLast(bytes.TrimSuffix(b, []byte("\n")), '\n')
	if !ok || fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)) != string(sum) {
		return nil
	}
	stamps := map[string]string{}
	for line := range strings.Lines(string(body)) {
		size, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		mtime, rel, ok := strings.Cut(rest, " ")
		if ok && filepath.IsLocal(rel) {
			stamps[rel] = size + " " + mtime
		}
	}
	return stamps
}

// cutLast cuts b behind the last sep.
func cutLast(b []byte, sep byte) (before, after []byte, ok bool) {
	i := bytes.LastIndexByte(b, sep)
	return b[:i+1], b[i+1:], i >= 0
}

// stampOf returns by what a change of a file is noticed, "" when it is not there.
func stampOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return strconv.FormatInt(info.Size(), 10) + " " + strconv.FormatInt(info.ModTime().UnixNano(), 10)
}

// vetStart takes the mark and looks at the files that every start opens: meta.db,
// the tables, and the newest segment of each outbox. Older ones have their turn
// when they are read, which keeps the start short.
func (d *disk) vetStart() error {
	if err := d.takeMark(); err != nil {
		return err
	}
	paths := []string{filepath.Join(d.dir, metaName)}
	tables, err := tableFiles(d.dir)
	if err != nil {
		return err
	}
	for _, path := range tables {
		paths = append(paths, path)
	}
	err = eachOutbox(d, d.dir, func(_ string, segs []*segment) error {
		if len(segs) > 0 {
			paths = append(paths, segs[len(segs)-1].path)
		}
		return nil
	})
	// What is wrong with them is found again, and dealt with, when they are opened.
	d.vet(paths...)
	return err
}
