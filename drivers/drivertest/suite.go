package drivertest

import (
	"context"
	"errors"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"gantry/drivers"
)

// Prompt is how long a driver may take to come back after its ctx has ended,
// which is as long as the whole program has for its end.
const Prompt = 5 * time.Second

// Test is what every driver passes. open returns a new driver whose device is
// there and sends readings by itself or not; it is called once for each test.
func Test(t *testing.T, open func(t *testing.T) drivers.Driver) {
	for name, f := range map[string]func(*testing.T, drivers.Driver){
		"the description is sound and stable":             describe,
		"readings fit the description":                    readings,
		"Run ends with its ctx":                           cancelled,
		"Run ends while the hub is busy":                  held,
		"Run ends at once if its ctx has ended":           ended,
		"requests keep their deadline":                    deadline,
		"requests are refused while the driver is closed": closed,
		"unknown names are refused":                       unknown,
		"a shared wire takes many requests at a time":     sharing,
		"a hundred runs leave nothing behind":             again,
		"a panic ends its run and nothing else":           panics,
	} {
		t.Run(name, func(t *testing.T) { f(t, open(t)) })
	}
}

var id = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

func describe(t *testing.T, d drivers.Driver) {
	before := d.Describe()
	if len(before.Points)+len(before.Actions) == 0 {
		t.Error("neither points nor actions")
	}
	seen := map[string]bool{}
	for _, p := range before.Points {
		if !id.MatchString(p.ID) || seen[p.ID] || !p.Readable && !p.Writable {
			t.Errorf("point %+v: bad or repeated id, or neither readable nor writable", p)
		}
		seen[p.ID] = true
		if _, writes := d.(drivers.Writer); p.Writable && !writes {
			t.Errorf("point %s is writable, but the driver does not write", p.ID)
		}
	}
	seen = map[string]bool{}
	for _, a := range before.Actions {
		if !id.MatchString(a.ID) || seen[a.ID] {
			t.Errorf("action %q: bad or repeated id", a.ID)
		}
		seen[a.ID] = true
		if _, does := d.(drivers.Doer); !does {
			t.Errorf("action %s, but the driver does nothing", a.ID)
		}
	}
	spoilt := d.Describe()
	clear(spoilt.Points)
	clear(spoilt.Actions)
	link := Start(t, d)
	link.WaitUp(t, 1)
	if after := d.Describe(); !reflect.DeepEqual(before, after) {
		t.Errorf("before: %+v\nwhile running: %+v", before, after)
	}
}

func readings(t *testing.T, d drivers.Driver) {
	types := map[string]drivers.Type{}
	for _, p := range d.Describe().Points {
		if p.Readable {
			types[p.ID] = p.Type
		}
	}
	link := Start(t, d)
	link.WaitUp(t, 1)
	if reader, ok := d.(drivers.Reader); ok {
		ctx, cancel := context.WithTimeout(t.Context(), Patience)
		defer cancel()
		for p := range types {
			got, err := reader.Read(ctx, []string{p})
			if err != nil {
				t.Errorf("read %s: %v", p, err)
			}
			check(t, types, got)
		}
		return
	}
	if len(types) > 0 {
		link.Wait(t, "a reading", func() bool { return len(link.Readings()) > 0 })
		check(t, types, link.Readings())
	}
}

func check(t *testing.T, types map[string]drivers.Type, all []drivers.Reading) {
	t.Helper()
	for _, r := range all {
		typ, ok := types[r.Point]
		switch {
		case !ok:
			t.Errorf("reading of %q, which is no readable point", r.Point)
		case (r.Why == "") != (r.Quality == drivers.Good):
			t.Errorf("%+v: Why goes with every quality but Good", r)
		case r.Value == nil && r.Quality <= drivers.Uncertain, r.Value != nil && r.Quality == drivers.Bad:
			t.Errorf("%+v: a value goes with Good and Uncertain, none with Bad", r)
		case r.Value != nil && !fits(typ, r.Value):
			t.Errorf("%+v: %T is no %v", r, r.Value, typ)
		}
	}
}

