package pubsub

import (
	"context"
	"fmt"
	"io"

	"gantry/wamp"
	"gantry/wamp/client"
)

// RetainedPublisher has the router keep the last value of a topic.
func RetainedPublisher(io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		for _, state := range []string{"open", "shut"} {
			opts := wamp.PublishOptions{Retain: true, Acknowledge: true}
			if err := client.PublishWith(ctx, s, "com.example.retained.door", opts, state); err != nil {
				return err
			}
		}
		return nil
	}}
}

// RetainedSubscriber comes later and gets that value at once.
func RetainedSubscriber(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		heard := make(chan bool, 1)
		opts := wamp.SubscribeOptions{GetRetained: true}
		_, err := client.SubscribeWith(ctx, s, "com.example.retained.door", opts, func(state string, ev *wamp.Event) {
			fmt.Fprintf(out, "the door is %s, retained: %v\n", state, ev.Details.Retained)
			heard <- true
		})
		if err != nil {
			return err
		}
		select {
		case <-heard:
			return s.Leave(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}
