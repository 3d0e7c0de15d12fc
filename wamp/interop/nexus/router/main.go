// Command router is the router nexus with the realm gantry, which anybody may join by
// WebSocket at the address that is its first argument. With a second one, exact, it
// registers no patterns. It says ready on its standard error once it listens.
package main

import (
	"io"
	"log"
	"os"

	"github.com/gammazero/nexus/v3/router"
	"github.com/gammazero/nexus/v3/wamp"
)

// exact refuses registrations of patterns.
type exact struct{}

func (exact) Authorize(_ *wamp.Session, msg wamp.Message) (bool, error) {
	r, is := msg.(*wamp.Register)
	if !is {
		return true, nil
	}
	match, _ := wamp.AsString(r.Options[wamp.OptMatch])
	return match == "" || match == wamp.MatchExact, nil
}

func main() {
	realm := &router.RealmConfig{URI: "gantry", AnonymousAuth: true, AllowDisclose: true}
	if len(os.Args) > 2 && os.Args[2] == "exact" {
		realm.Authorizer = exact{}
	}
	r, err := router.NewRouter(&router.Config{RealmConfigs: []*router.RealmConfig{realm}}, log.New(io.Discard, "", 0))
	if err != nil {
		log.Fatal(err)
	}
	web := router.NewWebsocketServer(r)
	web.OutQueueSize = 1024
	if _, err := web.ListenAndServe(os.Args[1]); err != nil {
		log.Fatal(err)
	}
	log.Print("ready")
	select {} // until it is killed
}
