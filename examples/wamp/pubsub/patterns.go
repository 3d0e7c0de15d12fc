package pubsub

import (
	"context"
	"fmt"
	"io"

	"gantry/wamp"
	"gantry/wamp/client"
)

// measured is an event on a topic that has parts of its own: they come as fields.
type measured struct {
	Room   string  `wamp:"<room>"`
	Sensor int     `wamp:"<sensor>"`
	Value  float64 `wamp:"0"`
}

// alarm is an event on a topic of any length.
type alarm struct {
	Where string `wamp:"<where>"`
	Text  string `wamp:"0"`
}

// PatternsSubscriber subscribes to many topics at once. A template with parts
// becomes a wildcard, one that ends in a suffix a prefix.
func PatternsSubscriber(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Subscribe(ctx, s, "com.example.patterns.<room>.<sensor:int>.celsius", func(m measured, _ *wamp.Event) {
			fmt.Fprintf(out, "%s, sensor %d: %v\n", m.Room, m.Sensor, m.Value)
		})
		if err != nil {
			return err
		}
		_, err = client.Subscribe(ctx, s, "com.example.patterns.alarm.<where:suffix>", func(a alarm, ev *wamp.Event) {
			fmt.Fprintf(out, "alarm in %s: %s\n", a.Where, a.Text)
		})
		return err
	}}
}

// PatternsPublisher publishes on topics that match, and on one that does not.
func PatternsPublisher(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		for _, p := range []struct {
			topic wamp.URI
			value any
		}{
			{"com.example.patterns.kitchen.1.celsius", 21.5},
			{"com.example.patterns.kitchen.1.humidity", 40},
			{"com.example.patterns.cellar.2.celsius", 12.25},
			{"com.example.patterns.alarm.cellar.door", "open"},
		} {
			if err := client.Publish(ctx, s, p.topic, p.value); err != nil {
				return err
			}
		}
		fmt.Fprintln(out, "published")
		return s.Leave(ctx)
	}}
}
