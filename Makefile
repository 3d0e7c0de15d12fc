# What people and CI run. The scripts behind the targets are in .ci/.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
export VERSION

.PHONY: build run test lint cross deb fuzz bench bench-peers clean
build:
	.ci/build bin/gantry

run: build
	exec bin/gantry run --config examples/demo --state .tmp/demo-state

test:
	.ci/test

lint:
	.ci/lint

cross:
	.ci/cross

deb:
	.ci/deb

fuzz:
	.ci/fuzz 30s

bench: build
	.ci/bench

bench-peers:
	.ci/bench-peers

clean:
	rm -rf bin dist .tmp
