package crashtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
)

// OpKind is a kind of step in a trace.
type OpKind uint8

// The steps.
const (
	OpNote     OpKind = iota + 1 // a line for the ledger: Data
	OpMkdir                      // Path
	OpCreate                     // Path, an empty file
	OpWrite                      // Data at Offset of Path
	OpTruncate                   // Path, to Offset bytes
	OpSync                       // Path: a file or a directory; what was done before From is safe
	OpRename                     // Path to To
	OpRemove                     // Path
)

// Op is one step of a traced program.
type Op struct {
	Kind   OpKind
	Path   string // relative to the traced directory
	To     string
	Data   []byte
	Offset int64
	// From is, for OpSync, the index of the step before which the sync began. It
	// covers no write that began later.
	From int
}

// Trace is what a program did to a directory, in order.
type Trace struct{ Ops []Op }

// calls are the system calls that strace is asked for.
const calls = "openat,mkdirat,pwrite64,write,ftruncate,fsync,fdatasync,renameat,unlinkat"

// ReadTrace reads what "strace -f -y -xx" wrote of a program that works in dir, which
// had the files of from in it, and writes the lines of its ledger to the file ledger.
func ReadTrace(r io.Reader, dir, ledger string, from Image) (*Trace, error) {
	p := traceReader{dir: dir, ledger: ledger, began: map[string]begun{}, exist: map[string]bool{}}
	for path := range from {
		p.exist[path] = true
	}
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			if err := p.line(strings.TrimSuffix(line, "\n")); err != nil {
				return nil, err
			}
		}
		if errors.Is(err, io.EOF) {
			return &p.trace, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// begun is a call that has begun and not ended.
type begun struct {
	text string
	from int // steps before it
}

type traceReader struct {
	dir, ledger string
	trace       Trace
	began       map[string]begun // by thread
	exist       map[string]bool  // files that are there
}

// line takes one line: a whole call, the beginning of one, or the end of one.
func (p *traceReader) line(line string) error {
	thread, call, _ := strings.Cut(line, " ")
	call = strings.TrimLeft(call, " ")
	if text, ok := strings.CutSuffix(call, " <unfinished ...>"); ok {
		b := begun{text, len(p.trace.Ops)}
		p.began[thread] = b
		// What is being written may be on the disk from now on, and a line of the
		// ledger counts from now on.
		if strings.HasPrefix(text, "pwrite64(") || strings.HasPrefix(text, "write(") {
			return p.call(text, b.from)
		}
		return nil
	}
	if rest, ok := strings.CutPrefix(call, "<... "); ok {
		b := p.began[thread]
		delete(p.began, thread)
		_, end, _ := strings.Cut(rest, " resumed>")
		if strings.HasPrefix(b.text, "pwrite64(") || strings.HasPrefix(b.text, "write(") || b.text == "" {
			return nil
		}
		return p.call(b.text+end, b.from)
	}
	return p.call(call, len(p.trace.Ops))
}

// call takes a call with its result, if that is known.
func (p *traceReader) call(text string, from int) error {
	name, rest, ok := strings.Cut(text, "(")
	if !ok || !strings.Contains(","+calls+",", ","+name+",") {
		return nil // a signal, the end of a thread
	}
	if i := strings.LastIndex(rest, " = "); i >= 0 {
		if result := rest[i+3:]; strings.HasPrefix(result, "-1") || strings.HasPrefix(result, "?") {
			return nil
		}
		// Short calls are padded: "fsync(3)      = 0".
		rest = strings.TrimSuffix(strings.TrimRight(rest[:i], " "), ")")
	}
	args, err := arguments(rest)
	if err != nil {
		return fmt.Errorf("trace: %.200s: %w", text, err)
	}
	op := Op{From: from}
	switch name {
	case "openat":
		return p.openat(args)
	case "mkdirat":
		op.Kind, op.Path = OpMkdir, args[1]
	case "unlinkat":
		op.Kind, op.Path = OpRemove, args[1]
	case "renameat":
		op.Kind, op.Path, op.To = OpRename, args[1], args[3]
	case "fsync", "fdatasync":
		op.Kind, op.Path = OpSync, args[0]
	case "ftruncate":
		op.Kind, op.Path = OpTruncate, args[0]
		op.Offset, err = strconv.ParseInt(args[1], 10, 64)
	case "pwrite64":
		op.Kind, op.Path, op.Data = OpWrite, args[0], []byte(args[1])
		op.Offset, err = strconv.ParseInt(args[3], 10, 64)
	case "write":
		if args[0] == p.ledger {
			p.trace.Ops = append(p.trace.Ops, Op{Kind: OpNote, Data: []byte(strings.TrimSuffix(args[1], "\n"))})
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("trace: %.200s: %w", text, err)
	}
	return p.add(op)
}

func (p *traceReader) openat(args []string) error {
	if len(args) < 3 || !strings.Contains(args[2], "O_CREAT") {
		return nil
	}
	path := p.inside(args[1])
	if path == "" || p.exist[path] {
		return nil
	}
	return p.add(Op{Kind: OpCreate, Path: args[1]})
}

// add adds a step that is inside of the directory.
func (p *traceReader) add(op Op) error {
	if op.Path = p.inside(op.Path); op.Path == "" {
		return nil
	}
	switch op.Kind {
	case OpCreate:
		p.exist[op.Path] = true
	case OpRemove:
		delete(p.exist, op.Path)
	case OpRename:
		if op.To = p.inside(op.To); op.To == "" {
			return fmt.Errorf("trace: %s was moved out of the directory", op.Path)
		}
		p.exist[op.To] = p.exist[op.Path]
		delete(p.exist, op.Path)
	}
	p.trace.Ops = append(p.trace.Ops, op)
	return nil
}

// inside returns a path relative to the traced directory, or "" for one outside.
func (p *traceReader) inside(path string) string {
	rel, err := filepath.Rel(p.dir, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return ""
	}
	return rel
}

// arguments takes the arguments of a call apart. A descriptor 7</path> becomes the
// path; a text is unescaped; the rest stays as it is.
func arguments(s string) ([]string, error) {
	var args []string
	for s = strings.TrimLeft(s, " "); s != ""; s = strings.TrimLeft(s, ", ") {
		if s[0] == '"' {
			end := strings.IndexByte(s[1:], '"')
			if end < 0 {
				return nil, errors.New("a text without an end")
			}
			text, err := unescape(s[1 : 1+end])
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(s[end+2:], "...") {
				return nil, errors.New("a text that was cut short")
			}
			args, s = append(args, text), s[end+2:]
			continue
		}
		arg := s
		if end := strings.IndexByte(s, ','); end >= 0 {
			arg = s[:end]
		}
		s = s[len(arg):]
		if i := strings.IndexByte(arg, '<'); i >= 0 {
			arg, _ = strings.CutSuffix(arg[i+1:], "(deleted)")
			text, err := unescape(strings.TrimSuffix(arg, ">"))
			if err != nil {
				return nil, err
			}
			arg = text
		}
		args = append(args, arg)
	}
	return args, nil
}

// unescape undoes \xHH, which is all that -xx leaves.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\x`) {
		return s, nil
	}
	out := make([]byte, 0, len(s)/4)
	for len(s) > 0 {
		if !strings.HasPrefix(s, `\x`) {
			out, s = append(out, s[0]), s[1:]
			continue
		}
		if len(s) < 4 {
			return "", errors.New("an escape without an end")
		}
		b, err := strconv.ParseUint(s[2:4], 16, 8)
		if err != nil {
			return "", err
		}
		out, s = append(out, byte(b)), s[4:]
	}
	return string(out), nil
}
