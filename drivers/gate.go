package drivers

import (
	"context"
	"sync"
)

// Gate lets requests into a driver while it runs. The zero value is shut. It is
// safe for concurrent use.
type Gate struct {
	mu       sync.Mutex // guards run and orders it with requests.Add
	run      context.Context
	requests sync.WaitGroup // inside
}

// Open lets requests in until the function that it returns is called, which ends the
// contexts of those inside and waits for them. A gate is opened by one run at a time.
func (g *Gate) Open(ctx context.Context) (shut func()) {
	ctx, cancel := context.WithCancel(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.run = ctx
	return func() {
		g.mu.Lock()
		g.run = nil
		g.mu.Unlock()
		cancel()
		g.requests.Wait()
	}
}

// Enter lets a request in. The context returned ends with ctx and when the gate is
// shut; leave must be called. The error is ctx's, or ErrOffline while the gate is shut.
func (g *Gate) Enter(ctx context.Context) (own context.Context, leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.run == nil {
		return nil, nil, ErrOffline
	}
	g.requests.Add(1)
	own, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(g.run, cancel)
	return own, func() {
		stop()
		cancel()
		g.requests.Done()
	}, nil
}
