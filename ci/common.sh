# Common ground of the scripts in this folder; they source it. It goes to the
# root of the repository, so that every script may be called from anywhere. The
# scripts run on bash 3.2 too, as macOS has it: no mapfile, and an array that may
# be empty is expanded with care. No path in here has a space.
# shellcheck shell=bash disable=SC2207

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit

# The version of staticcheck, and the oldest Go it runs on.
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
staticcheck_go=1.26
benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

work=$(mktemp -d "${TMPDIR:-/tmp}/teleport-ci.XXXXXX")
trap 'rm -rf "$work"' EXIT

# build_modkit builds the tool outside the workspace, as its first chore is to
# check the workspace.
build_modkit() {
	[[ -x $work/modkit ]] || GOWORK=off go -C tools/modkit build -o "$work/modkit" .
}

modkit() {
	build_modkit && "$work/modkit" -root "$root" "$@"
}

# dirs prints the directories of the modules: all, workspace, released or own.
# It reads modules.txt by itself, so that formatting and tests do not depend on modkit.
dirs() {
	local want=$1 dir kind _
	while read -r dir kind _; do
		case $dir in '' | '#'*) continue ;; esac
		case $want:$kind in
		all:* | workspace:yes | workspace:no | released:yes | own:own) echo "$dir" ;;
		esac
	done <ci/modules.txt
}

# patterns prints the package patterns of the modules: ./core/... and so on.
patterns() {
	local dir
	for dir in $(dirs "$1"); do
		# A module without Go files is nothing to the go command but an error.
		if [[ -n $(find "$dir" -name '*.go' -print -quit) ]]; then echo "./$dir/..."; fi
	done
}

# race prints -race where the race detector can be built: on Linux it needs a C compiler.
race() {
	local cc
	read -r cc _ <<<"$(go env CC)"
	if [[ $(go env GOOS) != linux ]] || { [[ $(go env CGO_ENABLED) == 1 ]] && command -v "$cc" >/dev/null; }; then
		echo -race
	fi
}

# go_before tells whether the toolchain is older than a release like 1.26.
go_before() {
	local have major minor
	have=$(go env GOVERSION)
	have=${have#go}
	IFS=. read -r major minor _ <<<"$have"
	minor=${minor%%[!0-9]*}
	((major < ${1%%.*} || (major == ${1%%.*} && minor < ${1#*.})))
}
