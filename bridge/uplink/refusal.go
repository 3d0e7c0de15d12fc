package uplink

import (
	"context"
	"errors"
	"time"
)

const (
	// maxTries is how often the far world may refuse a record before it is set
	// aside.
	maxTries = 5
	// retryMin and retryMax bound the wait before a refused record is tried again.
	retryMin = 200 * time.Millisecond
	retryMax = 2 * time.Second
	// maxReason bounds the text that is kept with a dead letter, in bytes.
	maxReason = 1024
)

// hold waits until a refused record may be tried again.
func (u *Uplink) hold(ctx context.Context, r *record) error {
	if r.triedAt == 0 || r.tries == 0 {
		return ctx.Err()
	}
	pause := min(retryMin<<min(r.tries-1, 10), retryMax)
	// A clock that was set meanwhile must not make it longer.
	wait := min(pause, pause-time.Duration(u.deps.Now().UnixMicro()-int64(r.triedAt))*time.Microsecond)
	if wait <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// again puts a refused record at the end of its queue, or into the dead letters.
// There it has a number of its own, for what came after it may have moved the
// receivers' mark beyond the old one.
func (u *Uplink) again(ctx context.Context, r record, cause error) error {
	var refusal *Refusal
	if !errors.As(cause, &refusal) {
		refusal = &Refusal{Cause: cause}
	}
	r.tries++
	r.triedAt = uint64(max(u.deps.Now().UnixMicro(), 1))
	if refusal.Settled {
		r.triedAt = 0
	}
	if u.shares() {
		r.only = u.name
	}
	if !refusal.Hopeless && r.tries < maxTries {
		if _, err := u.queue(r.topic).Enqueue(ctx, r.append(nil), true); err == nil || ctx.Err() != nil {
			return err
		}
	}
	r.reason = cause.Error()
	r.reason = r.reason[:min(len(r.reason), maxReason)]
	return u.bury(ctx, r.append(nil))
}

func (u *Uplink) bury(ctx context.Context, record []byte) error {
	_, err := u.deps.DeadLetters.Enqueue(ctx, record, true)
	if err == nil {
		u.complain("an event went to the dead letters")
	}
	return err
}
