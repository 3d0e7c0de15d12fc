// Command testsum reads the events of one or more runs of go test -json and
// prints what a person needs: failures with their output, skips with their
// reason, and one line with the sum. It ends with 1 when anything failed.
//
// Lines "@run NAME" and "@exit CODE" around each run name it and tell how it
// ended; a run that ended badly without a failed test counts as one failure.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is one line of go test -json (cmd/test2json).
type event struct {
	Action, Package, ImportPath, Test, Output, FailedBuild string
}

// key names a test, or with an empty test its package.
type key struct{ pkg, test string }

// summary gathers the runs.
type summary struct {
	out                     io.Writer
	run                     string
	passed, failed, skipped int
	failedHere              int // failures of the present run
	output                  map[key][]string
	last                    map[string][]string // what each package wrote last, of all its tests
	builds                  map[string][]string // output of the compiler by import path
	children                map[key]bool        // tests with subtests
	broken                  map[key]bool        // tests and packages with a failure inside
	reasons                 map[string][]string // skipped tests by reason
}

// lastLines is how many of a package's last lines are kept at least.
const lastLines = 150

func main() {
	s := summary{out: os.Stdout, reasons: map[string][]string{}}
	s.reset("")
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			s.line(strings.TrimSuffix(line, "\n"))
		}
		if err != nil {
			break
		}
	}
	if !s.finish() {
		os.Exit(1)
	}
}

func (s *summary) reset(run string) {
	s.run, s.failedHere = run, 0
	s.output, s.last, s.builds = map[key][]string{}, map[string][]string{}, map[string][]string{}
	s.children, s.broken = map[key]bool{}, map[key]bool{}
}

// line takes one line of input.
func (s *summary) line(line string) {
	if run, ok := strings.CutPrefix(line, "@run "); ok {
		s.reset(run)
		return
	}
	if code, ok := strings.CutPrefix(line, "@exit "); ok {
		if code != "0" && s.failedHere == 0 {
			s.fail(s.run+" ended with exit code "+code, nil)
		}
		return
	}
	var e event
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil {
		if strings.TrimSpace(line) != "" {
			fmt.Fprintln(s.out, line)
		}
		return
	}
	s.event(e)
}

func (s *summary) event(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		s.builds[e.ImportPath] = append(s.builds[e.ImportPath], e.Output)
	case "run":
		if parent := k.parent(); parent.test != "" {
			s.children[parent] = true
		}
	case "output":
		s.output[k] = append(s.output[k], e.Output)
		if last := append(s.last[e.Package], e.Output); len(last) < 2*lastLines {
			s.last[e.Package] = last
		} else {
			s.last[e.Package] = slices.Clone(last[lastLines:])
		}
	case "pass":
		if e.Test != "" && !s.children[k] {
			s.passed++
		}
		delete(s.output, k)
	case "skip":
		if e.Test != "" && !s.children[k] {
			s.skipped++
			why := reason(s.output[k])
			s.reasons[why] = append(s.reasons[why], fmt.Sprintf("%s %s (%s)", e.Package, e.Test, s.run))
		}
		delete(s.output, k)
	case "fail":
		if e.FailedBuild != "" {
			s.output[k] = append(s.builds[e.FailedBuild], s.output[k]...)
		}
		s.failure(k)
	}
}

// failure counts a failed test or package unless a failure inside it has been
// counted, and prints what it wrote.
func (s *summary) failure(k key) {
	if k.test == "" {
		s.unfinished(k.pkg)
	}
	if !s.broken[k] {
		output := s.output[k]
		if k.test == "" && len(s.last[k.pkg]) > 0 {
			// A panic's words count as those of the test that began last, which may have
			// passed.
			output = append(s.last[k.pkg], output...)
		}
		s.fail(strings.TrimSpace(k.pkg+" "+k.test)+" ("+s.run+")", output)
	} else if k.test != "" {
		fmt.Fprint(s.out, strings.Join(s.output[k], ""))
	}
	for p := k; p.test != ""; {
		p = p.parent()
		s.broken[p] = true
	}
	delete(s.output, k)
}

// unfinished prints what the tests wrote that were running when their package
// failed: it hung, or a goroutine of nobody's panicked.
func (s *summary) unfinished(pkg string) {
	for k, out := range s.output {
		if k.pkg == pkg && k.test != "" {
			fmt.Fprintf(s.out, "unfinished: %s %s (%s)\n%s", pkg, k.test, s.run, strings.Join(out, ""))
			delete(s.output, k)
		}
	}
}

func (s *summary) fail(name string, output []string) {
	s.failed++
	s.failedHere++
	fmt.Fprintf(s.out, "FAIL %s\n%s", name, strings.Join(output, ""))
}

// finish prints skips and sum and reports whether all went well.
func (s *summary) finish() bool {
	whys := make([]string, 0, len(s.reasons))
	for why := range s.reasons {
		whys = append(whys, why)
	}
	slices.Sort(whys)
	for _, why := range whys {
		tests := s.reasons[why]
		fmt.Fprintf(s.out, "skipped: %s\n", why)
		for _, t := range tests[:min(len(tests), 5)] {
			fmt.Fprintf(s.out, "    %s\n", t)
		}
		if more := len(tests) - 5; more > 0 {
			fmt.Fprintf(s.out, "    and %d more\n", more)
		}
	}
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	return s.failed == 0 && s.passed > 0
}

// parent returns the test that k is a subtest of; of a test, its package.
func (k key) parent() key {
	i := strings.LastIndexByte(k.test, '/')
	return key{k.pkg, k.test[:max(i, 0)]}
}

// reason returns what t.Skip was given: the last line of the test's own output.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "---") || strings.HasPrefix(line, "===") {
			continue
		}
		if _, text, ok := strings.Cut(line, ".go:"); ok {
			if _, text, ok = strings.Cut(text, ": "); ok {
				return text
			}
		}
		return line
	}
	return "no reason given"
}
