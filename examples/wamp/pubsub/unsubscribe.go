package pubsub

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"gantry/wamp"
	"gantry/wamp/client"
)

// UnsubscribePublisher publishes a tick whenever it is asked to.
func UnsubscribePublisher(io.Writer) client.Component {
	var ticks atomic.Int64
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Register(ctx, s, "com.example.unsubscribe.next", func(ctx context.Context, _ struct{}) (int64, error) {
			n := ticks.Add(1)
			return n, client.Publish(ctx, s, "com.example.unsubscribe.tick", n)
		})
		return err
	}}
}

// UnsubscribeSubscriber hears two ticks, misses one and hears another.
func UnsubscribeSubscriber(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		subscribe := func() (client.Undo, error) {
			return client.Subscribe(ctx, s, "com.example.unsubscribe.tick", func(n int, _ *wamp.Event) {
				fmt.Fprintln(out, "tick", n)
			})
		}
		// The event is on its way before the result, so it is heard before it.
		next := func() error {
			_, err := client.Call[int](ctx, s, "com.example.unsubscribe.next")
			return err
		}
		unsubscribe, err := subscribe()
		for _, step := range []func() error{
			next, next,
			func() error { return unsubscribe(ctx) },
			next,
			func() error { _, err := subscribe(); return err },
			next,
		} {
			if err != nil {
				return err
			}
			err = step()
		}
		if err != nil {
			return err
		}
		return s.Leave(ctx)
	}}
}
