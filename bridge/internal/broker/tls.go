package broker

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gantry/bridge"
)

// TLS is how a connection to a broker is secured. Files are PEM, named by absolute paths and
// read at each connect, so that they may be replaced at any time.
type TLS struct {
	// CA holds the certificates that the broker's must be signed by. "" = those of
	// the system.
	CA string `toml:"ca"`
	// Cert and Key are the client's own certificate with its chain, and its key.
	// "" = none; both or neither.
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// Validate reads the files and returns what is wrong, each as a
// *bridge.ConfigError with a key below tls.
func (t *TLS) Validate() (errs []error) {
	bad := func(key, text, allowed string) {
		errs = append(errs, &bridge.ConfigError{Key: "tls." + key, Text: text, Allowed: allowed})
	}
	for _, f := range []struct{ key, path string }{{"ca", t.CA}, {"cert", t.Cert}, {"key", t.Key}} {
		if f.path != "" && !filepath.IsAbs(f.path) {
			bad(f.key, fmt.Sprintf("%.80q is a relative path", f.path), "an absolute path")
		}
	}
	switch {
	case t.Cert == "" && t.Key != "":
		bad("cert", "is missing", "cert and key, or neither")
	case t.Cert != "" && t.Key == "":
		bad("key", "is missing", "cert and key, or neither")
	}
	if len(errs) > 0 {
		return errs
	}
	if _, err := t.roots(); err != nil {
		bad("ca", err.Error(), "a file of certificates in PEM form")
	}
	if _, err := t.certificates(); err != nil {
		bad("cert", err.Error(), "files of a certificate and its key in PEM form")
	}
	return errs
}

// roots reads CA; nil stands for the certificates of the system.
func (t *TLS) roots() (*x509.CertPool, error) {
	if t.CA == "" {
		return nil, nil
	}
	b, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate", t.CA)
	}
	return pool, nil
}

func (t *TLS) certificates() ([]tls.Certificate, error) {
	if t.Cert == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, err
	}
	return []tls.Certificate{cert}, nil
}

// Config reads the files. host is whom the certificate must be for, now the time of day
// by which it is judged; nil is time.Now.
func (t *TLS) Config(host string, now func() time.Time) (*tls.Config, error) {
	roots, err := t.roots()
	if err != nil {
		return nil, err
	}
	certs, err := t.certificates()
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: roots, Certificates: certs, Time: now}, nil
}
