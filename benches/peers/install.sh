#!/usr/bin/env bash
# Installs the peers that are not Rust libraries into .local/, and nowhere else. A peer whose runtime is
# missing is named, and skipped by the measurement.
set -uo pipefail
cd "$(dirname "$0")"
mkdir -p .local

if command -v python3 >/dev/null; then
  python3 -m venv .local/python &&
    .local/python/bin/python -m pip install --quiet 'trio-parallel==1.3.0' 'loky>=3.5,<4' ||
    echo "trio-parallel and loky could not be installed" >&2
else
  echo "no python3: trio-parallel and loky are skipped" >&2
fi

if command -v npm >/dev/null; then
  echo '{ "private": true, "dependencies": { "piscina": "^5" } }' >.local/package.json
  npm install --silent --prefix .local || echo "piscina could not be installed" >&2
else
  echo "no npm: piscina is skipped" >&2
fi
