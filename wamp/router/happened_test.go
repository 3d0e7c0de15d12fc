package router

import (
	"bytes"
	"testing"
	"time"

	"gantry/wamp"
)

// FuzzHappened: what is read from a history's log is written again as the same
// event, or is refused.
func FuzzHappened(f *testing.F) {
	level := uint32(3)
	for _, h := range []happened{
		{at: time.UnixMicro(1), publication: 7, topic: "a.b", payload: wamp.RawPayload(wamp.CBOR, []byte{0x81, 1}, []byte{0xa0})},
		{
			at: time.UnixMicro(1 << 50), publication: 1 << 52, topic: "a.b", filter: &wamp.PublishFilter{EligibleAuthID: []string{}},
			details: wamp.EventDetails{Publisher: 5, PublisherAuthID: "ann", Trustlevel: &level, Passthru: &wamp.Passthru{Scheme: "mqtt"}},
		},
	} {
		record, err := h.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := parseHappened(in)
		if err != nil {
			return
		}
		if _, err := h.dict(1); err != nil {
			return // its payload is none
		}
		written, err := h.encode()
		if err != nil {
			t.Fatalf("%x was read, but cannot be written: %v", in, err)
		}
		again, err := parseHappened(written)
		if err != nil {
			t.Fatalf("%x was read, but not what was written for it, %x: %v", in, written, err)
		}
		if twice, err := again.encode(); err != nil || !bytes.Equal(twice, written) {
			t.Errorf("%x changes to %x, %v", written, twice, err)
		}
	})
}
