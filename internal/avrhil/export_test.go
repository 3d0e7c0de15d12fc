package avrhil

// Run is run.
var Run = run
