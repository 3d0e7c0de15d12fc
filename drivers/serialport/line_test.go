package serialport_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gantry/drivers"
	"gantry/drivers/serialport"

	"github.com/google/go-cmp/cmp"
)

// pieces is a source that hands out what it holds piece by piece; an empty piece
// is a silence until ctx ends.
type pieces []string

func (s *pieces) Read(ctx context.Context, p []byte) (int, error) {
	if len(*s) == 0 {
		return 0, io.EOF
	}
	head := (*s)[0]
	if head == "" {
		*s = (*s)[1:]
		<-ctx.Done()
		return 0, ctx.Err()
	}
	n := copy(p, head)
	if (*s)[0] = head[n:]; n == len(head) {
		*s = (*s)[1:]
	}
	return n, nil
}

// collect returns the lines, and the frame errors as "!why".
func collect(t *testing.T, r *serialport.LineReader) []string {
	t.Helper()
	var got []string
	for {
		line, err := r.Next(t.Context())
		var fe *serialport.FrameError
		switch {
		case errors.As(err, &fe):
			got = append(got, "!"+fe.Why)
		case errors.Is(err, io.EOF):
			return got
		case err != nil:
			t.Fatal(err)
		default:
			got = append(got, string(line))
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 40)
	for name, tc := range map[string]struct {
		in   pieces
		cfg  serialport.FrameConfig
		want []string
	}{
		"one piece":                        {in: pieces{"a\nb\r\n\n\r\nc\n"}, want: []string{"a", "b", "c"}},
		"byte by byte":                     {in: pieces{"a", "b", "\r", "\n", "c", "\n"}, want: []string{"ab", "c"}},
		"rest without end":                 {in: pieces{"a\nb"}, want: []string{"a"}},
		"own end, split":                   {in: pieces{"a;", ";b;", ";"}, cfg: serialport.FrameConfig{End: ";;"}, want: []string{"a", "b"}},
		"an end that begins twice":         {in: pieces{"a;;;b;;\n"}, cfg: serialport.FrameConfig{End: ";;\n"}, want: []string{"a;;;b"}},
		"just short enough":                {in: pieces{long[:16] + "\n" + "b\n"}, cfg: serialport.FrameConfig{Max: 16}, want: []string{long[:16], "b"}},
		"short enough with CR":             {in: pieces{long[:16] + "\r\n" + "b\n"}, cfg: serialport.FrameConfig{Max: 16}, want: []string{long[:16], "b"}},
		"too long, then good":              {in: pieces{long + "\nb\n"}, cfg: serialport.FrameConfig{Max: 16}, want: []string{"!too_long", "b"}},
		"one too long":                     {in: pieces{long[:17] + "\nb\n"}, cfg: serialport.FrameConfig{Max: 16}, want: []string{"!too_long", "b"}},
		"too long in pieces":               {in: pieces{long, "12\nb", "\n"}, cfg: serialport.FrameConfig{Max: 16}, want: []string{"!too_long", "!too_long", "b"}},
		"unfinished, its rest is no line":  {in: pieces{"12", "", "34\n5\n"}, want: []string{"!unfinished", "5"}},
		"silence between lines is nothing": {in: pieces{"1\n", "2\n"}, want: []string{"1", "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := tc.in
				if d := cmp.Diff(tc.want, collect(t, serialport.NewLineReader(&in, tc.cfg))); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

func TestIdleTimeIsAsConfigured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idle := drivers.Duration(700 * time.Millisecond)
		in := pieces{"12", ""}
		begin := time.Now()
		got := collect(t, serialport.NewLineReader(&in, serialport.FrameConfig{Idle: &idle}))
		if d := cmp.Diff([]string{"!unfinished"}, got); d != "" {
			t.Error(d)
		}
		if took := time.Since(begin); took != 700*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestJoiningInTheMiddleDropsTheFragment(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in   pieces
		want []string
	}{
		"device is sending": {in: pieces{"1.5\n22", ".5\n"}, want: []string{"22.5"}},
		"device is silent":  {in: pieces{"", "22.5\n"}, want: []string{"22.5"}},
		"endless fragment":  {in: pieces{strings.Repeat("x", 3000), "\n1\n"}, want: []string{"!too_long", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := tc.in
				r := serialport.NewLineReader(&in, serialport.FrameConfig{})
				begin := time.Now()
				if err := r.Join(t.Context()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); took > 50*time.Millisecond {
					t.Errorf("joining took %v", took)
				}
				if d := cmp.Diff(tc.want, collect(t, r)); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

func TestReaderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		in := pieces{""}
		_, err := serialport.NewLineReader(&in, serialport.FrameConfig{}).Next(ctx)
		wantIs(t, err, context.DeadlineExceeded)
	})
}

// endless sends the same byte for ever.
type endless struct{ left int }

func (e *endless) Read(_ context.Context, p []byte) (int, error) {
	if e.left -= len(p); e.left < 0 {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestEndlessLineTakesNoMemory(t *testing.T) {
	r := serialport.NewLineReader(&endless{left: 64 << 20}, serialport.FrameConfig{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	reports := len(collect(t, r))
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("heap grew by %d bytes", grown)
	}
	if reports == 0 {
		t.Error("nothing was reported")
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\nc"), uint8(3), "\n")
	f.Add([]byte("a;;;b;;\n"), uint8(1), ";;\n")
	f.Add([]byte(strings.Repeat("x", 100)+"\n1\n"), uint8(7), "")
	f.Fuzz(func(t *testing.T, data []byte, step uint8, end string) {
		cfg := serialport.FrameConfig{End: end, Max: 16}
		if cfg.Validate() != nil {
			return
		}
		var in pieces
		for n := int(step) + 1; len(data) > 0; {
			n = min(n, len(data))
			in = append(in, string(data[:n]))
			data = data[n:]
		}
		for _, line := range collect(t, serialport.NewLineReader(&in, cfg)) {
			if line == "!too_long" {
				continue
			}
			if line == "" || len(line) > 16 || end != "" && strings.Contains(line, end) {
				t.Fatalf("line %q with end %q", line, end)
			}
		}
	})
}
