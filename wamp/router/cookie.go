package router

import (
	"sync"
	"time"

	"gantry/wamp"
)

// CookieConfig lets those who have logged in join again by their browser's cookie
// (authmethod "cookie"), see PeerInfo.Cookie. The zero value does not.
type CookieConfig struct {
	// MaxAge is how long after the login; 0 = never.
	MaxAge time.Duration
	// Max bounds how many are remembered; the oldest make room. Default 4096.
	Max int
}

// methodCookie is authentication by an earlier login of the same browser. The
// specification does not define it; the name is Crossbar's.
const methodCookie = "cookie"

// logins remembers who has logged in with which cookie.
type logins struct {
	cfg CookieConfig

	mu    sync.Mutex // guards what follows
	known map[loginKey]login
}

type loginKey struct {
	cookie string
	realm  wamp.URI
}

type login struct {
	identity Identity
	at       time.Time
}

func newLogins(cfg CookieConfig) *logins {
	if cfg.Max == 0 {
		cfg.Max = 4096
	}
	return &logins{cfg: cfg, known: map[loginKey]login{}}
}

// usable reports whether a peer's cookie proves anything: who reads the network
// knows it, unless the connection is encrypted or does not leave the machine.
func (l *logins) usable(p *wamp.PeerInfo) bool {
	return l.cfg.MaxAge > 0 && p.Cookie != "" && (p.Encrypted || p.Local)
}

func (l *logins) find(p *wamp.PeerInfo, realm wamp.URI, now time.Time) (Identity, bool) {
	if !l.usable(p) {
		return Identity{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := loginKey{p.Cookie, realm}
	was, ok := l.known[k]
	if ok && now.Sub(was.at) >= l.cfg.MaxAge {
		delete(l.known, k)
		ok = false
	}
	return was.identity, ok
}

// remember keeps who has just proved to be id. The peer's cookie is usable.
func (l *logins) remember(p *wamp.PeerInfo, realm wamp.URI, id Identity, now time.Time) {
	id.Extra = nil
	l.mu.Lock()
	defer l.mu.Unlock()
	k := loginKey{p.Cookie, realm}
	if _, again := l.known[k]; !again && len(l.known) >= l.cfg.Max {
		l.evict()
	}
	l.known[k] = login{id, now}
}

// evict forgets the oldest login. It looks through all, which a login, that takes
// thousands of times as long, can afford.
func (l *logins) evict() {
	var oldest loginKey
	var at time.Time
	for k, v := range l.known {
		if at.IsZero() || v.at.Before(at) {
			oldest, at = k, v.at
		}
	}
	delete(l.known, oldest)
}

func (l *logins) forget(cookie string, realm wamp.URI) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.known, loginKey{cookie, realm})
}
