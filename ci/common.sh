# What the scripts in this directory share; they source it. It changes to the
# root of the repository, so that every script can be run from anywhere. The
# scripts run on bash 3.2 too, which macOS has: no mapfile, and an array that may
# be empty is expanded with care. No path of the repository has a space.
# shellcheck shell=bash disable=SC2207

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit

# The version of staticcheck, and the oldest Go it runs on.
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
staticcheck_go=1.26
# Another release of Go that builds and tests the modules, exactly.
other_go=go1.27.0
benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

work=$(mktemp -d "${TMPDIR:-/tmp}/teleport-ci.XXXXXX")
trap 'rm -rf "$work"' EXIT

# build_modkit builds modkit outside the workspace, since modkit checks the
# workspace.
build_modkit() {
	[[ -x $work/modkit ]] || GOWORK=off go -C tools/modkit build -o "$work/modkit" .
}

modkit() {
	build_modkit && "$work/modkit" -root "$root" "$@"
}

# dirs prints the directories of the modules: all, workspace, released or own.
# It reads modules.txt itself, so that format and tests do not depend on modkit.
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
		# The go command fails on a module without Go files.
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

# go_before reports whether the toolchain is older than a release like 1.26.
go_before() {
	local have major minor
	have=$(go env GOVERSION)
	have=${have#go}
	IFS=. read -r major minor _ <<<"$have"
	minor=${minor%%[!0-9]*}
	((major < ${1%%.*} || (major == ${1%%.*} && minor < ${1#*.})))
}

# debian_packages WHAT PACKAGE… installs packages of Debian that WHAT needs.
debian_packages() {
	local what=$1
	shift
	if ! command -v apt-get >/dev/null || [[ $(id -u) != 0 ]]; then
		echo "$what need the Debian packages $*: install them, or run this script as root on Debian, which does it"
		return 1
	fi
	echo "installing $*"
	if ! { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends "$@"; } >"$work/apt" 2>&1 </dev/null; then
		tail -20 "$work/apt"
		echo "apt-get could not install $*, which $what need; its last lines are above"
		return 1
	fi
}
