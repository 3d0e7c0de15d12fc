package uplink

import (
	"testing"
	"time"

	"gantry/wamp"
)

func TestAgeOfABacklog(t *testing.T) {
	t.Parallel()
	var b backlog
	begin := time.Now()
	for _, c := range []struct {
		at                     time.Duration
		appended, acknowledged uint64
		age                    time.Duration
		known                  bool
	}{
		{0, 100, 40, 0, false}, // who knows how long 41 has waited
		{10, 120, 90, 0, false},
		{20, 130, 100, 10, true}, // 101 to 120 came between 0 and 10
		{30, 130, 115, 20, true},
		{40, 130, 130, 0, true},
		{50, 131, 130, 0, true},
		{60, 131, 130, 10, true},
		{90, 140, 131, 0, true},
	} {
		age, known := b.look(c.appended, c.acknowledged, begin.Add(c.at*time.Second))
		if age != c.age*time.Second || known != c.known {
			t.Errorf("at %d: %s, %v", c.at, age, known)
		}
	}
	for i := range uint64(10_000) {
		b.look(200+i, 140, begin.Add(time.Duration(100+10*i)*time.Second))
	}
	if age, known := b.look(20_000, 140, begin.Add(200_000*time.Second)); len(b.marks) > backlogMarks || !known || age != 199_900*time.Second {
		t.Errorf("%d marks, %s, %v", len(b.marks), age, known)
	}
}

func TestTopicsOfBacklogs(t *testing.T) {
	t.Parallel()
	for topic, want := range map[wamp.URI]bool{
		"gantry.barn.state.uplink_hq.queue": true, "gantry.barn.state.uplink_hq.link": false, "gantry.barn.point.uplink_hq.queue": false,
		"gantry.barn.state.pump.queue": false, "gantry.barn": false,
	} {
		if TellsQueue(topic) != want {
			t.Error(topic)
		}
	}
}
