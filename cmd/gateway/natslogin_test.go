package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"gantry/internal/natsd"
	"gantry/wamp"
)

// natsKey is a key of NATS: its public text and its seed.
type natsKey struct {
	pair         nkeys.KeyPair
	public, seed string
}

func newNATSKey(t *testing.T, prefix nkeys.PrefixByte) natsKey {
	t.Helper()
	pair, err := nkeys.CreatePair(prefix)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return natsKey{pair, public, string(seed)}
}

// token returns what the key says of subject, as a JWT (NATS ADR-14). It expires at a
// time, in seconds; 0 = never.
func (k natsKey) token(t *testing.T, subject, kind string, expires int64, about map[string]any) string {
	t.Helper()
	about["type"], about["version"] = kind, 2
	claims := map[string]any{"jti": subject, "iat": time.Now().Unix(), "iss": k.public, "sub": subject, "name": kind, "nats": about}
	if expires != 0 {
		claims["exp"] = expires
	}
	parts := make([]string, 0, 3)
	for _, part := range []any{map[string]any{"typ": "JWT", "alg": "ed25519-nkey"}, claims} {
		b, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(b))
	}
	signature, err := k.pair.Sign([]byte(strings.Join(parts, ".")))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(parts, base64.RawURLEncoding.EncodeToString(signature)), ".")
}

// operated is a server whose users have credentials files.
type operated struct {
	*natsd.Server
	account natsKey
}

