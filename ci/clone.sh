#!/usr/bin/env bash
# Checks that the commands of README.md and go doc leave a fresh clone as it is:
# ci/clone.sh. It clones the last commit, loads there what the commands build, and
# fails if git then finds a changed or a new file. (What they run is tested
# elsewhere.)
set -euo pipefail
. "$(dirname "$0")/common.sh"

if ! git rev-parse --verify -q HEAD >/dev/null 2>&1; then
	echo "LEFT OUT: there is no git repository to clone"
	exit
fi
git clone -q "$root" "$work/clone"
cd "$work/clone"
go list -deps ./tools/teleport >/dev/null
go list -deps -test $(patterns workspace) >/dev/null
go doc -C core PeerConfig >/dev/null
changed=$(git status --porcelain)
if [[ -n $changed ]]; then
	printf 'a fresh clone does not stay clean:\n%s\n' "$changed"
	git diff
	printf 'go run ./tools/modkit work completes go.work.sum\n'
	exit 1
fi
