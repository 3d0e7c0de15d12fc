package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/wamp"
	"gantry/wamp/client"
)

// unique makes URIs of tests that share a router differ.
func unique(t *testing.T, name string) wamp.URI {
	id := strings.ToLower(strings.NewReplacer("/", "_", " ", "_", "#", "_").Replace(t.Name()))
	return wamp.URI("com." + id + "." + name)
}

type span struct {
	From int            `wamp:"0"`
	To   int            `wamp:"1,optional"`
	Unit string         `wamp:"unit"`
	Note string         `wamp:"note,optional"`
	More wamp.Dict      `wamp:"**"`
	_    map[string]int // not part of it
}

type reply struct {
	Sum   int      `wamp:"0"`
	Parts []string `wamp:"1"`
	Unit  string   `wamp:"unit"`
}

func TestTypedCalls(t *testing.T) {
	everywhere(t, func(t *testing.T, dial client.Dialer) {
		ctx := t.Context()
		callee, caller := connect(t, dial, client.SessionConfig{}), connect(t, dial, client.SessionConfig{})
		undo, err := client.Register(ctx, callee, unique(t, "span"), func(_ context.Context, in span) (reply, error) {
			return reply{in.To - in.From, []string{in.Note, fmt.Sprint(in.More["extra"])}, in.Unit}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := reply{3, []string{"", "7"}, "m"}
		for name, args := range map[string][]any{
			"struct":  {span{From: 2, To: 5, Unit: "m", More: wamp.Dict{"extra": 7}}},
			"payload": {wamp.Values(wamp.List{2, 5}, wamp.Dict{"unit": "m", "extra": 7})},
		} {
			got, err := client.Call[reply](ctx, caller, unique(t, "span"), args...)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
		if err := undo(ctx); err != nil {
			t.Error(err)
		}
		if _, err := client.Call[reply](ctx, caller, unique(t, "span"), span{}); !wamp.IsError(err, wamp.ErrURINoSuchProcedure) {
			t.Errorf("behind unregister: %v", err)
		}
		if _, err := client.Register(ctx, callee, unique(t, "plain"), func(_ context.Context, in string) (int, error) { return len(in), nil }); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Call[int](ctx, caller, unique(t, "plain"), "four"); n != 4 || err != nil {
			t.Errorf("plain: %d, %v", n, err)
		}
		if n, err := client.Call[float64](ctx, caller, unique(t, "plain"), "four"); n != 4 || err != nil {
			t.Errorf("a float of an integer: %v, %v", n, err)
		}
		if v, err := client.Call[any](ctx, caller, unique(t, "plain"), "four"); v != int64(4) || err != nil {
			t.Errorf("any: %T %v, %v", v, v, err)
		}
	})
}

func TestPayloadThatDoesNotFitIsTyped(t *testing.T) {
	everywhere(t, func(t *testing.T, dial client.Dialer) {
		ctx := t.Context()
		s := connect(t, dial, client.SessionConfig{})
		if _, err := client.Register(ctx, s, unique(t, "span"), func(_ context.Context, in span) (string, error) { return in.Unit, nil }); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			args []any
			want string
		}{
			{[]any{"x"}, "argument 0: expected int: "},
			{[]any{}, "argument 0: expected int: missing"},
			{[]any{1}, "keyword argument unit: expected string: missing"},
			{[]any{wamp.Values(wamp.List{1}, wamp.Dict{"unit": 5})}, "keyword argument unit: expected string: "},
			{[]any{wamp.Values(wamp.List{1, 2, 3}, wamp.Dict{"unit": "m"})}, "arguments: expected 2: there are 3"},
			{[]any{wamp.Args(1.5)}, "argument 0: expected int: "},
		} {
			_, err := client.Call[string](ctx, s, unique(t, "span"), tt.args...)
			var e *wamp.Error
			if !errors.As(err, &e) || e.URI != wamp.ErrURIInvalidArgument || !strings.HasPrefix(e.Text, tt.want) {
				t.Errorf("%v: %v", tt.args, err)
			}
		}
		_, err := client.Call[int](ctx, s, unique(t, "span"), span{Unit: "m"})
		var m *client.MismatchError
		if !errors.As(err, &m) || m.What != "argument 0" || m.Expected != "int" || m.Cause == "" {
			t.Errorf("a result that does not fit: %#v", err)
		}
	})
}

type update struct {
	Product int     `wamp:"<product>"`
	Shop    string  `wamp:"<shop>"`
	Price   float64 `wamp:"0"`
	Unit    string  `wamp:"unit,optional"`
}

func TestTypedEventsWithTemplates(t *testing.T) {
	everywhere(t, func(t *testing.T, dial client.Dialer) {
		ctx := t.Context()
		sub, pub := connect(t, dial, client.SessionConfig{}), connect(t, dial, client.SessionConfig{})
		type got struct {
			v     update
			topic wamp.URI
		}
		events := make(chan got, 8)
		topic := unique(t, "<shop>.<product:int>.update")
		undo, err := client.Subscribe(ctx, sub, topic, func(v update, ev *wamp.Event) { events <- got{v, ev.Details.Topic} })
		if err != nil {
			t.Fatal(err)
		}
		send := func(topic wamp.URI, args ...any) {
			t.Helper()
			if err := client.PublishWith(ctx, pub, topic, wamp.PublishOptions{Acknowledge: true}, args...); err != nil {
				t.Error(err)
			}
		}
		send(unique(t, "main.none.update"), 1)        // <product> is no integer
		send(unique(t, "main.4.update"), "expensive") // no float
		send(unique(t, "main.5.update"), 3)
		send(topic, update{Product: 6, Shop: "side", Price: 2.5, Unit: "EUR"})
		for _, want := range []got{
			{update{5, "main", 3, ""}, unique(t, "main.5.update")},
			{update{6, "side", 2.5, "EUR"}, unique(t, "side.6.update")},
		} {
			if g := <-events; g != want {
				t.Errorf("event %+v, expected %+v", g, want)
			}
		}
		if err := undo(ctx); err != nil {
			t.Error(err)
		}
		procedure := unique(t, "item.<product:int>")
		type item struct {
			Product int `wamp:"<product>"`
		}
		if _, err := client.Register(ctx, sub, procedure, func(_ context.Context, in item) (int, error) { return in.Product, nil }); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Call[int](ctx, pub, procedure, item{9}); n != 9 || err != nil {
			t.Errorf("call of a template: %d, %v", n, err)
		}
		if _, err := client.Call[int](ctx, pub, unique(t, "item.nine")); !wamp.IsError(err, wamp.ErrURIInvalidArgument) {
			t.Errorf("call that fits the pattern only: %v", err)
		}
	})
}

func TestProgressIsASequence(t *testing.T) {
	everywhere(t, func(t *testing.T, dial client.Dialer) {
		ctx := t.Context()
		callee, caller := connect(t, dial, client.SessionConfig{}), connect(t, dial, client.SessionConfig{})
		next, stopped := make(chan struct{}), make(chan error, 1)
		_, err := client.Register(ctx, callee, unique(t, "count"), func(ctx context.Context, n int) (string, error) {
			for i := 1; i != n; i++ {
				if err := client.Progress(ctx, fmt.Sprint(i)); err != nil {
					if errors.Is(err, client.ErrNoProgress) {
						return "unasked", nil
					}
					return "", err
				}
				if n == 0 { // for ever, at the reader's pace
					select {
					case <-next:
					case <-ctx.Done():
						stopped <- ctx.Err()
						return "", ctx.Err()
					}
				}
			}
			return "done", nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var seen []string
		for v, err := range client.Results[string](ctx, caller, unique(t, "count"), 4) {
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, v)
		}
		if strings.Join(seen, " ") != "1 2 3 done" {
			t.Errorf("results %v", seen)
		}
		for v, err := range client.Results[string](ctx, caller, unique(t, "count"), 0) {
			if err != nil {
				t.Fatal(err)
			}
			if v == "3" {
				break // which cancels the call
			}
			next <- struct{}{}
		}
		if err := <-stopped; !errors.Is(err, context.Canceled) {
			t.Errorf("the handler was stopped by %v", err)
		}
		for _, err := range client.Results[int](ctx, caller, unique(t, "count"), 3) {
			var m *client.MismatchError
			if err != nil && !errors.As(err, &m) {
				t.Errorf("a result that does not fit: %v", err)
			}
		}
		if v, err := client.Call[string](ctx, caller, unique(t, "count"), 4); v != "unasked" || err != nil {
			t.Errorf("without progress: %v, %v", v, err)
		}
		var last error
		for _, err := range client.Results[string](ctx, caller, "com.nobody") {
			last = err
		}
		if !wamp.IsError(last, wamp.ErrURINoSuchProcedure) {
			t.Errorf("nobody: %v", last)
		}
	})
}

func TestArgumentsInPieces(t *testing.T) {
	everywhere(t, func(t *testing.T, dial client.Dialer) {
		ctx := t.Context()
		callee, caller := connect(t, dial, client.SessionConfig{}), connect(t, dial, client.SessionConfig{})
		refused := make(chan struct{}, 1)
		_, err := client.RegisterPieces(ctx, callee, unique(t, "sum"), func(_ context.Context, pieces iter.Seq2[int, error]) (int, error) {
			sum := 0
			for n, err := range pieces {
				if err != nil {
					return 0, err
				}
				if sum += n; n < 0 {
					refused <- struct{}{}
					return 0, wamp.NewError("com.error.negative", "no", nil)
				}
			}
			return sum, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for want, pieces := range map[int][]int{6: {1, 2, 3}, 7: {7}, 500500: slices.Collect(upTo(1000))} {
			if sum, err := client.CallPieces[int](ctx, caller, unique(t, "sum"), slices.Values(pieces)); sum != want || err != nil {
				t.Errorf("sum %d, %v, expected %d", sum, err, want)
			}
		}
		// An early answer ends the upload; what was on its way is no new call.
		upload := func(yield func(int) bool) {
			if !yield(-1) || !yield(1) {
				return
			}
			<-refused
			for n := 0; n < 500 && yield(n); n++ {
			}
		}
		if _, err := client.CallPieces[int](ctx, caller, unique(t, "sum"), upload); !wamp.IsError(err, "com.error.negative") {
			t.Errorf("early answer: %v", err)
		}
		if sum, err := client.Call[int](ctx, caller, unique(t, "sum"), 4); sum != 4 || err != nil {
			t.Errorf("in one piece: %d, %v", sum, err)
		}
		// A handler that does not read costs its own call only: in the session, or already
		// in the queue towards it.
		_, err = client.Register(ctx, callee, unique(t, "deaf"), func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.CallPieces[int](ctx, caller, unique(t, "deaf"), upTo(1e5)); !wamp.IsError(err, wamp.ErrURILimit) && !wamp.IsError(err, wamp.ErrURIUnavailable) {
			t.Errorf("a handler that does not read: %v", err)
		}
	})
}

func upTo(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := 1; i <= n && yield(i); i++ {
		}
	}
}

type tooMany struct {
	Asked int    `wamp:"asked"`
	Left  int    `wamp:"left"`
	Shelf string `wamp:"shelf,optional"`
}

func (e *tooMany) Error() string {
	return fmt.Sprintf("%d are asked for, %d are left", e.Asked, e.Left)
}

var errClosed = errors.New("the shop is closed")

func TestErrorsCrossAsGoErrors(t *testing.T) {
	everywhere(t, func(t *testing.T, dial client.Dialer) {
		ctx := t.Context()
		known := &client.ErrorMap{}
		known.MapError("com.shop.error.closed", errClosed)
		if err := client.MapErrorType[*tooMany](known, "com.shop.error.too_many"); err != nil {
			t.Fatal(err)
		}
		callee := connect(t, dial, client.SessionConfig{Errors: known})
		_, err := client.Register(ctx, callee, unique(t, "buy"), func(_ context.Context, n int) (struct{}, error) {
			switch n {
			case 0:
				return struct{}{}, fmt.Errorf("buy: %w", errClosed)
			case 1:
				return struct{}{}, nil
			}
			return struct{}{}, fmt.Errorf("buy: %w", &tooMany{Asked: n, Left: 3})
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, cfg := range []client.SessionConfig{{}, {Errors: known}} {
			caller := connect(t, dial, cfg)
			_, err := client.Call[struct{}](ctx, caller, unique(t, "buy"), 0)
			if !wamp.IsError(err, "com.shop.error.closed") || errors.Is(err, errClosed) != (cfg.Errors != nil) {
				t.Errorf("sentinel: %v", err)
			}
			_, err = client.Call[struct{}](ctx, caller, unique(t, "buy"), 5)
			var e *wamp.Error
			if !errors.As(err, &e) || e.URI != "com.shop.error.too_many" || e.Text != "5 are asked for, 3 are left" {
				t.Errorf("type: %v", err)
			}
			var many *tooMany
			if errors.As(err, &many) != (cfg.Errors != nil) || many != nil && *many != (tooMany{5, 3, ""}) {
				t.Errorf("type: %#v", many)
			}
			if _, err := client.Call[struct{}](ctx, caller, unique(t, "buy"), 1); err != nil {
				t.Error(err)
			}
		}
	})
}

type shop struct {
	Add     client.Procedure[int, int]    `wamp:"com.attach.add,invoke=roundrobin"`
	Item    client.Procedure[idOf, int64] `wamp:"com.attach.item.<id:int>"`
	Updated client.Handler[string]        `wamp:"com.attach.updated,get_retained"`
	Name    string                        // no tag
	unit
}

type unit struct {
	Unit client.Procedure[struct{}, string] `wamp:"com.attach.unit"`
}

type idOf struct {
	ID int64 `wamp:"<id>"`
}

func TestAttach(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dial := places(t)[0].dial
	s := connect(t, dial, client.SessionConfig{})
	stock, updates := 0, make(chan string, 1)
	o := &shop{
		Add:     func(_ context.Context, n int) (int, error) { stock += n; return stock, nil },
		Item:    func(_ context.Context, in idOf) (int64, error) { return in.ID, nil },
		Updated: func(v string, _ *wamp.Event) { updates <- v },
		unit:    unit{func(context.Context, struct{}) (string, error) { return "piece", nil }},
	}
	undo, err := client.Attach(ctx, s, o)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := client.Call[int](ctx, s, "com.attach.add", 3); n != 3 || err != nil {
		t.Errorf("add: %d, %v", n, err)
	}
	if n, err := client.Call[int](ctx, s, "com.attach.item.12"); n != 12 || err != nil {
		t.Errorf("item: %d, %v", n, err)
	}
	if u, err := client.Call[string](ctx, s, "com.attach.unit"); u != "piece" || err != nil {
		t.Errorf("unit: %q, %v", u, err)
	}
	if err := client.PublishWith(ctx, s, "com.attach.updated", wamp.PublishOptions{IncludeMe: true}, "new"); err != nil {
		t.Error(err)
	}
	if v := <-updates; v != "new" {
		t.Errorf("updated %q", v)
	}
	if err := undo(ctx); err != nil {
		t.Error(err)
	}
	for _, uri := range []wamp.URI{"com.attach.add", "com.attach.item.12", "com.attach.unit"} {
		if _, err := client.Call[any](ctx, s, uri); !wamp.IsError(err, wamp.ErrURINoSuchProcedure) {
			t.Errorf("%s is still served: %v", uri, err)
		}
	}
	for _, bad := range []any{
		shop{}, nil, new(int), (*shop)(nil), &shop{}, &struct{}{},
		&struct {
			X int `wamp:"com.x"`
		}{},
		&struct {
			X client.Handler[int] `wamp:"com.x,invoke=single"`
		}{X: func(int, *wamp.Event) {}},
		&struct {
			X client.Procedure[int, int] `wamp:"com.x,concurrency=-1"`
		}{X: func(context.Context, int) (int, error) { return 0, nil }},
		&struct {
			x client.Procedure[int, int] `wamp:"com.x"`
		}{},
	} {
		if _, err := client.Attach(ctx, s, bad); err == nil {
			t.Errorf("%T was attached", bad)
		}
	}
}

func TestWrongTagsAreFound(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), connect(t, places(t)[0].dial, client.SessionConfig{})
	check := func(name string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	_, err := client.Subscribe(ctx, s, "com.x", func(struct {
		A int `wamp:"1"`
	}, *wamp.Event) {
	})
	check("a gap", err)
	_, err = client.Subscribe(ctx, s, "com.x", func(struct {
		A int `wamp:"a"`
		B int `wamp:"a"`
	}, *wamp.Event) {
	})
	check("twice", err)
	_, err = client.Subscribe(ctx, s, "com.<y>.x", func(struct {
		A int `wamp:"<x>"`
	}, *wamp.Event) {
	})
	check("a part that the template does not have", err)
	_, err = client.Subscribe(ctx, s, "com.x", func(struct {
		A int `wamp:"a,omitempty"`
	}, *wamp.Event) {
	})
	check("an option", err)
	_, err = client.Register(ctx, s, "com.x", func(context.Context, struct {
		A []int `wamp:"**"`
	}) (int, error) {
		return 0, nil
	})
	check("keyword arguments in a slice", err)
}

func TestDeadlineIsTheCallsTimeout(t *testing.T) {
	everywhere(t, func(t *testing.T, dial client.Dialer) {
		callee, caller := connect(t, dial, client.SessionConfig{}), connect(t, dial, client.SessionConfig{})
		left := make(chan time.Duration, 1)
		if _, err := client.RegisterWith(t.Context(), callee, unique(t, "wait"), wamp.RegisterOptions{ForwardTimeout: true},
			func(ctx context.Context, _ struct{}) (struct{}, error) {
				until, _ := ctx.Deadline()
				left <- time.Until(until)
				<-ctx.Done()
				return struct{}{}, ctx.Err()
			}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		ended := make(chan error, 1)
		go func() {
			_, err := client.Call[struct{}](ctx, caller, unique(t, "wait"))
			ended <- err
		}()
		if d := <-left; d <= 50*time.Minute || d > time.Hour {
			t.Errorf("the callee has %s, the caller an hour", d)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// Whoever is first to see that the time is over, it is the context that has ended.
func TestDeadlineThatPasses(t *testing.T) {
	within(t, func(w *world) {
		callee, caller := w.join(), w.join()
		for _, forward := range []bool{false, true} {
			uri := wamp.URI(fmt.Sprint("com.wait.", forward))
			if _, err := client.RegisterWith(w.t.Context(), callee, uri, wamp.RegisterOptions{ForwardTimeout: forward},
				func(ctx context.Context, _ struct{}) (struct{}, error) {
					<-ctx.Done()
					return struct{}{}, ctx.Err()
				}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
			if _, err := client.Call[struct{}](ctx, caller, uri); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", uri, err)
			}
			cancel()
		}
		w.leave(caller, callee)
	})
}
