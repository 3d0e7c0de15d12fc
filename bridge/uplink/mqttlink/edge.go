package mqttlink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"gantry/bridge"
	"gantry/bridge/uplink"
	"gantry/bridge/uplink/sparkplug"
	"gantry/internal/ratelog"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// rebirthMetric is the metric by which a host application asks for births
// (Sparkplug 3.0, 6.4.18).
const rebirthMetric = "Node Control/Rebirth"

// queueMetric of the node is how many events wait in the gateway, ageMetric how many
// milliseconds the oldest has waited (docs/topics.md, section 9).
const (
	queueMetric = "Uplink/Queue"
	ageMetric   = "Uplink/Queue Age"
)

// edge is an edge node of Sparkplug B. The gateway is the node, its devices are the
// node's devices, their points the metrics; alarms are metrics "alarm/<name>".
type edge struct {
	cfg      Sparkplug
	clock    func() time.Time
	gateway  string
	commands *uplink.Commands
	reject   func(text, topic string, more ...any)
	catalog  *catalog

	mu    sync.Mutex // held while messages are sent, as they are numbered in their order
	seq   uint64     // of the next message
	bdSeq uint64     // of the present connection
	born  map[string]bool
	dead  map[string]bool    // devices that have said so since they were born
	queue []sparkplug.Metric // the node's, as they were told last
}

func newEdge(cfg Config, rare *ratelog.Log, reject func(text, topic string, more ...any)) *edge {
	sp, now := *cfg.Sparkplug, cfg.Now
	if now == nil {
		now = time.Now
	}
	// A multiple of an odd number differs from that of the start before.
	return &edge{
		cfg: sp, clock: now, gateway: cfg.Gateway, commands: cfg.Commands, reject: reject,
		catalog: newCatalog("gantry."+wamp.URI(cfg.Gateway)+".", rare), bdSeq: sp.Start * 37,
		queue: []sparkplug.Metric{{Name: queueMetric, Type: sparkplug.Int64}, {Name: ageMetric, Type: sparkplug.Int64}},
	}
}

// topic returns spBv1.0/<group>/<kind>/<node>[/<device>].
func (f *edge) topic(kind, device string) string {
	topic := "spBv1.0/" + f.cfg.Group + "/" + kind + "/" + f.cfg.Node
	if device != "" {
		topic += "/" + device
	}
	return topic
}

func (f *edge) now() uint64 { return uint64(max(f.clock().UnixMilli(), 0)) }

func (f *edge) birthNumber() sparkplug.Metric {
	return sparkplug.Metric{Name: "bdSeq", Time: f.now(), Type: sparkplug.Int64, Value: int64(f.bdSeq % 256)}
}

// will is the death certificate, with the number of the birth certificate that
// follows.
func (f *edge) will() message {
	f.mu.Lock()
	f.bdSeq++
	f.mu.Unlock()
	return f.farewell()
}

func (f *edge) farewell() message {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := sparkplug.Payload{Time: f.now(), NoSeq: true, Metrics: []sparkplug.Metric{f.birthNumber()}}
	return message{topic: f.topic("NDEATH", ""), payload: sparkplug.Append(nil, &p), qos: 1}
}

func (f *edge) filters() []string {
	if !slices.Contains(f.commands.Classes(), "set") {
		return []string{f.topic("NCMD", "")}
	}
	return []string{f.topic("NCMD", ""), f.topic("DCMD", "+")}
}

// begin publishes all births.
func (f *edge) begin(ctx context.Context, c *conn) error {
	if err := f.catalog.follow(ctx, f.cfg.Local); err != nil {
		return err
	}
	return f.birth(ctx, c)
}

// birth publishes the birth certificates of the node and of the devices that are
// there (Sparkplug 3.0, 6.4.19 and 6.4.20).
func (f *edge) birth(ctx context.Context, c *conn) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq, f.born, f.dead = 0, map[string]bool{}, map[string]bool{}
	f.publish(c, "NBIRTH", "", append([]sparkplug.Metric{
		f.birthNumber(),
		{Name: rebirthMetric, Time: f.now(), Type: sparkplug.Boolean, Value: false},
	}, f.queue...))
	for _, device := range f.catalog.devices() {
		if !f.catalog.offline(device) {
			f.bear(c, device)
		}
	}
	return c.wait(ctx, f.barrier(c))
}

// bear publishes the birth certificate of a device. mu is held.
func (f *edge) bear(c *conn, device string) {
	f.born[device] = true
	delete(f.dead, device)
	f.publish(c, "DBIRTH", device, f.catalog.born(device))
}