func fits(typ drivers.Type, v drivers.Value) bool {
	ok := false
	switch typ {
	case drivers.Float:
		_, ok = v.(float64)
	case drivers.Int:
		_, ok = v.(int64)
	case drivers.Bool:
		_, ok = v.(bool)
	case drivers.Text:
		_, ok = v.(string)
	case drivers.Bytes:
		_, ok = v.([]byte)
	}
	return ok
}

// run runs d until stop is called, which waits for it.
func run(t *testing.T, d drivers.Driver, link drivers.Link) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, link) }()
	return func() {
		t.Helper()
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(Prompt):
			t.Fatalf("Run did not end in %v", Prompt)
		}
	}
}

func cancelled(t *testing.T, d drivers.Driver) {
	link := &Link{}
	stop := run(t, d, link)
	link.WaitUp(t, 1)
	stop()
	ups, n := link.Ups(), len(link.Readings())
	if ups != 1 {
		t.Errorf("came up %d times in one run", ups)
	}
	runtime.Gosched()
	if now := len(link.Readings()); now != n {
		t.Errorf("%d readings after Run had returned", now-n)
	}
}

// held checks a driver whose reading the hub does not take before the driver's ctx
// has ended.
func held(t *testing.T, d drivers.Driver) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	link := &Link{Hold: ctx.Done()}
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, link) }()
	link.WaitUp(t, 1)
	if _, polled := d.(drivers.Reader); !polled {
		link.Wait(t, "a reading", func() bool { return len(link.Readings()) > 0 })
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(Prompt):
		t.Errorf("Run did not end in %v", Prompt)
	}
}

func ended(t *testing.T, d drivers.Driver) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begin := time.Now()
	if err := d.Run(ctx, &Link{}); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if took := time.Since(begin); took > Prompt {
		t.Errorf("Run took %v", took)
	}
}

// requests calls each request that d has; names are not checked here.
func requests(d drivers.Driver, desc drivers.Description) map[string]func(context.Context) error {
	all := map[string]func(context.Context) error{}
	if r, ok := d.(drivers.Reader); ok {
		for _, p := range desc.Points {
			if p.Readable {
				all["read "+p.ID] = func(ctx context.Context) error { _, err := r.Read(ctx, []string{p.ID}); return err }
			}
		}
	}
	if w, ok := d.(drivers.Writer); ok {
		for _, p := range desc.Points {
			if p.Writable {
				all["write "+p.ID] = func(ctx context.Context) error { _, err := w.Write(ctx, p.ID, Sample(p)); return err }
			}
		}
	}
	if do, ok := d.(drivers.Doer); ok {
		for _, a := range desc.Actions {
			args := map[string]any{}
			for _, p := range a.Args {
				args[p.ID] = Sample(p)
			}
			all["do "+a.ID] = func(ctx context.Context) error { _, err := do.Do(ctx, a.ID, args, func(any) {}); return err }
		}
	}
	return all
}

// Sample returns a value that may be written to p.
func Sample(p drivers.Point) drivers.Value {
	n := 1.0
	switch {
	case p.Max != nil:
		n = *p.Max
	case p.Min != nil:
		n = *p.Min
	}
	switch p.Type {
	case drivers.Float:
		return n
	case drivers.Int:
		return int64(n)
	case drivers.Bool:
		return true
	case drivers.Bytes:
		return []byte{1}
	}
	if len(p.Enum) > 0 {
		return p.Enum[0]
	}
	return "x"
}

func deadline(t *testing.T, d drivers.Driver) {
	link := Start(t, d)
	link.WaitUp(t, 1)
	for name, request := range requests(d, d.Describe()) {
		for _, limit := range []time.Duration{0, 20 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			begin := time.Now()
			err := request(ctx)
			cancel()
			if took := time.Since(begin); took > limit+Prompt {
				t.Errorf("%s: took %v instead of %v", name, took, limit)
			}
			if limit == 0 && err == nil {
				t.Errorf("%s: no error although the deadline was over", name)
			}
		}
	}
}

func closed(t *testing.T, d drivers.Driver) {
	ctx, cancel := context.WithTimeout(t.Context(), Prompt)
	defer cancel()
	for name, request := range requests(d, d.Describe()) {
		if request(ctx) == nil {
			t.Errorf("%s: no error before Run", name)
		}
	}
	link := &Link{}
	stop := run(t, d, link)
	link.WaitUp(t, 1)
	stop()
	for name, request := range requests(d, d.Describe()) {
		if request(ctx) == nil {
			t.Errorf("%s: no error after Run", name)
		}
	}
}

