// Package node finds and drives boards that say what they are: each announces its
// serial number, points and actions by the protocol of docs/node-protocol.md, which
// the reference firmware in firmware/nodes speaks.
//
// The finder (finder.go) opens the ports that its configuration allows, asks who is
// there and keeps the connection (session.go) for as long as the board is plugged
// in. A driver (driver.go) is one board, whatever port it is at: it waits for the
// board's session and joins it. wire.go and message.go are the bytes.
package node
