// Package daemon runs the servers of others as peers of tests.
package daemon

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Daemon is a program that can be killed and started again. It says on its standard
// error when it is ready.
type Daemon struct {
	// Name is what failures call it.
	Name string
	// Ready reports whether a line says that the program is ready.
	Ready func(line string) bool
	// Patience is how long it may take to get there.
	Patience time.Duration

	cmd  *exec.Cmd     // nil while it is down
	done chan struct{} // closed when its output has ended
}

// Start runs the program at path and waits until it is ready.
func (d *Daemon) Start(t testing.TB, path string, args ...string) {
	t.Helper()
	d.cmd = exec.Command(path, args...)
	out, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.done = make(chan struct{})
	ready := make(chan struct{}, 1)
	var log strings.Builder // read once the output has ended
	go func() {
		defer close(d.done)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			fmt.Fprintln(&log, sc.Text())
			if d.Ready(sc.Text()) {
				ready <- struct{}{}
			}
		}
	}()
	select {
	case <-ready:
	case <-d.done:
		t.Fatalf("%s has ended:\n%s", d.Name, log.String())
	case <-time.After(d.Patience):
		t.Fatalf("%s does not start", d.Name)
	}
}

// Kill ends the program without a farewell. It may be down already.
func (d *Daemon) Kill() {
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Kill()
	<-d.done
	_ = d.cmd.Wait() // the signal
	d.cmd = nil
}
