package drivertest

import (
	"context"
	"testing"

	"gantry/drivers"
)

// GarbageIsNoValue checks that what cannot be decoded becomes no value, and that
// somebody is told. spoil is called once d is up: from then on, the device says nothing
// that can be decoded; one that speaks by itself does so. It has said nothing before.
func GarbageIsNoValue(t *testing.T, d drivers.Driver, spoil func()) {
	t.Helper()
	link := Start(t, d)
	link.WaitUp(t, 1)
	spoil()
	reader, polled := d.(drivers.Reader)
	if !polled {
		link.Wait(t, "garbage", func() bool { return len(link.AllGarbage())+len(link.Readings()) > 0 })
		noValues(t, link.Readings())
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	for _, p := range d.Describe().Points {
		if !p.Readable {
			continue
		}
		got, err := reader.Read(ctx, []string{p.ID})
		if err == nil && len(got) == 0 {
			t.Errorf("read %s: neither an error nor a reading", p.ID)
		}
		noValues(t, got)
	}
	noValues(t, link.Readings())
}

func noValues(t *testing.T, all []drivers.Reading) {
	t.Helper()
	for _, r := range all {
		if r.Value != nil || r.Quality != drivers.Bad || r.Why == "" {
			t.Errorf("garbage has become %+v", r)
		}
	}
}
