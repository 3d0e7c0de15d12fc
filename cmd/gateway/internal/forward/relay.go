package forward

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// relayBuffer is how many bytes are read ahead in each direction.
const relayBuffer = 32 << 10

// relay carries bytes between a and b until both directions have ended, one has
// failed, nothing has passed for idle, or for linger after the first end, or ctx
// ends. It closes both and returns what failed.
func relay(ctx context.Context, a, b stream, idle, linger time.Duration) error {
	r := &relaying{moved: make(chan struct{}, 1), ends: make(chan error, 2)}
	var running sync.WaitGroup
	running.Go(func() { r.ends <- r.copy(b, a) })
	running.Go(func() { r.ends <- r.copy(a, b) })
	err := r.watch(ctx, idle, linger)
	_ = a.Close()
	_ = b.Close()
	running.Wait()
	return err
}

// relaying is what the two directions of a relay share.
type relaying struct {
	moved chan struct{} // a token: bytes have passed
	ends  chan error    // what the directions ended with; has room for both
}

func (r *relaying) copy(to, from stream) error {
	buf := make([]byte, relayBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return werr
			}
			select {
			case r.moved <- struct{}{}:
			default:
			}
		}
		if err == io.EOF {
			return to.CloseWrite()
		}
		if err != nil {
			return err
		}
	}
}

// watch waits for the end.
func (r *relaying) watch(ctx context.Context, idle, linger time.Duration) error {
	const never = 1<<63 - 1
	wait := idle
	if wait <= 0 {
		wait = never
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for open := 2; open > 0; {
		select {
		case err := <-r.ends:
			if errors.Is(err, errOver) {
				return nil
			}
			if err != nil {
				return err
			}
			open--
			wait = min(wait, linger)
			timer.Reset(wait)
		case <-r.moved:
			timer.Reset(wait)
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
