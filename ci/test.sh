#!/usr/bin/env bash
# The tests of the repository: ci/test.sh. Format, vet and tests only:
# ci/test.sh quick. With what takes another toolchain or repeats the tests of core
# in other ways, as CI does: ci/test.sh full. Needs Go; everything else comes
# through the Go proxy. Runs all steps whatever fails, and lists the failures at
# the end.
set -euo pipefail
. "$(dirname "$0")/common.sh"

exec 2>&1 # the messages of a failure belong below its heading
mode=${1:-all}
case $mode in
quick | all | full) ;;
*)
	echo "usage: ci/test.sh [quick|full]"
	exit 2
	;;
esac

notes=()
touch "$work/failed" "$work/times" # one line a step

# step NAME COMMAND… runs a command under a heading, and records its time and, if it
# fails, its name and the failures among what it printed.
step() {
	local name=$1 start=$SECONDS
	local output=$work/step-${name//[^a-zA-Z0-9]/-}
	shift
	printf '\n=== %s\n' "$name"
	if "$@" 2>&1 | tee "$output"; then
		printf -- '--- %s: ok, %d s\n' "$name" $((SECONDS - start))
	else
		printf -- '--- %s: FAILED, %d s\n' "$name" $((SECONDS - start))
		echo "failed: $name" >>"$work/failed"
		failures "$output" | sed 's/^/    /' >>"$work/failed"
	fi
	rm "$output"
	printf '%5d s  %s\n' $((SECONDS - start)) "$name" >>"$work/times"
}

# failures prints what a step's output says of tests that failed, 30 lines at most, or
# else its last 10 lines.
failures() {
	local failure='^ *--- FAIL|^FAIL.*/|^panic:|^fatal error:|DATA RACE'
	if grep -qE "$failure" "$1"; then
		grep -E -A 8 "$failure" "$1" | grep -vE '^(ok|\?|--$|PASS$|FAIL$|\[[0-9]{4}/)' | sed -n '1,30p' # without log lines
	else
		tail -10 "$1"
	fi | cut -c1-200
}

packages=($(patterns workspace))
released=($(patterns released))
race=$(race)
if [[ -z $race ]]; then
	export CGO_ENABLED=0
	notes+=("no C compiler: the tests ran without the race detector")
fi

# The step "vet" has vetted the packages, so the tests do not. Tests wait as much as they
# compute, so two packages more than there are processors run at once.
processors=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
go_test() { go test -vet=off -p $((processors + 2)) "$@"; }
# The short round of attacks, which measures memory, comes behind them, alone.
attacks=TestShortRound
tests() { go_test ${race:+"$race"} -skip "^$attacks\$" "${packages[@]}"; }
attacks() { go_test ${race:+"$race"} -run "^$attacks\$" ./tools/attack; }
benchmarks() { go_test -run '^$' -bench . -benchtime 1x "${packages[@]}"; }

# other_go tests what is released with another release of Go, without the race detector;
# what tests check only without it (allocations of core) is checked here. The benchmarks
# run once. The mixers, which took half of the time of the step, and the tools, whose tests
# mostly run the go command, are vetted only.
other_go() {
	local vetted=($(patterns workspace | grep -E '^\./(mixers|tools)/'))
	local tested=($(patterns released | grep -vE '^\./mixers/'))
	GOTOOLCHAIN=$other_go go version &&
		GOTOOLCHAIN=$other_go go_test -bench . -benchtime 1x "${tested[@]}" &&
		GOTOOLCHAIN=$other_go go_test -run '^$' -bench . -benchtime 1x ./tools/bench/... &&
		GOTOOLCHAIN=$other_go go vet "${vetted[@]}"
}

# separate tests a module with a workspace of its own, without the race detector, which
# would build and judge the code of others.
separate() { go -C "$1" vet ./... && go -C "$1" test -vet=off ./...; }

# cross vets packages, tests included, for another system. That type-checks them and
# compiles what they import.
cross() {
	local os=${1%/*} arch=${1#*/}
	shift
	GOOS=$os GOARCH=$arch CGO_ENABLED=0 go vet "$@"
}

# Tests that wait, for three seconds a connection, until the poller looks for connections
# that were closed below it. They do not depend on what the next three steps vary.
sweeps='TestPolledConnClosedBelow|TestPolledHandlers/closes_another_one'

# on_386 runs the tests where int has 32 bits; those of the conformance suites themselves
# are left out.
on_386() {
	local packages_386=($(GOOS=linux GOARCH=386 go list $(patterns released | grep -E '^\./(core|protos|codecs|xfers)/') |
		grep -vE '/core/(codec|xfer|proto|tp)test$'))
	GOOS=linux GOARCH=386 CGO_ENABLED=0 go_test -skip "$sweeps" "${packages_386[@]}"
}

# other_processors runs the engine with few and many processors, which find different
# races. The tests above had as many as the machine. The conformance suites are left out.
other_processors() {
	local cpus=2,8
	case $processors in
	2) cpus=8 ;;
	8) cpus=2 ;;
	esac
	go -C core test -vet=off ${race:+"$race"} -cpu "$cpus" -skip "$sweeps" . ./internal/... ./socket/...
}

