# What people and CI run. The scripts behind the targets are in .ci/.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
export VERSION

.PHONY: build run test lint cross deb firmware fuzz bench bench-peers soak crash guest clean
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

firmware:
	.ci/packages make gcc-avr avr-libc gcc-arm-none-eabi
	$(MAKE) -C firmware/nodes

fuzz:
	.ci/fuzz 30s

bench: build
	.ci/bench

bench-peers:
	.ci/bench-peers

soak:
	.ci/soak

crash:
	.ci/crash

guest:
	go run ./.ci/guest

clean:
	rm -rf bin dist .tmp
