# Where the tools live that this repository brings for itself: outside the tree, so that fresh clones share them.
TOOLS="${CFX_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/cfx-tools}"
CARGO_DENY_VERSION=0.20.2
CARGO_DENY="$TOOLS/cargo-deny-$CARGO_DENY_VERSION/bin/cargo-deny"
UVICORN_VERSION=0.54.0
UVICORN_VENV="$TOOLS/uvicorn-$UVICORN_VERSION"
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
