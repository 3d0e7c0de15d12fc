package mqtt_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gantry/bridge"
	"gantry/bridge/mqtt"
	"gantry/internal/mosquitto"
	"gantry/wamp"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.make("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// file is the path of a certificate (name.pem) or key (name.key).
func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// make creates a key and a certificate and writes both down.
func (a *authority) make(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// TestWaysToTheBroker connects in every way that there is.
func TestWaysToTheBroker(t *testing.T) {
	t.Parallel()
	mosquitto.Need(t, "mosquitto", "mosquitto")
	ca := newAuthority(t)
	ca.make("broker", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	ca.make("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	port := func(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }
	secure, ws, wss, socket := mosquitto.FreeAddr(t), mosquitto.FreeAddr(t), mosquitto.FreeAddr(t), filepath.Join(t.TempDir(), "mqtt.sock")
	keys := []string{"cafile " + ca.file("ca.pem"), "certfile " + ca.file("broker.pem"), "keyfile " + ca.file("broker.key")}
	config := append([]string{"listener " + port(secure) + " 127.0.0.1", "require_certificate true"}, keys...)
	config = append(config, "listener 0 "+socket, "listener "+port(ws)+" 127.0.0.1", "protocol websockets")
	config = append(append(config, "listener "+port(wss)+" 127.0.0.1", "protocol websockets"), keys...)
	b := mosquitto.NewBroker(t, config...)
	trust := mqtt.TLS{CA: ca.file("ca.pem")}
	own := mqtt.TLS{CA: ca.file("ca.pem"), Cert: ca.file("client.pem"), Key: ca.file("client.key")}
	for name, c := range map[string]struct {
		url    string
		tls    mqtt.TLS
		reason string // "" = connects
	}{
		"tcp":                         {"tcp://" + b.Addr, mqtt.TLS{}, ""},
		"unix":                        {"unix://" + socket, mqtt.TLS{}, ""},
		"ssl":                         {"ssl://" + secure, own, ""},
		"ws":                          {"ws://" + ws + "/mqtt", mqtt.TLS{}, ""},
		"wss":                         {"wss://" + wss + "/mqtt", trust, ""},
		"certificate of a stranger":   {"mqtts://" + secure, mqtt.TLS{}, "certificate"},
		"no certificate of its own":   {"mqtts://" + secure, trust, "certificate required"},
		"certificate of another name": {"mqtts://localhost:" + port(secure), own, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mqtt.Config{URL: c.url, TLS: c.tls, ClientID: "id " + name, RulesConfig: rules()})
			if c.reason != "" {
				for ev := w.await(bridge.Offline); !contains(ev.kwargs["reason"], c.reason); ev = w.await(bridge.Offline) {
				}
				return
			}
			w.await(bridge.Online)
			if _, err := w.call("gantry.gw.set.lamp.state", wamp.CallOptions{}, true); err != nil {
				t.Error(err)
			}
		})
	}
}