# inline runs all handlers in the goroutine that reads, which then hands the reading
# over at once: another interleaving of everything. The watchdog of these readers ticks
# through the hours of fake time of two tests, which took two thirds of the step. The
# test cache does not know the variable.
inline() {
	local skip="$sweeps|TestRuleHooksAndGoroutines|TestRow19_RejoinKeepsAndRenews|TestRow02_HooksPassedSessionIsReady"
	TELEPORT_INLINE=always go -C core test -vet=off ${race:+"$race"} -count=1 -skip "$skip" .
}

# repeated is the tests of core once more in other ways. They run one after the other and
# wait, so they leave room for the steps beside which they run.
repeated() {
	step "core with other numbers of processors" other_processors
	step "core with all handlers in the readers" inline
}

printf '%s, %s, mode %s\n' "$(go version)" "$root" "$mode"

step "format" ci/fmt.sh
step "vet" ci/lint.sh vet
if [[ $mode != quick ]]; then
	step "go.work is generated" modkit work -check
	step "lines of go.mod" modkit golines
	step "direction of imports" modkit deps
	step "direction of uses between files" modkit rooms
	step "one version of a library" modkit versions
	step "documentation" modkit docs
	step "staticcheck" ci/lint.sh staticcheck
fi
# A guest of mixers/outproc is in Python.
if ! command -v python3 >/dev/null; then
	step "python3" debian_packages "tests of mixers/outproc" python3
fi
step "tests" tests
step "attacks" attacks
if [[ $mode == all ]]; then
	step "benchmarks run" benchmarks
fi
if [[ $mode == full ]]; then
	repeated >"$work/repeated" &
	step "tests with $other_go" other_go
fi
if [[ $mode != quick ]]; then
	for dir in $(dirs own); do
		case $dir in
		tools/browsers) step "tests of $dir" ci/browsers.sh ;;
		*) step "tests of $dir" separate "$dir" ;;
		esac
	done
	step "go.mod and go.sum are tidy" modkit tidy -check
	step "consumers" ci/consumer.sh
	step "table in README.md" modkit readme -check
	step "a fresh clone stays clean" ci/clone.sh
	step "tests on linux/386" on_386
	for target in linux/386 windows/amd64 darwin/arm64; do
		step "vet for $target" cross "$target" "${released[@]}"
	done
	if go_before "$staticcheck_go"; then
		notes+=("Go is older than $staticcheck_go: staticcheck was left out")
	fi
fi

if [[ $mode == full ]]; then
	wait
	cat "$work/repeated"
fi

printf '\n'
sort -rn "$work/times"
for note in ${notes[@]+"${notes[@]}"}; do
	printf 'note: %s\n' "$note"
done
steps=$(($(wc -l <"$work/times"))) # without blanks
if [[ -s $work/failed ]]; then
	cat "$work/failed"
	printf 'FAIL: %d of %d steps, %d s\n' "$(grep -c '^failed: ' "$work/failed")" "$steps" "$SECONDS"
	exit 1
fi
printf 'PASS: %d steps, %d s\n' "$steps" "$SECONDS"
