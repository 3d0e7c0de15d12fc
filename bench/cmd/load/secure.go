package main

import (
	"bytes"
	"compress/flate"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificate writes a certificate and its key into dir.
func certificate(dir string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"localhost"}}
	public, err := x509.CreateCertificate(rand.Reader, t, t, &private.PublicKey, private)
	if err != nil {
		return "", "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err = os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}), 0o600); err == nil {
		err = os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
	}
	return cert, key, err
}

// tunnel opens a port behind which everything goes to another one by TLS, so that
// the loop, which knows bare sockets only, need not encrypt. It ends with the program.
func tunnel(to int) (port int, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	go func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = near.Close() }()
				// Whose certificate it is does not matter here.
				far, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", to), &tls.Config{InsecureSkipVerify: true})
				if err != nil {
					return
				}
				defer func() { _ = far.Close() }()
				go func() {
					_, _ = io.Copy(far, near)
					_ = far.CloseWrite()
				}()
				_, _ = io.Copy(near, far)
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// inflater reads compressed messages. Those of an event are alike for many
// subscribers: it remembers some.
type inflater struct {
	seen map[string][]byte
	from bytes.Reader
	r    io.ReadCloser
}

// flateEnd is what a compressed message has left out (RFC 7692, 7.2.1), and the end of
// a stream.
const flateEnd = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

func (f *inflater) inflate(b []byte) ([]byte, error) {
	if m, ok := f.seen[string(b)]; ok {
		return m, nil
	}
	f.from.Reset(append(bytes.Clone(b), flateEnd...))
	if f.r == nil {
		f.r = flate.NewReader(&f.from)
	} else if err := f.r.(flate.Resetter).Reset(&f.from, nil); err != nil {
		return nil, err
	}
	m, err := io.ReadAll(f.r)
	if len(f.seen) >= 256 || f.seen == nil {
		f.seen = map[string][]byte{}
	}
	f.seen[string(b)] = m
	return m, err
}
