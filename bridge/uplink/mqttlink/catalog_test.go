package mqttlink

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"gantry/internal/ratelog"
	"gantry/wamp"
)

// TestValuesThatBirthsLackAreCounted has a catalogue learn more than it may, and what is no
// metric.
func TestValuesThatBirthsLackAreCounted(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	k := newCatalog("gantry.gw.", ratelog.New(slog.New(slog.NewTextHandler(&lines, nil)), 0, nil))
	note := func(topic wamp.URI, p wamp.Payload) {
		ev := &wamp.Event{Payload: p}
		ev.Details.Topic = topic
		k.note(ev)
	}
	note("gantry.gw.point.dev.list", wamp.Args(wamp.List{1, 2}))
	for i := range maxCatalog {
		note(wamp.URI(fmt.Sprint("gantry.gw.point.dev.p", i)), wamp.Args(1.5))
	}
	note("gantry.gw.point.dev.p0", wamp.Args(2.5)) // one that is there
	if n := k.unborn.Load(); n != 1 {
		t.Errorf("%d beyond the limit", n)
	}
	k.learn()
	if n := k.unborn.Load(); n != 2 {
		t.Errorf("%d with what is no metric", n)
	}
	if n := len(k.born("dev")); n != maxCatalog-1 {
		t.Errorf("%d are born", n)
	}
	if strings.Count(lines.String(), "lacks a value") != 1 {
		t.Errorf("log: %s", &lines)
	}
}
