// Command services has two WebSocket services, a status page and files on one port.
//
//	go run ./examples/websocket/services -listen ws://127.0.0.1:9000 -files .
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"gantry/wamp/websocket"
)

func main() {
	listen := flag.String("listen", "ws://127.0.0.1:9000", "where to listen; port 0 takes a free one")
	files := flag.String("files", ".", "directory to serve")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	upper := &websocket.Server{MaxConns: 100, Handle: func(c *websocket.Conn, r *http.Request) {
		_ = c.Run(r.Context(), websocket.Handler{Message: func(c *websocket.Conn, op websocket.Opcode, b []byte) error {
			return c.Write(op, []byte(strings.ToUpper(string(b))))
		}})
	}}
	clock := &websocket.Server{Handle: tell}
	// A plain request at the path of a service gets its status.
	clock.Page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "a clock for WebSockets; %d are looking at it\n", clock.Conns()-1)
	})

	mux := http.NewServeMux()
	mux.Handle("/upper", upper)
	mux.Handle("/clock", clock)
	mux.Handle("/", http.FileServer(http.Dir(*files)))

	ln, err := websocket.Listen(ctx, *listen, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening at ws://%s\n", ln.Addr())
	if err := websocket.Serve(ctx, ln, mux); err != nil {
		log.Fatal(err)
	}
}

// tell sends the time, at once and every second.
func tell(c *websocket.Conn, r *http.Request) {
	reading := make(chan error, 1)
	go func() { reading <- c.Run(r.Context(), websocket.Handler{}) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := c.Write(websocket.Text, []byte(time.Now().Format(time.TimeOnly))); err != nil {
			<-reading
			return
		}
		select {
		case <-tick.C:
		case <-reading:
			return
		}
	}
}
