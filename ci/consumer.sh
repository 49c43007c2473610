#!/usr/bin/env bash
# Checks that a go get of each released module pulls in what ci/consumer.golden
# has, and builds: ci/consumer.sh [MODULE…]. After an intended change:
# ci/consumer.sh -update, and go run ./tools/modkit readme for the table in README.md.
#
# The consumers are outside the workspace. They get the work tree through a
# file GOPROXY and have a module cache of their own, which is removed at the end;
# third-party modules come from the machine's download cache.
set -euo pipefail
. "$(dirname "$0")/common.sh"

modkit consumer "$@"
