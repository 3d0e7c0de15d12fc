package pubsub

import (
	"context"
	"fmt"
	"io"

	"gantry/wamp"
	"gantry/wamp/client"
)

// BasicSubscriber prints what is published on a topic.
func BasicSubscriber(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		// An event whose payload is no int would be logged and dropped.
		_, err := client.Subscribe(ctx, s, "com.example.basic.counter", func(n int, _ *wamp.Event) {
			fmt.Fprintln(out, "event", n)
		})
		return err
	}}
}

// BasicPublisher publishes three events. Nobody may be there to hear them:
// publishers and subscribers do not know each other.
func BasicPublisher(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		for n := range 3 {
			if err := client.Publish(ctx, s, "com.example.basic.counter", n); err != nil {
				return err
			}
			fmt.Fprintln(out, "published", n)
		}
		return s.Leave(ctx)
	}}
}
