// Package transport carries WAMP messages: over WebSocket, over RawSocket (TCP
// and Unix sockets), in HTTP requests (long-poll) and, inside the process, through
// a pipe. Every connection becomes a [wamp.Peer]. [Server] serves all network transports on one listener,
// [Dial] opens them by URL, and [Pipe] returns two peers joined in memory.
//
// # How bytes leave
//
// Each connection has one bounded queue. A send encodes the message into the
// queue's last buffer, frame header included, and never waits for the network;
// one writer at a time drains everything that is queued with one system call.
// A receiver that does not keep up therefore costs its own queue and nothing
// else, and a burst of messages costs one write.
//
// The writer is nobody's goroutine while there is nothing to write. On a Server
// the goroutines that receive write what they have caused to be queued just
// before they block for more input (see turns), so that a request is read,
// routed and answered without switching goroutines. Everything else is drained
// by a goroutine that is started for the purpose and ends with the queue.
//
// A queue of WebSocket may put several messages into one frame
// ([Options.Batched]): what comes joins the last frame until that is written. With
// long-poll the queue waits for a request of the client to carry it.
//
// # How connections begin
//
// The goroutine that has accepted a connection reads its first bytes. RawSocket
// and plain WebSocket requests it answers itself, and goes on to log the client
// in; a session then has a goroutine of its own whose stack is small. Every other
// request goes to the HTTP server of the standard library, what has been read of
// it put back.
//
// # How bytes arrive
//
// An idle connection holds no read buffer: the goroutine that receives borrows
// one when there is something to read. Lengths are checked before memory is
// taken, and memory grows with the bytes that have arrived, not with what a
// header promises.
package transport
