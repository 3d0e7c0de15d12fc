// Command unixsocket serves a WebSocket at a Unix socket, which no network reaches
// and whose file's mode says who may connect, and talks to it.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"

	"gantry/wamp/websocket"
)

func main() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "app.sock")
	url := "ws+unix://" + file + ":/app"

	ctx, cancel := context.WithCancel(context.Background())
	ln, err := websocket.Listen(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/app", &websocket.Server{Handle: func(c *websocket.Conn, r *http.Request) {
		_ = c.Write(websocket.Text, []byte("hello over "+c.RemoteAddr().Network()))
	}})
	ended := make(chan error)
	go func() { ended <- websocket.Serve(ctx, ln, mux) }()

	c, err := (&websocket.Dialer{}).Dial(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	_, b, err := c.Read()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", b)
	_ = c.Close(websocket.CloseNormal, "")
	cancel()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
}
