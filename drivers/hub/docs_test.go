package hub_test

import (
	"os"
	"strings"
	"testing"

	"gantry/drivers/hub"
	"gantry/wamp"
)

// TestContractIsDocumented keeps docs/topics.md from missing a name that the hub
// puts on the wire.
func TestContractIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/topics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := []wamp.URI{
		hub.PointTopic("<gw>", "<dev>", "<point>"), hub.LinkTopic("<gw>", "<dev>"),
		hub.GetProcedure("<gw>", "<dev>", "<point>"), hub.SetProcedure("<gw>", "<dev>", "<point>"), hub.DoProcedure("<gw>", "<dev>", "<action>"),
		hub.SysProcedure("<gw>", "list"), hub.SysProcedure("<gw>", "describe"), hub.SysProcedure("<gw>", "restart"), hub.SysProcedure("<gw>", "keepalive"),
		hub.SysProcedure("<gw>", "pending"), hub.SysProcedure("<gw>", "accept"), hub.SysProcedure("<gw>", "ignore"), hub.SysProcedure("<gw>", "forget"),
		hub.ArrivalTopic("<gw>", "appeared"), hub.ArrivalTopic("<gw>", "vanished"),
		hub.ErrURIRefused, wamp.ErrURIOutOfRange, wamp.ErrURIReadOnly, wamp.ErrURIBusy, wamp.ErrURIOffline, wamp.ErrURIDevTimeout,
		wamp.ErrURINotVerified, wamp.ErrURISafeLock, wamp.ErrURIExpired, wamp.ErrURIBadConfig,
		wamp.ErrURIInvalidArgument, wamp.ErrURINoSuchProcedure, wamp.ErrURIRuntimeError, wamp.ErrURICanceled,
	}
	for _, s := range []hub.State{hub.Offline, hub.Online, hub.Degraded, hub.Parked} {
		names = append(names, wamp.URI(s.String()))
	}
	for _, n := range names {
		if !strings.Contains(string(text), "`"+string(n)+"`") {
			t.Errorf("docs/topics.md does not mention `%s`", n)
		}
	}
}
