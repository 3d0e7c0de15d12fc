// Command nexus is a WAMP client on the library of the router nexus that a test
// drives line by line; peer.py beside it tells the commands.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"strings"
	"sync"

	"github.com/gammazero/nexus/v3/client"
	"github.com/gammazero/nexus/v3/transport/serialize"
	"github.com/gammazero/nexus/v3/wamp"
	"github.com/gammazero/nexus/v3/wamp/crsign"
)

// command is one line of input; the fields in use depend on Op.
type command struct {
	ID                     int
	Op                     string
	URL, Realm, Serializer string
	CA                     string
	Auth                   *credentials
	Topic, Procedure       string
	Match, Invoke, Kind    string
	Mode                   string
	Retained, Progress     bool
	Timeout                int64
	Target                 int
	Args                   []any
	Kwargs, Options        map[string]any
}

type credentials struct{ Method, AuthID, Secret, Cert, Key string }

func main() {
	d := &driver{out: json.NewEncoder(os.Stdout), undo: map[int]func(mode string) error{}, release: make(chan struct{})}
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		c := &command{}
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.UseNumber()
		if err := dec.Decode(c); err != nil {
			log.Fatal(err)
		}
		// The next command may come before this one has its answer.
		go d.answer(c)
	}
}

// driver carries commands out.
type driver struct {
	mu      sync.Mutex // guards everything below
	out     *json.Encoder
	client  *client.Client
	json    bool                            // the serializer is JSON
	undo    map[int]func(mode string) error // by the command to undo
	release chan struct{}                   // closed and replaced by "release"
	meeting []chan struct{}
}

func (d *driver) say(m map[string]any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.out.Encode(plain(m)); err != nil {
		log.Fatal(err)
	}
}

func (d *driver) answer(c *command) {
	ok, err := d.carryOut(c)
	if err == nil {
		d.say(map[string]any{"reply": c.ID, "ok": ok})
		return
	}
	reply := map[string]any{"reply": c.ID, "error": err.Error(), "args": wamp.List{}, "kwargs": wamp.Dict{}}
	var rpc client.RPCError
	if errors.As(err, &rpc) {
		reply["error"], reply["args"], reply["kwargs"] = rpc.Err.Error, list(rpc.Err.Arguments), dict(rpc.Err.ArgumentsKw)
	}
	d.say(reply)
}

func (d *driver) carryOut(c *command) (any, error) {
	args, kwargs := d.revive(c.Args), d.revive(c.Kwargs)
	switch c.Op {
	case "join":
		return d.join(c)
	case "leave":
		return nil, d.client.Close()
	case "subscribe":
		return nil, d.subscribe(c)
	case "register":
		return nil, d.register(c)
	case "publish":
		options := wamp.Dict(d.revive(c.Options).(map[string]any))
		options[wamp.OptAcknowledge] = true
		return nil, d.client.Publish(c.Topic, options, args.([]any), kwargs.(map[string]any))
	case "call":
		return d.call(c, args.([]any), kwargs.(map[string]any))
	case "unsubscribe", "unregister", "cancel":
		d.mu.Lock()
		undo := d.undo[c.Target]
		d.mu.Unlock()
		return nil, undo(c.Mode)
	case "release":
		d.mu.Lock()
		defer d.mu.Unlock()
		close(d.release)
		d.release = make(chan struct{})
		return nil, nil
	}
	return nil, errors.New("unknown op " + c.Op)
}

// schemes are those of URLs as nexus has them.
var schemes = strings.NewReplacer("rs://", "tcp://", "rss://", "tcps://", "rs+unix://", "unix://")

// encryption returns whom to trust, and who one is; nil without TLS.
func encryption(c *command) (*tls.Config, error) {
	if c.CA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{RootCAs: x509.NewCertPool()}
	cfg.RootCAs.AppendCertsFromPEM(pem)
	if c.Auth != nil && c.Auth.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Auth.Cert, c.Auth.Key)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

func (d *driver) join(c *command) (any, error) {
	cfg := client.Config{
		Realm:         c.Realm,
		HelloDetails:  wamp.Dict{},
		Logger:        log.New(io.Discard, "", 0),
		Serialization: map[string]serialize.Serialization{"json": client.JSON, "msgpack": client.MSGPACK, "cbor": client.CBOR}[c.Serializer],
	}
	if a := c.Auth; a != nil {
		cfg.HelloDetails["authid"] = a.AuthID
		cfg.AuthHandlers = map[string]client.AuthFunc{a.Method: func(challenge *wamp.Challenge) (string, wamp.Dict) {
			if a.Method == "ticket" {
				return a.Secret, wamp.Dict{}
			}
			return crsign.RespondChallenge(a.Secret, challenge, nil), wamp.Dict{}
		}}
	}
	var err error
	if cfg.TlsCfg, err = encryption(c); err != nil {
		return nil, err
	}
	s, err := client.ConnectNet(context.Background(), schemes.Replace(c.URL), cfg)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.client, d.json = s, c.Serializer == "json"
	d.mu.Unlock()
	go func() {
		<-s.Done()
		left := map[string]any{"event": "left", "reason": nil}
		if bye := s.RouterGoodbye(); bye != nil {
			left["reason"] = bye.Reason
		}
		d.say(left)
	}()
	w := s.RealmDetails()
	return map[string]any{"session": s.ID(), "authid": w["authid"], "authrole": w["authrole"], "authmethod": w["authmethod"]}, nil
}

