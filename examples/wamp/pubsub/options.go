package pubsub

import (
	"context"
	"fmt"
	"io"

	"gantry/wamp"
	"gantry/wamp/client"
)

const optionsTopic = "com.example.options.news"

// OptionsSubscriber prints what reaches it.
func OptionsSubscriber(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Subscribe(ctx, s, optionsTopic, func(news string, _ *wamp.Event) {
			fmt.Fprintln(out, "heard:", news)
		})
		return err
	}}
}

// OptionsPublisher is subscribed to its own topic, and says with each event whom
// it is for.
func OptionsPublisher(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Subscribe(ctx, s, optionsTopic, func(news string, _ *wamp.Event) {
			fmt.Fprintln(out, "heard myself:", news)
		})
		if err != nil {
			return err
		}
		me := []wamp.ID{s.ID()}
		for _, p := range []struct {
			news string
			opts wamp.PublishOptions
		}{
			{"for all others", wamp.PublishOptions{}},
			{"for everybody", wamp.PublishOptions{IncludeMe: true}},
			{"for one session", wamp.PublishOptions{IncludeMe: true, Filter: &wamp.PublishFilter{Eligible: me}}},
			{"for all but one session", wamp.PublishOptions{IncludeMe: true, Filter: &wamp.PublishFilter{Exclude: me}}},
		} {
			// Acknowledged: Publish returns when the router has taken the event, or refused it.
			p.opts.Acknowledge = true
			if err := client.PublishWith(ctx, s, optionsTopic, p.opts, p.news); err != nil {
				return err
			}
		}
		return s.Leave(ctx)
	}}
}
