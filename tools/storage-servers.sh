#!/bin/sh
# Install the storage servers of Node.js that tests/interop runs against: Azurite and s3rver, below .cache.
# Does nothing where they are there already, and where there is no npm: their tests are skipped then.
# Usage: tools/storage-servers.sh
set -eu

cd "$(dirname "$0")/.."

if ! command -v npm >/dev/null; then
    echo "No npm: Azurite and s3rver are not installed, and their tests will be skipped." >&2
    exit 0
fi

# Usage: install NAME VERSION
install() {
    folder=.cache/$1
    manifest=$folder/node_modules/$1/package.json
    if grep -qs "^ *\"version\": \"$2\"" "$manifest"; then
        return
    fi
    echo "Installing $1 $2"
    mkdir -p "$folder"
    # The servers are plain JavaScript: no package has to run a script to be installed.
    npm install --prefix "$folder" --no-package-lock --ignore-scripts \
        --no-audit --no-fund --no-update-notifier --no-progress --loglevel=error "$1@$2" >/dev/null
}

# The last Azurite that runs on Node.js 20: later ones ask for 21 and 22.
install azurite 3.35.0
install s3rver 3.7.1
