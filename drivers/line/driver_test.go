package line_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/line"
	"gantry/drivers/serialport"

	"github.com/google/go-cmp/cmp"
)

// A device that talks all the time and answers each command.
func TestConformance(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		b := newBoard(t)
		stop := make(chan struct{})
		var done sync.WaitGroup
		done.Go(func() {
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for {
				var answer string
				select {
				case <-stop:
					return
				case l := <-b.lines:
					answer = fmt.Sprintf("OK %s\n", l)
				case <-tick.C:
					answer = "{\"t\":21.5}\n"
				}
				if _, err := io.WriteString(b.file(), answer); err != nil {
					return // unplugged by the test's end
				}
			}
		})
		t.Cleanup(func() {
			close(stop)
			// Nobody may be reading.
			b.file().Close()
			done.Wait()
		})
		return b.driver(led())
	})
}

func TestReadingsComeStamped(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d, err := line.New(b.config(led()), drivers.Env{Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	b.send("BOOT board 1.0\r\n{\"seq\":1,\"t\":21.5}\r\n")
	got := link.WaitReading(t, "t", 0, nil)
	if diff := cmp.Diff(drivers.Reading{Point: "t", Value: 21.5, Time: at}, got); diff != "" {
		t.Error(diff)
	}
	if g := link.AllGarbage(); len(g) != 0 {
		t.Errorf("garbage %v", g)
	}
}

func TestGarbageIsCountedAndNeverAValue(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	_, link := b.start(led())
	b.send("{\"t\":21.5\n")               // cut off
	b.send("\x80\xfe\x00\x01{\"t\":1}\n") // noise in front
	b.send("{\"t\":1}{\"t\":2}\n")        // two in one
	b.send("{\"humidity\":3}\n")          // of some other kind
	b.send("%s\n", strings.Repeat("x", 2000))
	b.send("OK LED 1\n") // an answer that nobody waits for is no garbage
	b.send("{\"t\":42}\n")
	link.WaitReading(t, "t", 0, nil)
	want := []string{"not_json", "not_json", "not_json", "no_field", "too_long"}
	var got []string
	for _, g := range link.AllGarbage() {
		got = append(got, g.Why)
		if len(g.Sample) == 0 || len(g.Sample) > 64 {
			t.Errorf("sample of %d bytes", len(g.Sample))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if all := link.Readings(); len(all) != 1 || all[0].Value != 42.0 {
		t.Errorf("readings %v", all)
	}
}

// The kernel gives NUL for a byte whose parity is wrong; without it, this line would
// be one of 1.5.
func TestParityErrorIsGarbage(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	_, link := b.start(line.Config{Line: serialport.LineConfig{Mode: "7E1"}, Parse: line.ParseConfig{Regex: `(?P<t>[0-9.]+)$`},
		Points: map[string]line.PointConfig{"t": {From: "t"}}})
	b.send("\x001.5\n")
	b.send("21.5\n")
	link.WaitReading(t, "t", 0, nil)
	if all, g := link.Readings(), link.AllGarbage(); len(all) != 1 || all[0].Value != 21.5 || len(g) != 1 || g[0].Why != "parity" {
		t.Errorf("readings %v, garbage %v", all, g)
	}
}

func TestEndlessGarbageIsReportedOnce(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	var mu sync.Mutex
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(writer(func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		said.Write(p)
	}), nil))
	d, err := line.New(b.config(led()), drivers.Env{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	for range 30 {
		b.send("\xfe\xfe\xc3\n")
	}
	link.Wait(t, "garbage", func() bool { return len(link.AllGarbage()) == 30 })
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(said.String(), "check baud"); n != 1 {
		t.Errorf("said %d times:\n%s", n, said.String())
	}
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestUnplugAndReplug(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	d := b.driver(led())
	for range 3 {
		link := &drivertest.Link{}
		done := make(chan error, 1)
		go func() { done <- d.Run(t.Context(), link) }()
		link.WaitUp(t, 1)
		b.send("{\"t\":1}\n")
		link.WaitReading(t, "t", 0, nil)
		write := make(chan error, 1)
		go func() {
			_, err := d.Write(t.Context(), "led", true)
			write <- err
		}()
		b.next() // the command is out, the answer will not come
		b.unplug()
		if err := <-done; !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("Run returned %v", err)
		}
		if err := <-write; !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("Write returned %v", err)
		}
		if _, err := d.Write(t.Context(), "led", true); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("Write while unplugged returned %v", err)
		}
		if err := d.Run(t.Context(), link); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("Run while unplugged returned %v", err)
		}
		b.plug()
	}
}

func TestSecondDriverOnThePortIsRefused(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	b.start(led())
	if err := b.driver(led()).Run(t.Context(), &drivertest.Link{}); !errors.Is(err, drivers.ErrBusy) {
		t.Errorf("Run returned %v", err)
	}
}

func TestWriteReadsBack(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	d, link := b.start(led())
	type result struct {
		v   drivers.Value
		err error
	}
	write := func(v drivers.Value) chan result {
		c := make(chan result, 1)
		go func() {
			got, err := d.Write(t.Context(), "led", v)
			c <- result{got, err}
		}()
		return c
	}
	c := write(true)
	if got := b.next(); got != "LED 1" {
		t.Errorf("sent %q", got)
	}
	b.send("{\"t\":5}\nOK LED 1\n") // a reading in between changes nothing
	if r := <-c; r.v != true || r.err != nil {
		t.Errorf("%+v", r)
	}
	link.WaitReading(t, "t", 0, nil)

	c = write(true)
	b.next()
	b.send("OK LED 0\n") // the board has its own mind
	if r := <-c; r.v != false || r.err != nil {
		t.Errorf("%+v", r)
	}

	c = write(false)
	b.next()
	b.send("ERR LED locked\n")
	if r := <-c; !errors.Is(r.err, drivers.ErrRefused) || !strings.Contains(r.err.Error(), "locked") {
		t.Errorf("%+v", r)
	}
	if g := link.AllGarbage(); len(g) != 0 {
		t.Errorf("garbage %v", g)
	}
	if _, err := d.Write(t.Context(), "led", 1.0); err == nil || errors.Is(err, drivers.ErrOffline) {
		t.Errorf("a number for a bool: %v", err)
	}
}

func TestUnreadableReadBackIsNotVerified(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	d, _ := b.start(line.Config{Points: map[string]line.PointConfig{
		"speed": {Type: "int", Write: &line.WriteConfig{Template: "S{value}\n", Ack: `^S(?P<value>.*)$`, Timeout: length(5 * time.Second)}},
	}})
	go func() { b.next(); b.send("S12x\n") }()
	if _, err := d.Write(t.Context(), "speed", int64(12)); !errors.Is(err, drivers.ErrNotVerified) {
		t.Errorf("error %v", err)
	}
}

// The answer to the first command comes while the second one would be waiting. It
// must not be taken for the second one's.
func TestLateAnswerIsNotTakenForTheNext(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	cfg := led()
	point := cfg.Points["led"]
	// What the board has not read when the time is over is taken back: a busy machine
	// has to let it read before.
	point.Write.Ack, point.Write.Timeout = "^OK$", length(2*time.Second)
	cfg.Points["led"] = point
	d, _ := b.start(cfg)
	if _, err := d.Write(t.Context(), "led", true); !errors.Is(err, drivers.ErrTimeout) {
		t.Fatalf("error %v", err)
	}
	b.next()
	second := make(chan error, 1)
	go func() {
		_, err := d.Write(t.Context(), "led", false)
		second <- err
	}()
	select {
	case l := <-b.lines:
		t.Fatalf("%q was sent while the answer to the first command was still possible", l)
	case <-time.After(20 * time.Millisecond):
	}
	b.send("OK\n") // at last, to the first
	if got := b.next(); got != "LED 0" {
		t.Errorf("sent %q", got)
	}
	b.send("ERR\n")
	if err := <-second; !errors.Is(err, drivers.ErrRefused) {
		t.Errorf("the second command got %v", err)
	}
}

func TestNextCommandGoesOutWhenNoLateAnswerComes(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	cfg := led()
	// As above.
	cfg.Points["led"].Write.Timeout = length(2 * time.Second)
	d, _ := b.start(cfg)
	for range 3 {
		if _, err := d.Write(t.Context(), "led", true); !errors.Is(err, drivers.ErrTimeout) {
			t.Fatalf("error %v", err)
		}
		b.next()
	}
	// Whose time is over before it is his turn has sent nothing.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := d.Write(ctx, "led", true); !errors.Is(err, drivers.ErrBusy) {
		t.Errorf("error %v", err)
	}
	cancelled, now := context.WithCancel(t.Context())
	now()
	if _, err := d.Write(cancelled, "led", true); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	select {
	case l := <-b.lines:
		t.Errorf("sent %q", l)
	default:
	}
}

