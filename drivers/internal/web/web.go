// Package web is what drivers have in common that speak HTTP or WebSocket: who they
// are to a device, and who a device is that comes to the gateway.
package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gantry/drivers"
	"gantry/drivers/internal/text"
)

// Secret is a password or token that configuration refers to.
type Secret interface {
	// Reveal reads it.
	Reveal() (string, error)
}

// ClientConfig says who the gateway is to a device, and whom it trusts.
type ClientConfig struct {
	User        string            `toml:"user"`         // with Password: basic authentication
	Password    Secret            `toml:"password"`     //
	Token       Secret            `toml:"token"`        // bearer token
	TokenHeader string            `toml:"token_header"` // header that holds the bare token; default: Authorization, as "Bearer TOKEN"
	Header      map[string]string `toml:"header"`       // further headers
	CA          string            `toml:"ca"`           // PEM file with the certificates that the device's must be signed by; default: those of the system
	ServerName  string            `toml:"server_name"`  // name in the device's certificate; default: that of the URL
}

func bad(key, text, allowed string) error {
	return &drivers.ConfigError{Key: key, Text: text, Allowed: allowed}
}

// Validate returns what is wrong, as *drivers.ConfigError. A relative CA is below dir.
func (c *ClientConfig) Validate(dir string) error {
	if _, empty := c.Header[""]; empty {
		return bad("header", "has a header without a name", "letters, digits, -")
	}
	switch {
	case (c.User == "") != (c.Password == nil):
		return bad("password", "user and password go together", `user = "NAME", password = "env:NAME" or "file:PATH"`)
	case c.User != "" && c.Token != nil && c.TokenHeader == "":
		return bad("token", "does not go with user and password", "one of the two, or token_header")
	case strings.ContainsAny(c.User, ":"):
		return bad("user", "has a colon", "a name without a colon")
	case c.TokenHeader != "" && c.Token == nil:
		return bad("token_header", "stands without token", `token = "env:NAME" or "file:PATH"`)
	}
	if err := CheckHeader("token_header", c.TokenHeader); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(c.Header)) {
		key := "header." + name
		if err := CheckHeader(key, name); err != nil {
			return err
		}
		if text.HasControl(c.Header[name]) {
			return bad(key, "has a control character", "printing characters")
		}
		if slices.Contains([]string{"Authorization", "Proxy-Authorization"}, http.CanonicalHeaderKey(name)) {
			return bad(key, "is a secret", `user and password, or token, as "env:NAME" or "file:PATH"`)
		}
	}
	_, err := c.TLS(dir)
	return err
}

// CheckHeader checks the name of a header that configuration has at key; "" is none.
func CheckHeader(key, name string) error {
	if strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) {
		return bad(key, fmt.Sprintf("%.40q is no name of a header", name), "letters, digits, -")
	}
	return nil
}

// TLS returns how connections to the device are encrypted. The error is a
// *drivers.ConfigError.
func (c *ClientConfig) TLS(dir string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA == "" {
		return cfg, nil
	}
	file := c.CA
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, bad("ca", err.Error(), "a file of certificates in PEM form")
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(b) {
		return nil, bad("ca", file+" holds no certificate", "a file of certificates in PEM form")
	}
	return cfg, nil
}

// Headers returns what every request carries. It reads the secrets.
func (c *ClientConfig) Headers() (http.Header, error) {
	h := http.Header{"User-Agent": {"gantry"}}
	for name, v := range c.Header {
		h.Set(name, v)
	}
	if c.User != "" {
		password, err := reveal("password", c.Password)
		if err != nil {
			return nil, err
		}
		r := http.Request{Header: h}
		r.SetBasicAuth(c.User, password)
	}
	if c.Token == nil {
		return h, nil
	}
	token, err := reveal("token", c.Token)
	switch {
	case err != nil:
		return nil, err
	case c.TokenHeader != "":
		h.Set(c.TokenHeader, token)
	default:
		h.Set("Authorization", "Bearer "+token)
	}
	return h, nil
}

// reveal reads a secret that goes into a header.
func reveal(key string, s Secret) (string, error) {
	secret, err := s.Reveal()
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	if text.HasControl(secret) {
		return "", fmt.Errorf("%s: the secret has a control character", key)
	}
	return secret, nil
}

// ParseURL checks the URL that configuration has at key.
func ParseURL(key, raw string, schemes ...string) (*url.URL, error) {
	allowed := schemes[0] + "://HOST[:PORT][/PATH]"
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return nil, bad(key, "is missing", allowed)
	case err != nil || u.Host == "" || u.Opaque != "" || u.Fragment != "":
		return nil, bad(key, fmt.Sprintf("%.80q is no URL of a device", raw), allowed)
	case !slices.Contains(schemes, u.Scheme):
		return nil, bad(key, fmt.Sprintf("the scheme %.20q does not do", u.Scheme), strings.Join(schemes, ", "))
	case u.User != nil:
		return nil, bad(key, "holds a user", "user and password, or token, as keys of their own")
	}
	return u, nil
}

// minSecret is the shortest secret that a device which comes to the gateway may have.
const minSecret = 8

// Key reads the secret that a device shows which comes to the gateway.
func Key(key string, s Secret) ([]byte, error) {
	secret, err := s.Reveal()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if len(secret) < minSecret {
		return nil, fmt.Errorf("%s: the secret has %d bytes; allowed: %d and more", key, len(secret), minSecret)
	}
	return []byte(secret), nil
}

// Doorkeeper knows a device that comes to the gateway by its token.
type Doorkeeper struct {
	Header string // that holds the bare token; "": Authorization, as "Bearer TOKEN"
	Query  string // parameter of the URL that may hold it as well; "": none
	Token  []byte
}

// Knows reports whether a request has the token. It takes the same time whatever the
// request has.
func (d *Doorkeeper) Knows(r *http.Request) bool {
	shown := r.Header.Get(d.Header)
	if d.Header == "" {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if strings.EqualFold(scheme, "Bearer") {
			shown = token
		}
	}
	if shown == "" && d.Query != "" {
		shown = r.URL.Query().Get(d.Query)
	}
	return Same([]byte(shown), d.Token)
}

// Same compares two secrets in a time that does not tell where they differ.
func Same(a, b []byte) bool {
	x, y := sha256.Sum256(a), sha256.Sum256(b)
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
