package talker_test

import (
	"testing"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/internal/talker"
)

// Whatever a device says, readings are of the point's type, or bad with a reason.
func FuzzMessages(f *testing.F) {
	for _, m := range []string{`{"room":"in","v":1}`, `{"room":"out","v":null}`, `{"n":1,"res":{},"err":0}`, `[[[`, `{"room":"in","v":"1e999"}`, ``} {
		f.Add([]byte(m))
	}
	d, err := talker.New(tagged, drivers.Env{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		link := &drivertest.Link{}
		d.Begin(wire(func([]byte) {}), link).Message(m)
		for _, r := range link.Readings() {
			if _, number := r.Value.(float64); number != (r.Quality == drivers.Good) || (r.Why == "") != number {
				t.Fatalf("%+v", r)
			}
		}
		if n := len(link.AllGarbage()); n > 1 || n == 1 && len(link.Readings()) > 0 {
			t.Fatalf("%d pieces of garbage, readings %+v", n, link.Readings())
		}
	})
}
