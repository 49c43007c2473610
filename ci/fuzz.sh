#!/usr/bin/env bash
# Fuzzes every target of the workspace for a while: ci/fuzz.sh [TIME] [MODULE…],
# ci/fuzz.sh 1m protos/rawproto. The default is 2s, and all modules.
# (The seeds of the targets run in go test already.)
set -euo pipefail
. "$(dirname "$0")/common.sh"

time=${1:-2s}
shift || true
if (($#)); then
	packages=($(printf './%s/...\n' "${@%/}"))
else
	packages=($(patterns workspace))
fi

# go test -list prints the names of the targets, then their package.
failed=()
names=()
count=0
while read -r first second _; do
	case $first in
	Fuzz*) names+=("$first") ;;
	ok)
		for name in ${names[@]+"${names[@]}"}; do
			echo "== $second $name"
			count=$((count + 1))
			go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$second" || failed+=("$second $name")
		done
		names=()
		;;
	broken) failed+=("a package does not build") ;;
	esac
done < <(go test -list '^Fuzz' "${packages[@]}" || echo broken)

if ((${#failed[@]})); then
	printf 'FAIL fuzz: %s\n' "${failed[@]}"
	exit 1
fi
echo "ok: $count fuzz targets, $time each"
