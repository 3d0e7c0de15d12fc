package http

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	nethttp "net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/text"
	"gantry/drivers/internal/web"
	"gantry/internal/ratelog"
)

// HookConfig says what a device posts to the gateway, at /hook/DEVICE, and how it is
// known.
type HookConfig struct {
	Secret    web.Secret      `toml:"secret"`    // at least 8 bytes
	Header    string          `toml:"header"`    // header that holds the bare secret; default: Authorization, as "Bearer SECRET"
	Query     string          `toml:"query"`     // parameter of the URL that may hold the secret as well, for devices that know nothing but a URL
	Signature SignatureConfig `toml:"signature"` // the device signs the body in place of showing the secret
	Rate      float64         `toml:"rate"`      // posts a second, on average; 0.01 to 1000, default 20
	Form      bool            `toml:"form"`      // fields are those of a form, or of the URL
	Parse     text.Config     `toml:"parse"`     // otherwise: how the body is taken apart; none: all of it is the value
}

// SignatureConfig says where a signature of the body is, made by HMAC-SHA256 with the
// secret as its key.
type SignatureConfig struct {
	Header   string `toml:"header"`   // "": none
	Prefix   string `toml:"prefix"`   // before the signature: "sha256="
	Encoding string `toml:"encoding"` // hex (default), base64
}

const (
	defaultRate = 20
	minRate     = 0.01
	maxRate     = 1000
	// maxPost bounds a post in bytes: anybody may send one, and one that is signed has to be
	// there before it is known whose it is.
	maxPost = 65536
	// maxPosts is how many posts of a device wait for the hub at a time.
	maxPosts = 8
)

// hookPlan is a HookConfig that has been checked.
type hookPlan struct {
	cfg  HookConfig
	form bool
	rate float64
}

func newHookPlan(c *HookConfig) (*hookPlan, error) {
	h := &hookPlan{cfg: *c, form: c.Form, rate: c.Rate}
	if h.rate == 0 {
		h.rate = defaultRate
	}
	s := c.Signature
	switch {
	case c.Secret == nil:
		return nil, bad("hook.secret", `"env:NAME" or "file:PATH"`, "is missing")
	case !(h.rate >= minRate && h.rate <= maxRate):
		return nil, bad("hook.rate", fmt.Sprintf("%g to %d a second", minRate, maxRate), "%g is out of range", c.Rate)
	case s.Header == "" && (s.Prefix != "" || s.Encoding != ""):
		return nil, bad("hook.signature.header", `the name of a header, such as "X-Hub-Signature-256"`, "is missing")
	case s.Encoding != "" && s.Encoding != "hex" && s.Encoding != "base64":
		return nil, bad("hook.signature.encoding", "hex, base64", "%.20q is unknown", s.Encoding)
	case s.Header != "" && (c.Header != "" || c.Query != ""):
		return nil, bad("hook.signature", "one of the two", "does not go with header and query, which show the secret")
	case c.Form && (c.Parse.Regex != "" || c.Parse.JSON || len(c.Parse.CSV) > 0):
		return nil, bad("hook.form", "one of form and parse", "does not go with parse")
	}
	if err := web.CheckHeader("hook.header", c.Header); err != nil {
		return nil, err
	}
	return h, web.CheckHeader("hook.signature.header", s.Header)
}

// receiver answers what a device posts during one run.
type receiver struct {
	*source
	d     *Driver
	link  drivers.Link
	door  web.Doorkeeper
	rate  limiter
	turns chan struct{} // holds one token for each post that waits for the hub
	log   *ratelog.Log
	fault chan error // capacity 1: a panic, which ends the run; more than one are one

	up sync.Once
}

// receive has the gateway hand over what is posted, until leave is called. What comes
// from fault ends the run.
func (d *Driver) receive(s *source, link drivers.Link) (fault <-chan error, leave func(), err error) {
	if d.env.Mount == nil {
		return nil, nil, errors.New("hook: there is no port that the device could post to")
	}
	key, err := web.Key("hook.secret", s.hook.cfg.Secret)
	if err != nil {
		return nil, nil, err
	}
	r := &receiver{source: s, d: d, link: link, turns: make(chan struct{}, maxPosts),
		door: web.Doorkeeper{Header: s.hook.cfg.Header, Query: s.hook.cfg.Query, Token: key},
		rate: limiter{rate: s.hook.rate}, log: ratelog.New(d.env.Log, time.Minute, d.env.Now),
		fault: make(chan error, 1)}
	leave, err = d.env.Mount("/hook/"+d.env.Device, r)
	return r.fault, leave, err
}

// ServeHTTP answers one post.
func (r *receiver) ServeHTTP(w nethttp.ResponseWriter, req *nethttp.Request) {
	status, say := nethttp.StatusInternalServerError, "the driver has failed"
	if err := drivers.Contain(func() error { status, say = r.serve(w, req); return nil }); err != nil {
		select {
		case r.fault <- err:
		default:
		}
	}
	h := w.Header()
	h.Set("Content-Type", typeText)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	switch status {
	case nethttp.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
		r.log.Warn("hook refused: the secret or the signature is wrong", "remote", req.RemoteAddr, "hint", "the device and hook.secret must agree")
	case nethttp.StatusTooManyRequests, nethttp.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	case nethttp.StatusMethodNotAllowed:
		h.Set("Allow", strings.Join(r.methods(), ", "))
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, say+"\n") // a device that is gone needs no answer
}

