package auth_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"testing"

	"gantry/wamp"
	"gantry/wamp/auth"
)

// The exchange of RFC 7677, 3, which AP "SCRAM" carries over unchanged.
func TestSCRAMVectorOfRFC7677(t *testing.T) {
	t.Parallel()
	const clientNonce, nonce = "rOprNGfwEbeRWgbNEkqO", "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	c := auth.SCRAMWithNonce(auth.NewSecret("pencil"), "user", clientNonce, "", nil)
	a, err := c.Respond(&wamp.Challenge{AuthMethod: "wamp-scram", Extra: wamp.Dict{
		"nonce": nonce, "salt": "W22ZaJ0SNY7soEsUEjb6gQ==", "kdf": "pbkdf2", "iterations": int64(4096), "memory": nil}})
	if err != nil {
		t.Fatal(err)
	}
	if want := "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="; a.Signature != want {
		t.Errorf("proof %s, want %s", a.Signature, want)
	}
	if err := c.Verify(&wamp.Welcome{Details: wamp.Dict{"authextra": wamp.Dict{"verifier": "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="}}}); err != nil {
		t.Error(err)
	}
	saltBytes, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	s, err := auth.DeriveSCRAM(auth.NewSecret("pencil"), auth.Params{KDF: auth.PBKDF2, Salt: saltBytes, Iterations: 4096, KeyLen: 32})
	if err != nil {
		t.Fatal(err)
	}
	// As PostgreSQL stores it.
	if want := "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="; s.Text() != want {
		t.Errorf("stored form %s, want %s", s.Text(), want)
	}
}

// The same password with an authid to escape and with a channel binding; the
// answers were computed apart, by hashlib and hmac of Python.
func TestSCRAMEscapesAndBinds(t *testing.T) {
	t.Parallel()
	const nonce = "rOprNGfwEbeRWgbNEkqO"
	for binding, want := range map[string]struct{ proof, verifier string }{
		"":               {"DGGI+Qv6fRhRU94wjCC3MIfaElGJfZvqDUac7/jdHnM=", "Fxwtvogx5OErSLencDPufJFJvLisggvr0QbwLiQghtM="},
		auth.TLSExporter: {"V3Tzjyqv0NJ7mCoanAMYGirF58+oJa6Jd5dUTRjz3KA=", "bMeSaH4K2OZds1oQdJfkae2SrpC+8swxrPZujPIkOPk="},
	} {
		var cbind []byte
		if binding != "" {
			cbind = bytes.Repeat([]byte{7}, 32)
		}
		c := auth.SCRAMWithNonce(auth.NewSecret("pencil"), "o,Hara=", nonce, binding, cbind)
		a, err := c.Respond(&wamp.Challenge{AuthMethod: "wamp-scram", Extra: wamp.Dict{
			"nonce": nonce + "AAAA", "salt": "W22ZaJ0SNY7soEsUEjb6gQ==", "kdf": "pbkdf2", "iterations": 4096.0}})
		if err != nil || a.Signature != want.proof {
			t.Errorf("%q: got %+v, %v, want %s", binding, a, err, want.proof)
		}
		w := &wamp.Welcome{Details: wamp.Dict{"authextra": wamp.Dict{"verifier": want.verifier}}}
		if err := c.Verify(w); err != nil {
			t.Errorf("%q: %v", binding, err)
		}
		if _, err := c.Begin("o,Hara=", &tls13); err != nil {
			t.Fatal(err)
		}
		if c.Verify(w) == nil {
			t.Errorf("%q: the verifier of an exchange that is over is taken", binding)
		}
	}
}