// later notes how to undo the command.
func (d *driver) later(c *command, undo func(mode string) error) {
	d.mu.Lock()
	d.undo[c.ID] = undo
	d.mu.Unlock()
}

func given(options map[string]string) wamp.Dict {
	g := wamp.Dict{}
	for k, v := range options {
		if v != "" {
			g[k] = v
		}
	}
	return g
}

func (d *driver) subscribe(c *command) error {
	options := given(map[string]string{wamp.OptMatch: c.Match})
	if c.Retained {
		options["get_retained"] = true
	}
	d.later(c, func(string) error { return d.client.Unsubscribe(c.Topic) })
	return d.client.Subscribe(c.Topic, func(ev *wamp.Event) {
		topic, retained := ev.Details["topic"], ev.Details["retained"]
		if topic == nil {
			topic = c.Topic
		}
		d.say(map[string]any{"event": "event", "for": c.ID, "topic": topic, "retained": retained == true,
			"args": list(ev.Arguments), "kwargs": dict(ev.ArgumentsKw)})
	}, options)
}

func (d *driver) call(c *command, args wamp.List, kwargs wamp.Dict) (any, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := d.client
	d.later(c, func(mode string) error {
		defer cancel()
		return s.SetCallCancelMode(mode)
	})
	var progress client.ProgressHandler
	if c.Progress {
		progress = func(r *wamp.Result) {
			d.say(map[string]any{"event": "progress", "for": c.ID, "args": list(r.Arguments)})
		}
	}
	options := wamp.Dict{}
	if c.Timeout != 0 {
		options[wamp.OptTimeout] = c.Timeout
	}
	r, err := s.Call(ctx, c.Procedure, options, args, kwargs, progress)
	if err != nil {
		return nil, err
	}
	return map[string]any{"args": list(r.Arguments), "kwargs": dict(r.ArgumentsKw)}, nil
}

func (d *driver) register(c *command) error {
	options := given(map[string]string{wamp.OptMatch: c.Match, wamp.OptInvoke: c.Invoke})
	d.later(c, func(string) error { return d.client.Unregister(c.Procedure) })
	return d.client.Register(c.Procedure, func(ctx context.Context, inv *wamp.Invocation) client.InvokeResult {
		switch c.Kind {
		case "where":
			return client.InvokeResult{Args: wamp.List{inv.Details["procedure"]}}
		case "fail":
			return client.InvokeResult{Err: "com.example.error", Args: inv.Arguments, Kwargs: inv.ArgumentsKw}
		case "slow":
			return d.slow(ctx, inv)
		case "hang":
			return d.hang(ctx)
		case "meet":
			return d.meet(inv)
		}
		return client.InvokeResult{Args: inv.Arguments, Kwargs: inv.ArgumentsKw}
	}, options)
}

func (d *driver) slow(ctx context.Context, inv *wamp.Invocation) client.InvokeResult {
	n, _ := wamp.AsInt64(inv.Arguments[0])
	for i := range n {
		if err := d.client.SendProgress(ctx, wamp.List{i}, nil); err != nil {
			break // the caller takes none
		}
	}
	return client.InvokeResult{Args: wamp.List{n}}
}

func (d *driver) hang(ctx context.Context) client.InvokeResult {
	d.mu.Lock()
	release := d.release
	d.mu.Unlock()
	d.say(map[string]any{"event": "invoked"})
	select {
	case <-release:
		return client.InvokeResult{Args: wamp.List{"late"}}
	case <-ctx.Done():
		d.say(map[string]any{"event": "interrupted"})
		return client.InvocationCanceled
	}
}

func (d *driver) meet(inv *wamp.Invocation) client.InvokeResult {
	n, _ := wamp.AsInt64(inv.Arguments[0])
	here := make(chan struct{})
	d.mu.Lock()
	d.meeting = append(d.meeting, here)
	if len(d.meeting) == int(n) {
		for _, c := range d.meeting {
			close(c)
		}
		d.meeting = nil
	}
	d.mu.Unlock()
	<-here
	return client.InvokeResult{Args: wamp.List{n}}
}

func list(l wamp.List) wamp.List {
	if l == nil {
		return wamp.List{}
	}
	return l
}

func dict(d wamp.Dict) wamp.Dict {
	if d == nil {
		return wamp.Dict{}
	}
	return d
}

// plain makes JSON of what the library decoded. It leaves WAMP's form of bytes in
// JSON as it is.
func plain(v any) any {
	switch v := v.(type) {
	case []byte:
		return map[string]any{"$bytes": hex.EncodeToString(v)}
	case string:
		if b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(v, "\x00")); err == nil && strings.HasPrefix(v, "\x00") {
			return plain(b)
		}
	case wamp.Dict:
		return plain(map[string]any(v))
	case map[string]any:
		m := map[string]any{}
		for k, v := range v {
			m[k] = plain(v)
		}
		return m
	case wamp.List:
		return plain([]any(v))
	case []any:
		l := []any{}
		for _, v := range v {
			l = append(l, plain(v))
		}
		return l
	}
	return v
}

// revive is the inverse of plain.
func (d *driver) revive(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case map[string]any:
		if s, ok := v["$bytes"].(string); ok {
			b, _ := hex.DecodeString(s)
			if d.json {
				return serialize.BinaryData(b)
			}
			return b
		}
		m := map[string]any{}
		for k, v := range v {
			m[k] = d.revive(v)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, v := range v {
			l[i] = d.revive(v)
		}
		return l
	}
	return v
}
