# drainit: see README.md. Targets install what they need (Debian or Ubuntu).

SHELL := /bin/sh
ARCH := $(shell uname -m)
DIST := dist/drainit-$(ARCH)-linux-musl
IMPORT := dist/drainit-import-$(ARCH)-linux-musl

# Sources of the binary.
SOURCES := Cargo.toml Cargo.lock LICENSE $(shell find src -name '*.rs' 2>/dev/null)

.PHONY: build dist demo lab bench test test-kubernetes clean

# A static binary with the toolchain at hand.
build: dist/drainit

dist/drainit: $(SOURCES)
	@target=$$(rustc -vV | sed -n 's/^host: //p'); \
	musl=$$(uname -m)-unknown-linux-musl; \
	if rustup target list --installed 2>/dev/null | grep -qx $$musl; then target=$$musl; fi; \
	RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" \
	    cargo build --locked --release --bin drainit --target $$target && \
	mkdir -p dist && cp target/$$target/release/drainit $@ && ls -l $@

# What users get: against musl, with std rebuilt for size, in Docker, whose layer
# cache knows whether there is anything to do.
dist:
	docker/base-images debian:trixie-slim
	docker build --tag drainit --file docker/Dockerfile .
	mkdir -p dist
	container=$$(docker create drainit) && \
	    docker cp $$container:/drainit $(DIST).new; \
	    docker cp $$container:/drainit-import $(IMPORT).new; docker rm $$container >/dev/null
	mv $(DIST).new $(DIST) && mv $(IMPORT).new $(IMPORT) && ls -l $(DIST) $(IMPORT)

demo: build
	docker/demo

# A rolling restart under load, with drainit and with what else there is; what
# VARIANTS, LAG, STOPS and the others are is said in docker/lab/lab. With IMAGE=my/app:
# what docker stop costs with that image, as it is and with drainit in front.
lab:
	docker/lab/lab

# What drainit costs beside tini-static, dumb-init and catatonit; needs root.
bench: dist
	docker/bench

test:
	tests/run

# On the cluster of kubectl's current context; see tests/kubernetes.
test-kubernetes:
	tests/kubernetes

clean:
	rm -rf dist target fuzz/target
