#!/bin/sh
# Installs the third-party programs of the end-to-end tests into e2e/node_modules, which git ignores.
# Does nothing when the versions in package.json are there already.
set -eu
cd "$(dirname "$0")"

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "e2e: node and npm are missing; asking Debian for them" >&2
    apt-get update -q
    apt-get install -y -q --no-install-recommends nodejs npm
fi
if ! node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 15) ? 0 : 1)'; then
    echo "e2e: aimock needs node 20.15 or later; this is $(node --version). Install a newer one." >&2
    exit 1
fi

stamp=node_modules/.installed.json
if cmp -s package.json "$stamp" && [ -x node_modules/.bin/claude ]; then
    exit 0
fi
# Claude Code asks for node 22, but what is run is its native program, which brings its own runtime.
npm install --no-audit --no-fund --no-package-lock --ignore-scripts --engine-strict=false --loglevel=error
# Puts the native program in its place. npm 11 runs no package's script before somebody approved it.
node node_modules/@anthropic-ai/claude-code/install.cjs
node_modules/.bin/claude --version
cp package.json "$stamp"
