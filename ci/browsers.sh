#!/usr/bin/env bash
# The tests with browsers, Node, Deno, Bun and the WebSocket libraries of others: ci/browsers.sh,
# or with arguments of go test: ci/browsers.sh -run TestChat. On Debian, as root, it
# installs what is missing. What comes from npm, in the versions of
# tools/browsers/npm/package-lock.json, is kept in the user's cache.
set -euo pipefail
. "$(dirname "$0")/common.sh"

missing=() # packages of Debian
[[ -x /usr/bin/chromium ]] || missing+=(chromium)
[[ -x /usr/bin/firefox-esr ]] || missing+=(firefox-esr)
/usr/bin/python3 -c 'import websockets' 2>/dev/null || missing+=(python3-websockets)
command -v npm >/dev/null || missing+=(npm)
if ((${#missing[@]} > 0)); then
	debian_packages "the tests with browsers" "${missing[@]}"
fi

lock=tools/browsers/npm/package-lock.json
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/teleport
npm=$cache/npm-$(cksum <"$lock" | cut -d ' ' -f 1)
if [[ ! -d $npm ]]; then
	echo "installing $lock in $npm"
	mkdir -p "$cache"
	new=$(mktemp -d "$cache/new.XXXXXX")
	cp tools/browsers/npm/package*.json "$new"
	if ! (cd "$new" && npm ci --ignore-scripts --no-audit --no-fund) >"$work/npm" 2>&1 </dev/null; then
		rm -rf "$new"
		tail -20 "$work/npm"
		echo "npm could not install $lock; its last lines are above. registry.npmjs.org, or the registry of npm's settings, must be reachable"
		exit 1
	fi
	mv -T "$new" "$npm" 2>/dev/null || rm -rf "$new" # another run was faster
fi

export TELEPORT_NPM=$npm
go -C tools/browsers vet ./...
go -C tools/browsers test -vet=off $(race) -count=1 ./... "$@"
