//go:build !linux

package broker

// Prompt does nothing: only Linux has TCP_QUICKACK.
func (g *Guard) Prompt() {}
