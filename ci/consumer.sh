#!/usr/bin/env bash
# Proves that a go get of each released module draws what ci/consumer.golden
# says, and builds: ci/consumer.sh [MODULE…]. After a change that is meant:
# ci/consumer.sh -update, and go run ./tools/modkit readme for the table in README.md.
#
# The consumers stand outside the workspace. They get the work tree through a
# file GOPROXY, and have a module cache of their own, so nothing of it stays on
# the machine; third-party modules come from the machine's download cache.
set -euo pipefail
. "$(dirname "$0")/common.sh"

modkit consumer "$@"
