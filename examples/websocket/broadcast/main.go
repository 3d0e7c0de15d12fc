// Command broadcast is a chat room with a page: what one says, all get. Each message
// is encoded once, and who does not keep up misses the oldest ones.
//
//	go run ./examples/websocket/broadcast -listen ws://127.0.0.1:9000
//
// Then open http://127.0.0.1:9000/ in several windows.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"

	"gantry/wamp/websocket"
)

//go:embed page.html
var page []byte

func main() {
	listen := flag.String("listen", "ws://127.0.0.1:9000", "where to listen; port 0 takes a free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	room := websocket.NewBroadcast(websocket.BroadcastConfig{Queue: 64 << 10, Slow: websocket.DropOldest})
	say := func(text string) {
		message, err := websocket.Prepare(websocket.Text, []byte(text))
		if err == nil {
			room.Send(message)
		}
	}
	chat := &websocket.Server{
		Config: websocket.Config{MaxMessage: 4 << 10},
		Handle: func(c *websocket.Conn, r *http.Request) {
			member := room.Join(c)
			defer func() {
				member.Leave()
				say(fmt.Sprintf("%s has left, and missed %d", r.RemoteAddr, member.Dropped()))
			}()
			say(r.RemoteAddr + " has come")
			_ = c.Run(r.Context(), websocket.Handler{
				Message: func(_ *websocket.Conn, _ websocket.Opcode, b []byte) error {
					say(r.RemoteAddr + ": " + string(b))
					return nil
				},
			})
		},
	}
	mux := http.NewServeMux()
	mux.Handle("/chat", chat)
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})

	ln, err := websocket.Listen(ctx, *listen, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening at ws://%s/chat, page at http://%[1]s/\n", ln.Addr())
	if err := websocket.Serve(ctx, ln, mux); err != nil {
		log.Fatal(err)
	}
}