// methods are those that a device may post by.
func (r *receiver) methods() []string {
	if r.hook.form {
		return []string{nethttp.MethodPost, nethttp.MethodPut, nethttp.MethodGet}
	}
	return []string{nethttp.MethodPost, nethttp.MethodPut}
}

func (r *receiver) serve(w nethttp.ResponseWriter, req *nethttp.Request) (status int, say string) {
	if !slices.Contains(r.methods(), req.Method) {
		return nethttp.StatusMethodNotAllowed, "this method does not do"
	}
	signed := r.hook.cfg.Signature.Header != ""
	if !signed && !r.door.Knows(req) {
		return nethttp.StatusUnauthorized, "who are you?"
	}
	most := min(r.d.plan.maxBody, maxPost)
	body, err := io.ReadAll(nethttp.MaxBytesReader(w, req.Body, most))
	var long *nethttp.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nethttp.StatusRequestEntityTooLarge, fmt.Sprintf("more than %d bytes", most)
	case err != nil:
		return nethttp.StatusBadRequest, "the body is not complete"
	case signed && !r.signed(req, body):
		return nethttp.StatusUnauthorized, "who are you?"
	case !r.rate.allow(r.d.env.Now()):
		return nethttp.StatusTooManyRequests, fmt.Sprintf("more than hook.rate = %g a second", r.hook.rate)
	}
	select {
	case r.turns <- struct{}{}:
		defer func() { <-r.turns }()
	default:
		return nethttp.StatusServiceUnavailable, "busy"
	}
	_, leave, err := r.d.gate.Enter(context.WithoutCancel(req.Context()))
	if err != nil {
		return nethttp.StatusServiceUnavailable, "the device is being stopped"
	}
	defer leave()
	return r.take(req, body)
}

// signed reports whether the body has been signed by who knows the secret.
func (r *receiver) signed(req *nethttp.Request, body []byte) bool {
	s := r.hook.cfg.Signature
	shown, ok := strings.CutPrefix(req.Header.Get(s.Header), s.Prefix)
	if !ok {
		return false
	}
	decode := hex.DecodeString
	if s.Encoding == "base64" {
		decode = base64.StdEncoding.DecodeString
	}
	got, err := decode(shown)
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, r.door.Token)
	mac.Write(body)
	return hmac.Equal(got, mac.Sum(nil))
}

// take makes readings of what a device that is known has posted.
func (r *receiver) take(req *nethttp.Request, body []byte) (status int, say string) {
	fields, why := r.fields(req, body)
	if why != "" {
		r.link.Garbage(why, body[:min(len(body), excerpt)])
		return nethttp.StatusBadRequest, why
	}
	r.up.Do(r.comesUp)
	now := r.d.env.Now()
	found, wrong := false, []string(nil)
	for _, p := range r.d.plan.points {
		if p.source != r.source || p.slot >= 0 && fields[p.slot].Kind == text.Absent {
			continue
		}
		found = true
		reading := p.reading(answer{body: body}, fields, "", now)
		if reading.Why != "" {
			wrong = append(wrong, p.id+": "+reading.Why)
		}
		r.link.Emit(reading)
	}
	switch {
	case !found:
		r.link.Garbage(text.WhyField, body[:min(len(body), excerpt)])
		return nethttp.StatusUnprocessableEntity, text.WhyField
	case len(wrong) > 0:
		return nethttp.StatusUnprocessableEntity, strings.Join(wrong, ", ")
	}
	return nethttp.StatusOK, "ok"
}

// comesUp says that the device is there, unless that is told by its answers.
func (r *receiver) comesUp() {
	if r.d.dev.Load() == nil {
		r.link.Up()
	}
}

// fields takes a post apart.
func (r *receiver) fields(req *nethttp.Request, body []byte) (fields []text.Field, why string) {
	if !r.hook.form {
		return r.source.take(answer{body: body})
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, "not_a_form"
	}
	if r.hook.cfg.Signature.Header == "" { // which the URL is not part of
		query, err := url.ParseQuery(req.URL.RawQuery)
		if err != nil {
			return nil, "not_a_form"
		}
		for name, v := range query {
			form[name] = append(form[name], v...)
		}
	}
	fields = make([]text.Field, len(r.source.fields))
	for slot, name := range r.source.fields {
		if form.Has(name) {
			fields[slot] = text.Field{Kind: text.Words, Text: form.Get(name)}
		}
	}
	return fields, ""
}

// limiter bounds posts to a rate, with a burst of two seconds' worth.
type limiter struct {
	rate float64 // a second

	mu   sync.Mutex // guards what follows
	left float64    // posts that may come at once
	last time.Time
}

func (l *limiter) allow(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := math.Max(1, 2*l.rate)
	if l.last.IsZero() {
		l.left = most
	} else if since := now.Sub(l.last); since > 0 { // a clock that was set back gives nothing
		l.left = math.Min(most, l.left+l.rate*since.Seconds())
	}
	l.last = now
	if l.left < 1 {
		return false
	}
	l.left--
	return true
}
