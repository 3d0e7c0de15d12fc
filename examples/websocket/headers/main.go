// Command headers shows what both sides see of each other's headers: a server that
// reads who asks, and refuses some, and a client that keeps a cookie.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/cookiejar"

	"gantry/wamp/websocket"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := websocket.Listen(ctx, "ws://127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	server := &websocket.Server{
		Header: http.Header{"Server": {"headers-example"}},
		Connect: func(h *websocket.Handshake) error {
			if h.Request.Header.Get("X-Token") != "open sesame" {
				return &websocket.Refusal{Status: http.StatusForbidden, Text: "say the word"}
			}
			fmt.Println("server sees", h.Request.UserAgent())
			if c, err := h.Request.Cookie("visits"); err == nil {
				fmt.Println("server sees the cookie", c)
			}
			h.Header.Add("Set-Cookie", "visits=1; Path=/; HttpOnly")
			return nil
		},
		Handle: func(*websocket.Conn, *http.Request) {},
	}
	ended := make(chan error)
	go func() { ended <- websocket.Serve(ctx, ln, server) }()
	url := "ws://" + ln.Addr().String()

	_, err = (&websocket.Dialer{}).Dial(ctx, url)
	var refused *websocket.HandshakeError
	if errors.As(err, &refused) {
		fmt.Println("refused:", refused.Got)
	}

	jar, err := cookiejar.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	d := &websocket.Dialer{
		Header: http.Header{"X-Token": {"open sesame"}, "User-Agent": {"visitor/1"}},
		Jar:    jar,
		Connect: func(answer *http.Response) error {
			fmt.Println("client sees", answer.Header.Get("Server"))
			return nil
		},
	}
	for range 2 { // the second time with the cookie
		c, err := d.Dial(ctx, url)
		if err != nil {
			log.Fatal(err)
		}
		_, _, _ = c.Read()
		_ = c.Close(websocket.CloseNormal, "")
	}
	cancel()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
}
