package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub"
)

// Source is one table [discovery.KIND]: where devices come from that appear by
// themselves.
type Source struct {
	Kind drivers.Kind     // with a Finder
	Hub  hub.SourceConfig // what every source has
	// Finder is the kind's own configuration, for FinderKind.New.
	Finder any
	dir    string // for relative paths
}

// Build makes the source for the hub. It starts nothing.
func (s *Source) Build(log *slog.Logger, now func() time.Time) (hub.Source, error) {
	finder, err := s.Kind.Finder.New(s.Finder, drivers.Env{Dir: s.dir, Log: log.With("source", s.Kind.Name), Now: now})
	return hub.Source{Name: s.Kind.Name, Finder: finder, Config: s.Hub}, err
}

// discovery reads the tables [discovery.KIND].
func (l *loader) discovery(d *decoder, tables map[string]map[string]any) {
	finders := map[string]drivers.Kind{}
	for name, kind := range l.kinds {
		if kind.Finder != nil {
			finders[name] = kind
		}
	}
	for _, name := range sortedKeys(tables) {
		path := []string{"discovery", name}
		kind, known := finders[name]
		if !known {
			d.fail(path, fmt.Sprintf("there is no way to find devices of the kind %.80q", name)+nearest(name, sortedKeys(finders)), quoted(finders))
			continue
		}
		s := Source{Kind: kind, Finder: kind.Finder.Config(), dir: filepath.Dir(d.doc.file)}
		before := len(d.errs)
		d.table(path, tables[name], &s.Hub, s.Finder)
		if len(d.errs) > before {
			continue
		}
		_, err := s.Build(slog.New(slog.DiscardHandler), time.Now)
		if err := errors.Join(s.Hub.Validate(), err); err != nil {
			d.complain(path, err)
			continue
		}
		l.sources = append(l.sources, s)
	}
}

// ignoredFile is the form of ignored.toml.
type ignoredFile struct {
	Ignored []string `toml:"ignored"`
}

// ignored reads the list of candidates that nobody wants. No such file is no error;
// one that cannot be read is, lest unwanted devices be accepted.
func (l *loader) ignored(file string) []string {
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	doc, err := read(file)
	if err != nil {
		l.errs = append(l.errs, err)
		return nil
	}
	var f ignoredFile
	d := decoder{doc: doc}
	d.table(nil, doc.root, &f)
	l.errs = append(l.errs, d.errs...)
	slices.Sort(f.Ignored)
	return slices.Compact(f.Ignored)
}
