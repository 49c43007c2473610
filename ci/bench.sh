#!/usr/bin/env bash
# Runs the benchmarks of a module several times and prints what benchstat reads:
#
#	ci/bench.sh core > old.txt          # 6 times each
#	ci/bench.sh core 10 'Call' > new.txt
#	ci/bench.sh compare old.txt new.txt
set -euo pipefail
here=$PWD
. "$(dirname "$0")/common.sh"

if [[ ${1-} == compare ]]; then
	shift
	cd "$here"
	go run "$benchstat" "$@"
	exit
fi
if [[ $# -lt 1 || ! -f $1/go.mod ]]; then
	sed -n '2,6s/^# \{0,1\}//p' "ci/bench.sh" >&2
	exit 2
fi
go -C "${1%/}" test -run '^$' -bench "${3:-.}" -benchmem -count "${2:-6}" ./...