// publish sends the next message of the node, at QoS 0 as Sparkplug demands. mu is
// held.
func (f *edge) publish(c *conn, kind, device string, metrics []sparkplug.Metric) {
	p := sparkplug.Payload{Time: f.now(), Seq: f.seq, Metrics: metrics}
	f.seq = (f.seq + 1) % 256
	c.publish(message{topic: f.topic(kind, device), payload: sparkplug.Append(nil, &p)})
}

// barrier asks the broker for an answer that comes when it has taken all before.
func (f *edge) barrier(c *conn) paho.Token {
	return c.client.Unsubscribe(f.topic("NDATA", "barrier"))
}

// send sends runs of values of one device as one message each.
func (f *edge) send(ctx context.Context, c *conn, events []uplink.Event, answered func(int, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	// All metrics are known before the first birth certificate.
	type value struct {
		device string
		metric *sparkplug.Metric // nil: the state of the device
	}
	values := make([]value, len(events))
	var taken []int
	for i := range events {
		device, m, err := f.catalog.metric(&events[i])
		if err != nil {
			answered(i, &uplink.Refusal{Cause: err, Hopeless: true})
			continue
		}
		values[i] = value{device, m}
		taken = append(taken, i)
	}
	var device string
	var metrics []sparkplug.Metric
	flush := func() {
		if len(metrics) > 0 {
			f.publish(c, "DDATA", device, metrics)
			metrics = nil
		}
	}
	for _, i := range taken {
		v := values[i]
		if v.metric == nil {
			flush()
			f.state(c, v.device, &events[i])
			continue
		}
		if v.device != device {
			flush()
			device = v.device
		}
		if !f.born[device] || f.catalog.changed(device) {
			flush()
			f.bear(c, device)
		}
		metrics = append(metrics, *v.metric)
	}
	flush()
	if len(taken) == 0 {
		return nil
	}
	return c.later(ctx, f.barrier(c), func() {
		for _, i := range taken {
			answered(i, nil)
		}
	})
}

// state publishes that a device has gone or has come, as it is now, or how much waits
// in the gateway. mu is held.
func (f *edge) state(c *conn, device string, e *uplink.Event) {
	switch offline := f.catalog.offline(device); {
	case uplink.TellsQueue(e.Topic):
		f.tellQueue(c, e.Payload)
	case e.Replay:
	case offline && f.born[device] && !f.dead[device]:
		f.publish(c, "DDEATH", device, nil)
		f.dead[device] = true
	case !offline && (f.dead[device] || !f.born[device]) && f.catalog.has(device):
		f.bear(c, device)
	}
}

// tellQueue publishes how much waits in the gateway. mu is held.
func (f *edge) tellQueue(c *conn, p wamp.Payload) {
	args, kwargs, err := serialize.Values(p)
	if err != nil || len(args) != 1 {
		return
	}
	now := f.now()
	for i, v := range []any{args[0], kwargs["age_ms"]} {
		f.queue[i].Time, f.queue[i].Value = now, as(sparkplug.Int64, v)
	}
	f.publish(c, "NDATA", "", f.queue)
}

// command deals with NCMD and DCMD.
func (f *edge) command(ctx context.Context, c *conn, m message) {
	p, err := sparkplug.Decode(m.payload)
	if err != nil {
		f.reject("a command cannot be read", m.topic, "error", err)
		return
	}
	if m.topic == f.topic("NCMD", "") {
		for _, metric := range p.Metrics {
			if again, _ := metric.Value.(bool); metric.Name == rebirthMetric && again {
				if err := f.birth(ctx, c); err != nil && ctx.Err() == nil {
					f.reject("the births could not be published again", m.topic, "error", err)
				}
			}
		}
		return
	}
	device, ok := strings.CutPrefix(m.topic, f.topic("DCMD", "")+"/")
	if !ok || !bridge.ValidName(device) {
		f.reject("a command is not taken, as its topic names no device", m.topic)
		return
	}
	for _, metric := range p.Metrics {
		if err := f.set(ctx, device, metric); err != nil {
			f.reject("a command was refused", m.topic, "metric", metric.Name, "error", err)
		}
	}
}

var errNoValue = errors.New("a command without a value")

// set writes a point. What the device has then comes as data.
func (f *edge) set(ctx context.Context, device string, m sparkplug.Metric) error {
	if m.Value == nil {
		return errNoValue
	}
	v := m.Value
	if n, ok := v.(uint64); ok && n <= 1<<63-1 {
		v = int64(n)
	}
	if !bridge.ValidName(m.Name) {
		return fmt.Errorf("%.80q is no point", m.Name)
	}
	_, err := f.commands.Call(ctx, f.commands.URI("set."+device+"."+m.Name), wamp.CallOptions{}, wamp.Args(v), nil)
	return err
}
