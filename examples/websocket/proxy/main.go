// Command proxy reaches a WebSocket through an HTTP proxy that asks for a password.
// The proxy is a small one of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"

	"gantry/wamp/websocket"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	target := serve(ctx, &websocket.Server{Handle: func(c *websocket.Conn, r *http.Request) {
		_ = c.Write(websocket.Text, []byte("you found me"))
	}})
	proxy := serve(ctx, http.HandlerFunc(tunnel))
	defer cancel()

	// For the proxy of the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), set Proxy
	// to http.ProxyFromEnvironment.
	for _, user := range []*url.Userinfo{nil, url.UserPassword("ann", "secret")} {
		d := &websocket.Dialer{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: proxy, User: user})}
		c, err := d.Dial(ctx, "ws://"+target)
		var refused *websocket.ProxyError
		if errors.As(err, &refused) {
			fmt.Println("the proxy answers", refused.Status)
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		_, b, err := c.Read()
		fmt.Printf("%s %v\n", b, err)
		_ = c.Close(websocket.CloseNormal, "")
	}
}

// serve serves h until ctx ends and returns its address.
func serve(ctx context.Context, h http.Handler) string {
	ln, err := websocket.Listen(ctx, "ws://127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		if err := websocket.Serve(ctx, ln, h); err != nil {
			log.Fatal(err)
		}
	}()
	return ln.Addr().String()
}

// tunnel is an HTTP proxy that knows CONNECT and one user.
func tunnel(w http.ResponseWriter, r *http.Request) {
	login := &http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	if user, password, _ := login.BasicAuth(); user != "ann" || password != "secret" {
		w.Header().Set("Proxy-Authenticate", "Basic")
		http.Error(w, "log in", http.StatusProxyAuthRequired)
		return
	}
	to, err := net.Dial("tcp", r.Host)
	if err != nil || r.Method != http.MethodConnect {
		http.Error(w, "cannot be reached", http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	_, _ = io.Copy(from, to)
}
