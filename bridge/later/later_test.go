package later_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gantry/bridge/later"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Table whose disk is a map.
type memory struct {
	mu   sync.Mutex // guards rows
	rows map[string][]byte
	full bool // nothing can be written
}

func (m *memory) Each(fn func(key, value []byte) error) error {
	m.mu.Lock()
	rows := maps.Clone(m.rows)
	m.mu.Unlock()
	for k, v := range rows {
		if err := fn([]byte(k), v); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Apply(_ context.Context, changes map[string][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return errors.New("no space left on device")
	}
	for k, v := range changes {
		if v == nil {
			delete(m.rows, k)
		} else {
			m.rows[k] = v
		}
	}
	return nil
}

// world is a router with a Later, in a bubble of synthetic time.
type world struct {
	t     *testing.T
	dial  client.Dialer
	table *memory
	mu    sync.Mutex // guards allow
	allow bool
}

func (w *world) join(name string) *client.Session {
	w.t.Helper()
	s, err := client.Connect(w.t.Context(), w.dial, client.SessionConfig{Realm: "gantry", AuthID: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) permit(ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.allow = ok
}

func inWorld(t *testing.T, f func(w *world)) { inWorldOf(t, &memory{rows: map[string][]byte{}}, f) }

// inWorldOf is inWorld with what a run before has left.
func inWorldOf(t *testing.T, table *memory, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "gantry"}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var active sync.WaitGroup
		active.Go(func() { _ = r.Run(ctx) })
		w := &world{t: t, dial: client.Embedded(r, transport.PipeConfig{}), table: table, allow: true}
		start, n := time.Now(), 0
		l, err := later.New(later.Config{Gateway: "hq"}, later.Deps{
			Session: w.join("later"), Table: w.table,
			Clock: func() later.Moment { return later.Moment{Wall: time.Now(), Boot: "a", Up: time.Since(start)} },
			NewID: func() string { n++; return fmt.Sprint("job", n) },
			Allow: func(context.Context, string, string, wamp.URI) (bool, error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				return w.allow, nil
			},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(ctx)
		active.Go(func() {
			if err := l.Run(running); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		f(w)
		stop()
		synctest.Wait()
		cancel()
		active.Wait()
	})
}

func (w *world) state(s *client.Session, id string) any {
	w.t.Helper()
	synctest.Wait()
	d, err := client.Call[wamp.Dict](w.t.Context(), s, "gantry.hq.sys.job.get", id)
	if err != nil {
		w.t.Fatal(err)
	}
	return d["state"]
}

func (w *world) add(s *client.Session, kwargs wamp.Dict) (string, error) {
	p, err := s.Call(w.t.Context(), "gantry.far.later.lamp.set", wamp.CallOptions{}, wamp.Values(wamp.List{"on", true}, kwargs))
	if err != nil {
		return "", err
	}
	var id string
	return id, serialize.Arg(p, 0, &id)
}

// serve registers the target and returns the times of its calls, since its start.
func (w *world) serve(s *client.Session) func() []time.Duration {
	w.t.Helper()
	var mu sync.Mutex
	var calls []time.Duration
	start := time.Now()
	if _, err := s.Register(w.t.Context(), "gantry.far.set.lamp.on", wamp.RegisterOptions{}, func(context.Context, *wamp.Invocation, func(wamp.Payload) error) (wamp.Payload, error) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, time.Since(start))
		return wamp.Args(true), nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return func() []time.Duration { mu.Lock(); defer mu.Unlock(); return calls }
}

func TestATargetThatReturnsIsCalledAtOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		s := w.join("ann")
		id, err := w.add(s, wamp.Dict{"ttl_ms": int64(3_600_000)})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Minute)
		calls := w.serve(s)
		if got := w.state(s, id); got != "done" || len(calls()) != 1 || calls()[0] > time.Millisecond {
			t.Errorf("%v, called %v", got, calls())
		}
	})
}

func TestTimes(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		s := w.join("ann")
		gone, err := w.add(s, wamp.Dict{"ttl_ms": int64(1000)})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := w.state(s, gone); got != "expired" {
			t.Errorf("after its time: %v", got)
		}
		calls := w.serve(s)
		id, err := w.add(s, wamp.Dict{"ttl_ms": int64(3_600_000), "delay_ms": int64(60_000)})
		if err != nil {
			t.Fatal(err)
		}
		if got := w.state(s, id); got != "queued" {
			t.Errorf("before its time: %v", got)
		}
		time.Sleep(61 * time.Second)
		if got := w.state(s, id); got != "done" || len(calls()) != 1 || calls()[0] != time.Minute {
			t.Errorf("%v, called %v", got, calls())
		}
	})
}

