#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# run.sh [-j N] TEST... [-j N TEST...]: runs each test and says one line about it: exit 0 passed,
# 77 skipped (the test's last line says what is missing), anything else failed. -j N: the tests that
# follow run N at a time, until the next -j; none of them may depend on how fast it gets a CPU.
# Silent otherwise; V=1 shows what the tests print, and build/tests/log/ keeps
# it. Tests in bpf/ and net/ run inside the throw-away test bed, fuzz targets for
# LRP_FUZZ_SECONDS. Ends with one line: N passed, N failed, N skipped.

top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1
logs=build/tests/log
mkdir -p "$logs"
results=$(mktemp -d) || exit 1
trap 'rm -rf "$results"' EXIT
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

# run_and_say NUMBER TEST: runs a test and says its line. The result is an empty file RESULT.NUMBER.
run_and_say()
{
	local number=$1 test=$2 name log start rc tenths seconds why result

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
		result=passed
		echo "ok    $name ($seconds s)"
		;;
	77)
		result=skipped
		echo "skip  $name: $(tail -n 1 "$log")"
		;;
	*)
		result=failed
		why="exit $rc"
		[ "$rc" = 124 ] && why="no end after $limit s"
		printf '%s\n%s\n' "FAIL  $name ($why); $log:" "$(tail -n 30 "$log" | sed 's/^/      /')"
		;;
	esac
	: >"$results/$result.$number"
}

count()
{
	find "$results" -name "$1.*" | wc -l
}

at_once=1 running=0 started=0
while [ $# -gt 0 ]; do
	case $1 in
	-j)
		wait
		running=0
		at_once=$2
		shift 2
		continue
		;;
	esac
	started=$((started + 1))
	if [ "$at_once" = 1 ]; then
		run_and_say "$started" "$1"
	else
		if [ "$running" -ge "$at_once" ]; then
			wait -n
			running=$((running - 1))
		fi
		run_and_say "$started" "$1" &
		running=$((running + 1))
	fi
	shift
done
wait

passed=$(count passed) failed=$(count failed) skipped=$(count skipped)
echo "$passed passed, $failed failed, $skipped skipped"
if [ $((passed + failed + skipped)) != "$started" ]; then
	echo "$((started - passed - failed - skipped)) tests left no result" >&2
	exit 1
fi
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
