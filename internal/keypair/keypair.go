// Package keypair follows the files of a TLS certificate, which can be renewed without
// a restart.
package keypair

import (
	"crypto/tls"
	"os"
	"sync"
	"time"
)

// Pair is a certificate and its key, read again when their files change. It is safe
// for concurrent use.
type Pair struct {
	cert, key string

	mu      sync.Mutex // guards what follows
	pair    *tls.Certificate
	changed [2]time.Time // of the files, when pair was read
	looked  time.Time
}

// New returns the pair of two PEM files. It reads nothing: Get does.
func New(cert, key string) *Pair { return &Pair{cert: cert, key: key} }

// fresh is how long the files are not looked at again.
const fresh = 2 * time.Second

// Get returns the present certificate. A pair of files that cannot be read, as
// while they are being replaced, leaves the old one in use. It fits
// tls.Config.GetCertificate.
func (k *Pair) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pair != nil && time.Since(k.looked) < fresh {
		return k.pair, nil
	}
	var now [2]time.Time
	for i, file := range []string{k.cert, k.key} {
		if info, err := os.Stat(file); err == nil {
			now[i] = info.ModTime()
		}
	}
	k.looked = time.Now()
	if k.pair != nil && now == k.changed {
		return k.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(k.cert, k.key)
	if err != nil {
		if k.pair != nil {
			return k.pair, nil
		}
		return nil, err
	}
	k.pair, k.changed = &pair, now
	return k.pair, nil
}
