// Package template shows objects whose procedures and handlers are attached to a
// session all at once, under URIs with parts of their own.
//
//	go run ./examples/wamp template/attach                                        in one process
//	go run ./examples/wamp --url ws://127.0.0.1:8080/ws template/attach           at a router
//	go run ./examples/wamp --url ws://127.0.0.1:8080/ws template/attach backend   one side only
package template

import (
	"context"
	"fmt"
	"io"
	"sync"

	"gantry/wamp"
	"gantry/wamp/client"
)

// delivery is a call: the product is a part of the URI, the pieces an argument.
type delivery struct {
	Product int `wamp:"<product>"`
	Pieces  int `wamp:"0"`
}

// price is an event.
type price struct {
	Product int     `wamp:"<product>"`
	Euro    float64 `wamp:"0"`
}

// shop is attached: what its tags name is registered or subscribed.
type shop struct {
	Deliver client.Procedure[delivery, int] `wamp:"com.example.attach.<product:int>.deliver"`
	Priced  client.Handler[price]           `wamp:"com.example.attach.<product:int>.priced"`

	out   io.Writer
	mu    sync.Mutex // guards stock
	stock map[int]int
}

func (s *shop) deliver(_ context.Context, d delivery) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stock[d.Product] += d.Pieces
	return s.stock[d.Product], nil
}

func (s *shop) priced(p price, _ *wamp.Event) {
	fmt.Fprintf(s.out, "product %d costs %v\n", p.Product, p.Euro)
}

// Shop attaches a shop.
func Shop(out io.Writer) client.Component {
	shop := &shop{out: out, stock: map[int]int{}}
	shop.Deliver, shop.Priced = shop.deliver, shop.priced
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Attach(ctx, s, shop)
		return err
	}}
}

// Supplier makes URIs of the same templates.
func Supplier(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		deliver, err := client.ParseTemplate("com.example.attach.<product:int>.deliver")
		if err != nil {
			return err
		}
		for _, pieces := range []int{10, 5} {
			uri, err := deliver.Build(7)
			if err != nil {
				return err
			}
			stock, err := client.Call[int](ctx, s, uri, pieces)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%d in stock\n", stock)
		}
		// A struct that has the parts as fields fills them in by itself.
		if err := client.Publish(ctx, s, "com.example.attach.<product:int>.priced", price{7, 2.5}); err != nil {
			return err
		}
		return s.Leave(ctx)
	}}
}
