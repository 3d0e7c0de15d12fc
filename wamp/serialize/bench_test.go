package serialize_test

import (
	"bytes"
	"fmt"
	"testing"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// benchPayloads are arguments of different sizes and kinds.
func benchPayloads() map[string]wamp.Payload {
	samples := func(n int) wamp.Payload {
		var list wamp.List
		for i := range n {
			list = append(list, wamp.Dict{
				"ts": 1700000000000000 + int64(i)*1000, "v": 20.25 + float64(i)/7, "q": "good",
				"p": fmt.Sprintf("boiler.temperature%d", i%8),
			})
		}
		return wamp.Args(list)
	}
	return map[string]wamp.Payload{
		"small": wamp.Args(int64(42), "open"), "1K": samples(14), "64K": samples(900),
		"64Kbin": wamp.Args(bytes.Repeat([]byte{0xa5}, 64<<10)),
	}
}

// benchCall calls f with a CALL in each format and size.
func benchCall(b *testing.B, f func(b *testing.B, from wamp.Format, wire []byte)) {
	payloads := benchPayloads()
	for _, from := range formats {
		for _, size := range []string{"small", "1K", "64K", "64Kbin"} {
			wire, err := serialize.Append(nil, from, &wamp.Call{
				Request: 7, Procedure: "gantry.gw1.set.boiler.valve", Payload: payloads[size]})
			if err != nil {
				b.Fatal(err)
			}
			b.Run(from.String()+"/"+size, func(b *testing.B) {
				b.SetBytes(int64(len(wire)))
				b.ReportAllocs()
				f(b, from, wire)
			})
		}
	}
}

// invoke makes an INVOCATION of a CALL: decoded, its payload as it is, encoded.
func invoke(b *testing.B, from, to wamp.Format, wire []byte, payload func(wamp.Payload) wamp.Payload) {
	d := serialize.NewDecoder(from, serialize.Limits{})
	var inv wamp.Invocation
	var out []byte
	for b.Loop() {
		m, err := d.Decode(wire)
		if err != nil {
			b.Fatal(err)
		}
		inv = wamp.Invocation{Request: 9, Registration: 11, Payload: payload(m.(*wamp.Call).Payload)}
		if out, err = serialize.Append(out[:0], to, &inv); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSplice(b *testing.B) {
	benchCall(b, func(b *testing.B, from wamp.Format, wire []byte) {
		invoke(b, from, from, wire, func(p wamp.Payload) wamp.Payload { return p })
	})
}

func BenchmarkFullDecode(b *testing.B) {
	benchCall(b, func(b *testing.B, from wamp.Format, wire []byte) {
		invoke(b, from, from, wire, func(p wamp.Payload) wamp.Payload {
			args, kwargs, err := serialize.Values(p)
			if err != nil {
				b.Fatal(err)
			}
			return wamp.Values(args, kwargs)
		})
	})
}

func BenchmarkTranscode(b *testing.B) {
	for _, to := range formats {
		b.Run("to-"+to.String(), func(b *testing.B) {
			benchCall(b, func(b *testing.B, from wamp.Format, wire []byte) {
				if from == to {
					b.Skip("spliced")
				}
				invoke(b, from, to, wire, func(p wamp.Payload) wamp.Payload { return p })
			})
		})
	}
}

func BenchmarkDecodeOnly(b *testing.B) {
	benchCall(b, func(b *testing.B, from wamp.Format, wire []byte) {
		d := serialize.NewDecoder(from, serialize.Limits{})
		for b.Loop() {
			if _, err := d.Decode(wire); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkEncodeReading(b *testing.B) {
	for _, f := range formats {
		b.Run(f.String(), func(b *testing.B) {
			ev := &wamp.Event{Subscription: 1, Publication: 2, Payload: samplePayload}
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				out, _ = serialize.Append(out[:0], f, ev)
			}
		})
	}
}
