#!/usr/bin/env bash
# go vet and staticcheck over the workspace: ci/lint.sh, or one of them:
# ci/lint.sh vet, ci/lint.sh staticcheck.
set -euo pipefail
. "$(dirname "$0")/common.sh"

packages=($(patterns workspace))
if [[ ${1-vet} == vet ]]; then
	go vet "${packages[@]}"
fi
if [[ ${1-staticcheck} == staticcheck ]]; then
	if go_before "$staticcheck_go"; then
		echo "LEFT OUT: $staticcheck needs Go $staticcheck_go, this is $(go env GOVERSION); only go vet has run"
		exit
	fi
	go run "$staticcheck" "${packages[@]}"
fi
