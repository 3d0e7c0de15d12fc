// Package config reads the gateway's configuration: gantry.toml and one file
// for each device in devices.d. It only assembles and reports: every room owns
// its Config and validates it, and this package adds to each complaint the file,
// the line, the key and what is allowed.
//
// Everything that is wrong is reported, not only the first fault. A fault in a
// device's table stops that device only.
package config
