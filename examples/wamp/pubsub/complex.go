package pubsub

import (
	"context"
	"fmt"
	"io"
	"strings"

	"gantry/wamp"
	"gantry/wamp/client"
)

// reading is a payload with one positional and two keyword arguments, of which one
// may be missing.
type reading struct {
	Value float64  `wamp:"0"`
	Unit  string   `wamp:"unit"`
	Tags  []string `wamp:"tags,optional"`
}

// ComplexSubscriber prints readings, and events that carry nothing.
func ComplexSubscriber(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Subscribe(ctx, s, "com.example.complex.reading", func(r reading, _ *wamp.Event) {
			fmt.Fprintf(out, "reading %v %s [%s]\n", r.Value, r.Unit, strings.Join(r.Tags, " "))
		})
		if err != nil {
			return err
		}
		_, err = client.Subscribe(ctx, s, "com.example.complex.heartbeat", func(struct{}, *wamp.Event) {
			fmt.Fprintln(out, "heartbeat")
		})
		return err
	}}
}

// ComplexPublisher publishes both. The fields of a reading become the arguments
// that their tags name.
func ComplexPublisher(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		if err := client.Publish(ctx, s, "com.example.complex.heartbeat"); err != nil {
			return err
		}
		for _, r := range []reading{{21.5, "Cel", []string{"north", "roof"}}, {40.25, "%", nil}} {
			if err := client.Publish(ctx, s, "com.example.complex.reading", r); err != nil {
				return err
			}
		}
		fmt.Fprintln(out, "published")
		return s.Leave(ctx)
	}}
}
