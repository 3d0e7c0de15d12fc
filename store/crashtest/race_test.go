//go:build race

package crashtest

const underRace = true
