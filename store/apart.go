package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// ErrDied is what Config.Apart returns when the process has ended before it was
// done, or had to be ended because it took too much time or memory.
var ErrDied = errors.New("the process did not end by itself")

// The first of the words for Apart; the rest are their arguments.
const (
	apartCheck  = "check"  // FILE...: a verdict for each, a line each
	apartOutbox = "outbox" // DAMAGED DIR OUTBOX FLOOR LIMIT: the numbers salvaged
	apartTable  = "table"  // DAMAGED FILE
)

// The verdicts; behind the latter two, the reason as a quoted text.
const (
	verdictSound   = "sound"
	verdictDamaged = "damaged"
	verdictUnread  = "unread"
)

// Apart does what Config.Apart was called for, in the process that this has
// started: it takes the same words and writes the answer to out. It opens damaged
// files and may panic, hang, or ask for more memory than there is.
func Apart(args []string, out io.Writer) error {
	switch {
	case len(args) > 0 && args[0] == apartCheck:
		for _, path := range args[1:] {
			if _, err := fmt.Fprintln(out, verdict(openWhole(path))); err != nil {
				return err
			}
		}
		return nil
	case len(args) == 6 && args[0] == apartOutbox:
		floor, err1 := strconv.ParseUint(args[4], 10, 64)
		limit, err2 := strconv.ParseInt(args[5], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		first, last, err := salvageOutbox(newDisk("", nil, -1), args[1], args[2], args[3], floor, limit)
		if _, werr := fmt.Fprintln(out, first, last); err == nil {
			err = werr
		}
		return err
	case len(args) == 3 && args[0] == apartTable:
		return salvageTable(newDisk("", nil, -1), args[1], args[2])
	}
	return fmt.Errorf("store: no work is called %.100q", args)
}

// openWhole opens a file as the store will, and has bbolt walk all of it.
func openWhole(path string) error {
	o := options(0, true)
	o.PreLoadFreelist = true
	db, err := bbolt.Open(path, 0o600, o)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	return db.View(func(tx *bbolt.Tx) error {
		var first error
		// To the end: bbolt's goroutine waits for its reader.
		for err := range tx.Check() {
			if first == nil {
				first = damaged("%v", err)
			}
		}
		return first
	})
}

func verdict(err error) string {
	var refused *fs.PathError
	switch {
	case err == nil:
		return verdictSound
	case errors.As(err, &refused), errors.Is(err, berrors.ErrTimeout):
		return verdictUnread + " " + strconv.Quote(err.Error())
	}
	return verdictDamaged + " " + strconv.Quote(err.Error())
}

func parseVerdict(line string) error {
	word, text, _ := strings.Cut(line, " ")
	why, err := strconv.Unquote(text)
	switch {
	case line == verdictSound:
		return nil
	case err == nil && word == verdictUnread:
		return errors.New(why)
	}
	return damaged("%s", why)
}

// probe has files opened in a process of its own and returns a verdict for each.
// Where no such process can be had, there is nothing to be said against them.
//
// A process may die late of a file, with the verdict of that file given and the next
// one begun: while a goroutine of bbolt panics, its deferred calls let others go on. So
// only the first file that a process was given is what it has died of.
func probe(apart func([]string) ([]byte, error), paths []string) []error {
	verdicts := make([]error, len(paths))
	for at := 0; at < len(paths); {
		first := at
		out, err := apart(append([]string{apartCheck}, paths[at:]...))
		for line := range strings.Lines(string(out)) {
			if text, whole := strings.CutSuffix(line, "\n"); whole && at < len(paths) {
				verdicts[at] = parseVerdict(text)
				at++
			}
		}
		if at == len(paths) || !errors.Is(err, ErrDied) {
			break
		}
		if at == first {
			verdicts[at] = damaged("opened for a trial: %v", err)
			at++
		}
	}
	return verdicts
}

// rescueOutbox is salvageOutbox, in a process of its own where that can be had.
func (d *disk) rescueOutbox(from, dir, outbox string, floor uint64, limit int64) (first, last uint64, err error) {
	if d.apart == nil {
		return salvageOutbox(d, from, dir, outbox, floor, limit)
	}
	out, err := d.apart([]string{apartOutbox, from, dir, outbox, strconv.FormatUint(floor, 10), strconv.FormatInt(limit, 10)})
	if _, serr := fmt.Sscan(string(out), &first, &last); err == nil && serr != nil {
		err = fmt.Errorf("answer %.100q: %w", out, serr)
	}
	if err == nil && last > 0 {
		// It was written a moment ago. Were it to be opened apart and thought damaged
		// again, there would be no end to it.
		d.set(segmentPath(dir, first), standing{ordered: true})
	}
	return first, last, err
}

// rescueTable is salvageTable, in a process of its own where that can be had.
func (d *disk) rescueTable(from, to string) error {
	if d.apart == nil {
		return salvageTable(d, from, to)
	}
	_, err := d.apart([]string{apartTable, from, to})
	if err == nil {
		d.set(to, standing{ordered: true}) // as above
	}
	return err
}
