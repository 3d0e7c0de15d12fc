package serialize_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/tinylib/msgp/msgp"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// random returns a value of any kind, nested at most deep levels.
func random(r *rand.Rand, deep int) any {
	kinds := 9
	if deep == 0 {
		kinds = 7
	}
	switch r.IntN(kinds) {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		u := r.Uint64() >> r.IntN(64)
		if u > 1<<63-1 {
			return u
		}
		return int64(u)
	case 3:
		return ^int64(r.Uint64()>>1) >> r.IntN(63)
	case 4:
		return r.NormFloat64() * 1e10
	case 5:
		text := make([]rune, r.IntN(40))
		for i := range text {
			text[i] = []rune{'a', '"', '\\', '\n', 0x1f, 0, 'é', '世', '😀', '\uFFFD', ' '}[r.IntN(11)]
		}
		return "x" + string(text)
	case 6:
		b := make([]byte, r.IntN(300))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	case 7:
		list := make(wamp.List, r.IntN(20))
		for i := range list {
			list[i] = random(r, deep-1)
		}
		return list
	}
	dict := wamp.Dict{}
	for range r.IntN(20) {
		dict["k"+string(rune('a'+r.IntN(26)))] = random(r, deep-1)
	}
	return dict
}

func TestRandomValuesSurviveEveryCrossing(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	lim := serialize.Limits{}
	for range 500 {
		v := random(r, 3)
		forms := map[wamp.Format][]byte{}
		for _, f := range formats {
			b, err := serialize.AppendValue(nil, f, v)
			if err != nil {
				t.Fatal(err)
			}
			if err := serialize.Valid(f, b, lim); err != nil {
				t.Fatal(err, show(f, b))
			}
			forms[f] = b
		}
		for from, src := range forms {
			got, err := serialize.ParseValue(from, src, lim)
			if err != nil {
				t.Fatal(err)
			}
			if !sameValue(v, got) {
				t.Fatal(from, diff(v, got))
			}
			for to, want := range forms {
				got, err := serialize.Transcode(nil, to, src, from)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s to %s: %v\n%s\nwant\n%s", from, to, err, show(to, got), show(to, want))
				}
			}
		}
	}
}

// What other libraries write is read, and what is written is read by them.
func TestRandomValuesAgreeWithLibraries(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		v := random(r, 3)
		m, err := msgp.AppendIntf(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		c, err := cbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for f, b := range map[wamp.Format][]byte{wamp.MsgPack: m, wamp.CBOR: c} {
			got, err := serialize.ParseValue(f, b, serialize.Limits{})
			if err != nil {
				t.Fatal(f, err)
			}
			if !sameValue(v, got) {
				t.Fatal(f, diff(v, got))
			}
		}
		m, _ = serialize.AppendValue(nil, wamp.MsgPack, v)
		fromMsgPack, rest, err := msgp.ReadIntfBytes(m)
		if err != nil || len(rest) > 0 || !sameValue(plain(v), plain(fromMsgPack)) {
			t.Fatal(err, diff(plain(v), plain(fromMsgPack)))
		}
		c, _ = serialize.AppendValue(nil, wamp.CBOR, v)
		var fromCBOR any
		if err := cborOracle.Unmarshal(c, &fromCBOR); err != nil || !sameValue(plain(v), plain(fromCBOR)) {
			t.Fatal(err, diff(plain(v), plain(fromCBOR)))
		}
	}
}

// Every half-precision float against the reference conversion of the standard
// library's float32.
func TestEveryHalfPrecisionFloat(t *testing.T) {
	t.Parallel()
	for h := range 1 << 16 {
		in := []byte{0xf9, byte(h >> 8), byte(h)}
		got, err := serialize.ParseValue(wamp.CBOR, in, serialize.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var want float64
		if err := cbor.Unmarshal(in, &want); err != nil {
			t.Fatal(err)
		}
		if g := got.(float64); g != want && (g == g || want == want) {
			t.Fatalf("%04x: %v, want %v", h, g, want)
		}
	}
}