func TestCommandsAreSentOneByOne(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	d, _ := b.start(led())
	const n = 20
	var writers sync.WaitGroup
	for i := range n {
		writers.Go(func() {
			got, err := d.Write(t.Context(), "led", i%2 == 0)
			if err != nil || got != (i%2 == 0) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	for range n {
		l := b.next()
		select {
		case next := <-b.lines:
			t.Errorf("%q was sent before %q was answered", next, l)
		default:
		}
		b.send("OK %s\n", l)
	}
	writers.Wait()
}

func TestAnswerPatternMayHoldTheValue(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	d, _ := b.start(line.Config{Points: map[string]line.PointConfig{
		"name": {Type: "text", Write: &line.WriteConfig{Template: "NAME {value}\n", Ack: `^NAME {value}$`, Timeout: length(5 * time.Second)}},
	}})
	go func() {
		b.next()
		b.send("NAME axb\nNAME a.b\n")
	}()
	if got, err := d.Write(t.Context(), "name", "a.b"); got != "a.b" || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	for _, v := range []any{"a\nRESET", "a\x00", "\xff", strings.Repeat("x", 2000)} {
		if _, err := d.Write(t.Context(), "name", v); err == nil {
			t.Errorf("%.20q was sent", v)
		}
	}
	select {
	case l := <-b.lines:
		t.Errorf("sent %q", l)
	default:
	}
}

func TestActions(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	d, _ := b.start(led())
	go func() {
		b.send("OK %s\n", b.next())
	}()
	got, err := d.Do(t.Context(), "interval", map[string]any{"ms": 250.0}, func(any) {})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(any(map[string]any{"answer": "OK INTERVAL 250", "ms": "250"}), got); diff != "" {
		t.Error(diff)
	}
	if got, err := d.Do(t.Context(), "reset", nil, func(any) {}); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if l := b.next(); l != "RESET" {
		t.Errorf("sent %q", l)
	}
	for name, args := range map[string]map[string]any{
		"missing": {}, "of the wrong type": {"ms": "250"}, "unknown": {"ms": 1, "x": 1}, "broken": {"ms": 1.5},
	} {
		if _, err := d.Do(t.Context(), "interval", args, func(any) {}); err == nil {
			t.Errorf("argument %s: no error", name)
		}
	}
}

func TestBoardThatTakesNothingTimesOut(t *testing.T) {
	t.Parallel()
	cfg := line.Config{Port: serialport.Config{Path: newStuckPort(t)}, Points: map[string]line.PointConfig{
		"x": {Type: "text", Write: &line.WriteConfig{Template: strings.Repeat("x", 1<<17) + "{value}\n", Timeout: length(100 * time.Millisecond)}},
	}}
	d, err := line.New(cfg, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	link := &drivertest.Link{}
	done := make(chan error, 1)
	go func() { done <- d.Run(t.Context(), link) }()
	link.WaitUp(t, 1)
	if _, err := d.Write(t.Context(), "x", "y"); !errors.Is(err, drivers.ErrTimeout) {
		t.Errorf("Write returned %v", err)
	}
	// Half a line is out: the port is opened anew.
	if err := <-done; !errors.Is(err, drivers.ErrTimeout) {
		t.Errorf("Run returned %v", err)
	}
}

func TestSettlingBoardIsSentNothing(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	cfg := led()
	cfg.Settle = drivers.Duration(300 * time.Millisecond)
	d := b.driver(cfg)
	begin := time.Now()
	link := drivertest.Start(t, d)
	b.send("{\"t\":1}\n")
	sent := make(chan error, 1)
	go func() {
		for {
			// Not before Run has opened the port.
			_, err := d.Do(t.Context(), "reset", nil, func(any) {})
			if !errors.Is(err, drivers.ErrOffline) {
				sent <- err
				return
			}
		}
	}()
	b.next()
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("sent after %v", took)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	link.WaitUp(t, 1)
}

func TestKindTakesItsConfig(t *testing.T) {
	t.Parallel()
	cfg := line.Kind.Config().(*line.Config)
	*cfg = led()
	cfg.Port = serialport.Config{USB: "0403:6001"}
	d, err := line.Kind.New(cfg, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	want := drivers.Description{
		Model: "line device at usb 0403:6001",
		Points: []drivers.Point{
			{ID: "led", Type: drivers.Bool, Writable: true},
			{ID: "t", Type: drivers.Float, Readable: true},
		},
		Actions: []drivers.Action{
			{ID: "interval", Args: []drivers.Point{{ID: "ms", Type: drivers.Int, Writable: true}}},
			{ID: "reset"},
		},
	}
	if diff := cmp.Diff(want, d.Describe()); diff != "" {
		t.Error(diff)
	}
}

func TestGarbageIsNoValue(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	drivertest.GarbageIsNoValue(t, b.driver(led()), func() { b.send("\x80\xfe{\"t\":1}\n{\"t\":\"1x\"}\n") })
}
