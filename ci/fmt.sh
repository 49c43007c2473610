#!/usr/bin/env bash
# Checks the format of all Go files: ci/fmt.sh. Writes it: ci/fmt.sh -w.
set -euo pipefail
. "$(dirname "$0")/common.sh"

modules=()
for dir in $(dirs all); do
	[[ ! -d $dir ]] || modules+=("$dir") # modkit reports one that is missing
done
if [[ ${1-} == -w ]]; then
	gofmt -w "${modules[@]}"
	exit
fi
bad=$(gofmt -l "${modules[@]}")
if [[ -n $bad ]]; then
	printf 'not formatted (ci/fmt.sh -w does it):\n%s\n' "$bad"
	exit 1
fi
