#!/bin/sh
# Installs the Debian packages it is given, those that are missing, and says so. The machine's package lists are
# updated only where they do not lead to a package.
set -eu

missing=
for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "needed, and only root can install them:$missing" >&2
    exit 1
fi
echo "installing Debian packages:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # one word for each package
install() { apt-get install -y -qq --no-install-recommends $missing </dev/null >"$log" 2>&1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! install; then
    echo "updating the package lists first" >&2
    apt-get update -qq >&2
    install || { cat "$log" >&2; exit 1; }
fi
