// Package session shows sessions in series: one component joins, leaves and joins
// again. A component on a network lives like this, too, when its connection is lost.
//
//	go run ./examples/wamp session/series                                         in one process
//	go run ./examples/wamp --url ws://127.0.0.1:8080/ws session/series            at a router
//	go run ./examples/wamp --url ws://127.0.0.1:8080/ws session/series frontend   one side only
package session

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"gantry/wamp"
	"gantry/wamp/client"
)

// Host counts its visitors.
func Host(io.Writer) client.Component {
	var visits atomic.Int64
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Register(ctx, s, "com.example.series.visit", func(context.Context, struct{}) (int64, error) {
			return visits.Add(1), nil
		})
		return err
	}}
}

// Visitor has three sessions. What it knows outlives them, what it has subscribed
// to or registered in OnJoin ends with each of them and comes anew.
func Visitor(out io.Writer) client.Component {
	sessions := 0
	return client.Component{
		OnConnect: func(context.Context, wamp.PeerInfo, *client.SessionConfig) error {
			fmt.Fprintln(out, "connected")
			return nil
		},
		OnJoin: func(ctx context.Context, s *client.Session) error {
			sessions++
			visit, err := client.Call[int](ctx, s, "com.example.series.visit")
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "session %d is visit %d\n", sessions, visit)
			if sessions == 3 {
				return s.Leave(ctx) // for good
			}
			return s.Close() // as if the line was cut: client.Run joins again
		},
		OnDisconnect: func(error) { fmt.Fprintln(out, "disconnected") },
	}
}
