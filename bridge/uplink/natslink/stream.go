package natslink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"gantry/bridge/uplink"
)

// Headers of JetStream (NATS documentation, "JetStream: headers").
const (
	messageID      = nats.MsgIdHdr
	expectedStream = nats.ExpectedStreamHdr
	// noStream is no name that a stream can have: streams leave messages that expect
	// it alone, while subscribers get them.
	noStream = "live.copy"
)

// Error codes of JetStream (nats-server, server/errors.json).
const (
	errCodeMessageTooLarge = 10054
	errCodeHeaderTooLarge  = 10097
	errCodeNotFound        = 10059
	errCodeNotMatching     = 10060
	errCodeExists          = 10058
)

// apiError is how JetStream says no.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// Error returns the description, with the number by which it is found in NATS's
// documentation.
func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// verdict reads the answer to an event on a subject: nil when a stream has it, a
// *Refusal when none ever will, and any other error for what may pass.
func verdict(m *nats.Msg, subject string) error {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return fmt.Errorf("no stream keeps %s: create one with this subject (nats stream add), name one to be created in nats.stream, or leave the class out of forward", subject)
	}
	var ack struct {
		Stream string    `json:"stream"`
		Seq    uint64    `json:"seq"`
		Error  *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil || ack.Error == nil && (ack.Stream == "" || ack.Seq == 0) {
		return fmt.Errorf("what answers on %s is no stream", subject)
	}
	switch e := ack.Error; {
	case e == nil:
		return nil
	case e.ErrCode == errCodeMessageTooLarge, e.ErrCode == errCodeHeaderTooLarge:
		return &uplink.Refusal{Cause: e, Settled: true}
	case e.ErrCode == errCodeNotMatching:
		return fmt.Errorf("another stream than nats.stream keeps %s: %w", subject, e)
	default:
		return fmt.Errorf("the stream does not take %s now: %w", subject, e)
	}
}

// streamConfig is the configuration of a stream (NATS documentation, "JetStream wire
// API reference", io.nats.jetstream.api.v1.stream_create_request).
type streamConfig struct {
	Name       string        `json:"name"`
	Subjects   []string      `json:"subjects"`
	Retention  string        `json:"retention"`
	Storage    string        `json:"storage"`
	Discard    string        `json:"discard"`
	MaxBytes   int64         `json:"max_bytes"`
	MaxMsgs    int64         `json:"max_msgs"`
	MaxAge     time.Duration `json:"max_age"`
	MaxSize    int32         `json:"max_msg_size"`
	Replicas   int           `json:"num_replicas"`
	Duplicates time.Duration `json:"duplicate_window"`
	Consumers  int           `json:"max_consumers"`
}

// newStream returns the configuration of a stream that does not exist.
func newStream(n uplink.NATS) streamConfig {
	c := streamConfig{
		Name: n.Stream, Subjects: n.Subjects, Retention: "limits", Storage: n.Storage, Discard: "old",
		MaxBytes: -1, MaxMsgs: -1, MaxSize: -1, Consumers: -1, MaxAge: n.MaxAge, Replicas: n.Replicas, Duplicates: n.Duplicates,
	}
	if n.MaxBytes > 0 {
		c.MaxBytes = n.MaxBytes
	}
	if n.OnFull == "reject-new" {
		c.Discard = "new"
	}
	return c
}

// findStream looks for the stream, and makes it if it may.
func (c *conn) findStream(ctx context.Context) error {
	n := c.sink.cfg.NATS
	found, err := c.api(ctx, "STREAM.INFO."+n.Stream, nil)
	var e *apiError
	if errors.As(err, &e) && e.ErrCode == errCodeNotFound && n.Create {
		found, err = c.api(ctx, "STREAM.CREATE."+n.Stream, newStream(n))
		if errors.As(err, &e) && e.ErrCode == errCodeExists { // another gateway was faster
			found, err = c.api(ctx, "STREAM.INFO."+n.Stream, nil)
		} else if err == nil {
			c.sink.log.Info("stream created", "stream", n.Stream, "subjects", n.Subjects)
		}
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", n.Stream, err)
	}
	for _, s := range found.Subjects {
		for _, prefix := range c.sink.cfg.Commands.Prefixes() {
			if uplink.SubjectCovers(s, strings.TrimSuffix(string(prefix), ".")) {
				c.sink.rare.Warn("the stream keeps calls as well, and answers callers in place of the gateway", "stream", n.Stream, "subject", s)
			}
		}
	}
	return nil
}

// api asks JetStream and returns the stream's configuration.
func (c *conn) api(ctx context.Context, what string, question any) (streamConfig, error) {
	var body []byte
	if question != nil {
		var err error
		if body, err = json.Marshal(question); err != nil {
			return streamConfig{}, err
		}
	}
	m, err := c.nc.RequestWithContext(ctx, "$JS.API."+what, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return streamConfig{}, errors.New("the server has no JetStream for this user")
	case err != nil:
		return streamConfig{}, c.why(err)
	}
	var answer struct {
		Config streamConfig `json:"config"`
		Error  *apiError    `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return streamConfig{}, fmt.Errorf("JetStream's answer cannot be read: %w", err)
	}
	if answer.Error != nil {
		return streamConfig{}, answer.Error
	}
	return answer.Config, nil
}
