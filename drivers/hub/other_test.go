package hub_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub"
)

// A driver that finds another device than it describes is replaced, by one that fits.
func TestADeviceThatIsAnother(t *testing.T) {
	t.Parallel()
	first, bad, next := newScript(writable("led", drivers.Bool)), newScript(float("No Name")), newScript(float("humidity"))
	run(t, []hub.Device{device("dev", first, hub.DeviceConfig{})}, func(b *bench) {
		first.open()
		b.pass(time.Second)
		first.lose(&drivers.OtherError{Driver: bad})
		b.pass(time.Millisecond)
		if why := b.reason(); !strings.Contains(why, "point with this name") {
			t.Errorf("reason %q", why)
		}
		b.pass(5 * time.Second)
		if states := b.states(); states[len(states)-1] != "online" {
			t.Errorf("it does not go on as it was: %q", states)
		}
		first.lose(errors.Join(drivers.ErrOffline, &drivers.OtherError{Driver: next}))
		next.open()
		b.pass(5 * time.Second)
		if states := b.states(); states[len(states)-1] != "online" {
			t.Errorf("states %q, %s", states, b.reason())
		}
		p := b.sess.procedures()
		if slices.Contains(p, hub.SetProcedure("barn", "dev", "led")) {
			t.Errorf("procedures of the old one are left: %q", p)
		}
		next.send(good("humidity", 40.5))
		b.pass(time.Second)
		if got := b.point("humidity"); len(got) == 0 || got[len(got)-1].value != 40.5 {
			t.Errorf("%v", got)
		}
	})
}
