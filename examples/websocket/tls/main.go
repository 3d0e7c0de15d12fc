// Command tls serves an echo over TLS and talks to it. The certificate is made on
// the spot; a real server has one from a file, by tls.LoadX509KeyPair.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"time"

	"gantry/wamp/websocket"
)

func main() {
	certificate, trust, err := newCertificate("localhost")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := websocket.Listen(ctx, "wss://127.0.0.1:0", &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{certificate},
	})
	if err != nil {
		log.Fatal(err)
	}
	server := &websocket.Server{Handle: func(c *websocket.Conn, r *http.Request) {
		_ = c.Write(websocket.Text, fmt.Appendf(nil, "you came by %s", tls.VersionName(r.TLS.Version)))
	}}
	ended := make(chan error)
	go func() { ended <- websocket.Serve(ctx, ln, server) }()

	// The server is known by its name, whatever its address is.
	d := &websocket.Dialer{TLS: &tls.Config{RootCAs: trust, ServerName: "localhost"}}
	c, err := d.Dial(ctx, "wss://"+ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	_, b, err := c.Read()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", b)
	_ = c.Close(websocket.CloseNormal, "")

	// Who does not trust the certificate does not get in.
	_, err = (&websocket.Dialer{}).Dial(ctx, "wss://"+ln.Addr().String())
	fmt.Println(err != nil)

	cancel()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
}

// newCertificate makes a certificate that has signed itself, for a day.
func newCertificate(name string) (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool, nil
}
