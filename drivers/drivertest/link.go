// Package drivertest holds what the tests of all drivers share: a link that
// records, and a suite that every driver passes.
package drivertest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"gantry/drivers"
)

// Patience is how long the functions of this package wait before a test fails.
// A busy machine holds a process up for many seconds.
const Patience = time.Minute

// Garbage is a call of Link.Garbage.
type Garbage struct {
	Why    string
	Sample string
}

// Trip says where a Link panics: a driver might trip over what it has just received.
type Trip uint8

// Where a Link panics. The zero value is nowhere.
const (
	InUp Trip = iota + 1
	InEmit
)

// Link is a drivers.Link that keeps what it is told. The zero value is ready. It
// is safe for concurrent use.
type Link struct {
	// Hold, if not nil, is what Emit waits for before it returns, as at a hub
	// that is busy. It is not changed once the link is in use.
	Hold <-chan struct{}
	// Panics is where it panics. It is not changed once the link is in use.
	Panics Trip

	mu       sync.Mutex // guards the rest
	ups      int
	readings []drivers.Reading
	garbage  []Garbage
	changed  chan struct{} // closed at the next change; nil if nobody waits
}

var _ drivers.Link = (*Link)(nil)

// Up implements drivers.Link.
func (l *Link) Up() {
	l.change(func() { l.ups++ })
	if l.Panics == InUp {
		panic(l.Panics)
	}
}

// Emit implements drivers.Link.
func (l *Link) Emit(r drivers.Reading) {
	l.change(func() { l.readings = append(l.readings, r) })
	if l.Panics == InEmit {
		panic(l.Panics)
	}
	if l.Hold != nil {
		<-l.Hold
	}
}

// Garbage implements drivers.Link.
func (l *Link) Garbage(why string, sample []byte) {
	l.change(func() { l.garbage = append(l.garbage, Garbage{why, string(sample)}) })
}

func (l *Link) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// Ups returns how often the device came up.
func (l *Link) Ups() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ups
}

// Readings returns all readings so far.
func (l *Link) Readings() []drivers.Reading {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.readings)
}

// AllGarbage returns all garbage so far.
func (l *Link) AllGarbage() []Garbage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.garbage)
}

// Wait returns when ok does, which it asks anew after each change; the test fails
// when that takes longer than Patience. what names what is waited for.
func (l *Link) Wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	late := time.NewTimer(Patience)
	defer late.Stop()
	for {
		l.mu.Lock()
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-late.C:
			if ok() {
				return // both have come while this process was held up
			}
			t.Fatalf("%s did not come in %v; readings %v, garbage %v", what, Patience, tail(l.Readings()), tail(l.AllGarbage()))
		}
	}
}

func tail[T any](s []T) []T { return s[max(0, len(s)-10):] }

// WaitUp returns when the device has come up n times.
func (l *Link) WaitUp(t testing.TB, n int) {
	t.Helper()
	l.Wait(t, "the device", func() bool { return l.Ups() >= n })
}

// WaitReading returns the first reading of the point, not counting the first skip
// readings of all points, that ok accepts; nil accepts any.
func (l *Link) WaitReading(t testing.TB, point string, skip int, ok func(drivers.Reading) bool) drivers.Reading {
	t.Helper()
	var found drivers.Reading
	l.Wait(t, "a reading of "+point, func() bool {
		all := l.Readings()
		for _, r := range all[min(skip, len(all)):] {
			if r.Point == point && (ok == nil || ok(r)) {
				found = r
				return true
			}
		}
		return false
	})
	return found
}

// Start runs d and returns the link that it reports to. The test's end stops it
// and fails if that takes longer than Patience, or if Run has returned an error other
// than drivers.ErrOffline, which is what a device that is lost on purpose gives. A
// device that does not answer in time at its start, as happens on a busy machine, is
// run again, as the hub does.
func Start(t testing.TB, d drivers.Driver) *Link {
	t.Helper()
	l := &Link{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := d.Run(ctx, l)
		for errors.Is(err, drivers.ErrTimeout) && l.Ups() == 0 && ctx.Err() == nil {
			err = d.Run(ctx, l)
		}
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, drivers.ErrOffline) {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(Patience):
			t.Errorf("Run did not end in %v", Patience)
		}
	})
	return l
}
