package mqttd_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	v5 "github.com/eclipse/paho.golang/packets"

	"gantry/bridge/mqttd"
)

// again publishes at QoS 2 what may have come before.
func (m *five) again(topic, text string, id uint16, dup bool) {
	m.t.Helper()
	m.send(&v5.Publish{Topic: topic, Payload: []byte(text), QoS: 2, Duplicate: dup, PacketID: id, Properties: &v5.Properties{}})
}

// back connects to a session that is there.
func (w *world) back(id string) *five {
	w.t.Helper()
	m := w.five()
	if a := m.connect(id, expiring(1000)); !a.SessionPresent {
		w.t.Fatal("no session")
	}
	return m
}

// gate is where the test decides when events are kept.
type gate struct {
	asked   chan struct{} // one for each question
	answers chan error
}

func newGate() *gate { return &gate{make(chan struct{}), make(chan error)} }

func (g *gate) settle(ctx context.Context) error {
	select {
	case g.asked <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-g.answers:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A PUBLISH at QoS 2 that comes again is acknowledged when what the first one said is
// safe, not before, and the realm gets it once.
func TestARepeatedMessageIsNotAcknowledgedSooner(t *testing.T) {
	t.Parallel()
	for name, dup := range map[string]bool{"with DUP": true, "without DUP": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate()
			w := newWorldWith(t, mqttd.Config{}, nil, false, nil, g.settle)
			m := w.five()
			m.connect("c", expiring(1000))
			before := w.router.Stats("gantry").Published
			m.again("a", "x", 7, false)
			<-g.asked
			m.again("a", "x", 7, dup) // on the same connection
			m.quiet()
			_ = m.conn.Close()
			m = w.back("c")
			m.again("a", "x", 7, dup)
			m.quiet()
			g.answers <- errors.New("no room")
			<-g.asked
			m.quiet()
			g.answers <- nil // for the first one, whose connection is gone
			<-g.asked
			m.again("a", "x", 7, dup) // safe by now
			if r := expect[v5.Pubrec](m); r.PacketID != 7 || r.ReasonCode > 0x10 {
				t.Errorf("%v", r)
			}
			g.answers <- nil
			m.send(&v5.Pubrel{PacketID: 7, Properties: &v5.Properties{}})
			for { // the answers to the other repetitions
				if c, ok := m.read().(*v5.Pubcomp); ok {
					if c.PacketID != 7 || c.ReasonCode != 0 {
						t.Errorf("%v", c)
					}
					break
				}
			}
			m.again("a", "y", 7, false) // a new one
			<-g.asked
			m.quiet()
			g.answers <- nil
			if r := expect[v5.Pubrec](m); r.PacketID != 7 {
				t.Errorf("%v", r)
			}
			if n := w.router.Stats("gantry").Published - before; n != 2 {
				t.Errorf("%d events", n)
			}
		})
	}
}

// stuckTable is a disk whose writes take until the test lets them.
type stuckTable struct {
	memoryTable
	stuck atomic.Bool
	free  chan struct{} // closed by the test
}

func (s *stuckTable) Apply(ctx context.Context, changes []mqttd.Change) error {
	if s.stuck.Load() {
		select {
		case <-s.free:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.memoryTable.Apply(ctx, changes)
}

// The same where what is waited for is the disk of kept sessions.
func TestARepeatedMessageWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	disk := &stuckTable{memoryTable: memoryTable{entries: map[string][]byte{}}, free: make(chan struct{})}
	w := newWorldOn(t, mqttd.Config{}, disk)
	kept := w.five()
	kept.connect("kept", expiring(1000))
	kept.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 1})
	m := w.five()
	m.connect("c", expiring(1000))
	m.publish("b", "first", 2, 1, nil)
	expect[v5.Pubrec](m)
	disk.stuck.Store(true)
	m.publish("a", "x", 2, 7, nil)
	m.quiet()
	m.again("a", "x", 7, true)
	m.quiet()
	_ = m.conn.Close()
	m = w.back("c")
	m.again("a", "x", 7, true)
	m.again("b", "first", 1, true) // safe: has an answer at once
	if r := expect[v5.Pubrec](m); r.PacketID != 1 {
		t.Errorf("%v", r)
	}
	m.quiet()
	disk.stuck.Store(false)
	close(disk.free)
	if r := expect[v5.Pubrec](m); r.PacketID != 7 || r.ReasonCode > 0x10 {
		t.Errorf("%v", r)
	}
	kept.message("a", "x", 1)
	kept.quiet()
}
