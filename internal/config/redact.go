package config

import (
	"cmp"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gantry/drivers"
)

// hidden stands for what may be a secret.
const hidden = "***"

// hiddenKeys are the keys whose texts may hold secrets although no key takes one but by
// reference, with all that is below them: what is sent to a device or server as it is.
// Where a key means other things too, its kind of value tells.
var (
	hiddenKeys  = []string{"body", "cancel_payload", "constants", "env", "header", "hello", "key", "kwargs", "password", "payload", "secret", "stored", "template", "token"}
	hiddenTexts = []string{"request", "user"}
	hiddenLists = []string{"args"}
	// Below these, a path is one of an HTTP request.
	requestKeys = []string{"action", "request", "write"}
)

// Redacted reads the configuration anew and returns the tables of each file, by its name,
// as they may be shown to somebody else; and what must not be shown elsewhere either: the
// secrets that they refer to, and hidden texts of 8 bytes and more. References stay. Hidden
// are texts that may hold a secret, paths of requests, what URLs have behind their hosts,
// and every text of a device that is not in order, or of a main file that is not. Of a file
// that cannot be parsed there are only the secrets that it refers to: errs says what is
// wrong.
func (c *Config) Redacted(kinds []drivers.Kind) (tables map[string]any, secrets []string, errs Errors) {
	path := cmp.Or(c.dir, c.File)
	cfg, errs := Load(path, kinds)
	file, dir, err := find(path)
	if err != nil {
		return nil, nil, errs
	}
	r := redactor{tables: map[string]any{}, sound: map[string]bool{}}
	if cfg != nil {
		for _, d := range cfg.Devices {
			r.sound[d.Name] = true
		}
	}
	r.file(file, cfg != nil)
	if dir != "" {
		// No such folder is no error, and a pattern of ours is in order.
		more, _ := filepath.Glob(filepath.Join(dir, DeviceDir, "*.toml"))
		for _, file := range more {
			r.file(file, false)
		}
	}
	return r.tables, r.secrets, errs
}

type redactor struct {
	tables  map[string]any
	sound   map[string]bool // devices that are in order
	secrets []string
}

func (r *redactor) file(file string, sound bool) {
	doc, err := read(file)
	if err != nil {
		r.scan(file)
		return
	}
	devices, _ := doc.root["device"].(map[string]any)
	delete(doc.root, "device")
	shown := r.table(doc.root, shade{hide: !sound})
	if devices != nil {
		tables := map[string]any{}
		for name, x := range devices {
			tables[name] = r.value("", x, shade{hide: !r.sound[name]})
		}
		shown["device"] = tables
	}
	r.tables[filepath.Base(file)] = shown
}

// scan notes the references in a file that cannot be parsed: the gateway may have been
// started with it as it was before.
func (r *redactor) scan(file string) {
	if !regular(file) {
		return
	}
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, maxFile)) // as much as can be read
	for _, ref := range quotedReference.FindAllSubmatch(text, -1) {
		r.note(string(ref[1]))
	}
}

// shade says what is hidden below a table.
type shade struct {
	hide    bool // every text
	request bool // paths
}

func (r *redactor) table(t map[string]any, s shade) map[string]any {
	shown := make(map[string]any, len(t))
	for k, v := range t {
		shown[k] = r.value(k, v, s)
	}
	return shown
}

// value returns the value of a key, "" for the elements of a list, as it may be shown.
func (r *redactor) value(key string, x any, s shade) any {
	s.hide = s.hide || slices.Contains(hiddenKeys, key)
	s.request = s.request || slices.Contains(requestKeys, key)
	switch x := x.(type) {
	case map[string]any:
		return r.table(x, s)
	case []any:
		s.hide = s.hide || slices.Contains(hiddenLists, key)
		shown := slices.Clone(x)
		for i, v := range x {
			within := s
			within.hide = s.hide || key == "command" && i > 0 // the program is shown
			shown[i] = r.value("", v, within)
		}
		return shown
	case string:
		return r.text(x, s.hide || slices.Contains(hiddenTexts, key) || key == "path" && s.request)
	}
	return x
}

var (
	reference = regexp.MustCompile(`^(env|file):.`)
	// As it stands in a file.
	quotedReference = regexp.MustCompile(`["']((?:env|file):[^"'\n]+)["']`)

	withHost = regexp.MustCompile(`(?i)^[a-z][a-z0-9+.-]*://`) // RFC 3986, 3.1
)

func (r *redactor) text(s string, hide bool) string {
	switch {
	case reference.MatchString(s):
		r.note(s)
		return s
	case hide && s != "":
		r.conceal(s, 8) // a shorter one may be any word
		return hidden
	case withHost.MatchString(s):
		u, err := url.Parse(s)
		if err != nil {
			r.conceal(s, 8)
			return hidden
		}
		switch shown := u.Scheme + "://" + u.Host; {
		case u.Host == "": // a socket
			return shown + u.Path
		case u.User == nil && u.RawQuery == "" && u.Fragment == "" && (u.Path == "" || u.Path == "/" || u.Path == "/ws"):
			return s
		default:
			r.conceal(s, 8)
			return shown + "/" + hidden
		}
	}
	return s
}

// regular reports whether a file is one. Others, which are no secrets, may block.
func regular(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
}

// note remembers what a reference refers to.
func (r *redactor) note(ref string) {
	if file, ok := strings.CutPrefix(ref, "file:"); ok && !regular(file) {
		return
	}
	if s, err := (Secret{ref}).Reveal(); err == nil {
		r.conceal(s, 4)
	}
}

// conceal adds a text of at least so many bytes to the secrets.
func (r *redactor) conceal(s string, least int) {
	if len(s) >= least {
		r.secrets = append(r.secrets, s)
	}
}
