package interop_test

import (
	"strings"

	"gantry/wamp"
	"gantry/wamp/interop"
)

func unknownRealm(w *world) {
	j := w.gateway.Join(w.link, w.realm)
	j.Realm = "nowhere"
	w.peer.OK(do{"op": "leave"})
	w.peer.Event("left")
	if m := w.peer.Do(j.Command()); !strings.Contains(text(m), string(wamp.ErrURINoSuchRealm)) {
		w.Errorf("join: %v", m)
	}
	w.joined = w.peer.Join(w.gateway.Join(w.link, w.realm))
	if w.joined["session"] == 0.0 || w.joined["authrole"] != "anonymous" || w.joined["authmethod"] != "anonymous" {
		w.Errorf("WELCOME tells %v", w.joined)
	}
}

func leave(w *world) {
	w.peer.OK(do{"op": "register", "procedure": "com.leave", "kind": "echo"})
	if reason := w.peer.Leave(); reason != nil && reason != string(wamp.CloseURIGoodbyeAndOut) {
		w.Errorf("GOODBYE was answered by %v", reason)
	}
	if _, err := w.gantry.Call(w.context(), "com.leave", wamp.CallOptions{}, wamp.Payload{}); !wamp.IsError(err, wamp.ErrURINoSuchProcedure) {
		w.Errorf("call after the callee left: %v", err)
	}
}

func gatewayLeaves(w *world) {
	g := interop.StartGateway(w.T, configFor(w.kind))
	w.peer.Join(g.Join(w.link, w.realm))
	g.Stop()
	if m := w.peer.Event("left"); m["reason"] != nil && m["reason"] != string(wamp.ErrURISystemShutdown) {
		w.Errorf("the gateway left: %v", m)
	}
}

func killed(w *world) {
	w.peer.Join(w.gateway.Join(w.link, w.realm))
	w.peer.OK(do{"op": "register", "procedure": "com.killed", "kind": "hang"})
	ended := make(chan error, 1)
	ctx := w.context()
	go func() {
		_, err := w.gantry.Call(ctx, "com.killed", wamp.CallOptions{}, wamp.Payload{})
		ended <- err
	}()
	w.peer.Event("invoked")
	w.peer.Kill()
	if err := next(w, "end of the call", ended); !wamp.IsError(err, wamp.ErrURICanceled) {
		w.Errorf("call to a callee that was killed: %v", err)
	}
	if _, err := w.gantry.Call(ctx, "com.killed", wamp.CallOptions{}, wamp.Payload{}); !wamp.IsError(err, wamp.ErrURINoSuchProcedure) {
		w.Errorf("call after the callee was killed: %v", err)
	}
}
