package conformance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/wamptest"
)

// serverTLS is a configuration with a certificate for the loopback address.
func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gantry"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

// secure connects with TLS and also returns the link that a client sees. The
// certificate is not what is tested.
func (w *world) secure(l wamptest.Link, cfg *tls.Config) (*wamptest.Peer, auth.Link) {
	w.t.Helper()
	if cfg == nil {
		cfg = &tls.Config{}
	}
	cfg.InsecureSkipVerify = true
	c := tls.Client(w.dial(), cfg)
	if err := c.Handshake(); err != nil {
		w.t.Fatal(err)
	}
	state := c.ConnectionState()
	link := auth.Link{Peer: wamp.PeerInfo{Transport: l.Transport, Encrypted: true}, Channels: auth.ChannelsOf(&state)}
	return wamptest.Over(w.t, c, l), link
}

func channelBinding(t *testing.T) {
	binding := func(kind string) map[string]*auth.Client {
		return map[string]*auth.Client{
			"cryptosign": auth.NewClient("ann", &auth.Cryptosign{Key: privateKey, Binding: kind}),
			"wamp-scram": auth.NewClient("ann", &auth.SCRAM{Password: secret, Binding: kind}),
		}
	}
	cfg := withLogins(t)
	cfg.tls, cfg.far = serverTLS(t), true
	over(t, wamptest.NetworkLinks(), cfg, func(w *world) {
		for method, c := range binding(auth.TLSExporter) {
			p, link := w.secure(w.link, &tls.Config{MinVersion: tls.VersionTLS13})
			if challenge, _ := w.logsIn(c, link, p); challenge.AuthMethod != method || challenge.Extra["channel_binding"] != any("tls-exporter") {
				w.t.Errorf("%s: the challenge is %v", method, challenge)
			}
			// Somebody in between has a connection to each side, and their channels differ.
			_, between := w.secure(w.link, nil)
			p, _ = w.secure(w.link, nil)
			p.SendMessage(w.answers(c)(hello(p, c, between)))
			p.ExpectAbort(wamp.ErrURIAuthenticationFailed)
		}
		// Who answers without the binding that he has asked for does not get in.
		unbound := auth.NewClient("ann", &auth.Cryptosign{Key: privateKey})
		p, link := w.secure(w.link, nil)
		challenge := hello(p, binding(auth.TLSExporter)["cryptosign"], link)
		if err := unbound.Hello(link, wamp.Dict{}); err != nil {
			w.t.Fatal(err)
		}
		challenge.Extra["channel_binding"] = nil
		p.SendMessage(w.answers(unbound)(challenge))
		p.ExpectAbort(wamp.ErrURIAuthenticationFailed)
		for _, hello := range []string{
			`"authmethods": ["cryptosign"], "authextra": {"pubkey": "` + hexKey + `", "channel_binding": "tls-unique"}`,
			`"authmethods": ["wamp-scram"], "authextra": {"nonce": "MDEyMzQ1Njc4OWFiY2RlZg==", "channel_binding": "tls-unique"}`,
			`"authmethods": ["cryptosign"], "authextra": {"pubkey": "` + hexKey + `", "channel_binding": "tls-future"}`,
		} {
			p, _ := w.secure(w.link, &tls.Config{MinVersion: tls.VersionTLS13})
			p.Send(`[1, "realm1", {"authid": "ann", "roles": {"caller": {}}, ` + hello + `}]`)
			p.ExpectAbort(wamp.ErrURINoMatchingAuthMethod) // TLS 1.3 has no such thing
		}
	})
	t.Run("plain", func(t *testing.T) {
		over(t, wamptest.NetworkLinks(), withLogins(t), func(w *world) {
			for _, kind := range []string{"tls-exporter", "tls-unique"} {
				p := w.connect()
				p.Send(`[1, "realm1", {"authid": "ann", "roles": {"caller": {}}, "authmethods": ["cryptosign"], "authextra": {"pubkey": "` + hexKey + `", "channel_binding": "` + kind + `"}}]`)
				p.ExpectAbort(wamp.ErrURINoMatchingAuthMethod)
			}
		})
	})
}
