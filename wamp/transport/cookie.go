package transport

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"net/http"
	"time"
)

// CookieConfig has a Server recognize browsers: a WebSocket or long-poll client
// that has no cookie yet is given one, a random number, and what is known of it is
// in PeerInfo.Cookie. The zero value gives and reads none.
type CookieConfig struct {
	// Name of the cookie; "" = none. Over TLS "__Host-" is put before it, which keeps
	// other hosts and unencrypted pages from setting it.
	Name string
	// MaxAge is how long browsers keep it. 0 = until they are closed.
	MaxAge time.Duration
}

// cookieBytes is the length of the random number.
const cookieBytes = 20

var cookieText = base32.StdEncoding.WithPadding(base32.NoPadding)

func (c *CookieConfig) check() error {
	if c.Name != "" && (&http.Cookie{Name: c.Name}).Valid() != nil {
		return errors.New("the name of the cookie is not one that HTTP allows")
	}
	return nil
}

// recognize returns PeerInfo.Cookie for the client of a request. A client without
// a cookie gets one with the answer.
func (c *CookieConfig) recognize(w http.ResponseWriter, r *http.Request) string {
	if c.Name == "" {
		return ""
	}
	name := c.Name
	if r.TLS != nil {
		name = "__Host-" + name
	}
	for _, cookie := range r.CookiesNamed(name) {
		if b, err := cookieText.DecodeString(cookie.Value); err == nil && len(b) == cookieBytes {
			return cookieID(cookie.Value)
		}
	}
	var b [cookieBytes]byte
	_, _ = rand.Read(b[:]) // never fails
	value := cookieText.EncodeToString(b[:])
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(c.MaxAge / time.Second),
		// Pages of other sites do not send it, scripts do not see it.
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
	return cookieID(value)
}

// cookieID tells a cookie without giving it away.
func cookieID(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:16])
}
