package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// outcome is how a test ended.
type outcome string

const (
	passed  outcome = "passed"
	failed  outcome = "FAILED"
	skipped outcome = "skipped"
)

// row is a test.
type row struct {
	room, test string
	outcome    outcome
	took       time.Duration
}

// table is what was run, in this order.
type table struct{ rows []row }

func (t *table) add(room, test string, o outcome, took time.Duration) {
	t.rows = append(t.rows, row{room, test, o, took})
	fmt.Printf("%-8s %-10s %7.2f s  %s\n", o, room, took.Seconds(), test)
}

// step runs f as a test of its own.
func (t *table) step(room, test string, f func() (string, error)) bool {
	begun := time.Now()
	note, err := f()
	if err != nil {
		t.add(room, test, failed, time.Since(begun))
		fmt.Println(err)
		return false
	}
	if note != "" {
		test += ": " + note
	}
	t.add(room, test, passed, time.Since(begun))
	return true
}

func (t *table) failedIn(room string) bool {
	for _, r := range t.rows {
		if r.room == room && r.outcome == failed {
			return true
		}
	}
	return false
}

// err tells what failed. A test that was skipped lacked what it is run here for,
// unless it is a case of a test that ran.
func (t *table) err() error {
	bad := 0
	for _, r := range t.rows {
		if r.outcome == failed || r.outcome == skipped && !strings.Contains(r.test, "/") {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d tests failed or were skipped", bad, len(t.rows))
	}
	return nil
}

// print prints the table as docs/testing.md has it: the suite that all drivers pass is
// one line.
func (t *table) print(w io.Writer, arch string, took time.Duration) {
	fmt.Fprintf(w, "\n%s, %s, %.0f s in all\n\n| room | test | seconds | |\n|---|---|---|---|\n", time.Now().UTC().Format(time.DateOnly), arch, took.Seconds())
	for _, r := range t.rows {
		if strings.HasPrefix(r.test, "TestConformance") && strings.Contains(r.test, "/") && r.outcome != failed {
			continue
		}
		fmt.Fprintf(w, "| %s | %s | %.2f | %s |\n", r.room, r.test, r.took.Seconds(), r.outcome)
	}
}
