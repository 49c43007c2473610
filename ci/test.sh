#!/usr/bin/env bash
# The tests of the repository: ci/test.sh. In a hurry, format, vet and tests
# only: ci/test.sh quick. Needs Go; what else it needs comes through the Go
# proxy. Goes on after a failure, and says at the end what failed.
set -euo pipefail
. "$(dirname "$0")/common.sh"

exec 2>&1 # a failure's words belong under its heading
mode=${1:-all}
case $mode in
all | quick) ;;
*)
	echo "usage: ci/test.sh [quick]"
	exit 2
	;;
esac

failed=()
notes=()
steps=0

# step NAME COMMAND… runs a command under a heading, tells its time, and notes its failure.
step() {
	local name=$1 start=$SECONDS
	shift
	steps=$((steps + 1))
	printf '\n=== %s\n' "$name"
	if "$@"; then
		printf -- '--- %s: ok, %d s\n' "$name" $((SECONDS - start))
	else
		printf -- '--- %s: FAILED, %d s\n' "$name" $((SECONDS - start))
		failed+=("$name")
	fi
}

packages=($(patterns workspace))
released=($(patterns released))
race=$(race)
if [[ -z $race ]]; then
	export CGO_ENABLED=0
	notes+=("no C compiler: the tests ran without the race detector")
fi

# The step before has vetted already.
tests() { go test -vet=off ${race:+"$race"} "${packages[@]}"; }
benchmarks() { go test -vet=off -run '^$' -bench . -benchtime 1x "${packages[@]}"; }

# separate tests a module with a workspace of its own; the benchmark's peers without
# the race detector, as that would be building and judging other people's code.
separate() {
	local race=$race
	if [[ $1 == tools/bench/peers/* ]]; then race=; fi
	go -C "$1" vet ./... && go -C "$1" test ${race:+"$race"} ./...
}

# cross builds and vets the released modules, tests included, for another
# system; 386 finds sizes that went through an int.
cross() {
	GOOS=$1 GOARCH=$2 CGO_ENABLED=0 go build "${released[@]}" &&
		GOOS=$1 GOARCH=$2 CGO_ENABLED=0 go vet "${released[@]}"
}

printf '%s, %s, mode %s\n' "$(go version)" "$root" "$mode"

step "format" ci/fmt.sh
step "vet" ci/lint.sh vet
if [[ $mode == all ]]; then
	step "go.work is generated" modkit work -check
	step "lines of go.mod" modkit golines
	step "who imports whom" modkit deps
	step "one version of a library" modkit versions
	step "staticcheck" ci/lint.sh staticcheck
fi
step "tests" tests
if [[ $mode == all ]]; then
	step "benchmarks run" benchmarks
	for dir in $(dirs own); do
		step "tests of $dir" separate "$dir"
	done
	step "go.mod and go.sum are tidy" modkit tidy -check
	step "consumers" ci/consumer.sh
	step "table in README.md" modkit readme -check
	for target in windows/amd64 darwin/arm64 linux/386; do
		step "build and vet for $target" cross "${target%/*}" "${target#*/}"
	done
	if go_before "$staticcheck_go"; then
		notes+=("Go is older than $staticcheck_go: staticcheck was left out")
	fi
fi

printf '\n'
for note in ${notes[@]+"${notes[@]}"}; do
	printf 'note: %s\n' "$note"
done
if ((${#failed[@]})); then
	printf 'failed: %s\n' "${failed[@]}"
	printf 'FAIL: %d of %d steps, %d s\n' ${#failed[@]} "$steps" "$SECONDS"
	exit 1
fi
printf 'PASS: %d steps, %d s\n' "$steps" "$SECONDS"