// RFC 4231, 4.3, and the signature of Autobahn|Python's test_wamp_auth.py.
func TestCRAVectors(t *testing.T) {
	t.Parallel()
	mac, _ := hex.DecodeString("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
	for _, c := range []struct{ secret, challenge, want string }{
		{"Jefe", "what do ya want for nothing?", base64.StdEncoding.EncodeToString(mac)},
		{"L3L1YUE8Txlw", "[1, 2, 3]", "1njQtmmeYO41N5EWEzD2kAjjEKRZ5kPZt/TzpYXOzR0="},
	} {
		a, err := (&auth.CRA{Secret: auth.NewSecret(c.secret)}).Respond(&wamp.Challenge{Extra: wamp.Dict{"challenge": c.challenge}})
		if err != nil || a.Signature != c.want {
			t.Errorf("got %+v, %v, want %s", a, err, c.want)
		}
	}
}

// AP "Cryptosign", Test Vectors. Their channel id is the 32 bytes themselves,
// which tls-exporter has.
var cryptosignVectors = []struct{ channel, key, challenge, signature string }{
	{"", "4d57d97a68f555696620a6d849c0ce582568518d729eb753dc7c732de2804510", "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"b32675b221f08593213737bef8240e7c15228b07028e19595294678c90d11c0cae80a357331bfc5cc9fb71081464e6e75013517c2cf067ad566a6b7b728e5d03ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"},
	{"", "d511fe78e23934b3dadb52fcd022974b80bd92bccc7c5cf404e46cc0a8a2f5cd", "b26c1f87c13fc1da14997f1b5a71995dff8fbe0a62fae8473c7bdbd05bfb607d",
		"d4209ad10d5aff6bfbc009d7e924795de138a63515efc7afc6b01b7fe5201372190374886a70207b042294af5bd64ce725cd8dceb344e6d11c09d1aaaf4d660fb26c1f87c13fc1da14997f1b5a71995dff8fbe0a62fae8473c7bdbd05bfb607d"},
	{"", "6e1fde9cf9e2359a87420b65a87dc0c66136e66945196ba2475990d8a0c3a25b", "b05e6b8ad4d69abf74aa3be3c0ee40ae07d66e1895b9ab09285a2f1192d562d2",
		"7beb282184baadd08f166f16dd683b39cab53816ed81e6955def951cb2ddad1ec184e206746fd82bda075af03711d3d5658fc84a76196b0fa8d1ebc92ef9f30bb05e6b8ad4d69abf74aa3be3c0ee40ae07d66e1895b9ab09285a2f1192d562d2"},
	{"62e935ae755f3d48f80d4d59f6121358c435722a67e859cc0caa8b539027f2ff", "4d57d97a68f555696620a6d849c0ce582568518d729eb753dc7c732de2804510", "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"9b6f41540c9b95b4b7b281c3042fa9c54cef43c842d62ea3fd6030fcb66e70b3e80d49d44c29d1635da9348d02ec93f3ed1ef227dfb59a07b580095c2b82f80f9d16ca518aa0c2b707f2b2a609edeca73bca8dd59817a633f35574ac6fd80d00"},
	{"62e935ae755f3d48f80d4d59f6121358c435722a67e859cc0caa8b539027f2ff", "d511fe78e23934b3dadb52fcd022974b80bd92bccc7c5cf404e46cc0a8a2f5cd", "b26c1f87c13fc1da14997f1b5a71995dff8fbe0a62fae8473c7bdbd05bfb607d",
		"305aaa3ac25e98f651427688b3fc43fe7d8a68a7ec1d7d61c61517c519bd4a427c3015599d83ca28b4c652333920223844ef0725eb5dc2febfd6af7677b73f01d0852a29b460fc92ec943242ac638a053bbacc200512b18b30d15083cbdc9282"},
	{"62e935ae755f3d48f80d4d59f6121358c435722a67e859cc0caa8b539027f2ff", "6e1fde9cf9e2359a87420b65a87dc0c66136e66945196ba2475990d8a0c3a25b", "b05e6b8ad4d69abf74aa3be3c0ee40ae07d66e1895b9ab09285a2f1192d562d2",
		"ee3c7644fd8070532bc1fde3d70d742267da545d8c8f03e63bda63f1ad4214f4d2c4bfdb4eb9526def42deeb7e31602a6ff99eba893e0a4ad4d45892ca75e608d2b75e24a189a7f78ca776ba36fc53f6c3e31c32f251f2c524f0a44202f2902d"},
}

func TestCryptosignVectors(t *testing.T) {
	t.Parallel()
	for _, c := range cryptosignVectors {
		key := must[auth.Secret](t)(auth.ParsePrivateKey(auth.NewSecret(c.key)))
		signer := &auth.Cryptosign{Key: key}
		link := auth.Link{}
		extra := wamp.Dict{"challenge": c.challenge}
		if c.channel != "" {
			signer.Binding, link.Channels.Exporter = auth.TLSExporter, unhex(t, c.channel)
			extra["channel_binding"] = auth.TLSExporter
		}
		if _, err := signer.Begin("", &link); err != nil {
			t.Fatal(err)
		}
		a, err := signer.Respond(&wamp.Challenge{Extra: extra})
		if err != nil || a.Signature != c.signature {
			t.Errorf("got %+v, %v, want %s", a, err, c.signature)
		}
		// The router draws the vector's challenge and takes the vector's signature.
		v := must[*auth.Verifier](t)(auth.New(auth.Config{Random: bytes.NewReader(unhex(t, c.challenge)), DecoySecret: auth.NewSecret("0123456789abcdef"),
			Principals: []auth.Principal{{AuthID: "x", Role: "user", Keys: []ed25519.PublicKey{auth.PublicKey(key)}}}}))
		x, refusal := v.Begin(auth.Request{Hello: hello(t, auth.NewClient("", signer), link), Link: link, Now: noon})
		if refusal != nil {
			t.Fatal(refusal)
		}
		if _, refusal := x.Finish(&wamp.Authenticate{Signature: c.signature}, noon); refusal != nil {
			t.Error(refusal, refusal.Cause)
		}
	}
}
