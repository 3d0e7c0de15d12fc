package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFile is the size of the largest file that is read: far more than any
// configuration needs, far less than hurts a small board.
const maxFile = 1 << 20

// maxDepth is how deep tables and arrays may nest. It keeps the index of a
// hostile file small: each prefix of a key has an entry.
const maxDepth = 16

// document is one parsed file: its values, and the line of every key.
type document struct {
	file  string
	root  map[string]any
	lines map[string]int // by path, see join
}

// read parses a file. A syntax error or a key given twice is returned with its
// line; nothing of such a file is used, since what follows may have been meant
// otherwise than it was read.
func read(file string) (*document, *Error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fileError(file, err)
	}
	if !info.Mode().IsRegular() {
		return nil, &Error{File: file, Text: "not a regular file"}
	}
	if info.Size() > maxFile {
		return nil, &Error{File: file, Text: fmt.Sprintf("is %d bytes long", info.Size()), Allowed: fmt.Sprintf("up to %d bytes", maxFile)}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fileError(file, err)
	}
	return parse(file, data)
}

func fileError(file string, err error) *Error {
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return &Error{File: file, Text: err.Error()}
}

func parse(file string, data []byte) (*document, *Error) {
	d := &document{file: file, root: map[string]any{}, lines: map[string]int{}}
	if err := toml.Unmarshal(data, &d.root); err != nil {
		e := &Error{File: file, Text: strings.TrimPrefix(err.Error(), "toml: ")}
		var at *toml.DecodeError
		if errors.As(err, &at) {
			e.Line, _ = at.Position()
			e.Key = strings.Join(at.Key(), ".")
		}
		return nil, e
	}
	if tooDeep(d.root, maxDepth) {
		return nil, &Error{File: file, Text: "tables are nested too deep", Allowed: fmt.Sprintf("up to %d levels", maxDepth)}
	}
	d.index(data)
	return d, nil
}

// tooDeep reports whether x has more than limit levels.
func tooDeep(x any, limit int) bool {
	switch x := x.(type) {
	case map[string]any:
		for _, v := range x {
			if limit == 0 || tooDeep(v, limit-1) {
				return true
			}
		}
	case []any:
		for _, v := range x {
			if limit == 0 || tooDeep(v, limit-1) {
				return true
			}
		}
	}
	return false
}

// index fills lines from a second pass over the text: the decoder does not tell
// positions.
func (d *document) index(data []byte) {
	var p unstable.Parser
	p.Reset(data)
	line, at := 1, 0
	lineOf := func(offset uint32) int {
		for ; at < int(offset); at++ {
			if data[at] == '\n' {
				line++
			}
		}
		return line
	}
	var table []string           // path of the table that is open
	elements := map[string]int{} // number of elements of each array of tables
	resolve := func(path []string, add bool) []string {
		out := make([]string, 0, len(path))
		for i, name := range path {
			out = append(out, name)
			key := join(out)
			n, isArray := elements[key]
			last := i == len(path)-1
			switch {
			case last && add:
				elements[key] = n + 1
				out[i] = name + "\x00" + strconv.Itoa(n)
			case isArray:
				out[i] = name + "\x00" + strconv.Itoa(n-1)
			}
		}
		return out
	}
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			names, offset := keyOf(e)
			table = resolve(names, e.Kind == unstable.ArrayTable)
			d.mark(names, lineOf(offset))
			for i := range table {
				d.mark(table[:i+1], lineOf(offset))
			}
		case unstable.KeyValue:
			d.keyValue(table, e, lineOf)
		}
	}
}

// keyValue marks a key and what is inside its value.
func (d *document) keyValue(table []string, e *unstable.Node, lineOf func(uint32) int) {
	names, offset := keyOf(e)
	path := append(slices.Clone(table), names...)
	for i := range names {
		d.mark(path[:len(table)+i+1], lineOf(offset))
	}
	d.value(path, e.Value(), lineOf)
}

func (d *document) value(path []string, v *unstable.Node, lineOf func(uint32) int) {
	switch v.Kind {
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			d.keyValue(path, it.Node(), lineOf)
		}
	case unstable.Array:
		i := 0
		for it := v.Children(); it.Next(); {
			n := it.Node()
			if n.Kind == unstable.Comment {
				continue
			}
			element := slices.Clone(path)
			element[len(element)-1] += "\x00" + strconv.Itoa(i)
			if n.Raw.Length > 0 {
				d.mark(element, lineOf(n.Raw.Offset))
			}
			d.value(element, n, lineOf)
			i++
		}
	}
}

// mark notes the first line at which a path appears.
func (d *document) mark(path []string, line int) {
	key := join(path)
	if _, known := d.lines[key]; !known {
		d.lines[key] = line
	}
}

// keyOf returns the parts of an expression's key and where it begins.
func keyOf(e *unstable.Node) (names []string, offset uint32) {
	for it := e.Key(); it.Next(); {
		n := it.Node()
		if names == nil {
			offset = n.Raw.Offset
		}
		names = append(names, string(n.Data))
	}
	return names, offset
}

// line returns the line of the key at path, or of the nearest table around it.
func (d *document) line(path []string) int {
	for n := len(path); n > 0; n-- {
		if l, ok := d.lines[join(path[:n])]; ok {
			return l
		}
	}
	return 0
}

// join makes a map key of a path whose elements are names, each followed by a
// NUL and an index where an element of an array is meant.
func join(path []string) string { return strings.Join(path, "\x01") }

// show writes a path as people do: mqtt.map[0].topic.
func show(path []string) string {
	var b strings.Builder
	for i, p := range path {
		if i > 0 {
			b.WriteByte('.')
		}
		name, indexes, _ := strings.Cut(p, "\x00")
		if bare(name) {
			b.WriteString(name)
		} else {
			b.WriteString(strconv.Quote(name))
		}
		if indexes != "" {
			for index := range strings.SplitSeq(indexes, "\x00") {
				b.WriteString("[" + index + "]")
			}
		}
	}
	return b.String()
}

func bare(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
}

// unshow is the reverse of show for the keys that rooms name in their errors.
// It takes map[0].topic and map.0.topic alike.
func unshow(key string) []string {
	var path []string
	for key != "" {
		var name string
		if quoted, err := strconv.QuotedPrefix(key); err == nil {
			name, _ = strconv.Unquote(quoted)
			key = key[len(quoted):]
		} else {
			end := strings.IndexAny(key, ".[")
			if end < 0 {
				end = len(key)
			}
			name, key = key[:end], key[end:]
		}
		if _, err := strconv.ParseUint(name, 10, 32); err == nil && len(path) > 0 {
			path[len(path)-1] += "\x00" + name
		} else if name != "" {
			path = append(path, name)
		}
		for strings.HasPrefix(key, "[") {
			index, rest, ok := strings.Cut(key[1:], "]")
			if !ok {
				return path
			}
			if len(path) > 0 {
				path[len(path)-1] += "\x00" + index
			}
			key = rest
		}
		key = strings.TrimPrefix(key, ".")
	}
	return path
}
