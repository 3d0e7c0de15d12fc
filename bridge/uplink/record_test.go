package uplink

import (
	"bytes"
	"testing"

	"gantry/wamp"
)

// FuzzRecord: what is read from a queue is written again as the same event, and
// what is no event is refused.
func FuzzRecord(f *testing.F) {
	payload := wamp.RawPayload(wamp.CBOR, []byte{0x81, 1}, []byte{0xa0})
	for _, r := range []record{
		{topic: "a.b", payload: payload},
		{topic: "a.b", payload: wamp.RawPayload(wamp.JSON, nil, nil), retain: true, tries: 3, triedAt: 1 << 50, reason: "wamp.error.not_authorized"},
		{topic: "a.b", payload: payload, passthru: &wamp.Passthru{Scheme: "mqtt", Serializer: "native"}},
	} {
		f.Add(r.append(nil))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := parseRecord(in)
		if err != nil {
			return
		}
		written := r.append(nil)
		again, err := parseRecord(written)
		if err != nil {
			t.Fatalf("%x was read, but not what was written for it, %x: %v", in, written, err)
		}
		if !bytes.Equal(again.append(nil), written) {
			t.Errorf("%x changes to %x", written, again.append(nil))
		}
	})
}
