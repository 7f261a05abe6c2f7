#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# run.sh TEST...: runs each test and says one line about it: exit 0 passed, 77
# skipped (the test's last line says what is missing), anything else failed.
# Silent otherwise; V=1 shows what the tests print, and build/tests/log/ keeps
# it. Tests in bpf/ and net/ run inside the throw-away test bed, fuzz targets for
# LRP_FUZZ_SECONDS. Ends with one line: N passed, N failed, N skipped.

top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1
logs=build/tests/log
mkdir -p "$logs"
passed=0 failed=0 skipped=0
limit=${LRP_TEST_SECONDS:-$((120 + ${LRP_SOAK_SECONDS:-30} * 2))}

run_one()
{
	case $1 in
	*/fuzz/*)
		local name corpus artifacts
		name=$(basename "$1")
		corpus=build/fuzz/corpus/$name
		artifacts=build/fuzz/artifacts/$name/
		mkdir -p "$corpus" "$artifacts"
		# libFuzzer says by 77 that it has found something, which would be a skip here.
		# shellcheck disable=SC2046
		"$1" -error_exitcode=1 -timeout_exitcode=1 -oom_exitcode=1 \
			-max_total_time="${LRP_FUZZ_SECONDS:-5}" -rss_limit_mb=4096 -print_final_stats=1 \
			-artifact_prefix="$artifacts" "$corpus" $(ls -d "tests/fuzz/corpus/$name" 2>/dev/null)
		;;
	*/bpf/*|*/net/*)
		timeout -k 5 "$limit" tools/testbed/bed.sh "$1"
		;;
	*)
		timeout -k 5 "$limit" "$1"
		;;
	esac
}

for test in "$@"; do
	name=${test#build/}
	name=${name#tests/}
	log=$logs/$(echo "$name" | tr / _).log
	start=$(date +%s%N)
	if [ "${V:-}" = 1 ]; then
		run_one "$test" 2>&1 </dev/null | tee "$log"
		rc=${PIPESTATUS[0]}
	else
		run_one "$test" >"$log" 2>&1 </dev/null
		rc=$?
	fi
	tenths=$((($(date +%s%N) - start) / 100000000))
	seconds=$((tenths / 10)).$((tenths % 10))
	case $rc in
	0)
		passed=$((passed + 1))
		echo "ok    $name ($seconds s)"
		;;
	77)
		skipped=$((skipped + 1))
		echo "skip  $name: $(tail -n 1 "$log")"
		;;
	*)
		failed=$((failed + 1))
		why="exit $rc"
		[ "$rc" = 124 ] && why="no end after $limit s"
		echo "FAIL  $name ($why); $log:"
		tail -n 30 "$log" | sed 's/^/      /'
		;;
	esac
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
