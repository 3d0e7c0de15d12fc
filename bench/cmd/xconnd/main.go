// Command xconnd is the router xconn-go as a program of its own, with one realm
// that anybody may join.
package main

import (
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/xconnio/xconn-go"
)

func main() {
	ws := flag.String("ws", "127.0.0.1:0", "address for WebSocket")
	rs := flag.String("rs", "127.0.0.1:0", "address for RawSocket")
	realm := flag.String("realm", "bench", "the realm")
	queue := flag.Int("queue", 1024, "messages that may wait for a client")
	flag.Parse()
	r, err := xconn.NewRouter(&xconn.RouterConfig{LogLevel: xconn.LogLevelError})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	all := []xconn.Permission{{MatchPolicy: "prefix", AllowCall: true, AllowRegister: true, AllowPublish: true, AllowSubscribe: true}}
	err = r.AddRealm(*realm, &xconn.RealmConfig{Roles: []xconn.RealmRole{{Name: "anonymous", Permissions: all}}})
	if err != nil {
		log.Fatal(err)
	}
	s := xconn.NewServer(r, nil, &xconn.ServerConfig{OutQueueSize: *queue})
	if _, err = s.ListenAndServeWebSocket(xconn.NetworkTCP, *ws); err == nil {
		_, err = s.ListenAndServeRawSocket(xconn.NetworkTCP, *rs)
	}
	if err != nil {
		log.Fatal(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
}
