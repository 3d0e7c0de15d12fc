package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// suite is the tests of a package that talk to the kernel.
type suite struct {
	name, pkg string
	tests     string // regular expression
}

var suites = []suite{
	{"gpio", "./drivers/gpio", "Simulated"},
	{"i2c", "./drivers/i2c", "KernelBus"},
	{"onewire", "./drivers/onewire", "KernelBus"},
	{"serialport", "./drivers/serialport", "KernelPort"},
	{"board", "./drivers/board", "Conformance|ThisMachine"},
	{"gateway", "./cmd/gateway", "KernelPort"},
}

func (s suite) build(ctx context.Context, arch, share string) error {
	return shell(ctx, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch}, "go", "test", "-c", "-o", filepath.Join(share, s.name+".test"), s.pkg)
}

// environment tells the tests where the far ends of the guest's serial ports are:
// 10.0.2.2 is this machine, seen from the guest.
func (r *run) environment() string {
	return fmt.Sprintf("GANTRY_GUEST_USB=10.0.2.2:%d GANTRY_GUEST_UART=10.0.2.2:%d", r.m.usb, r.m.uart)
}

// verdict is a line of testing's own by which a test ends, and note what a test logs.
var (
	verdict = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)`)
	note    = regexp.MustCompile(`^\s+\w+_test\.go:\d+: (.*)`)
)

// run runs the tests in the guest and notes each.
func (s suite) run(ctx context.Context, r *run) {
	begun := time.Now()
	cmd := r.m.command(ctx, fmt.Sprintf("cd /tmp && %s /share/%s.test -test.v -test.timeout 15m -test.run '%s' 2>&1", r.environment(), s.name, s.tests))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.table.add(s.name, err.Error(), failed, time.Since(begun))
		return
	}
	said := r.collect(s.name, out)
	if err := cmd.Wait(); err != nil || r.table.failedIn(s.name) {
		fmt.Printf("%s: %v\n%s\n", s.name, err, said)
		if !r.table.failedIn(s.name) {
			r.table.add(s.name, "the program of the tests", failed, time.Since(begun))
		}
	}
}

// collect notes the tests that end in the output and returns all of it. What was
// logged is told with the test as a whole: it comes before its cases do.
func (r *run) collect(name string, out io.Reader) string {
	var said strings.Builder
	var notes []string
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if m := note.FindStringSubmatch(lines.Text()); m != nil {
			notes = append(notes, m[1])
		}
		m := verdict.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		took, _ := time.ParseDuration(m[3] + "s")
		v := map[string]outcome{"PASS": passed, "FAIL": failed, "SKIP": skipped}[m[1]]
		test := strings.ReplaceAll(m[2], "_", " ")
		if !strings.Contains(test, "/") && notes != nil {
			test += ": " + strings.Join(notes, "; ")
			notes = nil
		}
		r.table.add(name, test, v, took)
	}
	return said.String()
}
