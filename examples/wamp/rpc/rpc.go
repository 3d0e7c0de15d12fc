// Package rpc shows how to register procedures and to call them. Each file is an
// example of its own; the callee is the backend, the caller the frontend.
//
//	go run ./examples/wamp rpc/errors                                        in one process
//	go run ./examples/wamp --url ws://127.0.0.1:8080/ws rpc/errors           at a router
//	go run ./examples/wamp --url ws://127.0.0.1:8080/ws rpc/errors backend   one side only
package rpc
