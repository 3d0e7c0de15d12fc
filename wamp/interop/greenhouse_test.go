package interop_test

import (
	"gantry/wamp"
	"gantry/wamp/interop"
)

// greenhouse has the peer watch and operate its simulated device, as people do. i
// tells the rounds at one device apart: each finds what the one before has left.
func (w *world) greenhouse(k interop.Kind, i int) {
	device := nameOf(k.Name)
	point := func(name string) string { return "gantry.gw.point." + device + "." + name }
	call := func(procedure string, args list, kwargs doc) map[string]any {
		w.Helper()
		return w.peer.Do(do{"op": "call", "procedure": "gantry.gw." + procedure, "args": args, "kwargs": kwargs})
	}
	points := do{"op": "subscribe", "topic": point(""), "match": "wildcard"}
	if k.Lacks[interop.OpenPattern] != "" {
		points = do{"op": "subscribe", "topic": "gantry.gw.point." + device, "match": "prefix"}
	}
	w.peer.OK(points)
	await := func(name string, value any) map[string]any {
		w.Helper()
		return w.peer.Until(name, func(m map[string]any) bool {
			args, _ := m["args"].(list)
			return m["event"] == "event" && m["topic"] == point(name) && len(args) == 1 && (value == nil || args[0] == value)
		})
	}
	event := await("temperature", nil)
	kwargs, _ := event["kwargs"].(map[string]any)
	if _, ok := event["args"].(list)[0].(float64); !ok || kwargs["q"] != "good" {
		w.Errorf("a temperature came as %v", event)
	}
	for _, key := range []string{"ts", "seq", "ep"} {
		if n, ok := kwargs[key].(float64); !ok || n < 1 {
			w.Errorf("a temperature came with %s = %v", key, kwargs[key])
		}
	}
	read, _ := call("get."+device+".temperature", list{}, doc{})["ok"].(map[string]any)
	if args, _ := read["args"].(list); len(args) != 1 {
		w.Errorf("get: %v", read)
	}

	on := i%2 == 0
	if m := call("set."+device+".lamp", list{on}, doc{}); m["error"] != nil {
		w.Errorf("set: %v", m)
	}
	await("lamp", on)
	if m := call("set."+device+".lamp", list{"dim"}, doc{}); m["error"] != string(wamp.ErrURIInvalidArgument) {
		w.Errorf("set to a text: %v", m)
	}
	m := call("set."+device+".valve", list{200}, doc{})
	if kwargs, _ := m["kwargs"].(map[string]any); m["error"] != string(wamp.ErrURIOutOfRange) || kwargs["max"] != 100.0 {
		w.Errorf("set out of range: %v", m)
	}

	to := []float64{100, 0}[i%2]
	move := w.peer.Send(do{"op": "call", "procedure": "gantry.gw.do." + device + ".move", "args": list{}, "kwargs": doc{"to": to}, "progress": true})
	args, _ := w.peer.EventFor(move)["args"].(list)
	if len(args) != 1 {
		w.Fatalf("progress of a movement: %v", args)
	}
	if at, _ := args[0].(map[string]any); at["position"] == nil {
		w.Errorf("progress of a movement: %v", args)
	}
	if m := w.peer.Reply(move); m["error"] != nil {
		w.Errorf("move: %v", m)
	}
	await("valve", to)
}
