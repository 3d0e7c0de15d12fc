// Package httplink is the far world of web servers, for uplinks: events go up as
// batches by POST. Nothing comes down: there are no calls.
package httplink

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"gantry/bridge"
	"gantry/bridge/uplink"
	"gantry/wamp"
)

const (
	// requestTimeout bounds one request with its answer: a server that is gone is
	// noticed within it.
	requestTimeout = 10 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 64 << 10
)

// Config says which server.
type Config struct {
	// URL is where batches are posted to.
	URL string
	// User and Password are those of basic authentication; a Password alone is a
	// bearer token.
	User     string
	Password bridge.Secret
	// TLS says whom to trust; nil = the system's certificates.
	TLS *tls.Config
	// Stream begins every idempotency key: another one for every queue that ever was.
	Stream string
}

// Sink is a server. It implements uplink.Sink.
type Sink struct {
	cfg Config
	log *slog.Logger
}

var _ uplink.Sink = (*Sink)(nil)

// New checks cfg and connects nowhere. A nil log discards.
func New(cfg Config, log *slog.Logger) (*Sink, error) {
	if cfg.URL == "" || cfg.Stream == "" {
		return nil, errors.New("httplink: URL and stream are required")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Sink{cfg, log}, nil
}

// conn is a run of requests without a failure. It implements uplink.Conn.
type conn struct {
	sink   *Sink
	client *http.Client
	ctx    context.Context // its cause says why it has ended
	end    context.CancelCauseFunc
	mu     sync.Mutex // one request at a time, so that batches come in order
}

// Connect asks the server by HEAD whether it is there: any answer will do.
func (s *Sink) Connect(ctx context.Context) (uplink.Conn, error) {
	c := &conn{sink: s, client: &http.Client{
		Transport:     &http.Transport{TLSClientConfig: s.cfg.TLS, ForceAttemptHTTP2: true, MaxIdleConns: 1, ResponseHeaderTimeout: requestTimeout, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       requestTimeout,
	}}
	c.ctx, c.end = context.WithCancelCause(context.WithoutCancel(ctx))
	if _, err := c.do(ctx, http.MethodHead, nil, ""); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Done implements uplink.Conn.
func (c *conn) Done() <-chan struct{} { return c.ctx.Done() }

// Err implements uplink.Conn.
func (c *conn) Err() error { return context.Cause(c.ctx) }

// Close implements uplink.Conn.
func (c *conn) Close() {
	c.end(context.Canceled)
	c.client.CloseIdleConnections()
}

// Send posts a batch and waits for the answer. A batch that is refused is posted
// again event by event, which finds the one that is to blame; those behind it on its topic are
// not.
func (c *conn) Send(ctx context.Context, events []uplink.Event, answered func(int, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	bodies := make([][]byte, 0, len(events))
	of := make([]int, 0, len(events)) // index of each body's event
	for i := range events {
		b, err := events[i].AppendJSON(nil)
		if err != nil {
			answered(i, &uplink.Refusal{Cause: err, Hopeless: true})
			continue
		}
		bodies, of = append(bodies, b), append(of, i)
	}
	if len(of) == 0 {
		return nil
	}
	refused, err := c.post(ctx, bodies, &events[of[0]], &events[of[len(of)-1]])
	if err != nil {
		return err
	}
	barred := map[wamp.URI]bool{} // topics on which an event has been refused
	for n, i := range of {
		why := refused
		switch {
		case barred[events[i].Topic]:
			answered(i, uplink.ErrBehind)
			continue
		case refused != nil && len(of) > 1:
			if why, err = c.post(ctx, bodies[n:n+1], &events[i], &events[i]); err != nil {
				return err
			}
		}
		barred[events[i].Topic] = why != nil
		answered(i, why)
	}
	return nil
}

// post posts bodies as a JSON array. refused is why the server will not have it, err
// why it could not be asked.
func (c *conn) post(ctx context.Context, bodies [][]byte, first, last *uplink.Event) (refused, err error) {
	body := append(append([]byte("["), bytes.Join(bodies, []byte(",\n"))...), ']')
	key := fmt.Sprintf("%s/%d.%d-%d.%d", c.sink.cfg.Stream+first.Lane, first.Epoch, first.Seq, last.Epoch, last.Seq)
	if first.Live {
		key = "" // sent once only
	}
	status, err := c.do(ctx, http.MethodPost, body, key)
	switch {
	case err != nil:
		return nil, err
	case status/100 == 2:
		return nil, nil
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge, status == http.StatusUnprocessableEntity:
		return &uplink.Refusal{Cause: fmt.Errorf("the server answers %d %s", status, http.StatusText(status)), Settled: true}, nil
	}
	return nil, fmt.Errorf("the server answers %d %s", status, http.StatusText(status))
}

// do makes a request and returns the status of the answer.
func (c *conn) do(ctx context.Context, method string, body []byte, key string) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, method, c.sink.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("User-Agent", "gantry")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", `"`+key+`"`)
	}
	if c.sink.cfg.Password != nil {
		password, err := c.sink.cfg.Password.Reveal()
		if err != nil {
			return 0, err
		}
		if c.sink.cfg.User != "" {
			r.SetBasicAuth(c.sink.cfg.User, password)
		} else {
			r.Header.Set("Authorization", "Bearer "+password)
		}
	}
	answer, err := c.client.Do(r)
	if err != nil {
		return 0, err
	}
	// The connection can be used again once the answer has been read.
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer)
	return answer.StatusCode, answer.Body.Close()
}
