package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// stage is a group of tasks that are stopped together. A gateway has several and
// stops them one after the other, so that what is under way can drain.
type stage struct {
	name   string
	ctx    context.Context // ends when the stage is stopped
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	fail   func(error) // told of a task that ends before the stage is stopped
	log    *slog.Logger
}

// newStage makes a stage that outlives ctx: only stop ends it.
func newStage(ctx context.Context, name string, fail func(error), log *slog.Logger) *stage {
	s := &stage{name: name, fail: fail, log: log}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return s
}

// run starts a task that lasts as long as the stage. When it ends earlier, the
// gateway cannot do its work.
func (s *stage) run(name string, task func(context.Context) error) {
	s.tasks.Go(func() {
		err := task(s.ctx)
		switch {
		case s.ctx.Err() == nil && err == nil:
			s.fail(fmt.Errorf("%s ended", name))
		case s.ctx.Err() == nil:
			s.fail(fmt.Errorf("%s: %w", name, err))
		case err != nil:
			s.log.Warn("stopped with an error", "task", name, "error", err)
		}
	})
}

// serve starts a task that may end at any time.
func (s *stage) serve(task func(context.Context)) {
	s.tasks.Go(func() { task(s.ctx) })
}

// awaitReady waits until what has been started is ready. It returns why ctx has ended if
// that comes first: a task that has failed ends it.
func awaitReady(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stop ends the tasks and waits for them, for at most limit. It reports whether
// all have ended.
func (s *stage) stop(limit time.Duration) bool {
	s.cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.tasks.Wait()
	}()
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-done:
		return true
	case <-late.C:
		s.log.Error("tasks do not stop", "stage", s.name, "waited_ms", limit.Milliseconds())
		return false
	}
}
