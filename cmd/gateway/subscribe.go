package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

func (a *app) subscribeCommand() *cobra.Command {
	var (
		match            string
		retained, asJSON bool
		count            uint64
	)
	cmd := &cobra.Command{
		Use:   "subscribe TOPIC",
		Short: "Print events as they come",
		Long: `Prints the events of a topic, or of all topics that match, until Ctrl-C: the time
of day, the topic, and the values. Readings are shown with their unit, and with
their quality where it is not good.

A topic with an empty part is a wildcard (gantry..point..temperature: the
temperature of every device of every gateway). --match prefix takes every topic
that begins so.

With --json every event is one line: {"topic": ..., "publication": ..., "retained":
..., "args": [...], "kwargs": {...}}.
` + exitCodesHelp,
		Example: `  gantry subscribe --retained gantry..point..
  gantry subscribe --match prefix gantry.demo.
  gantry subscribe --json --count 1 gantry.demo.point.greenhouse.temperature`,
		Args: cobra.ExactArgs(1),
	}
	r := a.remoteFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&match, "match", "", "exact, prefix or wildcard; otherwise wildcard for a topic with an empty part, else exact")
	f.BoolVar(&retained, "retained", false, "begin with the last value of each topic")
	f.BoolVar(&asJSON, "json", false, "print events as JSON, one per line")
	f.Uint64Var(&count, "count", 0, "end after so many events; 0 = never")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		topic := wamp.URI(words[0])
		policy, err := matchOf(match, topic)
		if err != nil {
			return err
		}
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			left := count
			done := make(chan error, 1) // the handler leaves its verdict once and never blocks
			finished := false
			show := func(ev *wamp.Event) {
				if finished {
					return
				}
				err := a.showEvent(ev, topic, asJSON)
				if left--; err != nil || left == 0 {
					finished = true
					done <- err
				}
			}
			opts := wamp.SubscribeOptions{Match: policy, GetRetained: retained}
			if _, err := s.Subscribe(cmd.Context(), topic, opts, show); err != nil {
				return err
			}
			select {
			case err := <-done:
				return err
			case <-cmd.Context().Done():
				return nil // how a subscription usually ends
			case <-s.Done():
				return lost(s)
			}
		})
	}
	return cmd
}

// matchOf reads --match.
func matchOf(s string, topic wamp.URI) (wamp.Match, error) {
	if s == "" {
		if strings.Contains("."+string(topic)+".", "..") {
			return wamp.MatchWildcard, nil
		}
		return wamp.MatchExact, nil
	}
	m, ok := wamp.ParseMatch(s)
	if !ok {
		return 0, usageError{errors.New("--match takes exact, prefix or wildcard")}
	}
	return m, nil
}

// showEvent prints one event of a subscription to subscribed.
func (a *app) showEvent(ev *wamp.Event, subscribed wamp.URI, asJSON bool) error {
	topic := ev.Details.Topic
	if topic == "" {
		topic = subscribed
	}
	if asJSON {
		o := payloadObject(ev.Payload)
		o["topic"], o["publication"], o["retained"] = topic, ev.Publication, ev.Details.Retained
		return a.writeJSON(o)
	}
	words := payloadWords(ev.Payload)
	if v, ok := readingOf(ev.Payload); ok {
		words = v.String()
	} else if state, ok := stateOf(ev.Payload); ok {
		words = state
	}
	mark := ""
	if ev.Details.Retained {
		mark = "  (retained)"
	}
	_, err := fmt.Fprintf(a.out, "%s  %s  %s%s\n", time.Now().Format("15:04:05.000"), clean(string(topic)), words, mark)
	return err
}

// reading is an event in the envelope of docs/topics.md.
type reading struct {
	value   any
	unit    string
	quality string
	why     string
	at      time.Time // zero when the event does not say
}

// readingOf reads the envelope of a reading; ok is false for other events.
func readingOf(p wamp.Payload) (r reading, ok bool) {
	args, kwargs, err := serialize.Values(p)
	if err != nil || len(args) != 1 {
		return r, false
	}
	r.value = args[0]
	r.quality, ok = kwargs["q"].(string)
	r.unit, _ = kwargs["unit"].(string)
	r.why, _ = kwargs["why"].(string)
	if us, isInt := kwargs["ts"].(int64); isInt {
		r.at = time.UnixMicro(us)
	}
	return r, ok
}

// stateOf reads the state of a device (docs/topics.md), with its reason; ok is
// false for other events.
func stateOf(p wamp.Payload) (words string, ok bool) {
	args, kwargs, err := serialize.Values(p)
	if err != nil || len(args) != 1 || kwargs["since"] == nil {
		return "", false
	}
	words = text(args[0])
	if reason, given := kwargs["reason"]; given {
		words += ": " + text(reason)
	}
	return words, true
}

// String returns value, unit, and the quality unless it is good.
func (r reading) String() string {
	s := text(r.value)
	if r.value == nil {
		s = "-"
	}
	if r.unit != "" {
		s += " " + clean(r.unit)
	}
	if r.quality != "good" {
		s += "  " + clean(strings.TrimSuffix(r.quality+": "+r.why, ": "))
	}
	return s
}
