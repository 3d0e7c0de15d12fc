package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

// dialer opens a connection to a router. ca names a file with the certificates
// that it trusts; "" = those of the system.
type dialer func(ctx context.Context, url, ca string) (wamp.Peer, error)

func dialRouter(ctx context.Context, url, ca string) (wamp.Peer, error) {
	trusted, err := trust(ca)
	if err != nil {
		return nil, err
	}
	return transport.Dial(ctx, url, transport.DialConfig{TLS: trusted})
}

// trust returns a configuration that trusts the certificates in a file; nil, which
// trusts those of the system, without one.
func trust(ca string) (*tls.Config, error) {
	if ca == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", ca)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// trust is the same for connections of the gateway, which judges certificates by its
// own time of day.
func (g *Gateway) trust(ca string) (*tls.Config, error) {
	cfg, err := trust(ca)
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg.Time = g.clock.Now
	return cfg, err
}

// keyProof logs in with an Ed25519 private key in hex.
func keyProof(user, text string) (*auth.Client, error) {
	key, err := auth.ParsePrivateKey(auth.NewSecret(strings.TrimSpace(text)))
	if err != nil {
		return nil, err
	}
	return auth.NewClient(user, &auth.Cryptosign{Key: key}), nil
}

// passwordProofs logs in with a password, by the methods that do not tell it.
func passwordProofs(user, password string) *auth.Client {
	secret := auth.NewSecret(password)
	return auth.NewClient(user, &auth.SCRAM{Password: secret}, &auth.CRA{Secret: secret})
}

// Where commands look for the router unless they are told.
const (
	defaultAddress = "127.0.0.1:8080"
	defaultRealm   = "gantry"
)

// remote is where a command finds its router.
type remote struct {
	url, realm, ca              string
	user, passwordFile, keyFile string
	connect                     time.Duration
}

func (a *app) remoteFlags(cmd *cobra.Command) *remote {
	r := &remote{}
	env := func(name, otherwise string) string {
		if v := a.getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	f := cmd.Flags()
	f.StringVar(&r.url, "url", env("GANTRY_URL", "ws://"+defaultAddress+"/ws"),
		"router: ws:// wss:// rs:// rss:// lp:// lps:// ws+unix:// rs+unix:// (environment: GANTRY_URL)")
	f.StringVar(&r.realm, "realm", env("GANTRY_REALM", defaultRealm), "realm to join (environment: GANTRY_REALM)")
	f.StringVar(&r.ca, "ca", env("GANTRY_CA", ""), "file with the certificates to trust with wss and rss (environment: GANTRY_CA)")
	f.StringVar(&r.user, "user", env("GANTRY_USER", ""), "log in as this user (environment: GANTRY_USER); its password is in the environment, GANTRY_PASSWORD, or in a file")
	f.StringVar(&r.passwordFile, "password-file", "", "file with the password")
	f.StringVar(&r.keyFile, "key-file", "", "file with an Ed25519 private key, in hex, to log in with")
	f.DurationVar(&r.connect, "connect-timeout", 10*time.Second, "longest wait for the connection")
	return r
}

// proofs returns what the session logs in with; nil for an anonymous one.
func (a *app) proofs(r *remote) (*auth.Client, error) {
	if r.user == "" && r.keyFile == "" {
		return nil, nil
	}
	if r.keyFile != "" {
		b, err := os.ReadFile(r.keyFile)
		if err != nil {
			return nil, usageError{fmt.Errorf("--key-file: %w", err)}
		}
		proof, err := keyProof(r.user, string(b))
		if err != nil {
			return nil, usageError{fmt.Errorf("--key-file: %w", err)}
		}
		return proof, nil
	}
	password, err := a.password(r.passwordFile)
	if err != nil {
		return nil, err
	}
	return passwordProofs(r.user, password), nil
}

// password returns the one in a file, or else in the environment.
func (a *app) password(file string) (string, error) {
	password := a.getenv("GANTRY_PASSWORD")
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", usageError{fmt.Errorf("--password-file: %w", err)}
		}
		password = strings.TrimRight(string(b), "\r\n")
	}
	if password == "" {
		return "", usageError{errors.New("--user needs a password: GANTRY_PASSWORD or --password-file")}
	}
	return password, nil
}

