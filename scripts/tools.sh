# Where the tools live that this repository brings for itself: outside the tree, so that fresh clones share them.
TOOLS="${CFX_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/cfx-tools}"
CARGO_DENY_VERSION=0.20.2
CARGO_DENY="$TOOLS/cargo-deny-$CARGO_DENY_VERSION/bin/cargo-deny"
# The version whose library benches/ is built with: the two speak to each other.
GUNGRAUN_VERSION="$(sed -n 's/^gungraun = "=\(.*\)"$/\1/p' benches/Cargo.toml)"
GUNGRAUN_RUNNER_BIN="$TOOLS/gungraun-runner-$GUNGRAUN_VERSION/bin"
UVICORN_VERSION=0.54.0
UVICORN_VENV="$TOOLS/uvicorn-$UVICORN_VERSION"
# Gateways that `make bench` measures cfx beside. LiteLLM is that of the tests.
ONWARDS_VERSION=1.2.0
ONWARDS="$TOOLS/onwards-$ONWARDS_VERSION/bin/onwards"
PORTKEY_VERSION=1.15.2
# The newest server that it asks for has it answer 500 to whoever wants a stream.
PORTKEY_SERVER_VERSION=1.13.8
PORTKEY_HOME="$TOOLS/portkey-$PORTKEY_VERSION-$PORTKEY_SERVER_VERSION"
PORTKEY="$PORTKEY_HOME/node_modules/@portkey-ai/gateway/build/start-server.js"
# One environment for each set of pins.
E2E_VENV="$TOOLS/e2e-$(cat e2e/requirements.txt e2e/constraints.txt | cksum | cut -d' ' -f1)"
CHECKERS_VENV="$TOOLS/checkers-$(cksum <e2e/checkers.txt | cut -d' ' -f1)"

# The browser that the dashboard is looked at in; nothing where there is none.
find_chromium() {
  local name
  for name in chromium chromium-browser google-chrome-stable google-chrome "/Applications/Chromium.app/Contents/MacOS/Chromium" \
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
    type -P "$name" && return
  done
  return 0
}

# The path of a file that need not be there.
absolute() { case "$1" in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }

# Has cargo give these to rustc, behind those of RUSTFLAGS. A flag may hold spaces.
with_flags() {
  local flag separator=$'\x1f' all="${CARGO_ENCODED_RUSTFLAGS:-}"
  # shellcheck disable=SC2086 # RUSTFLAGS are split at spaces
  [ -n "$all" ] || for flag in ${RUSTFLAGS:-}; do all="$all${all:+$separator}$flag"; done
  for flag in "$@"; do all="$all${all:+$separator}$flag"; done
  export CARGO_ENCODED_RUSTFLAGS="$all"
}

llvm_version() { rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p'; }

# What puts together counts in the form of rustc's own LLVM: of the toolchain (`rustup component add llvm-tools`), or of the
# system where it is of the same version.
find_profdata() {
  compgen -G "$(rustc --print sysroot)/lib/rustlib/*/bin/llvm-profdata" && return
  type -P "llvm-profdata-$(llvm_version)" && return
  local plain
  plain="$(type -P llvm-profdata)" && "$plain" --version | grep -q "LLVM version $(llvm_version)\." && echo "$plain"
}

# What instruction counts hang on beside the sources. What is told of the processor is read under valgrind, by scripts/guard.
counting_rustc() { rustc -vV | awk '$1 == "release:" { release = $2 } $1 == "host:" { host = $2 } END { print release, host }'; }
counting_libc() { getconf GNU_LIBC_VERSION 2>/dev/null || echo unknown; }
# That of the counts in benches/counts.toml, by its name there.
counted_with() { sed -n "s/^$1 = \"\(.*\)\"$/\1/p" benches/counts.toml; }

# Says why the committed counts cannot be compared with any of this machine; false where they can, for all that is known
# before anything is built.
counted_elsewhere() {
  if [ "$(counted_with rustc)" != "$(counting_rustc)" ]; then
    echo "they were taken with rustc $(counted_with rustc), and this is $(counting_rustc)"
  elif [ "$(counted_with libc)" != "$(counting_libc)" ]; then
    echo "they were taken with $(counted_with libc), and this is $(counting_libc)"
  else
    return 1
  fi
}
