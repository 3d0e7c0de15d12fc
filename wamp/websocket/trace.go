package websocket

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// TraceEvent is something that passed on the wire: octets or a frame.
type TraceEvent struct {
	Sent   bool         // by this side
	Frame  *FrameHeader // a frame of which the header has passed; nil for octets
	Octets []byte       // as on the wire, masked and compressed; valid during the call
}

// String returns the event as one line, octets in hexadecimal.
func (e TraceEvent) String() string {
	way := "<"
	if e.Sent {
		way = ">"
	}
	if e.Frame == nil {
		return way + " " + hex.EncodeToString(e.Octets)
	}
	return way + " " + e.Frame.String()
}

// String returns the header in words.
func (h *FrameHeader) String() string {
	names := map[Opcode]string{0: "continuation", Text: "text", Binary: "binary", Close: "close", Ping: "ping", Pong: "pong"}
	op := h.Opcode & 0x0F
	name, ok := names[op]
	if !ok {
		name = fmt.Sprintf("opcode %d", op)
	}
	s := fmt.Sprintf("%s, %d bytes", name, h.Length)
	if h.Opcode&Deflated != 0 {
		s += ", compressed"
	}
	if h.Masked {
		s += ", masked"
	}
	if !h.Final {
		s += ", more to come"
	}
	return s
}

// TraceTo returns a Config.Trace that writes a line to w for each frame, and with
// octets one for each piece of the wire as well. It does not write two at once.
func TraceTo(w io.Writer, octets bool) func(TraceEvent) {
	var mu sync.Mutex // keeps lines whole
	return func(e TraceEvent) {
		if e.Frame == nil && !octets {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		// There is nobody to tell that a trace cannot be written.
		_, _ = fmt.Fprintln(w, e)
	}
}

// TraceLog returns a Config.Trace that logs frames at level Debug.
func TraceLog(log *slog.Logger) func(TraceEvent) {
	return func(e TraceEvent) {
		if e.Frame == nil || !log.Enabled(context.Background(), slog.LevelDebug) {
			return
		}
		log.Debug("websocket frame", "sent", e.Sent, "frame", e.Frame.String())
	}
}
