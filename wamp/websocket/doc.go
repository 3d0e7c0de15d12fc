// Package websocket is plain WebSocket (RFC 6455), client and server, on
// gorilla/websocket. It knows nothing of what the messages mean.
//
// A server is an [http.Handler]: a [Server] accepts or refuses handshakes and hands
// each connection to a function; [Serve] runs one, or an [http.ServeMux] with
// several beside files, until a context ends. A client is a [Dialer]. Both have a
// [Config] in them with limits and deadlines, and both yield a [Conn], which is
// used at one of three levels, alike for sending and for receiving:
//
//   - messages: [Conn.Read] and [Conn.Write], or a [Handler] and [Conn.Run], which
//     calls it at open, message, ping, pong and close;
//   - frames of a message: [MessageReader.NextFrame] and [MessageWriter.WriteFrame];
//   - streams: [Conn.Reader] and [Conn.Writer] for messages that need not fit into
//     memory.
//
// Conn.Read and Conn.Write take no context, which would cost more than they do:
// their time is bounded by the Config, and a context is given to what goes on for
// long or waits for others, such as [Serve], [Conn.Run] and [Conn.Ping].
//
// [Listen] and [Dialer.Dial] take a URL with TCP or a Unix socket, with TLS or
// without; see [URL].
//
// # What the library does and what this package does
//
// gorilla/websocket does the handshakes, and takes frames apart, unmasks and
// inflates. This package sends frames itself, since the library fragments only
// where a buffer happens to end, and looks at what arrives before the library does,
// for what that overlooks: frame limits, reserved bits on control frames and
// continuations, close frames with half a code, lengths not in their shortest form,
// and text that goes wrong before its end. Errors that the other side causes are
// *[CloseError], *[ProtocolError] and [ErrTooBig].
//
// # Compression
//
// permessage-deflate (RFC 7692) is off unless [Config.Deflate] is set: for small
// messages it costs more than everything else together. What the library cannot do:
//
//   - It takes no context over from one message to the next, in either direction. A
//     client asks for server_no_context_takeover, and refuses an answer without; a
//     server answers with it and client_no_context_takeover, which every client has
//     to accept.
//   - Its compressor has one window, the largest. Where server_max_window_bits or
//     client_max_window_bits asks for a smaller one, messages are compressed by
//     Huffman codes alone, which refer to nothing: they fit any window and save less.
//     Whatever window the other side has is inflated.
//
// [Server.AcceptDeflate] decides on offers, [Config.DeflateFrom] and
// [WriteOptions.Plain] on messages. MaxMessage bounds what a message inflates to.
//
// # Beneath
//
// [Config.Wrap] and the frame functions let a caller take over the sending side
// beneath the connection; package transport does so to batch frames.
package websocket
