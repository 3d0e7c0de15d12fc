// Command echo-client sends lines from standard input as WebSocket messages and
// prints what comes back. It reconnects when the connection is lost.
//
//	go run ./examples/websocket/echo-client -url ws://127.0.0.1:9000
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"

	"gantry/wamp/websocket"
)

func main() {
	url := flag.String("url", "ws://127.0.0.1:9000", "of the server")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	lines := bufio.NewScanner(os.Stdin)
	r := &websocket.Redialer{URL: *url, State: func(s websocket.RedialState) {
		if s.Phase == websocket.Waiting {
			fmt.Printf("again in %v: %v\n", s.Wait, s.Err)
		}
	}}
	err := r.Run(ctx, func(ctx context.Context, c *websocket.Conn) error {
		fmt.Println("connected")
		for lines.Scan() {
			if err := c.Write(websocket.Text, lines.Bytes()); err != nil {
				return err
			}
			_, b, err := c.Read()
			if err != nil {
				return err
			}
			fmt.Printf("%s\n", b)
		}
		return websocket.ErrStop // no more lines
	})
	if err != nil {
		log.Fatal(err)
	}
}
