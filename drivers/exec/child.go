package exec

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/program"
	"gantry/drivers/internal/text"

	"github.com/tidwall/gjson"
)

// child is a device whose program runs all the time.
type child struct {
	plan *plan
	now  func() time.Time
	log  *slog.Logger
	desc drivers.Description

	mu  sync.Mutex // guards run
	run *childRun  // nil while Run does not run
}

var (
	_ drivers.Writer = (*child)(nil)
	_ drivers.Doer   = (*child)(nil)
)

func newChild(p *plan, env drivers.Env) *child {
	return &child{plan: p, now: env.Now, log: env.Log, desc: p.describe("program " + p.command[0])}
}

// said is a line from the program. Which of the keys are there says what it is.
type said struct {
	Up       bool            `json:"up"` // the device is reachable
	Point    string          `json:"point"`
	Value    json.RawMessage `json:"value"`
	Quality  string          `json:"quality"` // good (default), uncertain, bad
	Why      string          `json:"why"`
	Time     int64           `json:"ts"`       // microseconds UTC; 0: now
	ID       uint64          `json:"id"`       // of the request that it answers
	Result   any             `json:"result"`   // the last answer, as is Error
	Progress any             `json:"progress"` // not the last answer
	Error    string          `json:"error"`    // offline, timeout, busy, refused, not_verified; anything else is a failure
	Text     string          `json:"text"`     // with Error, for people
}

// request is a line to the program.
type request struct {
	ID     uint64         `json:"id,omitempty"`
	Write  string         `json:"write,omitempty"`
	Value  any            `json:"value,omitempty"`
	Do     string         `json:"do,omitempty"`
	Args   map[string]any `json:"args,omitempty"`
	Cancel uint64         `json:"cancel,omitempty"` // the request that nobody waits for any more
}

// childRun is one run of the program.
type childRun struct {
	in   *os.File
	stop context.CancelFunc // ends the program
	done chan struct{}      // closed when it has ended

	mu      sync.Mutex // guards the rest, and orders lines to the program
	last    uint64
	waiting map[uint64]chan said
}

// Describe returns the points and actions of the configuration.
func (d *child) Describe() drivers.Description {
	desc := d.desc
	desc.Points, desc.Actions = slices.Clone(desc.Points), slices.Clone(desc.Actions)
	return desc
}

// Run implements drivers.Driver: it runs the program until ctx ends or the program
// does.
func (d *child) Run(ctx context.Context, link drivers.Link) error {
	if ctx.Err() != nil {
		return nil
	}
	err := d.serve(ctx, link)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (d *child) serve(ctx context.Context, link drivers.Link) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	childIn, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	out, childOut, err := os.Pipe()
	if err != nil {
		childIn.Close()
		return err
	}
	defer out.Close()
	ended := make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		ended <- d.plan.program(d.plan.command).Serve(ctx, childIn, childOut, program.NewComplaints(d.log, d.now), started)
	}()
	if err := <-started; err != nil {
		<-ended
		return program.StartError(d.plan.command[0], err)
	}
	// The program may have left something behind that holds on to its output.
	defer context.AfterFunc(ctx, func() { _ = out.SetReadDeadline(time.Now().Add(2 * program.Grace)) })()
	r := &childRun{in: in, stop: stop, done: make(chan struct{}), waiting: map[uint64]chan said{}}
	d.attach(r)
	err = d.listen(r, out, link)
	d.attach(nil)
	close(r.done)
	stop()
	if exit := <-ended; err == nil {
		err = exit
	}
	return err
}

func (d *child) attach(r *childRun) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.run = r
}

// listen takes the program's lines until there are no more.
func (d *child) listen(r *childRun, out io.Reader, link drivers.Link) error {
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 0, minMaxOutput), d.plan.maxOutput)
	up := false
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			continue
		}
		var s said
		why := text.WhyJSON
		if json.Unmarshal(line, &s) == nil {
			why = d.take(r, &s, link, &up)
		}
		if why != "" {
			link.Garbage(why, line[:min(len(line), sampleBytes)])
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%w: a line of more than max_output = %d bytes", drivers.ErrOffline, d.plan.maxOutput)
	}
	return nil
}

const sampleBytes = 64

// take deals with one line, or says why it is none.
func (d *child) take(r *childRun, s *said, link drivers.Link, up *bool) (why string) {
	reading := drivers.Reading{}
	if s.Point != "" {
		if reading, why = d.reading(s); why != "" {
			return why
		}
	}
	if !*up {
		*up = true
		link.Up()
	}
	switch {
	case s.Point != "":
		link.Emit(reading)
	case s.ID != 0:
		r.answer(*s)
	case !s.Up:
		return text.WhyField
	}
	return ""
}

