package shapes_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/bridge"
	"gantry/bridge/shapes"
	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/hub"
)

var rewrite = flag.Bool("rewrite", false, "write what comes out into testdata; look at the difference")

// golden is one file of testdata: what devices say, and what follows.
type golden struct {
	Source   string    `json:"source"` // where the messages are from
	Shape    string    `json:"shape"`
	Messages []message `json:"messages"`
	Commands []command `json:"commands,omitempty"`
	Want     want      `json:"want"`
}

type message struct {
	Topic    string          `json:"topic"`
	Payload  json.RawMessage `json:"payload"` // a text stands for itself, anything else for its JSON
	Retained bool            `json:"retained,omitempty"`
}

func (m message) bytes() []byte {
	var s string
	if json.Unmarshal(m.Payload, &s) == nil {
		return []byte(s)
	}
	return m.Payload
}

type command struct {
	Device string         `json:"device"`
	Set    string         `json:"set,omitempty"`
	Value  any            `json:"value,omitempty"`
	Do     string         `json:"do,omitempty"`
	Args   map[string]any `json:"args,omitempty"`
}

type want struct {
	Devices map[string]device `json:"devices"`
	Asked   []string          `json:"asked,omitempty"` // by the gateway itself
	Sent    []string          `json:"sent,omitempty"`  // for the commands
	Refused uint64            `json:"refused,omitempty"`
}

type device struct {
	Key      string         `json:"key"`
	Model    string         `json:"model,omitempty"`
	State    string         `json:"state"`
	Points   []string       `json:"points"`
	Actions  []string       `json:"actions,omitempty"`
	Readings map[string]any `json:"readings,omitempty"`
}

// describe writes a point as "name type access unit low..high [words]".
func describe(p drivers.Point) string {
	s := p.ID + " " + p.Type.String() + " "
	if p.Readable {
		s += "r"
	}
	if p.Writable {
		s += "w"
	}
	if p.Unit != "" {
		s += " " + p.Unit
	}
	if p.Min != nil && p.Max != nil {
		s += fmt.Sprintf(" %g..%g", *p.Min, *p.Max)
	}
	if len(p.Enum) > 0 {
		s += " [" + strings.Join(p.Enum, " ") + "]"
	}
	return strings.ReplaceAll(s, "  ", " ")
}

// carrier notes what is sent.
type carrier struct {
	mu   sync.Mutex
	sent []string
}

func (c *carrier) Send(_ context.Context, m bridge.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.QoS != 0 || m.Retained {
		return fmt.Errorf("a command that a broker might keep: %+v", m)
	}
	c.sent = append(c.sent, m.Topic+" "+string(m.Payload))
	return nil
}

func (c *carrier) Subscribe(context.Context, []string) error { return nil }

func (c *carrier) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sent
	c.sent = nil
	return s
}

// found keeps the candidates that are there.
type found struct {
	mu   sync.Mutex
	list map[string]drivers.Candidate
}

func (f *found) Appeared(_ context.Context, c drivers.Candidate) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := c.Validate(); err != nil {
		return err
	}
	f.list[c.Name] = c
	return nil
}

func (f *found) Vanished(_ context.Context, kind, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.list, func(_ string, c drivers.Candidate) bool { return c.Key() == drivers.CandidateKey(kind, id) })
}

