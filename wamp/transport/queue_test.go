package transport

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/serialize"
	"gantry/wamp/websocket"
)

// wsFrame is a frame of a WebSocket as it was queued.
type wsFrame struct {
	op      websocket.Opcode
	payload []byte
}

// frames takes b apart.
func frames(t *testing.T, b []byte) (fs []wsFrame) {
	t.Helper()
	for len(b) > 0 {
		h := websocket.HeaderSize(b)
		n := int(b[1] & 0x7F)
		switch n {
		case 126:
			n = int(binary.BigEndian.Uint16(b[2:]))
		case 127:
			n = int(binary.BigEndian.Uint64(b[2:]))
		}
		if h != websocket.HeaderLen(n, b[1]&0x80 != 0) {
			t.Fatalf("header of %d octets for %d octets of payload", h, n)
		}
		f := wsFrame{websocket.Opcode(b[0] &^ 0x80), bytes.Clone(b[h : h+n])}
		if b[1]&0x80 != 0 {
			websocket.Mask([4]byte(b[h-4:h]), f.payload)
		}
		if f.op&websocket.Deflated != 0 {
			f.op &^= websocket.Deflated
			r := flate.NewReader(io.MultiReader(bytes.NewReader(f.payload), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
			var err error
			if f.payload, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		fs = append(fs, f)
		b = b[h+n:]
	}
	return fs
}

// Whatever is queued in whatever order comes out once, in order, in frames that
// are well formed; and the queue knows its own size.
func TestQueueKeepsOrderAndCountsItsBytes(t *testing.T) {
	t.Parallel()
	for _, f := range allFormats {
		for _, k := range []batching{unbatched, prefixed, SeparatorRS, SeparatorCAN} {
			if (f == wamp.JSON) == (k == prefixed) {
				continue
			}
			for _, server := range []bool{true, false} {
				for _, deflate := range []int{0, 600} {
					t.Run(fmt.Sprintf("%s batching %d server %v deflate %d", f, k, server, deflate), func(t *testing.T) {
						t.Parallel()
						q := &queue{limit: 1 << 30}
						op := websocket.Binary
						if f == wamp.JSON {
							op = websocket.Text
						}
						q.framing.frameWS(f, k, op, server)
						if q.framing.deflate = deflate; deflate > 0 && server && k == unbatched {
							q.framing.encoding = wamp.WebSocketJSONDeflated + wamp.Encoding(f-wamp.JSON)
						}
						queueAndTake(t, q)
					})
				}
			}
		}
	}
}

func queueAndTake(t *testing.T, q *queue) {
	r := rand.New(rand.NewPCG(1, 2))
	var want []int
	var shared []*wamp.Shared
	pings := 0
	// What frames lie in is used again as soon as nobody holds them.
	reuse := func() {
		for _, size := range []int{100, 1000, 3000, 20_000, 70_000} {
			for range 3 {
				newFrame(bytes.Repeat([]byte{0xFF}, size)).release()
			}
		}
	}
	for i := range 120 {
		size := []int{0, 10, 100, 1000, 3000, 20_000, 70_000}[r.IntN(7)]
		var m wamp.Message = &wamp.Event{Subscription: 1, Publication: wamp.ID(i + 1), Payload: wamp.Args(strings.Repeat("x", size))}
		switch r.IntN(4) {
		case 0:
			s := &wamp.Shared{Msg: m}
			shared = append(shared, s)
			m = s
		case 1:
			if len(shared) == 0 {
				break
			}
			i := r.IntN(len(shared))
			m = shared[i] // whose frame is there already
			if e, f := q.Frame(shared[i]); f != nil && r.IntN(2) == 0 {
				// Sent later, when all that is left of it is the frame.
				f.Hold()
				want = append(want, int(publication(m)))
				shared[i].Done()
				shared = slices.Delete(shared, i, i+1)
				reuse()
				late := &wamp.Shared{Msg: &wamp.Event{}}
				late.SetFrame(e, f)
				if _, err := q.put(late); err != nil {
					t.Fatal(err)
				}
				late.Done()
				continue
			}
		case 2:
			if r.IntN(10) == 0 {
				ping := make([]byte, 6)
				key := websocket.NewMaskKey()
				if q.framing.space == clientSpace {
					websocket.PutHeader(ping, websocket.Ping, 0, &key)
				} else {
					ping = ping[:websocket.PutHeader(ping, websocket.Ping, 0, nil)]
				}
				if _, err := q.putControl(ping); err != nil {
					t.Fatal(err)
				}
				pings++
			}
			// What cannot be encoded leaves nothing behind.
			bad := &wamp.Event{Subscription: 1, Publication: 1, Payload: wamp.Args("text", make(chan int))}
			if _, err := q.put(bad); err == nil {
				t.Fatal("a channel was encoded")
			}
		}
		if _, err := q.put(m); err != nil {
			t.Fatal(err)
		}
		want = append(want, int(publication(m)))
	}
	for _, s := range shared {
		s.Done()
	}
	reuse()
	q.seal()
	if len(q.segs) != len(q.bufs) {
		t.Errorf("%d segments in %d buffers", len(q.segs), len(q.bufs))
	}
	all := bytes.Join(q.segs, nil)
	if len(all) != q.size {
		t.Errorf("the queue counts %d bytes, but holds %d", q.size, len(all))
	}
	var got []int
	regular := 0
	for _, f := range frames(t, all) {
		if f.op == websocket.Ping {
			pings--
			continue
		}
		regular++
		b := batch{unbatched, f.payload}
		if q.framing.batching != unbatched {
			var err error
			if b, err = newBatch(q.framing.batching, f.payload); err != nil || b.kind != q.framing.batching {
				t.Fatal(b.kind, err)
			}
		}
		for m := b.next(); m != nil; m = b.next() {
			ev, err := serialize.NewDecoder(q.framing.format, serialize.Limits{}).Decode(m)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, int(publication(ev)))
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || pings != 0 {
		t.Errorf("%d messages in place of %d, %d pings missing", len(got), len(want), pings)
	}
	if q.framing.batching != unbatched && regular > len(want)*9/10 {
		t.Errorf("%d messages left in %d frames", len(want), regular)
	}
}

func publication(m wamp.Message) wamp.ID {
	if s, ok := m.(*wamp.Shared); ok {
		m = s.Msg
	}
	return m.(*wamp.Event).Publication
}

func TestABatchKeepsToTheLimitOfTheQueue(t *testing.T) {
	t.Parallel()
	for _, s := range []bool{false, true} {
		q := &queue{limit: 10_000}
		q.framing.frameWS(wamp.CBOR, prefixed, websocket.Binary, true)
		var m wamp.Message = &wamp.Event{Subscription: 1, Publication: 1, Payload: wamp.Args(strings.Repeat("x", 20_000))}
		if s {
			m = &wamp.Shared{Msg: m}
		}
		if _, err := q.put(m); err != nil {
			t.Fatalf("an empty queue does not take what is over its limit: %v", err)
		}
		if _, err := q.put(m); !errors.Is(err, wamp.ErrQueueFull) {
			t.Errorf("a full queue answers %v", err)
		}
		if _, err := q.put(&wamp.Goodbye{Reason: wamp.CloseURIKilled}); !errors.Is(err, wamp.ErrQueueFull) {
			t.Errorf("a queue that is over its reserve answers %v", err)
		}
	}
}

// A slow subscriber that batches keeps room for the answers to its own requests.
func TestABatchOfEventsLeavesRoomForAnswers(t *testing.T) {
	t.Parallel()
	q := &queue{limit: 16_000}
	q.framing.frameWS(wamp.CBOR, prefixed, websocket.Binary, true)
	s := &wamp.Shared{Msg: &wamp.Event{Subscription: 1, Publication: 1, Payload: wamp.Args(strings.Repeat("x", 1850))}}
	for {
		if _, err := q.put(s); errors.Is(err, wamp.ErrQueueFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := q.put(&wamp.Result{Request: 1, Payload: wamp.Args(strings.Repeat("x", 1500))}); err != nil {
		t.Errorf("behind events: %v", err)
	}
}

// FuzzBatch compares the reading of batches with a model that splits by hand.
func FuzzBatch(f *testing.F) {
	for _, s := range []string{"", "\x1e", "a\x1e", "a\x18b\x18", "a\x1e\x1e", "\x00\x00\x00\x01a", "\x00\x00\x00\x00", "\x00\x00\x00\x02a", "\xff\xff\xff\xff", "\x00\x00\x00\x01a\x00"} {
		f.Add(true, []byte(s))
		f.Add(false, []byte(s))
	}
	f.Fuzz(func(t *testing.T, json bool, b []byte) {
		k := prefixed
		if json {
			k = SeparatorRS
		}
		want, ok := model(json, b)
		got, err := newBatch(k, b)
		if (err == nil) != ok {
			t.Fatalf("%q: error %v, the model says %v", b, err, ok)
		}
		if err != nil {
			return
		}
		var again []byte
		for _, w := range want {
			m := got.next()
			if string(m) != w {
				t.Fatalf("%q: message %q, expected %q", b, m, w)
			}
			again = got.kind.appendRecord(again, m)
		}
		if m := got.next(); m != nil || string(again) != string(b) {
			t.Fatalf("%q: then came %q; written again %q", b, m, again)
		}
	})
}

// model splits a batch the slow way.
func model(json bool, b []byte) (ms []string, ok bool) {
	s := string(b)
	if json {
		if s == "" || !strings.ContainsAny(s[len(s)-1:], "\x1e\x18") {
			return nil, false
		}
		ms = strings.Split(s[:len(s)-1], s[len(s)-1:])
	} else {
		for s != "" {
			if len(s) < 4 {
				return nil, false
			}
			n := int64(s[0])<<24 | int64(s[1])<<16 | int64(s[2])<<8 | int64(s[3])
			if n > int64(len(s)-4) {
				return nil, false
			}
			ms, s = append(ms, s[4:4+n]), s[4+n:]
		}
	}
	for _, m := range ms {
		if m == "" {
			return nil, false
		}
	}
	return ms, len(ms) > 0
}

// A queue that is full of events still takes answers.
func TestAnswersFitBehindEvents(t *testing.T) {
	t.Parallel()
	q := &queue{limit: 8000}
	q.framing.frameWS(wamp.JSON, unbatched, websocket.Text, true)
	put := func(m wamp.Message) error {
		q.mu.Lock()
		defer q.mu.Unlock()
		_, err := q.put(m)
		return err
	}
	event := &wamp.Event{Subscription: 1, Publication: 1, Payload: wamp.Args(strings.Repeat("x", 100))}
	for _, m := range []wamp.Message{event, &wamp.Shared{Msg: event}} {
		n := 0
		for ; put(m) == nil; n++ {
			if n > 100 {
				t.Fatal("events have no end")
			}
		}
		if !errors.Is(put(m), wamp.ErrQueueFull) {
			t.Errorf("a full queue says %v", put(m))
		}
	}
	for i := range 10 {
		if err := put(&wamp.Result{Request: wamp.ID(i + 1)}); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
}
