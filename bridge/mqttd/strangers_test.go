package mqttd_test

import (
	"testing"
	"time"

	"gantry/bridge/mqttd"
	"gantry/internal/budget"
)

func TestAFloodOfStrangersKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{MaxConnections: 24, MaxHalfOpen: 8}, false)
	known := w.mqtt()
	known.connect("known", nil)
	var strangers []*mqtt
	for i := range 40 {
		m := w.mqtt()
		m.raw([]byte("\x10\xff\x01")[:i%4])
		strangers = append(strangers, m)
	}
	late := w.mqtt()
	late.connect("late", nil)
	for _, m := range strangers[:32] {
		m.ended("a stranger, though there are too many")
	}
	known.publish("a/b", "x", 1, false, 1)
	if st := w.server.Stats(); st.HalfOpen < 32 || st.OverLimit != 0 || st.Rejected != 0 {
		t.Errorf("%+v", st)
	}
}

// Two large packets are begun, for which there is memory. The next large one ends
// its connection, small ones pass.
func TestLargePacketsShareTheirMemory(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, mqttd.Config{MaxPacket: 256 << 10}, budget.New(1<<20), false, nil, nil)
	begun := "\x30\x80\x80\x10\x00\x01a" // 256 KiB
	var holders []*mqtt
	for _, id := range []string{"one", "two"} {
		m := w.mqtt()
		m.connect(id, nil)
		m.raw([]byte(begun))
		holders = append(holders, m)
	}
	for late := time.Now().Add(patience); ; {
		m := w.mqtt()
		m.connect("", nil)
		m.raw([]byte(begun))
		if w.server.Stats().Memory > 0 {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("%+v", w.server.Stats())
		}
	}
	small := w.mqtt()
	small.connect("small", nil)
	small.publish("a/b", "x", 1, false, 1)
	for _, m := range holders {
		_ = m.conn.Close()
	}
}
