package auth_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"gantry/wamp/auth"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDeriveOfficialVectors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		password string
		params   auth.Params
		want     string
	}{
		"rfc 7914 section 11, one round": {"passwd", auth.Params{KDF: auth.PBKDF2, Salt: []byte("salt"), Iterations: 1, KeyLen: 64},
			"55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"},
		"rfc 7914 section 11, 80000 rounds": {"Password", auth.Params{KDF: auth.PBKDF2, Salt: []byte("NaCl"), Iterations: 80000, KeyLen: 64},
			"4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d"},
		"argon2 reference implementation, 256 KiB": {"password", auth.Params{KDF: auth.Argon2id13, Salt: []byte("somesalt"), Iterations: 2, Memory: 256, KeyLen: 32},
			"9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"},
		"argon2 reference implementation, 64 MiB": {"password", auth.Params{KDF: auth.Argon2id13, Salt: []byte("somesalt"), Iterations: 2, Memory: 65536, KeyLen: 32},
			"09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := auth.Derive(c.params, []byte(c.password))
			if err != nil {
				t.Fatal(err)
			}
			if hex.EncodeToString(got) != c.want {
				t.Errorf("got %x, want %s", got, c.want)
			}
		})
	}
}

func TestDeriveTextIsBase64OfKey(t *testing.T) {
	t.Parallel()
	p := auth.Params{KDF: auth.Argon2id13, Salt: []byte("somesalt"), Iterations: 2, Memory: 256, KeyLen: 32}
	raw, err := auth.Derive(p, []byte("password"))
	if err != nil {
		t.Fatal(err)
	}
	p.KDF = auth.Argon2id13Text
	got, err := auth.Derive(p, []byte("password"))
	if want := base64.RawStdEncoding.EncodeToString(raw); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// The vectors are those of Autobahn|Python's test_wamp_scram.py.
func TestSCRAMKeysOfAutobahn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ salt, storedKey, serverKey string }{
		{"3bc3ca01dd1d501ca1c22e1c5d7d16fe", "e796c2f0a51770303ee4616bc630a66774d51a55003154aff2a54ec7c4ac0e38", "8de7864c316f3c2356fd76cfdab696db55bc70e680fe5180e2f731e2345acca2"},
		{"ae1f0d2f422757809077785e660b62c6", "5f19358ff6f38e267b6ef1ea1d862514ec4e8745a84682259fd3894be09febb5", "0d8e7e9222a7c0e54c9e979aa342115699ff5696c45dc379b5ee241338a5861d"},
	} {
		got, err := auth.DeriveSCRAM(auth.NewSecret("secret123"),
			auth.Params{KDF: auth.Argon2id13Text, Salt: unhex(t, c.salt), Iterations: 4096, Memory: 512, KeyLen: 32})
		if err != nil {
			t.Fatal(err)
		}
		b64 := base64.StdEncoding.EncodeToString
		want := "SCRAM-ARGON2ID-13$4096,512:" + b64(unhex(t, c.salt)) + "$" + b64(unhex(t, c.storedKey)) + ":" + b64(unhex(t, c.serverKey))
		if got.Text() != want {
			t.Errorf("got  %s\nwant %s", got.Text(), want)
		}
	}
}

// The key is that of Autobahn|Python's test_wamp_auth.py.
func TestCRAKeyOfAutobahn(t *testing.T) {
	t.Parallel()
	c, err := auth.DeriveCRA(auth.NewSecret("L3L1YUE8Txlw"), "salt123", 1000, 32)
	if err != nil {
		t.Fatal(err)
	}
	if want := "WAMPCRA-SHA-256$1000:c2FsdDEyMw==$qzcdsr9uu/L5hnss3kjNTRe490ETgA70ZBaB5rvnJ5Y="; c.Text() != want {
		t.Errorf("got %s, want %s", c.Text(), want)
	}
}