// reading returns the reading that a line is.
func (d *child) reading(s *said) (r drivers.Reading, why string) {
	i := slices.IndexFunc(d.plan.points, func(p *point) bool { return p.id == s.Point && p.readable })
	if i < 0 {
		return r, "no_point"
	}
	r = drivers.Reading{Point: s.Point, Time: d.now(), Why: s.Why}
	if s.Time > 0 {
		r.Time = time.UnixMicro(s.Time)
	}
	switch s.Quality {
	case "", "good":
		r.Why = ""
	case "uncertain":
		r.Quality = drivers.Uncertain
	case "bad":
		r.Quality = drivers.Bad
	default:
		return r, "no_quality"
	}
	if r.Quality != drivers.Bad {
		if r.Value, why = d.plan.points[i].form.Read(text.FieldOf(gjson.ParseBytes(s.Value))); why != "" {
			r.Value, r.Quality, r.Why = nil, drivers.Bad, why
		}
	}
	if r.Quality != drivers.Good && r.Why == "" {
		r.Why = "unsaid"
	}
	return r, ""
}

// answer hands a line to whom it answers. Progress that nobody has taken yet gives
// way to what is newer.
func (r *childRun) answer(s said) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.waiting[s.ID]
	if c == nil {
		return // nobody waits any more
	}
	select {
	case <-c:
	default:
	}
	c <- s
	if s.Progress == nil {
		delete(r.waiting, s.ID)
	}
}

// ask sends a request and waits for its last answer.
func (d *child) ask(ctx context.Context, q request, progress func(any)) (any, error) {
	d.mu.Lock()
	r := d.run
	d.mu.Unlock()
	if r == nil {
		return nil, drivers.ErrOffline
	}
	if err := ctx.Err(); err != nil {
		return nil, program.Over(err)
	}
	c := make(chan said, 1)
	id, err := r.send(q, c)
	if err != nil {
		return nil, err
	}
	for {
		select {
		case s := <-c:
			if s.Progress == nil {
				return s.Result, s.err()
			}
			progress(s.Progress)
		case <-r.done:
			return nil, drivers.ErrOffline
		case <-ctx.Done():
			r.mu.Lock()
			delete(r.waiting, id)
			r.mu.Unlock()
			_, _ = r.send(request{Cancel: id}, nil) // whoever takes nothing is ended by send
			return nil, program.Over(ctx.Err())
		}
	}
}

// sendTimeout is how long the program may take nothing.
const sendTimeout = time.Second

// send writes a line; its answers go to c. A program that does not read is ended: half
// a line may be out.
func (r *childRun) send(q request, c chan said) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c != nil {
		r.last++
		q.ID = r.last
	}
	line, err := json.Marshal(q)
	if err != nil {
		return 0, err
	}
	_ = r.in.SetWriteDeadline(time.Now().Add(sendTimeout))
	if _, err := r.in.Write(append(line, '\n')); err != nil {
		r.stop()
		return 0, fmt.Errorf("%w: the program does not read: %w", drivers.ErrOffline, err)
	}
	if c != nil {
		r.waiting[q.ID] = c
	}
	return q.ID, nil
}

// err returns the error that an answer is.
func (s *said) err() error {
	if s.Error == "" {
		return nil
	}
	words := strings.TrimSpace(s.Error + " " + s.Text)
	kind, ok := map[string]error{"offline": drivers.ErrOffline, "timeout": drivers.ErrTimeout, "busy": drivers.ErrBusy,
		"refused": drivers.ErrRefused, "not_verified": drivers.ErrNotVerified}[s.Error]
	if !ok {
		return fmt.Errorf("the program says: %.256s", words)
	}
	return fmt.Errorf("%w: %.256s", kind, words)
}

// Write implements drivers.Writer: it tells the program. The answer's result is the
// value that is set; without one it is v.
func (d *child) Write(ctx context.Context, id string, v drivers.Value) (drivers.Value, error) {
	i := slices.IndexFunc(d.plan.points, func(p *point) bool { return p.id == id && p.writable })
	if i < 0 {
		return nil, fmt.Errorf("write %.64s: no such writable point", id)
	}
	got, err := d.ask(ctx, request{Write: id, Value: v}, func(any) {})
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", id, err)
	}
	if got == nil {
		return v, nil
	}
	raw, err := json.Marshal(got)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w: %w", id, drivers.ErrNotVerified, err)
	}
	back, why := d.plan.points[i].form.Read(text.FieldOf(gjson.ParseBytes(raw)))
	if why != "" {
		return nil, fmt.Errorf("write %s: %w: %s", id, drivers.ErrNotVerified, why)
	}
	return back, nil
}

// Do implements drivers.Doer: it tells the program.
func (d *child) Do(ctx context.Context, id string, args map[string]any, progress func(any)) (any, error) {
	i := slices.IndexFunc(d.plan.actions, func(a *action) bool { return a.desc.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("do %.64s: no such action", id)
	}
	if _, err := d.plan.actions[i].args.Texts(args); err != nil {
		return nil, fmt.Errorf("do %s: %w", id, err)
	}
	if progress == nil {
		progress = func(any) {}
	}
	got, err := d.ask(ctx, request{Do: id, Args: args}, progress)
	if err != nil {
		return nil, fmt.Errorf("do %s: %w", id, err)
	}
	return got, nil
}
