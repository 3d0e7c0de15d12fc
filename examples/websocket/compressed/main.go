// Command compressed sends a text with compression and without, and tells what went
// over the wire. The server decides which offers it takes.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"strings"

	"gantry/wamp/websocket"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := websocket.Listen(ctx, "ws://127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	server := &websocket.Server{
		Config: websocket.Config{Deflate: true, DeflateLevel: 6},
		// A client that asks for a small window gets no compression.
		AcceptDeflate: func(o websocket.DeflateOffer) bool {
			return o.ServerMaxWindowBits == 0 || o.ServerMaxWindowBits == 15
		},
		Handle: func(c *websocket.Conn, r *http.Request) {
			_ = c.Run(r.Context(), websocket.Handler{Message: func(c *websocket.Conn, op websocket.Opcode, b []byte) error {
				return c.Write(op, b)
			}})
		},
	}
	ended := make(chan error)
	go func() { ended <- websocket.Serve(ctx, ln, server) }()

	// Messages below 256 bytes are not worth it.
	d := &websocket.Dialer{Config: websocket.Config{Deflate: true, DeflateFrom: 256}}
	c, err := d.Dial(ctx, "ws://"+ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("compression agreed on:", c.Deflated())
	text := []byte(strings.Repeat("temperature 21.5 °C, humidity 40 %; ", 100))
	for _, plain := range []bool{false, true} {
		before := c.Stats()
		if err := c.WriteWith(websocket.Text, text, websocket.WriteOptions{Plain: plain}); err != nil {
			log.Fatal(err)
		}
		if _, _, err := c.Read(); err != nil {
			log.Fatal(err)
		}
		after := c.Stats()
		saved := after.BytesOut-before.BytesOut < uint64(len(text))/10
		fmt.Printf("plain %v: a tenth or less on the wire: %v\n", plain, saved)
	}
	_ = c.Close(websocket.CloseNormal, "")
	cancel()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
}
