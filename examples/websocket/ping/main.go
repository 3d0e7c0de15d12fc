// Command ping measures how long a WebSocket takes there and back, and shows how a
// side that has fallen silent is noticed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"gantry/wamp/websocket"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := websocket.Listen(ctx, "ws://127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	noticed := make(chan struct{})
	server := &websocket.Server{
		Config: websocket.Config{PingInterval: time.Second, PingTimeout: 2 * time.Second},
		Handle: func(c *websocket.Conn, r *http.Request) {
			err := c.Run(r.Context(), websocket.Handler{
				Ping: func(_ *websocket.Conn, payload []byte) {
					if string(payload) == "are you there?" {
						fmt.Printf("server gets a ping: %s\n", payload)
					}
				},
			})
			if errors.Is(err, websocket.ErrNoPong) {
				fmt.Println("server: the client has fallen silent")
				close(noticed)
			}
		},
	}
	ended := make(chan error)
	go func() { ended <- websocket.Serve(ctx, ln, server) }()
	url := "ws://" + ln.Addr().String()

	c, err := (&websocket.Dialer{}).Dial(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { // answers to pings arrive while somebody reads
		done <- c.Run(ctx, websocket.Handler{})
	}()
	if err := c.SendPing([]byte("are you there?")); err != nil {
		log.Fatal(err)
	}
	for range 3 {
		trip, err := c.Ping(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("there and back in less than a minute:", trip < time.Minute)
	}
	_ = c.Close(websocket.CloseNormal, "")
	<-done

	// A client that does not read does not answer either. The network takes what the
	// server sends.
	d := &websocket.Dialer{Config: websocket.Config{PingInterval: -1}}
	silent, err := d.Dial(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, silent.NetConn()) // until the server has dropped it
	<-noticed
	_ = silent.Abandon()
	cancel()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
}