// with joins the router, hands the session to fn and leaves again.
func (a *app) with(ctx context.Context, r *remote, fn func(s *client.Session) error) error {
	proofs, err := a.proofs(r)
	if err != nil {
		return err
	}
	jctx, cancel := context.WithTimeout(ctx, r.connect)
	defer cancel()
	dial := func(ctx context.Context) (wamp.Peer, error) { return a.dial(ctx, r.url, r.ca) }
	s, err := client.Connect(jctx, dial, client.SessionConfig{Realm: wamp.URI(r.realm), Auth: proofs})
	if err != nil {
		return connectError{fmt.Errorf("router %s: %w", r.url, err)}
	}
	err = fn(s)
	lctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	// The answer is there; how the session ends changes nothing about it.
	_ = s.Leave(lctx)
	return err
}

// lost is the error of a session that the router or the network ended.
func lost(s *client.Session) error {
	err := s.Err()
	if err == nil {
		err = wamp.ErrClosed
	}
	return connectError{fmt.Errorf("session ended: %w", err)}
}

// unserved adds to the error of a call that nobody serves what a gateway needs in its
// configuration to serve such a procedure.
func unserved(err error, procedure string) error {
	var refused *wamp.Error
	part := strings.Split(procedure, ".")
	if !errors.As(err, &refused) || refused.URI != wamp.ErrURINoSuchProcedure || len(part) != 5 || part[2] != "sys" {
		return err
	}
	needs := map[string]string{"fleet": "gateway.hub = true", "mqtt": "[broker.NAME]", "queue": "[uplink.NAME]"}[part[3]]
	if needs == "" {
		return err
	}
	return fmt.Errorf("%w; a gateway serves it only with %s in its configuration", err, needs)
}

// keyword matches the names that make an argument a keyword argument.
var keyword = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)=`)

// parseArguments turns words of the command line into a payload: NAME=VALUE is a
// keyword argument, the rest are positional. A value that is JSON is taken as
// such, any other as text.
func parseArguments(words []string) (wamp.Payload, error) {
	var args wamp.List
	kwargs := wamp.Dict{}
	for _, w := range words {
		name := keyword.FindStringSubmatch(w)
		if name == nil {
			args = append(args, parseValue(w))
			continue
		}
		if _, twice := kwargs[name[1]]; twice {
			return wamp.Payload{}, usageError{fmt.Errorf("keyword argument %s is given twice", name[1])}
		}
		kwargs[name[1]] = parseValue(w[len(name[0]):])
	}
	return wamp.Values(args, kwargs), nil
}

func parseValue(s string) any {
	v, err := serialize.ParseValue(wamp.JSON, []byte(strings.TrimSpace(s)), serialize.Limits{})
	if err != nil {
		return s
	}
	return v
}

const argumentsHelp = `
Arguments that are JSON (21.5, true, null, '"text"', '[1,2]', '{"a":1}') are taken
as such, everything else is text. NAME=VALUE is a keyword argument; write a text
that looks like one as a JSON text: '"a=b"'.`

// payloadObject returns a payload as the members args and kwargs of an object.
func payloadObject(p wamp.Payload) wamp.Dict {
	args, kwargs, err := serialize.Values(p)
	if err != nil {
		return wamp.Dict{"malformed": err.Error()}
	}
	if args == nil {
		args = wamp.List{}
	}
	if kwargs == nil {
		kwargs = wamp.Dict{}
	}
	return wamp.Dict{"args": args, "kwargs": kwargs}
}

// payloadLines shows a payload to a person: each positional argument and each
// keyword argument on a line of its own.
func payloadLines(p wamp.Payload) []string {
	args, kwargs, err := serialize.Values(p)
	if err != nil {
		return []string{"malformed: " + clean(err.Error())}
	}
	var lines []string
	for _, v := range args {
		lines = append(lines, text(v))
	}
	for _, k := range sorted(kwargs) {
		lines = append(lines, clean(k)+": "+text(kwargs[k]))
	}
	return lines
}

// payloadWords shows a payload on one line.
func payloadWords(p wamp.Payload) string {
	args, kwargs, err := serialize.Values(p)
	if err != nil {
		return "malformed: " + clean(err.Error())
	}
	var words []string
	for _, v := range args {
		words = append(words, text(v))
	}
	for _, k := range sorted(kwargs) {
		words = append(words, clean(k)+"="+text(kwargs[k]))
	}
	return strings.Join(words, " ")
}

func sorted(d wamp.Dict) []string { return slices.Sorted(maps.Keys(d)) }