func newOperated(t *testing.T) operated {
	t.Helper()
	operator, system, account := newNATSKey(t, nkeys.PrefixByteOperator), newNATSKey(t, nkeys.PrefixByteAccount), newNATSKey(t, nkeys.PrefixByteAccount)
	lines := []string{
		"operator: " + operator.token(t, operator.public, "operator", 0, map[string]any{}), "system_account: " + system.public, "resolver: MEMORY",
		"resolver_preload {",
	}
	for _, a := range []natsKey{system, account} {
		limits := map[string]any{"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1, "wildcards": true}
		if a == account { // the system's must have no JetStream
			limits["mem_storage"], limits["disk_storage"], limits["streams"], limits["consumer"] = -1, -1, -1, -1
		}
		lines = append(lines, a.public+": "+operator.token(t, a.public, "account", 0, map[string]any{"limits": limits}))
	}
	return operated{natsd.NewServer(t, append(lines, "}")...), account}
}

// credentials returns a credentials file of a new user of the account. seed is in the
// place of the user's own, if there is one.
func (o operated) credentials(t *testing.T, by natsKey, expires int64, seed string) string {
	t.Helper()
	user := newNATSKey(t, nkeys.PrefixByteUser)
	if seed == "" {
		seed = user.seed
	}
	about := map[string]any{"subs": -1, "data": -1, "payload": -1}
	return fmt.Sprintf("-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n",
		by.token(t, user.public, "user", expires, about), seed)
}

// TestNATSLogins has an uplink for each way to log in, and for each way to fail.
func TestNATSLogins(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	strange, strangeKey := certificate(t)
	own, other := newNATSKey(t, nkeys.PrefixByteUser), newNATSKey(t, nkeys.PrefixByteUser)
	users := natsd.NewServer(t, "authorization { users = [ { user: gw, password: secret }, { nkey: "+own.public+" } ] }")
	token := natsd.NewServer(t, "authorization { token: abc }")
	secure := natsd.NewServer(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }", cert, key, cert))
	operated := newOperated(t)
	_, port, err := net.SplitHostPort(secure.Addr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("key = %q", "file:"+path)
	}
	ca, client := fmt.Sprintf("ca = %q", cert), "nats = { cert = %q, key = %q }"
	uplinks := []struct{ name, url, keys, want string }{ // want is the reason of a link that is offline
		{"password", users.URL(), "user = \"gw\"\npassword = \"env:NATS_SECRET\"", ""},
		{"password_wrong", users.URL(), "user = \"gw\"\npassword = \"env:NATS_TOKEN\"", "refuses user gw with this password"},
		{"password_lost", users.URL(), "user = \"gw\"\npassword = \"env:NATS_NOWHERE\"", "secret env:NATS_NOWHERE: not in the environment"},
		{"nobody", users.URL(), "", "wants a login"},
		{"token", token.URL(), `password = "env:NATS_TOKEN"`, ""},
		{"token_wrong", token.URL(), `password = "env:NATS_SECRET"`, "refuses this token"},
		{"nkey", users.URL(), file("nkey", own.seed+"\n"), ""},
		{"nkey_wrong", users.URL(), file("other", other.seed), "refuses the nkey " + other.public},
		{"nkey_broken", users.URL(), file("broken", own.seed[1:]), "key is neither an nkey's seed nor a credentials file"},
		{"nkey_lost", users.URL(), fmt.Sprintf("key = %q", "file:"+dir+"/nowhere"), "no such file"},
		{"creds", operated.URL(), file("creds", operated.credentials(t, operated.account, 0, "")), ""},
		{"creds_strange", operated.URL(), file("strange", operated.credentials(t, newNATSKey(t, nkeys.PrefixByteAccount), 0, "")), "refuses the credentials"},
		{"creds_mixed", operated.URL(), file("mixed", operated.credentials(t, operated.account, 0, other.seed)), "refuses the credentials"},
		{"creds_expired", operated.URL(), file("expired", operated.credentials(t, operated.account, time.Now().Unix()-60, "")), "refuses the credentials"},
		{"creds_broken", operated.URL(), file("half", "-----BEGIN NATS USER JWT-----\n"), "key is no credentials file"},
		{"tls", "tls://localhost:" + port, ca + "\n" + fmt.Sprintf(client, cert, key), ""},
		{"tls_untrusted", "tls://localhost:" + port, fmt.Sprintf(client, cert, key), "certificate signed by unknown authority"},
		{"tls_name", "tls://127.0.0.1:" + port, ca + "\n" + fmt.Sprintf(client, cert, key), "cannot validate certificate for 127.0.0.1"},
		{"tls_uncertified", "tls://localhost:" + port, ca, "certificate"},
		{"tls_strange", "tls://localhost:" + port, ca + "\n" + fmt.Sprintf(client, strange, strangeKey), "certificate"},
		{"tls_none", "tls://" + token.Addr, ca, "the server does not offer TLS"},
	}
	config := "schema = 1\ngateway.name = \"field\"\nmqtt.listen = \"\"\n"
	for i, u := range uplinks {
		queue := ""
		if first := i / 10 * 10; first < i { // few queues do
			queue = uplinks[first].name
		}
		config += fmt.Sprintf("[uplink.%s]\nkind = \"nats\"\nurl = %q\nforward = [\"alarm\"]\nqueue = %q\n%s\n", u.name, u.url, queue, u.keys)
	}
	field := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": config}), t.TempDir(), "NATS_SECRET=secret", "NATS_TOKEN=abc")
	states := keep(t, field.join(), "gantry.field.state.", wamp.SubscribeOptions{GetRetained: true})
	for _, u := range uplinks {
		got := states.await(t, u.name, func(e event) bool {
			return e.topic == "gantry.field.state.uplink_"+u.name+".link" && (e.value == "online" || e.why != "" && e.why != "connecting")
		})
		if (got.value == "online") != (u.want == "") || !strings.Contains(got.why, u.want) {
			t.Errorf("%s is %v: %q, want %q", u.name, got.value, got.why, u.want)
		}
		t.Logf("%s: %v %s", u.name, got.value, got.why)
	}
	field.kill()
	for _, text := range []string{own.seed, "secret\"", "password=secret"} {
		if strings.Contains(field.out.String(), text) {
			t.Errorf("the log has a secret: %s", text)
		}
	}
}
