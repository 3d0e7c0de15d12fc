// Command streaming uploads more than anybody would want in memory, as one message,
// and has the server compute its checksum while it arrives. Then it does the same
// frame by frame, with a checksum for each.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net/http"

	"gantry/wamp/websocket"
)

const (
	size  = 64 << 20
	piece = 1 << 20
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := websocket.Listen(ctx, "ws://127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	limit := websocket.Config{MaxMessage: 1 << 30}
	mux.Handle("/whole", &websocket.Server{Config: limit, Handle: func(c *websocket.Conn, r *http.Request) {
		_ = c.Run(r.Context(), websocket.Handler{Stream: sumOfMessage})
	}})
	mux.Handle("/frames", &websocket.Server{Config: limit, Handle: func(c *websocket.Conn, r *http.Request) {
		_ = c.Run(r.Context(), websocket.Handler{Stream: sumsOfFrames})
	}})
	ended := make(chan error)
	go func() { ended <- websocket.Serve(ctx, ln, mux) }()

	for _, path := range []string{"/whole", "/frames"} {
		c, err := (&websocket.Dialer{}).Dial(ctx, "ws://"+ln.Addr().String()+path)
		if err != nil {
			log.Fatal(err)
		}
		if err := upload(ctx, c); err != nil {
			log.Fatal(err)
		}
		_, answer, err := c.Read()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", path, answer)
		_ = c.Close(websocket.CloseNormal, "")
	}
	cancel()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
}

// upload sends one message of many frames.
func upload(ctx context.Context, c *websocket.Conn) error {
	w, err := c.Writer(ctx, websocket.Binary, websocket.WriteOptions{})
	if err != nil {
		return err
	}
	b := make([]byte, piece)
	for range size / piece {
		if err := w.WriteFrame(b); err != nil {
			break // Close returns it too
		}
	}
	return w.Close()
}

func sumOfMessage(c *websocket.Conn, _ websocket.Opcode, r *websocket.MessageReader) error {
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	if err != nil {
		return err
	}
	return c.Write(websocket.Text, fmt.Appendf(nil, "%d MiB, %.4x...", n>>20, sum.Sum(nil)))
}

func sumsOfFrames(c *websocket.Conn, _ websocket.Opcode, r *websocket.MessageReader) error {
	frames, different := 0, map[string]bool{}
	for {
		frame, err := r.NextFrame()
		if err == io.EOF {
			return c.Write(websocket.Text, fmt.Appendf(nil, "%d frames, %d sums", frames, len(different)))
		}
		if err != nil {
			return err
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			return err
		}
		if frame.Length > 0 {
			frames++
			different[string(sum.Sum(nil))] = true
		}
	}
}
