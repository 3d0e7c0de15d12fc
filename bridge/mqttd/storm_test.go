package mqttd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge/mqttd"
	"gantry/store"
)

// diskTable has the sessions in a store, as the program does.
type diskTable struct{ *store.Table }

func (t diskTable) Apply(ctx context.Context, changes []mqttd.Change) error {
	out := make([]store.Change, len(changes))
	for i, c := range changes {
		out[i] = store.Change(c)
	}
	return t.Table.Apply(ctx, out)
}

// onDisk returns a world whose sessions are in a store.
func onDisk(t testing.TB) *world {
	t.Helper()
	st, err := store.Open(store.Config{Dir: filepath.Join(t.TempDir(), "store")})
	if err != nil {
		t.Fatal(err)
	}
	table, err := st.Table("mqtt", store.TableConfig{MaxEntries: 1 << 20, MaxBytes: 512 << 20})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- st.Run(ctx) }()
	t.Cleanup(func() { // behind that of the world, which writes
		stop()
		if err := errors.Join(<-ran, st.Close()); err != nil {
			t.Error(err)
		}
	})
	return newWorldOn(t, mqttd.Config{}, diskTable{table})
}

// heap returns the bytes that are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestRetainedStorm keeps as many messages as there may be, each on a topic of its own,
// and has clients take them: one at QoS 0 and one at QoS 1 that get them all, the second with
// a session on disk, and some that read nothing. It is not parallel, as it measures memory.
func TestRetainedStorm(t *testing.T) {
	const (
		n         = 100_000 // limits.retained
		mostKept  = 48 << 20
		mostTaken = 16 << 20
		mostDeaf  = 1 << 20 // each
	)
	w := onDisk(t)
	before := heap()
	pub := w.mqtt()
	pub.join("pub", true)
	_ = pub.conn.SetWriteDeadline(time.Now().Add(2 * patience)) // for all of them
	out := bufio.NewWriterSize(pub.conn, 64<<10)
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.Retain = true
	for i := range n {
		p.TopicName, p.Payload = fmt.Sprint("storm/", i), fmt.Appendf(nil, `{"t":%d,"more":"0123456789"}`, i)
		if err := p.Write(out); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	pub.quiet()
	if st := w.router.Stats("gantry"); st.Retained != n || st.NotRetained != 0 {
		t.Fatalf("%+v", st)
	}
	kept := heap() - before
	t.Logf("%d messages are kept in %d KiB", n, kept>>10)
	if kept > mostKept {
		t.Errorf("they take %d KiB", kept>>10)
	}
	w.refuseBeyond(t)

	for qos := range byte(2) {
		start, most := time.Now(), w.takeAll(t, qos, n)
		more := most - before - kept
		t.Logf("taken at QoS %d in %v, with %d KiB more at most", qos, time.Since(start).Round(10*time.Millisecond), more>>10)
		if more > mostTaken {
			t.Errorf("QoS %d: %d KiB more", qos, more>>10)
		}
	}

	calm := heap()
	const deaf = 8
	for i := range deaf {
		m := w.five()
		m.connect(fmt.Sprint("deaf", i), nil)
		m.send(&v5.Subscribe{PacketID: 1, Subscriptions: []v5.SubOptions{{Topic: "#", QoS: byte(i % 3)}}, Properties: &v5.Properties{}})
	}
	late := time.Now().Add(patience)
	for was, still := uint64(0), 0; still < 5; { // until no more is sent
		if now := w.router.Stats("gantry").Delivered; now == was {
			still++
		} else {
			was, still = now, 0
		}
		if time.Now().After(late) {
			t.Fatal("messages go on to clients that do not read")
		}
		time.Sleep(20 * time.Millisecond)
	}
	more := heap() - calm
	t.Logf("%d clients that do not read take %d KiB", deaf, more>>10)
	if more > deaf*mostDeaf {
		t.Errorf("%d KiB for clients that do not read", more>>10)
	}
	pub.quiet()
	if st := w.router.Stats("gantry"); st.Dropped != 0 {
		t.Errorf("%d dropped", st.Dropped)
	}
}

// refuseBeyond publishes one more message than may be kept.
func (w *world) refuseBeyond(t *testing.T) {
	t.Helper()
	m := w.five()
	m.connect("beyond", nil)
	kept := func(p *v5.Publish) { p.Retain = true }
	m.publish("beyond", "x", 1, 1, kept)
	if a := expect[v5.Puback](m); a.ReasonCode != 0x97 {
		t.Errorf("PUBACK %#x", a.ReasonCode)
	}
	m.publish("beyond", "x", 2, 2, kept)
	if a := expect[v5.Pubrec](m); a.ReasonCode != 0x97 {
		t.Errorf("PUBREC %#x", a.ReasonCode)
	}
	m.publish("storm/0", `{"t":0,"more":"9876543210"}`, 1, 3, kept) // in the place of another
	if a := expect[v5.Puback](m); a.ReasonCode > 0x10 {
		t.Errorf("PUBACK %#x", a.ReasonCode)
	}
	m.publish("beyond", "x", 1, 4, nil) // is not to be kept
	if a := expect[v5.Puback](m); a.ReasonCode > 0x10 {
		t.Errorf("PUBACK %#x", a.ReasonCode)
	}
}

// takeAll has a new client subscribe to everything, with a session that is kept above QoS
// 0, and returns the most memory that was in use until it had n messages.
func (w *world) takeAll(t *testing.T, qos byte, n int) (most int64) {
	t.Helper()
	m := w.mqtt()
	m.join(fmt.Sprint("taker", qos), qos == 0)
	m.raw([]byte{0x82, 6, 0, 1, 0, 1, '#', qos})
	in, out := bufio.NewReader(m.conn), bufio.NewWriter(m.conn)
	seen, taken := make([]bool, n), 0
	_ = m.conn.SetDeadline(time.Now().Add(2 * patience))
	for taken < n {
		got, err := packets.ReadPacket(in)
		if err != nil {
			t.Fatalf("QoS %d: %d of %d: %v", qos, taken, n, err)
		}
		p, ok := got.(*packets.PublishPacket)
		if !ok {
			continue
		}
		i := 0
		if _, err := fmt.Sscanf(p.TopicName, "storm/%d", &i); err != nil || i >= n || seen[i] || !p.Retain || p.Qos != qos {
			t.Fatalf("again, or not as it should be: %v", p)
		}
		seen[i] = true
		if qos > 0 {
			_, _ = out.Write([]byte{packets.Puback << 4, 2, byte(p.MessageID >> 8), byte(p.MessageID)})
			if in.Buffered() == 0 {
				if err := out.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if taken++; taken%(n/5) == 0 {
			most = max(most, heap())
		}
	}
	_ = m.conn.Close()
	return most
}