func TestRightsAreAskedTwice(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		s := w.join("ann")
		id, err := w.add(s, wamp.Dict{"ttl_ms": int64(3_600_000)})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.permit(false)
		if _, err := w.add(s, wamp.Dict{"ttl_ms": int64(1000)}); !wamp.IsError(err, wamp.ErrURINotAuthorized) {
			t.Errorf("at queueing: %v", err)
		}
		calls := w.serve(s)
		synctest.Wait()
		w.permit(true)
		if got := w.state(s, id); got != "failed" || len(calls()) != 0 {
			t.Errorf("at calling: %v, called %v", got, calls())
		}
	})
}

func TestCancelAndBadInput(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		s := w.join("ann")
		id, err := w.add(s, wamp.Dict{"ttl_ms": int64(3_600_000)})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it has been called in vain, and waits
		_, once := client.Call[string](w.t.Context(), s, "gantry.hq.sys.job.cancel", id)
		_, twice := client.Call[string](w.t.Context(), s, "gantry.hq.sys.job.cancel", id)
		if got := w.state(s, id); got != "cancelled" || once != nil || !wamp.IsError(twice, wamp.ErrURIInvalidArgument) {
			t.Errorf("%v; once: %v; twice: %v", got, once, twice)
		}
		for _, bad := range []wamp.Dict{
			{}, {"ttl_ms": int64(-1)}, {"ttl_ms": "1"}, {"ttl_ms": int64(1), "expires": int64(1)}, {"ttl_ms": int64(1000), "key": ""},
			{"ttl_ms": int64(1000), "x": true}, {"ttl_ms": int64(1000), "delay_ms": int64(2000)}, {"expires": time.Now().Add(time.Hour).UnixMicro()},
		} {
			if _, err := w.add(s, bad); !wamp.IsError(err, wamp.ErrURIInvalidArgument) {
				t.Errorf("%v: %v", bad, err)
			}
		}
		if _, err := w.add(s, wamp.Dict{"ttl_ms": int64(1) << 62}); !wamp.IsError(err, wamp.ErrURIOutOfRange) {
			t.Errorf("for ever: %v", err)
		}
	})
}

// TestADiskThatCannotBeWrittenAtTheStart leaves what was under way unknown, and the
// rest of the gateway at work.
func TestADiskThatCannotBeWrittenAtTheStart(t *testing.T) {
	t.Parallel()
	table := &memory{rows: map[string][]byte{}}
	var id string
	inWorldOf(t, table, func(w *world) {
		s := w.join("ann")
		if _, err := s.Register(w.t.Context(), "gantry.far.set.lamp.on", wamp.RegisterOptions{}, func(ctx context.Context, _ *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
			<-ctx.Done()
			return wamp.Payload{}, ctx.Err()
		}); err != nil {
			t.Fatal(err)
		}
		var err error
		if id, err = w.add(s, wamp.Dict{"ttl_ms": int64(3_600_000)}); err != nil {
			t.Fatal(err)
		}
		if got := w.state(s, id); got != "sent" {
			t.Errorf("while it is called: %v", got)
		}
	})
	table.full = true
	inWorldOf(t, table, func(w *world) {
		s := w.join("ann")
		calls := w.serve(s)
		if got := w.state(s, id); got != "unknown" || len(calls()) != 0 {
			t.Errorf("after the start: %v, called %v", got, calls())
		}
	})
}
