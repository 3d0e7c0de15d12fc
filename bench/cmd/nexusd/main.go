// Command nexusd is the router nexus as a program of its own, with one realm that
// anybody may join.
package main

import (
	"flag"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/gammazero/nexus/v3/router"
	"github.com/gammazero/nexus/v3/wamp"
)

func main() {
	ws := flag.String("ws", "127.0.0.1:0", "address for WebSocket")
	rs := flag.String("rs", "127.0.0.1:0", "address for RawSocket")
	realm := flag.String("realm", "bench", "the realm")
	queue := flag.Int("queue", 1024, "messages that may wait for a client; nexus drops more")
	cert := flag.String("cert", "", "certificate; empty: no TLS")
	key := flag.String("key", "", "its key")
	deflate := flag.Bool("deflate", false, "compress WebSocket messages")
	flag.Parse()
	r, err := router.NewRouter(&router.Config{
		RealmConfigs: []*router.RealmConfig{{URI: wamp.URI(*realm), AnonymousAuth: true, AllowDisclose: true}},
	}, log.New(io.Discard, "", 0))
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	web := router.NewWebsocketServer(r)
	web.OutQueueSize = *queue
	raw := router.NewRawSocketServer(r)
	raw.OutQueueSize = *queue
	web.Upgrader.EnableCompression = *deflate
	if *cert != "" {
		if _, err = web.ListenAndServeTLS(*ws, nil, *cert, *key); err == nil {
			_, err = raw.ListenAndServeTLS("tcp", *rs, nil, *cert, *key)
		}
	} else if _, err = web.ListenAndServe(*ws); err == nil {
		_, err = raw.ListenAndServe("tcp", *rs)
	}
	if err != nil {
		log.Fatal(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
}
