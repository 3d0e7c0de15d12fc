// Command echo-server answers every WebSocket message with itself.
//
//	go run ./examples/websocket/echo-server -listen ws://127.0.0.1:9000
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"

	"gantry/wamp/websocket"
)

func main() {
	listen := flag.String("listen", "ws://127.0.0.1:9000", "where to listen; port 0 takes a free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	ln, err := websocket.Listen(ctx, *listen, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening at ws://%s\n", ln.Addr())

	server := &websocket.Server{Handle: func(c *websocket.Conn, r *http.Request) {
		fmt.Println("connected:", r.RemoteAddr)
		err := c.Run(r.Context(), websocket.Handler{
			Message: func(c *websocket.Conn, op websocket.Opcode, b []byte) error {
				return c.Write(op, b)
			},
			Close: func(_ *websocket.Conn, end websocket.End) {
				fmt.Println("closed:", end.Code, end.Reason)
			},
		})
		if err != nil {
			fmt.Println("failed:", err)
		}
	}}
	// Interrupted, it closes every connection and returns nil.
	if err := websocket.Serve(ctx, ln, server); err != nil {
		log.Fatal(err)
	}
}