func TestParamsOutOfBoundsAreRefused(t *testing.T) {
	t.Parallel()
	salt := []byte("0123456789abcdef")
	for name, p := range map[string]auth.Params{
		"no kdf":                 {Salt: salt, Iterations: 4096, KeyLen: 32},
		"unknown kdf":            {KDF: 9, Salt: salt, Iterations: 4096, KeyLen: 32},
		"few rounds":             {KDF: auth.PBKDF2, Salt: salt, Iterations: 4095, KeyLen: 32},
		"a flood of rounds":      {KDF: auth.PBKDF2, Salt: salt, Iterations: 1<<32 - 1, KeyLen: 32},
		"memory for pbkdf2":      {KDF: auth.PBKDF2, Salt: salt, Iterations: 4096, Memory: 64, KeyLen: 32},
		"no salt":                {KDF: auth.PBKDF2, Iterations: 4096, KeyLen: 32},
		"long salt":              {KDF: auth.PBKDF2, Salt: make([]byte, 257), Iterations: 4096, KeyLen: 32},
		"short key":              {KDF: auth.PBKDF2, Salt: salt, Iterations: 4096, KeyLen: 15},
		"negative key":           {KDF: auth.PBKDF2, Salt: salt, Iterations: 4096, KeyLen: -1},
		"long key":               {KDF: auth.PBKDF2, Salt: salt, Iterations: 4096, KeyLen: 65},
		"no passes":              {KDF: auth.Argon2id13, Salt: salt, Memory: 65536, KeyLen: 32},
		"too much memory":        {KDF: auth.Argon2id13, Salt: salt, Iterations: 1, Memory: 65537, KeyLen: 32},
		"all the memory":         {KDF: auth.Argon2id13, Salt: salt, Iterations: 1, Memory: 1<<32 - 1, KeyLen: 32},
		"a flood of passes":      {KDF: auth.Argon2id13, Salt: salt, Iterations: 1<<32 - 1, Memory: 8, KeyLen: 32},
		"too little work":        {KDF: auth.Argon2id13, Salt: salt, Iterations: 1, Memory: 8192, KeyLen: 32},
		"too little memory":      {KDF: auth.Argon2id13, Salt: salt, Iterations: 9999, Memory: 7, KeyLen: 32},
		"short salt for argon2":  {KDF: auth.Argon2id13, Salt: salt[:7], Iterations: 1, Memory: 65536, KeyLen: 32},
		"other key text length":  {KDF: auth.Argon2id13Text, Salt: salt, Iterations: 4096, Memory: 512, KeyLen: 16},
		"work that would wrap":   {KDF: auth.Argon2id13, Salt: salt, Iterations: 1 << 31, Memory: 65536, KeyLen: 32},
		"text argon2 of no work": {KDF: auth.Argon2id13Text, Salt: salt, Iterations: 0, Memory: 512, KeyLen: 32},
	} {
		if err := p.Check(auth.DefaultLimits()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	p := auth.Params{KDF: auth.Argon2id13, Salt: salt, KeyLen: 32, Memory: 65536}
	if _, err := auth.Derive(p, nil); err == nil {
		t.Error("argon2 of no passes was run")
	}
}

func TestStoredFormsSurviveText(t *testing.T) {
	t.Parallel()
	salt := []byte("0123456789abcdef")
	pb := auth.Params{KDF: auth.PBKDF2, Salt: salt, Iterations: 4096, KeyLen: 32}
	argon := auth.Params{KDF: auth.Argon2id13, Salt: salt, Iterations: 32, Memory: 512, KeyLen: 32}
	must := func(f interface{ Text() string }, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return f.Text()
	}
	secret := auth.NewSecret("correct horse")
	for _, text := range []string{
		auth.PlainTicket(secret).Text(),
		must(auth.HashTicket(secret, pb)),
		must(auth.HashTicket(secret, argon)),
	} {
		if got := must(auth.ParseTicket(text)); got != text {
			t.Errorf("got %s, want %s", got, text)
		}
	}
	for _, p := range []auth.Params{pb, argon} {
		text := must(auth.DeriveSCRAM(secret, p))
		if got := must(auth.ParseSCRAM(text)); got != text {
			t.Errorf("got %s, want %s", got, text)
		}
	}
	text := must(auth.DeriveCRA(secret, "salt, with: $ and so on", 1000, 32))
	if got := must(auth.ParseCRA(text)); got != text {
		t.Errorf("got %s, want %s", got, text)
	}
	if text := auth.PlainCRA(secret).Text(); text != "" {
		t.Errorf("the text of a plain secret is %q", text)
	}
}

func TestMalformedStoredFormsAreRefused(t *testing.T) {
	t.Parallel()
	const key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	const salt = "AAAAAAAAAAAAAAAAAAAAAA=="
	tickets := []string{"", "secret", "TICKET-SHA-256$", "TICKET-SHA-256$" + key[4:], "TICKET-SHA-256$" + key + "\n", "TICKET-MD5$4096:" + salt + "$" + key,
		"TICKET-PBKDF2$4096:" + salt + "$", "TICKET-PBKDF2$4096:" + salt, "TICKET-PBKDF2$4096$" + key, "TICKET-PBKDF2$99999999999:" + salt + "$" + key,
		"TICKET-PBKDF2$4294967295:" + salt + "$" + key, "TICKET-PBKDF2$04096:" + salt + "$" + key, "TICKET-PBKDF2$4096,0:" + salt + "$" + key,
		"TICKET-ARGON2ID13$1,1048576:" + salt + "$" + key, "TICKET-ARGON2ID13$4096:" + salt + "$" + key, "TICKET-PBKDF2$4096:AA$" + key}
	for _, s := range tickets {
		if _, err := auth.ParseTicket(s); err == nil {
			t.Errorf("ticket %q was accepted", s)
		}
	}
	for _, s := range []string{"", "SCRAM-SHA-1$4096:" + salt + "$" + key + ":" + key, "SCRAM-SHA-256$4096:" + salt + "$" + key,
		"SCRAM-SHA-256$4096:" + salt + "$" + key + ":" + key + ":" + key, "SCRAM-SHA-256$1:" + salt + "$" + key + ":" + key,
		"SCRAM-ARGON2ID13$1,4294967295:" + salt + "$" + key + ":" + key} {
		if _, err := auth.ParseSCRAM(s); err == nil {
			t.Errorf("scram key %q was accepted", s)
		}
	}
	for _, s := range []string{"", "secret", "WAMPCRA-SHA-256$1000:" + salt + "$", "WAMPCRA-SHA-256$0:" + salt + "$" + key, "WAMPCRA-SHA-256$1000,8:" + salt + "$" + key,
		"WAMPCRA-SHA-256$1000:/w==$" + key, "WAMPCRA-SHA-256$1000:$" + key, "WAMPCRA-SHA-256$1000:" + salt + "$AAAA"} {
		if _, err := auth.ParseCRA(s); err == nil {
			t.Errorf("wampcra key %q was accepted", s)
		}
	}
}

// The pair is that of RFC 8032, 7.1, test 1.
func TestKeysAreReadAsHexAndBase64(t *testing.T) {
	t.Parallel()
	const seed, public = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
	for _, s := range []string{public, strings.ToUpper(public), base64.StdEncoding.EncodeToString(unhex(t, public))} {
		got, err := auth.ParsePublicKey(s)
		if err != nil || hex.EncodeToString(got) != public {
			t.Errorf("%s: got %x, %v", s, got, err)
		}
	}
	private, err := auth.ParsePrivateKey(auth.NewSecret(seed))
	if got := auth.PublicKey(private); err != nil || hex.EncodeToString(got) != public {
		t.Errorf("got %x, %v", got, err)
	}
	if auth.PublicKey(auth.Secret{}) != nil {
		t.Error("there is a public key of nothing")
	}
	for _, s := range []string{"", public[1:], public + "00", "zz" + public[2:], strings.Repeat("00", 32), "AAAA"} {
		if _, err := auth.ParsePublicKey(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestSecretsDoNotPrintThemselves(t *testing.T) {
	t.Parallel()
	const canary = "canary-4711"
	secret := auth.NewSecret(canary)
	cra, scram := auth.PlainCRA(secret), auth.PlainTicket(secret)
	hidden := struct{ inner, ticket any }{cra, scram}
	var shown strings.Builder
	for _, v := range []any{secret, &secret, *cra, cra, scram, hidden, struct{ s auth.Secret }{secret}, map[string]auth.Secret{"k": secret}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&shown, verb, v)
		}
		b, _ := json.Marshal(v)
		shown.Write(b)
		slog.New(slog.NewTextHandler(&shown, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&shown, nil)).Info("x", "v", v)
	}
	for _, form := range []string{canary, hex.EncodeToString([]byte(canary)), fmt.Sprint([]byte(canary)), fmt.Sprintf("%#v", []byte(canary))} {
		if strings.Contains(shown.String(), form) {
			t.Errorf("%q is shown", form)
		}
	}
	if string(secret.Reveal()) != canary || secret.Empty() || !(auth.Secret{}).Empty() {
		t.Error("the secret is lost")
	}
}

func FuzzStoredForms(f *testing.F) {
	for _, s := range []string{"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		"TICKET-SHA-256$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "WAMPCRA-SHA-256$1000:c2FsdDEyMw==$qzcdsr9uu/L5hnss3kjNTRe490ETgA70ZBaB5rvnJ5Y=",
		"TICKET-ARGON2ID13$32,512:MDEyMzQ1Njc4OWFiY2RlZg==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		check := func(v interface{ Text() string }, err error) {
			// One text for one key: what is accepted is what would be written.
			if err == nil && v.Text() != s {
				t.Errorf("%q is read as %q", s, v.Text())
			}
		}
		if v, err := auth.ParseTicket(s); err == nil {
			check(v, err)
		}
		if v, err := auth.ParseCRA(s); err == nil {
			check(v, err)
		}
		if v, err := auth.ParseSCRAM(s); err == nil {
			check(v, err)
		}
		if key, err := auth.ParsePublicKey(s); err == nil && len(key) != 32 {
			t.Errorf("a key of %d bytes", len(key))
		}
	})
}
