// Package pubsub shows how to publish and to subscribe. Each file is an example of
// its own; of each, the side that waits for the other is called backend.
//
//	go run ./examples/wamp pubsub/basic                                        in one process
//	go run ./examples/wamp --url ws://127.0.0.1:8080/ws pubsub/basic           at a router
//	go run ./examples/wamp --url ws://127.0.0.1:8080/ws pubsub/basic backend   one side only
package pubsub
