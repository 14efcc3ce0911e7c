#!/usr/bin/env bash
# Builds the archives of a release for Linux on x86-64 and aarch64, and their checksums, into target/release-archives. `make release`
# calls it, after it has installed cargo-zigbuild, zig and cargo-auditable, and made the web pages and the list of licenses. The machine
# must be Linux on x86-64.
#
#   deploy/release.sh
#
# The programs run with glibc 2.17 or later, and contain the list of their dependencies (cargo auditable). Two runs on one commit, with
# the same versions of the tools, put the same files into the archives. At the end the archives are unpacked and tried; the program for
# aarch64 is run if qemu-aarch64-static is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "deploy/release.sh: $1" >&2
    exit 1
}

glibc=2.17
architectures=(x86_64 aarch64)
out=$PWD/target/release-archives
licenses=target/THIRD-PARTY-LICENSES.md
# Rust's own, of its standard library.
rust_licenses=$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html

[ "$(uname -sm)" = "Linux x86_64" ] || fail "this machine is not Linux on x86-64, which the man pages and completions need."
for tool in cargo git readelf sha256sum curl; do
    command -v "$tool" >/dev/null || fail "$tool is needed, and is not installed."
done
PATH=$PWD/target/release-tools/bin:$PWD/target/tools/bin:$PATH
command -v cargo-zigbuild >/dev/null && command -v cargo-auditable >/dev/null ||
    fail "cargo-zigbuild and cargo-auditable are not there: run \"make release\", which installs them."
[ -e web/dist/demo.html.gz ] || fail "the web pages are not built: \"make web\" does it, and needs npm."
[ -s "$licenses" ] || fail "$licenses is not there: \"make $licenses\" does it."
[ -s "$rust_licenses" ] || fail "$rust_licenses is not there, which comes with Rust as rustup installs it."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
for tag in $(git tag --points-at HEAD --list 'v*'); do
    [ "$tag" = "v$version" ] || fail "the tag $tag is not of the version $version in Cargo.toml."
    grep -q "^## $version" CHANGELOG.md || fail "CHANGELOG.md has no heading for $version."
done
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

# The programs name the folders of this machine neither in Rust nor in C.
home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="--remap-path-prefix=$home=/cargo --remap-path-prefix=$PWD=/duologue"
export CFLAGS="-ffile-prefix-map=$home=/cargo -ffile-prefix-map=$PWD=/duologue"
export CARGO_INCREMENTAL=0

for architecture in "${architectures[@]}"; do
    target=$architecture-unknown-linux-gnu
    if command -v rustup >/dev/null; then
        rustup target list --installed | grep -qx "$target" || rustup target add "$target"
    fi
    [ -d "$(rustc --print target-libdir --target "$target")" ] ||
        fail "Rust's standard library for $target is not there: install it, for example with \"rustup target add $target\"."
    cargo auditable zigbuild --release --locked --bin duologue --target "$target.$glibc"
    program=target/$target/release/duologue
    # The symbols of glibc that the program needs, by the version that has them first.
    newest=$(readelf --version-info --wide "$program" | grep -o 'GLIBC_[0-9.]*' | sort --unique --version-sort | tail -n 1)
    [ "$(printf '%s\n' "$newest" "GLIBC_$glibc" | sort --version-sort | tail -n 1)" = "GLIBC_$glibc" ] ||
        fail "the program for $architecture needs $newest, and should run with glibc $glibc."
    echo "$program needs nothing newer than $newest."
done

rm -rf "$out"
mkdir -p "$out"
scratch=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$scratch"' EXIT

# Man pages and completions are the same for both; the program for x86-64 writes them.
writes=$PWD/target/x86_64-unknown-linux-gnu/release/duologue
mkdir "$scratch/man" "$scratch/completions"
"$writes" man "$scratch/man" >/dev/null
"$writes" completions bash >"$scratch/completions/duologue.bash"
"$writes" completions zsh >"$scratch/completions/_duologue"
"$writes" completions fish >"$scratch/completions/duologue.fish"

for architecture in "${architectures[@]}"; do
    name=duologue-$version-$architecture-linux
    folder=$scratch/$name
    mkdir -p "$folder/man/man1"
    cp "target/$architecture-unknown-linux-gnu/release/duologue" README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT \
        "$licenses" "$folder"
    cp "$rust_licenses" "$folder/THIRD-PARTY-LICENSES-RUST.html"
    cp "$scratch"/man/*.1 "$folder/man/man1"
    cp -r "$scratch/completions" "$folder"
    # The pages, and the files that they name.
    git archive HEAD docs deploy examples schema.graphql web/src/demo | tar --extract --directory="$folder"
    tar --create --directory="$scratch" --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --mode=u=rwX,go=rX "$name" | gzip --no-name --best >"$out/$name.tar.gz"
done
cd "$out"
sha256sum ./*.tar.gz | sed 's, \./, ,' >SHA256SUMS

# The archives, as somebody gets them who downloads them.
mkdir "$scratch/unpacked"
cd "$scratch/unpacked"
cp "$out"/* .
sha256sum --check --quiet SHA256SUMS
for architecture in "${architectures[@]}"; do
    name=duologue-$version-$architecture-linux
    tar --extract --file="$name.tar.gz"
    for package in tokio rustls; do
        grep -q "^| $package | " "$name/THIRD-PARTY-LICENSES.md" || fail "THIRD-PARTY-LICENSES.md of $name does not have $package."
    done
    run=("$name/duologue")
    if [ "$architecture" != x86_64 ]; then
        if ! command -v "qemu-$architecture-static" >/dev/null; then
            echo "Skipped: qemu-$architecture-static is not installed, so the program for $architecture is not run."
            continue
        fi
        # It brings no glibc along: Debian's packages for other architectures have one.
        root=/usr/$architecture-linux-gnu
        [ -d "$root" ] || { echo "Skipped: there is no glibc in $root, so the program for $architecture is not run."; continue; }
        run=("qemu-$architecture-static" -L "$root" "$name/duologue")
    fi
    [ "$("${run[@]}" --version)" = "duologue $version" ] || fail "the program for $architecture does not say that it is $version."
    mkfifo "$scratch/said"
    "${run[@]}" serve --listen 127.0.0.1:0 --log warn --database "sqlite:$scratch/$architecture.db" >"$scratch/said" &
    server=$!
    # The pipe stays open: the server says more than the first line.
    exec 3<"$scratch/said"
    read -r -u 3 line || fail "the program for $architecture does not start."
    url=$(grep -o 'http://[0-9.:]*' <<<"$line")
    "${run[@]}" health "$url" >/dev/null || fail "the program for $architecture is not ready."
    answer=$(curl --silent --show-error --header 'content-type: application/json' --data '{"query":"{ server { version } }"}' \
        "$url/graphql")
    [ "$answer" = "{\"data\":{\"server\":{\"version\":\"$version\"}}}" ] || fail "the program for $architecture answers $answer."
    # GraphiQL of the binary itself, not that of its library, which loads its parts from elsewhere.
    curl --silent --show-error --header 'accept: text/html' "$url/demo" | grep -qi '<!doctype html>' ||
        fail "the program for $architecture has no web pages."
    kill "$server"
    wait "$server" || fail "the program for $architecture does not stop in order."
    server=
    exec 3<&-
    rm "$scratch/said"
    echo "$name.tar.gz: the program starts, is ready, answers a query, has the web pages, and stops."
done
ls -l "$out"
