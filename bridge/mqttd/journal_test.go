package mqttd

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gantry/internal/ratelog"
)

// slowDisk is a table that takes its time, unless the context ends before.
type slowDisk struct {
	Table
	takes   time.Duration
	written []Change
}

func (d *slowDisk) Apply(ctx context.Context, changes []Change) error {
	if !pause(ctx, d.takes) {
		return ctx.Err()
	}
	d.written = append(d.written, changes...)
	return nil
}

// TestTheEndLetsAWriteFinish ends a journal while it writes, and has one more change come.
func TestTheEndLetsAWriteFinish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		d := &slowDisk{takes: lastFlush / 3}
		j := newJournal(d, ratelog.New(slog.New(slog.NewTextHandler(&log, nil)), 0, nil))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended, onDisk := make(chan struct{}), 0
		go func() {
			defer close(ended)
			j.run(ctx)
		}()
		for i, key := range []string{"a", "b"} {
			j.add(Change{Key: []byte(key), Value: []byte{1}})
			j.then(waiter{done: func() {
				if len(d.written) <= i {
					t.Errorf("%s is called on disk before it is", key)
				}
				onDisk++
			}}, 0)
			synctest.Wait()
			cancel()
		}
		<-ended
		if len(d.written) != 2 || onDisk != 2 {
			t.Errorf("%d changes written, %d told", len(d.written), onDisk)
		}
		if log.Len() > 0 {
			t.Errorf("logged: %s", &log)
		}
	})
}

// TestTheEndDoesNotWaitForADisk ends a journal whose disk does not answer.
func TestTheEndDoesNotWaitForADisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(&slowDisk{takes: time.Hour}, ratelog.New(slog.New(slog.DiscardHandler), 0, nil))
		ctx, cancel := context.WithCancel(t.Context())
		j.add(Change{Key: []byte("a"), Value: []byte{1}})
		time.AfterFunc(time.Minute, cancel)
		began := time.Now()
		j.run(ctx)
		if took := time.Since(began); took != time.Minute+lastFlush {
			t.Errorf("ended after %v", took)
		}
	})
}
