package conformance

// Endpoint says what is judged. The zero value is an endpoint that echoes every
// message, of 1 MiB at most, at path "/".
type Endpoint struct {
	// Path and Subprotocol are asked for in a raw client's handshake, and
	// Subprotocol is agreed on in a raw server's.
	Path, Subprotocol string
	// Limit is the largest message in octets that is taken, 600,000 or more; 0 means
	// 1 MiB.
	Limit int

	// Wrap, if not nil, makes a message of the parts of its content, and Unwrap
	// returns the content of the message that is its echo: for an endpoint that
	// speaks a protocol of its own. The first part of the result carries what stands
	// before the content, the last one what stands behind it. An empty content may
	// become any message.
	Wrap   func(op byte, parts [][]byte) [][]byte
	Unwrap func(op byte, message []byte) ([]byte, error)
	// Only, if not 0, is the one type of message that is taken: 1 for text, 2 for
	// binary.
	Only byte
	// Greet, if not nil, is sent after the handshake as messages, each of which is
	// answered by one message.
	Greet [][]byte
	// Farewell says that messages may come before the close frame.
	Farewell bool
	// Patient says that text is judged as a whole, not as it arrives.
	Patient bool
}

func (e Endpoint) limit() int {
	if e.Limit == 0 {
		return 1 << 20
	}
	return e.Limit
}

// wrap returns the payloads of a message's parts.
func (e Endpoint) wrap(op byte, parts [][]byte) [][]byte {
	if e.Wrap == nil {
		return parts
	}
	return e.Wrap(op, parts)
}

// takes reports whether messages of a type are taken.
func (e Endpoint) takes(op byte) bool { return e.Only == 0 || e.Only == op }
