package interop_test

import (
	"testing"

	"gantry/wamp/interop"
)

func TestMain(m *testing.M) { interop.Main(m) }
