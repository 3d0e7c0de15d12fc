// Command gantry is the IoT edge gateway and its command line: gantry run
// starts a gateway, the other commands look into it or talk to it over WAMP.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"gantry/internal/launch"
)

// version is stamped by the build (-X main.version=...).
var version = "dev"

// built is when the sources were changed last, in seconds since 1970, stamped alike.
var built = ""

func main() {
	launch.Main(os.Args)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := newApp(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	os.Exit(app.main(ctx, os.Args[1:]))
}
