package crashtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long an image may take to open, on a machine with much else to do.
const patience = time.Minute

// task is an image to be looked at, in a line on an examiner's standard input.
type task struct {
	Dir      string
	Scenario string
	N        uint64
}

// examiner is a process that opens images, because a damaged file may end the process
// that opens it.
type examiner struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr *strings.Builder
}

// startExaminer starts the process. It lives as long as the test.
func startExaminer(t testing.TB) *examiner {
	t.Helper()
	e := &examiner{cmd: exec.Command(os.Args[0]), stderr: &strings.Builder{}}
	e.cmd.Env = append(os.Environ(), "GANTRY_CRASH_EXAMINER=1")
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	e.cmd.Stderr = e.stderr
	var err error
	if e.in, err = e.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	e.out = bufio.NewReaderSize(out, 1<<20)
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return e
}

// look has an image examined. died tells how the process ended, if it did; then it is
// of no more use.
func (e *examiner) look(k task) (f *Found, died string) {
	line, err := json.Marshal(k)
	if err != nil {
		return nil, err.Error()
	}
	hung := time.AfterFunc(patience, func() { _ = e.cmd.Process.Signal(syscall.SIGQUIT) })
	defer hung.Stop()
	if _, err := e.in.Write(append(line, '\n')); err == nil {
		answer, err := e.out.ReadBytes('\n')
		f = new(Found)
		if err == nil && json.Unmarshal(answer, f) == nil {
			return f, ""
		}
	}
	err = e.cmd.Wait()
	text := e.stderr.String()
	return nil, fmt.Sprintf("%v: %s", err, text[:min(len(text), 4000)])
}

func (e *examiner) stop() {
	_ = e.in.Close()
	_ = e.cmd.Wait()
}

// serveExaminer is the process.
func serveExaminer() int {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var k task
		if err := json.Unmarshal(in.Bytes(), &k); err != nil {
			return 2
		}
		if err := out.Encode(examine(k.Dir, scenarios[k.Scenario], k.N)); err != nil {
			return 2
		}
	}
	return 0
}
