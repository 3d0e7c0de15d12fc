package auth_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/auth"
)

// python is the interpreter that sees Debian's packages.
const python = "/usr/bin/python3"

const signer = `
import asyncio, json, sys, txaio
txaio.use_asyncio()
loop = txaio.config.loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
from autobahn.wamp.auth import AuthWampCra
from autobahn.wamp.cryptosign import CryptosignKey
from autobahn.wamp.types import Challenge
for line in sys.stdin:
    q = json.loads(line)
    c = Challenge(q['method'], q['extra'])
    if q['method'] == 'wampcra':
        print(AuthWampCra(secret=q['secret'], authid='x').on_challenge(None, c))
    else:
        channel = bytes.fromhex(q['channel']) if q.get('channel') else None
        d = CryptosignKey.from_bytes(bytes.fromhex(q['secret'])).sign_challenge(
            c, channel_id=channel, channel_id_type='tls-unique' if channel else None)
        print(loop.run_until_complete(d))
    sys.stdout.flush()
`

type question struct {
	Method  string    `json:"method"`
	Extra   wamp.Dict `json:"extra"`
	Secret  string    `json:"secret"`
	Channel string    `json:"channel,omitempty"`
}

// ask has Autobahn|Python answer challenges.
func ask(t *testing.T, questions []question) []string {
	t.Helper()
	if err := exec.Command(python, "-c", "import autobahn.wamp.auth, autobahn.wamp.cryptosign as c; assert c.HAS_CRYPTOSIGN").Run(); err != nil {
		const text = "package missing: python3-autobahn"
		if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	var in strings.Builder
	for _, q := range questions {
		if err := json.NewEncoder(&in).Encode(q); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, "-c", signer)
	cmd.Stdin, cmd.Stderr = strings.NewReader(in.String()), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := strings.Fields(string(out))
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions: %q", len(answers), len(questions), out)
	}
	return answers
}

func TestAutobahnSignaturesAreTaken(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	secret := auth.NewSecret(password)
	var exchanges []*auth.Exchange
	var questions []question
	for _, c := range []struct {
		authid    string
		responder auth.Responder
		secret    string
	}{
		{"alice", &auth.CRA{Secret: secret}, password},
		{"bob", &auth.CRA{Secret: secret}, password},
		{"dave", &auth.Cryptosign{Key: seedOf(2)}, strings.Repeat("02", 32)},
	} {
		x, refusal := v.Begin(auth.Request{Hello: hello(t, auth.NewClient(c.authid, c.responder), plain), Link: plain, Session: 1, Now: noon})
		if refusal != nil {
			t.Fatal(refusal)
		}
		exchanges = append(exchanges, x)
		questions = append(questions, question{Method: x.Challenge().AuthMethod, Extra: x.Challenge().Extra, Secret: c.secret})
	}
	for i, signature := range ask(t, questions) {
		id, refusal := exchanges[i].Finish(&wamp.Authenticate{Signature: signature, Extra: wamp.Dict{}}, noon)
		if refusal != nil {
			t.Errorf("%s: %v, %s", questions[i].Method, refusal, refusal.Cause)
		} else if id.AuthMethod != questions[i].Method {
			t.Errorf("got %+v", id)
		}
	}
}

func TestSignaturesAreThoseOfAutobahn(t *testing.T) {
	t.Parallel()
	cra := wamp.Dict{"challenge": `{"authid": "péter \"x\"", "nonce": "1"}`}
	salted := wamp.Dict{"challenge": cra["challenge"], "salt": "sält", "iterations": 1234, "keylen": 24}
	v := cryptosignVectors[1]
	channel := strings.Repeat("5a", 32)
	sign := wamp.Dict{"challenge": v.challenge}
	answers := ask(t, []question{
		{Method: "wampcra", Extra: cra, Secret: "geheim"}, {Method: "wampcra", Extra: salted, Secret: "geheim"},
		{Method: "cryptosign", Extra: sign, Secret: v.key}, {Method: "cryptosign", Extra: sign, Secret: v.key, Channel: channel},
	})
	bound := wamp.Dict{"challenge": v.challenge, "channel_binding": auth.TLSExporter}
	key := must[auth.Secret](t)(auth.ParsePrivateKey(auth.NewSecret(v.key)))
	for i, c := range []struct {
		responder auth.Responder
		extra     wamp.Dict
	}{
		{&auth.CRA{Secret: auth.NewSecret("geheim")}, cra}, {&auth.CRA{Secret: auth.NewSecret("geheim")}, salted},
		{&auth.Cryptosign{Key: key}, sign}, {&auth.Cryptosign{Key: key, Binding: auth.TLSExporter}, bound},
	} {
		if _, err := c.responder.Begin("x", &auth.Link{Channels: auth.Channels{Exporter: unhex(t, channel)}}); err != nil {
			t.Fatal(err)
		}
		a, err := c.responder.Respond(&wamp.Challenge{Extra: c.extra})
		if err != nil || a.Signature != answers[i] {
			t.Errorf("%d: got %+v, %v, want %s", i, a, err, answers[i])
		}
	}
}
