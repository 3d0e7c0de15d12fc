package pubsub

import (
	"context"
	"fmt"
	"io"

	"gantry/wamp"
	"gantry/wamp/client"
)

// HistoryTopic is what a router keeps the history of: the one that the launcher
// starts by router.HistoryRule, a gateway by [[history]] in its configuration.
const HistoryTopic wamp.URI = "com.example.history.temperature"

// HistoryPublisher publishes without anybody listening.
func HistoryPublisher(io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		for _, celsius := range []float64{20.5, 21.5, 22.5} {
			opts := wamp.PublishOptions{Acknowledge: true}
			if err := client.PublishWith(ctx, s, HistoryTopic, opts, celsius); err != nil {
				return err
			}
		}
		return nil
	}}
}

// kept is an event as wamp.subscription.get_events tells it.
type kept struct {
	Args []any `cbor:"args"`
}

// query are the arguments of wamp.subscription.get_events.
type query struct {
	Subscription wamp.ID `wamp:"0"`
	Limit        int     `wamp:"limit"`
	Reverse      bool    `wamp:"reverse"`
}

// HistorySubscriber asks for the last two events, the newest first.
func HistorySubscriber(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		id, err := client.Call[wamp.ID](ctx, s, "wamp.subscription.lookup", HistoryTopic)
		if err != nil {
			return fmt.Errorf("is a history kept of %s? %w", HistoryTopic, err)
		}
		events, err := client.Call[[]kept](ctx, s, "wamp.subscription.get_events", query{id, 2, true})
		if err != nil {
			return err
		}
		for _, ev := range events {
			fmt.Fprintln(out, "it was", ev.Args[0])
		}
		return s.Leave(ctx)
	}}
}