// TestDevicesOfTheWorld gives a host the messages of real devices.
func TestDevicesOfTheWorld(t *testing.T) {
	t.Parallel()
	kinds := map[string]bool{}
	err := filepath.WalkDir("testdata", func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(file) != ".json" {
			return err
		}
		kinds[file] = true
		t.Run(strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(file), "testdata/"), ".json"), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var g golden
			if err := json.Unmarshal(b, &g); err != nil {
				t.Fatal(err)
			}
			if g.Source == "" {
				t.Error("no source")
			}
			var got want
			synctest.Test(t, func(t *testing.T) { got = g.play(t) })
			if *rewrite {
				g.Want = got
				out, _ := json.MarshalIndent(g, "", " ")
				if err := os.WriteFile(file, append(out, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(normal(t, g.Want), normal(t, got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(kinds) < 60 {
		t.Errorf("only %d types of device", len(kinds))
	}
}

// normal brings a value into the form that JSON gives it.
func normal(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (g *golden) play(t *testing.T) want {
	h, err := shapes.New(shapes.Config{Broker: "house", Gateway: "gw", Shapes: []string{g.Shape}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	f := &found{list: map[string]drivers.Candidate{}}
	running.Go(func() { _ = h.Run(ctx, f) })
	c := &carrier{}
	h.Connected(c)
	for _, m := range g.Messages {
		h.Receive(bridge.Message{Topic: m.Topic, Payload: m.bytes(), Retained: m.Retained})
	}
	time.Sleep(5 * time.Second) // of the bubble's
	synctest.Wait()
	out := want{Devices: map[string]device{}, Asked: c.take(), Refused: h.Stats().Refused}
	drive := map[string]drivers.Driver{}
	links := map[string]*drivertest.Link{}
	f.mu.Lock()
	list := maps.Clone(f.list)
	f.mu.Unlock()
	for name, cand := range list {
		d, err := cand.New(drivers.Env{Device: name})
		if err != nil {
			t.Fatal(err)
		}
		if err := hub.CheckDevice(hub.Device{Name: name, Driver: d, Config: hub.DeviceConfig{Driver: "x"}}); err != nil {
			t.Errorf("the hub does not take %s: %v", name, err)
		}
		drive[name] = d
		l := &drivertest.Link{}
		links[name] = l
		state := "online"
		var mu sync.Mutex
		running.Go(func() {
			if err := d.Run(ctx, l); err != nil {
				mu.Lock()
				defer mu.Unlock()
				state = err.Error()
			}
		})
		synctest.Wait()
		for _, m := range g.Messages { // what happens now counts
			if !m.Retained {
				h.Receive(bridge.Message{Topic: m.Topic, Payload: m.bytes()})
			}
		}
		synctest.Wait()
		mu.Lock()
		desc := d.Describe()
		if l.Ups() == 0 && state == "online" {
			t.Errorf("%s is neither there nor lost", name)
		}
		dev := device{Key: cand.Key(), Model: desc.Model, State: state, Readings: map[string]any{}}
		mu.Unlock()
		for _, p := range desc.Points {
			dev.Points = append(dev.Points, describe(p))
		}
		for _, a := range desc.Actions {
			var args []string
			for _, p := range a.Args {
				args = append(args, strings.Replace(describe(p), "  ", " ", 1))
			}
			dev.Actions = append(dev.Actions, a.ID+"("+strings.Join(args, ", ")+")")
		}
		for _, r := range l.Readings() {
			switch v := r.Value; {
			case r.Quality == drivers.Bad:
				dev.Readings[r.Point] = "bad: " + r.Why
			case r.Quality == drivers.Uncertain:
				dev.Readings[r.Point] = fmt.Sprintf("%v (%s)", v, r.Why)
			default:
				dev.Readings[r.Point] = v
			}
		}
		out.Devices[name] = dev
	}
	for _, cmd := range g.Commands {
		d := drive[cmd.Device]
		if d == nil {
			t.Fatalf("no device %s among %v", cmd.Device, slices.Sorted(maps.Keys(drive)))
		}
		short, stop := context.WithTimeout(ctx, time.Second)
		if cmd.Set != "" {
			_, _ = d.(drivers.Writer).Write(short, cmd.Set, cmd.Value) // nobody answers
		} else {
			_, _ = d.(drivers.Doer).Do(short, cmd.Do, cmd.Args, func(any) {})
		}
		stop()
		out.Sent = append(out.Sent, c.take()...)
	}
	cancel()
	running.Wait()
	return out
}
