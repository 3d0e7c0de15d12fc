package router_test

import (
	"reflect"
	"testing"

	"gantry/wamp"
	"gantry/wamp/router"
)

// TestOnlyOwnComponentsSayForWhomTheyCall passes forward_for on from a component of the
// router's process, to callees that are told who calls, and from nobody else.
func TestOnlyOwnComponentsSayForWhomTheyCall(t *testing.T) {
	withPolicy(t, router.PolicyConfig{Roles: map[string]router.RoleConfig{"operator": rules("+" + everything + " prefix ")}}, func(w *world) {
		callee, _ := w.as("operator", "callee")
		callee.say(&wamp.Register{Request: 1, Procedure: "told", Options: wamp.RegisterOptions{DiscloseCaller: true}},
			&wamp.Register{Request: 2, Procedure: "not_told"})
		callee.heard()
		users := []wamp.Forwarded{{Session: 7, AuthID: "ann", AuthRole: "operator"}, {Session: 8, AuthID: "hub", AuthRole: "gateway"}}
		for _, c := range []struct {
			role      string
			procedure wamp.URI
			want      []wamp.Forwarded
		}{{router.RoleTrusted, "told", users}, {router.RoleTrusted, "not_told", nil}, {"operator", "told", nil}} {
			caller, _ := w.as(c.role, "caller")
			caller.say(&wamp.Call{Request: 1, Procedure: c.procedure, Options: wamp.CallOptions{ForwardFor: users}})
			got := callee.heard()
			if len(got) != 1 {
				t.Fatalf("%+v: %v", c, got)
			}
			if d := got[0].(*wamp.Invocation).Details; !reflect.DeepEqual(d.ForwardFor, c.want) {
				t.Errorf("%+v: %+v", c, d)
			}
		}
	})
}
