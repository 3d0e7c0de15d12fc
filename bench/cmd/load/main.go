// Command load drives WAMP routers from outside, with one thread and messages made
// by hand, and tells what each of them needs for a message: CPU time, memory and
// time. It starts the routers itself and lets them take turns, so that what else
// the machine does meets all of them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

type options struct {
	bin, out  string
	routers   []string
	links     []*link
	scenarios []scenario
	rounds    int
	duration  time.Duration
	attach    *router
}

func main() {
	// One thread works; there is little garbage, and the rest of the machine is
	// the router's.
	runtime.LockOSThread()
	debug.SetGCPercent(400)
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	o, err := parse()
	if err == nil {
		err = o.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func parse() (*options, error) {
	o := &options{}
	flag.StringVar(&o.bin, "bin", "bin", "directory with the routers' programs")
	flag.StringVar(&o.out, "out", "", "directory for the results; empty: they are only printed")
	routers := flag.String("routers", strings.Join(routerNames, ","), "who takes part")
	links := flag.String("links", "ws-json,rs-cbor", "transports (ws, rs; wss, rss by TLS; wsz compressed) with serializers (json, msgpack, cbor)")
	names := flag.String("scenarios", "", "scenarios by name or pattern (fan*); empty: all but idle-5000")
	flag.IntVar(&o.rounds, "rounds", 1, "how often everything is measured")
	flag.DurationVar(&o.duration, "duration", time.Second, "of one measurement")
	pid := flag.Int("pid", 0, "measure the router with this process ID, which runs already, instead")
	ws := flag.Int("ws", 8080, "its port for WebSocket")
	rs := flag.Int("rs", 8080, "its port for RawSocket")
	saved := flag.String("show", "", "print the results in this JSON file, with a summary in Markdown")
	list := flag.Bool("list", false, "list the scenarios")
	flag.Parse()
	if *list {
		for _, s := range scenarios {
			fmt.Printf("%-20s %s\n", s.name, s.what)
		}
		os.Exit(0)
	}
	if *saved != "" {
		if err := show(*saved); err != nil {
			return nil, err
		}
		os.Exit(0)
	}
	var err error
	if o.links, err = parseLinks(*links); err != nil {
		return nil, err
	}
	o.routers = strings.Split(*routers, ",")
	if o.scenarios = choose(*names); len(o.scenarios) == 0 {
		return nil, errors.New("no such scenario; -list names them")
	}
	if *pid != 0 {
		o.attach = &router{name: "attached", pid: *pid, ws: *ws, rs: *rs}
		o.routers = []string{o.attach.name}
	}
	return o, nil
}

func parseLinks(names string) (links []*link, err error) {
	for name := range strings.SplitSeq(names, ",") {
		transport, serializer, _ := strings.Cut(name, "-")
		f, ok := formatNames[serializer]
		k := &link{name: name, format: f}
		switch transport {
		case "ws":
		case "wss":
			k.tls = true
		case "wsz":
			k.deflate = true
		case "rs":
			k.raw = true
		case "rss":
			k.raw, k.tls = true, true
		default:
			ok = false
		}
		if !ok {
			return nil, fmt.Errorf("link %q, expected one like ws-json, rs-cbor, wss-json, rss-cbor or wsz-json", name)
		}
		links = append(links, k)
	}
	return links, nil
}

// knows reports whether a router can be started for the link.
func knows(router string, k *link) bool {
	return k.variant() == "" || router == "nexus" || strings.HasPrefix(router, "gantry")
}

// run measures everything and reports.
func (o *options) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "bench-peers")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	running := map[string]*router{}
	defer func() {
		for _, r := range running {
			r.stop()
		}
	}()
	rep := newReport(o)
	begin := time.Now()
	for round := range o.rounds {
		for _, s := range o.scenarios {
			links := o.links
			if s.links != "" {
				links, _ = parseLinks(s.links)
			}
			for _, k := range links {
				for _, name := range o.routers {
					if s.links != "" && !knows(name, &link{tls: true}) || !knows(name, k) {
						continue
					}
					if s.peers && (name == "relay" || name == "batch") {
						continue
					}
					if s.long && name == "nexus" && (round > 0 || o.duration < time.Second) {
						continue
					}
					f, err := o.measure(ctx, running, dir, name, s, k)
					if ctx.Err() != nil {
						return errors.New("interrupted")
					}
					if err != nil {
						fmt.Fprintf(os.Stderr, "%s, %s, %s: %v\n", s.name, k.name, name, err)
					}
					rep.add(round, s, k, name, f, err)
				}
			}
			fmt.Fprintf(os.Stderr, "%4.0f s: round %d of %d, %s\n", time.Since(begin).Seconds(), round+1, o.rounds, s.name)
		}
	}
	rep.Load = append(rep.Load, loadAverage())
	rep.write(os.Stdout)
	if o.out == "" {
		return nil
	}
	return rep.save(o.out)
}

var runs int

// measure takes one measurement of one router.
func (o *options) measure(ctx context.Context, running map[string]*router, dir, name string, s scenario, k *link) (*figures, error) {
	r := running[name+k.variant()]
	if o.attach != nil {
		r = o.attach
	} else if s.fresh || r == nil {
		if r != nil {
			r.stop()
			delete(running, name+k.variant())
		}
		var err error
		if r, err = start(ctx, name, k.variant(), o.bin, dir); err != nil {
			return nil, err
		}
		running[name+k.variant()] = r
	}
	l, err := newLoop(ctx)
	if err != nil {
		return nil, err
	}
	runs++
	f, err := s.run(&run{loop: l, router: r, link: k, duration: o.duration, name: fmt.Sprintf("run%d", runs)})
	l.close()
	if o.attach == nil && (err != nil || s.fresh) {
		r.stop()
		delete(running, name+k.variant())
	} else {
		settle(r)
	}
	return f, err
}

// settle waits until a router has got over the end of its clients.
func settle(r *router) {
	for range 100 {
		before := r.cpu()
		time.Sleep(20 * time.Millisecond)
		if r.cpu()-before < 2*time.Millisecond {
			return
		}
	}
}

// save writes the results as text and JSON.
func (p *report) save(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	base := filepath.Join(dir, time.Now().UTC().Format("20060102T150405Z"))
	text, err := os.Create(base + ".txt")
	if err != nil {
		return err
	}
	p.write(text)
	return errors.Join(text.Close(), p.writeJSON(base+".json"))
}
