package uplink_test

import (
	"testing"
	"testing/synctest"
	"time"

	"gantry/bridge/uplink"
	"gantry/wamp"
	"gantry/wamp/router"
)

// TestAProcedureThatGoesWhileItIsRegistered has a far router that takes no patterns, and
// its time to register a procedure, which goes meanwhile: it is not left behind there, and
// is served when it comes again.
func TestAProcedureThatGoesWhileItIsRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pulse = "gantry.g1.do.relay.pulse"
		asked := make(chan struct{}, 1)
		far := newRealm(t, func(_ router.Identity, action router.Action, uri wamp.URI, match wamp.Match) (bool, error) {
			if action != router.ActionRegister {
				return true, nil
			}
			if uri == pulse {
				select {
				case asked <- struct{}{}:
				default:
				}
				time.Sleep(time.Second)
			}
			return match == wamp.MatchExact, nil
		})
		defer far.stop()
		s := newSetup(t, t.TempDir(), uplink.Config{}, always(far))
		defer s.stop()
		undo := s.offer(pulse)
		<-asked
		if err := undo(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		caller := far.join()
		if _, err := caller.Call(t.Context(), pulse, wamp.CallOptions{}, wamp.Args(7)); !wamp.IsError(err, wamp.ErrURINoSuchProcedure) {
			t.Errorf("when it has gone: %v", err)
		}
		s.offer(pulse)
		time.Sleep(time.Minute)
		if _, err := caller.Call(t.Context(), pulse, wamp.CallOptions{}, wamp.Args(7)); err != nil {
			t.Errorf("when it is there again: %v", err)
		}
	})
}
