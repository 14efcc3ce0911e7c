# What people do with this project. Each line does what its comment says and installs what it needs.

NPM := $(shell command -v npm)
BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
# What root may install: Debian's packages.
DEBIAN := $(shell [ "$$(id -u)" = 0 ] && command -v apt-get)
TOOLS := target/tools/bin
WEB := web/dist/index.html.gz

.PHONY: run test faults check bench web clients browser

# Serve on http://127.0.0.1:8000/, with the file duologue.db. FLAGS="--listen …" for other settings.
run: web
	cargo run -- serve $(FLAGS)

# All tests: on SQLite and on a throwaway PostgreSQL server, each on an open server and where everybody signs in.
test: web clients browser
	cargo test
	DUOLOGUE_TEST_SIGNED_IN=1 cargo test --test api
	tests/with-postgres cargo test --test api
	DUOLOGUE_TEST_SIGNED_IN=1 tests/with-postgres cargo test --test api

# The tests of crashes, power cuts, failing disks, outages and crowds, in full: `make test` has them with smaller numbers.
FAULTS := crashes:: upgrades:: damage:: storage:: backups:: outages:: overload:: stalls:: connections:: sockets:: endurance::
faults: export DUOLOGUE_TEST_FAULTS := long
faults:
	cargo test --test api -- --test-threads=1 $(FAULTS)
	tests/with-postgres cargo test --test api -- --test-threads=1 $(FAULTS)

# What a change must pass besides its tests.
check: $(TOOLS)/typos $(TOOLS)/cargo-deny
	cargo fmt --check
	cargo clippy --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --no-deps --document-private-items
	$(TOOLS)/typos
	cargo run --quiet -- schema | diff schema.graphql -
	$(TOOLS)/cargo-deny --log-level error check bans licenses sources
	$(TOOLS)/cargo-deny --log-level error check advisories

# What pages, sends and feeds cost, against bare axum on the same data, and how the cost grows; docs/performance.md explains
# it. Some ten minutes on a machine that does nothing else. An error means that a limit was not kept. The instructions are
# counted by valgrind, which is installed as root on Debian; without it they are left out. Feeds need 20,000 open files.
bench:
	@if ! command -v valgrind >/dev/null && [ -n "$(DEBIAN)" ]; then \
		echo "Installing valgrind for the benches." >&2; \
		apt-get update -q >&2 && apt-get install -q -y --no-install-recommends valgrind >&2 || true; \
	fi
	ulimit -S -n "$$(ulimit -H -n)" && cargo bench

$(TOOLS)/typos:
	cargo install --quiet --locked --root target/tools typos-cli

$(TOOLS)/cargo-deny:
	cargo install --quiet --locked --root target/tools cargo-deny

# Without npm the program is whole all the same: it then shows the GraphiQL page of its library.
ifneq ($(NPM),)
web: $(WEB)

$(WEB): web/package-lock.json $(wildcard web/*.html) web/vite.config.ts web/tsconfig.json $(shell find web/src web/public -type f)
	@cd web && npm ci --silent --no-audit --no-fund && npm run --silent build || \
		echo "The pages could not be built: the binary gets no GraphiQL of its own."

clients: tests/audit/node_modules/.package-lock.json tests/clients/node_modules/.package-lock.json

ifneq ($(BROWSER)$(DEBIAN),)
browser: tests/browser/node_modules/.package-lock.json
ifeq ($(BROWSER),)
	apt-get update -q >&2 && apt-get install -q -y --no-install-recommends chromium >&2
endif
else
browser:
	@echo "No browser is there (chromium, google-chrome): the pages are not tried in one."
test: export DUOLOGUE_TEST_WITHOUT_BROWSER := 1
endif

tests/%/node_modules/.package-lock.json: tests/%/package-lock.json
	cd tests/$* && npm ci --silent --no-audit --no-fund
else
web:
	@echo "npm is not there: the binary gets no GraphiQL of its own."

clients browser:
	@echo "npm is not there: $@ are not tested: the audit of GraphQL over HTTP, client libraries, pages in a browser."
test: export DUOLOGUE_TEST_WITHOUT_NODE := 1
test: export DUOLOGUE_TEST_WITHOUT_BROWSER := 1
endif
