package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/transport"
)

// writeCert writes a self-signed certificate for 127.0.0.1 and its key, and returns
// the certificate's fingerprint.
func writeCert(t *testing.T, cert, key, name string) string {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: b}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// cli runs one command in this process.
func cli(t *testing.T, in string, env map[string]string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	a := newApp(strings.NewReader(in), &o, &e, func(k string) string { return env[k] })
	code = a.main(t.Context(), args)
	return code, o.String(), e.String()
}

// TestUsersLogInOverTLS runs a gateway that is reachable from elsewhere: with TLS,
// users and roles, and a certificate that changes while it runs.
func TestUsersLogInOverTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	writeCert(t, path("cert.pem"), path("key.pem"), "gateway")
	fingerprint := writeCert(t, path("client.pem"), path("client.key"), "device")
	code, stored, errs := cli(t, "correct horse\n", nil, "user", "hash")
	if code != exitOK || strings.Count(stored, "\n") != 4 || !strings.Contains(stored, "SCRAM-ARGON2ID-13$") {
		t.Fatalf("user hash: %d, %q, %q", code, stored, errs)
	}
	code, public, errs := cli(t, "", nil, "user", "key", path("cy.key"))
	if code != exitOK {
		t.Fatalf("user key: %d, %q", code, errs)
	}
	for name, text := range map[string]string{"ann.stored": stored, "bob.password": "battery staple\n"} {
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := writeFiles(t, map[string]string{"gantry.toml": fmt.Sprintf(`schema = 1
gateway.name = "field"
mqtt.listen = ""
[listen]
anonymous = "none"
tls = { cert = %q, key = %q }
[role.operator]
rules = [{ uri = "", match = "prefix", allow = ["call", "subscribe", "publish"] }]
[role.viewer]
rules = [{ uri = "gantry.", match = "prefix", allow = ["subscribe"] }]
[user.ann]
role = "operator"
stored = "file:%s"
[user.bob]
role = "viewer"
password = "file:%s"
[user.cy]
role = "operator"
keys = [%q]
[user.device]
role = "viewer"
certificates = [%q]
`, path("cert.pem"), path("key.pem"), path("ann.stored"), path("bob.password"), strings.TrimSpace(public), fingerprint)})
	field := startProgram(t, config, t.TempDir())
	url := field.url
	addr, ok := strings.CutPrefix(strings.TrimSuffix(url, "/ws"), "wss://")
	if !ok {
		t.Fatalf("the program says that it is at %s", url)
	}
	raw := "rss://" + addr
	call := func(env map[string]string, flags ...string) (int, string) {
		t.Helper()
		code, out, errs := cli(t, "", env, append([]string{"call", "--ca", path("cert.pem"), "wamp.session.count"}, flags...)...)
		return code, out + errs
	}
	for _, c := range []struct {
		env   map[string]string
		flags []string
		code  int
		want  string
	}{
		{map[string]string{"GANTRY_USER": "ann", "GANTRY_PASSWORD": "correct horse"}, []string{"--url", url}, exitOK, "\n"},
		{map[string]string{"GANTRY_PASSWORD": "correct horse"}, []string{"--user", "ann", "--url", raw}, exitOK, "\n"},
		{nil, []string{"--user", "bob", "--password-file", path("bob.password"), "--url", url}, exitFailed, "wamp.error.not_authorized"},
		{nil, []string{"--user", "cy", "--key-file", path("cy.key"), "--url", raw}, exitOK, "\n"},
		{nil, []string{"--key-file", path("cy.key"), "--url", url}, exitOK, "\n"},
		{nil, []string{"--url", url}, exitNoRouter, "wamp.error.no_matching_auth_method"},
		{nil, []string{"--user", "ann", "--url", url}, exitUsage, "GANTRY_PASSWORD"},
		{map[string]string{"GANTRY_PASSWORD": "wrong"}, []string{"--user", "ann", "--url", url}, exitNoRouter, "wamp.error.authentication_failed"},
		{nil, []string{"--url", "ws://" + addr + "/ws"}, exitNoRouter, ""},
	} {
		if code, text := call(c.env, c.flags...); code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%v: code %d, %s", c.flags, code, text)
		}
	}

	// By certificate, which the command line does not offer.
	pair, err := tls.LoadX509KeyPair(path("client.pem"), path("client.key"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	peer, err := transport.Dial(ctx, url, transport.DialConfig{TLS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.Send(ctx, &wamp.Hello{Realm: "gantry", Details: wamp.Dict{"roles": wamp.Dict{"caller": wamp.Dict{}}, "authmethods": wamp.List{"tls"}}}); err != nil {
		t.Fatal(err)
	}
	m, err := peer.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if w, ok := m.(*wamp.Welcome); !ok || w.Details["authid"] != "device" || w.Details["authmethod"] != "tls" {
		t.Errorf("by certificate: %+v", m)
	}
	peer.Close()

	// Through the Unix socket, without TLS, the same rules hold.
	sock := "rs+unix://" + filepath.Join(field.state, "gantry.sock")
	if code, text := call(map[string]string{"GANTRY_PASSWORD": "correct horse"}, "--user", "ann", "--url", sock); code != exitOK {
		t.Errorf("unix socket: %d, %s", code, text)
	}
	if code, _ := call(nil, "--url", sock); code != exitNoRouter {
		t.Errorf("unix socket without a login: code %d", code)
	}

	// A renewed certificate is used for the next connection.
	serial := func() string {
		conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	writeCert(t, path("cert.pem"), path("key.pem"), "gateway")
	for late := time.Now().Add(patience); serial() == before; {
		if time.Now().After(late) {
			t.Fatal("the new certificate is not used")
		}
	}
	field.stop()
}

// TestHistorySurvivesRestart publishes, restarts the gateway, and asks for what was
// published before.
func TestHistorySurvivesRestart(t *testing.T) {
	t.Parallel()
	config := writeFiles(t, map[string]string{"gantry.toml": `schema = 1
mqtt.listen = ""
[[history]]
topic = "site."
match = "prefix"
[realm]
also = ["other"]
on_demand = "tenant."
`})
	state := t.TempDir()
	for round := range 3 {
		p := startProgram(t, config, state)
		for i := range 10 {
			p.command("publish", "site.mode", fmt.Sprint(10*round+i))
		}
		s := p.join()
		id, err := s.Call(t.Context(), "wamp.subscription.lookup", wamp.CallOptions{}, wamp.Args("site.", wamp.Dict{"match": "prefix"}))
		if err != nil {
			t.Fatal(err)
		}
		out := p.command("call", "wamp.subscription.get_events", strings.TrimSpace(payloadWords(id)), "reverse=true", "limit=15", "--json")
		for i := range 15 {
			n := 10*round + 9 - i
			if want := fmt.Sprintf(`"args":[%d]`, n); (n >= 0) != strings.Contains(out, want) {
				t.Errorf("round %d: %s is not as expected in %s", round, want, out)
			}
		}
		if realm := "tenant.x"; round == 0 {
			p.command("publish", "--realm", realm, "a.b", "1")
			p.command("publish", "--realm", "other", "a.b", "1")
		}
		if round == 1 {
			if _, err := client.Join(t.Context(), mustDial(t, p.url), client.SessionConfig{Realm: "nowhere"}); !wamp.IsError(err, wamp.ErrURINoSuchRealm) {
				t.Errorf("unknown realm: %v", err)
			}
		}
		p.stop()
	}
}

func mustDial(t *testing.T, url string) wamp.Peer {
	t.Helper()
	peer, err := dialRouter(t.Context(), url, "")
	if err != nil {
		t.Fatal(err)
	}
	return peer
}

// TestUplinkLogsIn connects two gateways as one would over the open net: the far
// one admits the near one to its own names only.
func TestUplinkLogsIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	writeCert(t, path("cert.pem"), path("key.pem"), "hq")
	code, public, errs := cli(t, "", nil, "user", "key", path("field.key"))
	if code != exitOK {
		t.Fatalf("user key: %d, %q", code, errs)
	}
	if err := os.WriteFile(path("ann.password"), []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hq := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": fmt.Sprintf(`schema = 1
gateway.name = "hq"
mqtt.listen = ""
[listen]
anonymous = "none"
tls = { cert = %q, key = %q }
[role.gateway]
rules = [{ uri = "gantry.{authid}.", match = "prefix", allow = ["publish", "register"] }]
[role.operator]
rules = [{ uri = "gantry.", match = "prefix", allow = ["call", "subscribe"] }]
[user.field]
role = "gateway"
keys = [%q]
[user.ann]
role = "operator"
password = "file:%s"
`, path("cert.pem"), path("key.pem"), strings.TrimSpace(public), path("ann.password"))}), t.TempDir())
	field := startProgram(t, writeFiles(t, map[string]string{
		"devices.d/sim.toml": "[device.greenhouse]\ndriver = \"sim\"\n[device.greenhouse.point.temperature]\nkind = \"drift\"\n[device.greenhouse.point.heating]\nkind = \"relay\"\n",
		"gantry.toml": fmt.Sprintf(`schema = 1
gateway.name = "field"
mqtt.listen = ""
[uplink.hq]
url = %q
user = "field"
key = "file:%s"
ca = %q
`, hq.url, path("field.key"), path("cert.pem"))}), t.TempDir())
	seen := keep(t, field.join(), "gantry.field.state.", wamp.SubscribeOptions{GetRetained: true})
	seen.await(t, "uplink", func(e event) bool { return e.topic == "gantry.field.state.uplink_hq.link" && e.value == "online" })

	flags := []string{"--url", "rs+unix://" + filepath.Join(hq.state, "gantry.sock"), "--user", "ann", "--password-file", path("ann.password")}
	code, out, errs := cli(t, "", nil, append([]string{"subscribe", "--retained", "--count", "1", "gantry.field.point.greenhouse.temperature"}, flags...)...)
	if code != exitOK || !strings.Contains(out, "greenhouse.temperature") {
		t.Errorf("subscribe at the far gateway: %d, %q, %q", code, out, errs)
	}
	code, out, errs = cli(t, "", nil, append([]string{"call", "gantry.field.get.greenhouse.temperature", "--json"}, flags...)...)
	if code != exitOK || !strings.Contains(out, `"q":"good"`) {
		t.Errorf("call at the far gateway: %d, %q, %q", code, out, errs)
	}
	// The audit log knows who it was there.
	code, _, errs = cli(t, "", nil, append([]string{"call", "gantry.field.set.greenhouse.heating", "true"}, flags...)...)
	if code != exitOK {
		t.Errorf("set at the far gateway: %d, %q", code, errs)
	}
	field.out.await(t, "for_authid=ann for_authrole=operator")
	if !regexp.MustCompile(`verb=set .*authid=uplink_hq authrole=trusted .*for_authid=ann for_authrole=operator`).MatchString(field.out.String()) {
		t.Errorf("the audit line of the far user's command:\n%s", field.out)
	}
	field.stop()
	hq.stop()
}
