package node

import (
	"bytes"
	"encoding/hex"
	"math"
	"os"
	"strings"
	"testing"

	"gantry/drivers"

	"github.com/google/go-cmp/cmp"
)

// vectors returns the frames of testdata/frames.txt: name, body, frame.
func vectors(t testing.TB) (list [][3][]byte) {
	t.Helper()
	text, err := os.ReadFile("testdata/frames.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if strings.HasPrefix(line, "#") || !ok {
			continue
		}
		a, b, _ := strings.Cut(rest, " ")
		body, err1 := hex.DecodeString(a)
		frame, err2 := hex.DecodeString(b)
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %v %v", name, err1, err2)
		}
		list = append(list, [3][]byte{[]byte(name), body, frame})
	}
	if len(list) < 20 {
		t.Fatalf("only %d vectors", len(list))
	}
	return list
}

func TestFramesAreThoseOfTheSpecification(t *testing.T) {
	t.Parallel()
	var stream []byte
	for _, v := range vectors(t) {
		if got := appendFrame(nil, v[1]); !bytes.Equal(got, v[2]) {
			t.Errorf("%s:\n%x, want\n%x", v[0], got, v[2])
		}
		stream = append(stream, v[2]...)
	}
	// In one piece and byte by byte.
	for _, step := range []int{len(stream), 1, 7} {
		var d decoder
		var got [][]byte
		for at := 0; at < len(stream); at += step {
			for in := stream[at:min(at+step, len(stream))]; len(in) > 0; {
				var body []byte
				var bad *damage
				in, body, bad = d.next(in)
				if bad != nil {
					t.Errorf("damage: %+v", bad)
				}
				if body != nil {
					got = append(got, bytes.Clone(body))
				}
			}
		}
		var want [][]byte
		for _, v := range vectors(t) {
			want = append(want, v[1])
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("in steps of %d (-want +got):\n%s", step, d)
		}
	}
}

func TestDamagedFramesAreDropped(t *testing.T) {
	t.Parallel()
	good := appendFrame(nil, []byte{1, 1, 1})
	flipped := bytes.Clone(good[1:])
	flipped[1] ^= 4
	for name, c := range map[string]struct {
		in  []byte
		why string
	}{
		"checksum":  {flipped, "checksum"},
		"stuffing":  {[]byte{9, 1, 2, 0}, "stuffing"},
		"too short": {[]byte{4, 1, 2, 3, 0}, "too_short"},
		"too long":  {append(bytes.Repeat([]byte{1}, maxStuffed+1), 0), "too_long"},
		"text":      {[]byte("BOOT gantry-node 1.0.0\n\x00"), "stuffing"},
	} {
		var d decoder
		rest, body, bad := d.next(c.in)
		if body != nil || bad == nil || bad.why != c.why || len(rest) != 0 {
			t.Errorf("%s: %x, %+v, rest %x", name, body, bad, rest)
		}
		// The next frame is whole again.
		if _, body, bad := d.next(good[1:]); bad != nil || !bytes.Equal(body, []byte{1, 1, 1}) {
			t.Errorf("after %s: %x, %+v", name, body, bad)
		}
	}
}

// TestEveryFlippedBitIsNoticed flips each bit of each frame.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		for i := range len(v[2]) * 8 {
			frame := bytes.Clone(v[2])
			frame[i/8] ^= 1 << (i % 8)
			var d decoder
			for in := append(frame, 0); len(in) > 0; {
				var body []byte
				in, body, _ = d.next(in)
				// The zero in front and the one behind may be lost without harm.
				if body != nil && !bytes.Equal(body, v[1]) {
					t.Errorf("%s, bit %d: %x", v[0], i, body)
				}
			}
		}
	}
}

func TestValuesComeBack(t *testing.T) {
	t.Parallel()
	for _, v := range []drivers.Value{
		0.0, 21.53, -0.001, 1e9, 123456789.0, -1e-100, 1e100, int64(0), int64(math.MinInt32), int64(math.MaxInt32),
		true, false, "", "Ünïcode", strings.Repeat("x", maxText), []byte{}, []byte{0, 1, 255},
	} {
		b, err := appendValue(nil, v)
		if err != nil {
			t.Errorf("%v: %v", v, err)
			continue
		}
		c := cursor{b: b}
		if got := c.value(); c.end() != nil || !cmp.Equal(got, v) {
			t.Errorf("%v came back as %v, %v", v, got, c.err)
		}
	}
	for _, v := range []drivers.Value{math.NaN(), math.Inf(-1), int64(1) << 31, strings.Repeat("x", maxText+1), make([]byte, maxText+1), nil, 5} {
		if b, err := appendValue(nil, v); err == nil {
			t.Errorf("%v was taken as %x", v, b)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v[2])
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var d decoder
		var r *roll
		for len(in) > 0 {
			var body []byte
			in, body, _ = d.next(in)
			if body == nil {
				continue
			}
			if len(body) < headBytes || len(body) > maxStuffed {
				t.Fatalf("a body of %d bytes", len(body))
			}
			// What comes out goes in again.
			if len(body) <= maxBody {
				var again decoder
				if _, got, bad := again.next(appendFrame(nil, body)[1:]); bad != nil || !bytes.Equal(got, body) {
					t.Fatalf("%x came back as %x, %+v", body, got, bad)
				}
			}
			r = fuzzMessage(t, r, body)
		}
	})
}

// FuzzMessages takes bodies as they are, each with its length in front.
func FuzzMessages(f *testing.F) {
	var all []byte
	for _, v := range vectors(f) {
		all = append(append(all, byte(len(v[1]))), v[1]...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, in []byte) {
		var r *roll
		for len(in) > 1 {
			n := min(int(in[0]), len(in)-1)
			body := in[1 : 1+n]
			in = in[1+n:]
			if len(body) >= headBytes {
				r = fuzzMessage(t, r, body)
			}
		}
	})
}

// fuzzMessage gives a message to all that take messages.
func fuzzMessage(t *testing.T, r *roll, body []byte) *roll {
	switch kind(body[0]) {
	case announce:
		if next, err := r.begin(body); err == nil {
			r = next
		}
	case point, action, argument:
		if r == nil || r.take(body) != nil {
			return r
		}
		desc, whole, err := r.description()
		if whole && err == nil && (len(desc.Points) > maxPoints || len(desc.Actions) > maxActions) {
			t.Fatalf("%d points, %d actions", len(desc.Points), len(desc.Actions))
		}
	case result, refusal:
		decodeAnswer(body)
	default:
		s := &session{desc: drivers.Description{Points: []drivers.Point{{ID: "a", Readable: true}, {ID: "b", Type: drivers.Bool, Readable: true}}},
			now: fixed, last: make([]drivers.Reading, 2), news: make([]bool, 2)}
		if err := s.take(body); err != nil {
			t.Fatal(err)
		}
		for i, r := range s.last {
			if r.Value != nil && !fits(s.desc.Points[i].Type, r.Value) {
				t.Fatalf("%+v", r)
			}
		}
	}
	return r
}
