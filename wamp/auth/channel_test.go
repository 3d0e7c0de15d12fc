package auth_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"gantry/wamp/auth"
)

// handshake returns both ends' view of one TLS connection.
func handshake(t *testing.T, version uint16) (client, server tls.ConnectionState) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	c := tls.Client(a, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
	s := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MaxVersion: version})
	done := make(chan error, 1) // one result
	go func() {
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x")) // the session tickets of TLS 1.3 have been sent before
		}
		done <- err
	}()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState(), s.ConnectionState()
}

func TestBothEndsSeeTheSameChannel(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client, server := handshake(t, version)
		a, b := auth.ChannelsOf(&client), auth.ChannelsOf(&server)
		if len(a.Exporter) != 32 || !bytes.Equal(a.Exporter, b.Exporter) || !bytes.Equal(a.Unique, b.Unique) {
			t.Errorf("%x: client %+v, server %+v", version, a, b)
		}
		if is13 := version == tls.VersionTLS13; a.TLS13 != is13 || (len(a.Unique) == 0) != is13 {
			t.Errorf("%x: got %+v", version, a)
		}
		link := auth.Link{Channels: b}
		link.Peer.Encrypted = true
		here := auth.Link{Channels: a}
		here.Peer.Encrypted = true
		for _, r := range []auth.Responder{&auth.SCRAM{Password: auth.NewSecret(password), Binding: auth.TLSExporter},
			&auth.Cryptosign{Key: seedOf(1), Binding: auth.TLSExporter}} {
			if _, refusal := login(t, verifier(t, nil), auth.NewClient("alice", r), here, link); refusal != nil {
				t.Errorf("%x: %v, %s", version, refusal, refusal.Cause)
			}
		}
	}
}