func unknown(t *testing.T, d drivers.Driver) {
	link := Start(t, d)
	link.WaitUp(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), Prompt)
	defer cancel()
	const name = "no_such_name"
	for what, err := range map[string]func() error{
		"read": func() error {
			if r, ok := d.(drivers.Reader); ok {
				_, err := r.Read(ctx, []string{name})
				return err
			}
			return drivers.ErrRefused
		},
		"write": func() error {
			if w, ok := d.(drivers.Writer); ok {
				_, err := w.Write(ctx, name, true)
				return err
			}
			return drivers.ErrRefused
		},
		"do": func() error {
			if do, ok := d.(drivers.Doer); ok {
				_, err := do.Do(ctx, name, nil, func(any) {})
				return err
			}
			return drivers.ErrRefused
		},
	} {
		if err() == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// sharing makes several requests of each kind at the same time: the hub leaves it to
// such a driver to put them in order.
func sharing(t *testing.T, d drivers.Driver) {
	shares, ok := d.(drivers.Sharer)
	if !ok {
		t.Skip("it shares no wire")
	}
	if shares.Wire() == "" {
		t.Error("the wire has no name")
	}
	link := Start(t, d)
	link.WaitUp(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	var all sync.WaitGroup
	for name, request := range requests(d, d.Describe()) {
		for range 3 {
			all.Go(func() {
				if err := request(ctx); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
	all.Wait()
}

func again(t *testing.T, d drivers.Driver) {
	once := func(up bool) {
		t.Helper()
		link := &Link{}
		stop := run(t, d, link)
		if up {
			link.WaitUp(t, 1)
		}
		stop()
	}
	once(true)
	LeavesNothing(t, func() {
		for i := range 100 {
			once(i%4 != 0)
		}
	})
}

// panics lets runs panic, in the goroutine of Run or in one of the driver's own, which
// would end this test program if the driver did not catch it. Afterwards the driver
// has to work as if nothing had been.
func panics(t *testing.T, d drivers.Driver) {
	trip := func(at Trip) {
		t.Helper()
		// A simulated board says nothing now and then until it is started again, which
		// the next run does.
		const runs = 4
		var err error
		for n := 0; n < runs && err == nil; n++ {
			ctx, cancel := context.WithTimeout(t.Context(), Patience/runs)
			err = drivers.Contain(func() error { return d.Run(ctx, &Link{Panics: at}) })
			cancel()
		}
		var p *drivers.PanicError
		if !errors.As(err, &p) || p.Value != at {
			t.Fatalf("Run returned %v instead of the panic", err)
		}
	}
	where := []Trip{InUp}
	if sendsByItself(d) {
		where = append(where, InEmit)
	}
	works := func() {
		t.Helper()
		link := &Link{}
		stop := run(t, d, link)
		link.WaitUp(t, 1)
		stop()
	}
	works()
	LeavesNothing(t, func() {
		for range 5 {
			for _, at := range where {
				trip(at)
			}
		}
		works()
	})
}

// sendsByItself reports whether d has readings that nobody asks for.
func sendsByItself(d drivers.Driver) bool {
	_, polled := d.(drivers.Reader)
	return !polled && slices.ContainsFunc(d.Describe().Points, func(p drivers.Point) bool { return p.Readable })
}

// LeavesNothing runs f and checks that it leaves neither goroutines nor descriptors. No
// other test may run beside it.
func LeavesNothing(t *testing.T, f func()) {
	t.Helper()
	goroutines, descriptors := runtime.NumGoroutine(), countDescriptors()
	f()
	// What ended a moment ago may still be counted, and so may the other end of a
	// connection, if the device is simulated in this process.
	late := time.Now().Add(Patience)
	for {
		g, d := runtime.NumGoroutine(), countDescriptors()
		if g <= goroutines && d <= descriptors {
			return
		}
		if time.Now().After(late) {
			t.Errorf("from %d to %d goroutines, from %d to %d descriptors", goroutines, g, descriptors, d)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// countDescriptors returns the number of open descriptors, 0 where it is not told.
func countDescriptors() int {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(fds)
}
