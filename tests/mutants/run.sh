#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# run.sh [MUTANT...]: do the tests of TCP notice when a mechanism is missing? Each mutant of `table` is compiled
# and linked with the test that is to fail; a test that passes tests nothing of the kind. The same test has to
# pass with the same file as it is. Needs what `make check-build` has built, and no root.
# One line for each mutant; ends with N passed, N failed, N skipped.

cd "$(dirname "$0")/../.." || exit 1
table=tests/mutants/table
work=build/mutants
: "${CC:=cc}" "${LRP_TEST_LIBS:?run it by make mutants}"

# compile SOURCE OBJECT: as if it lay in runtime/tcp/.
compile()
{
	sed "s,include \"\.\./,include \"runtime/,; s,include \"\([a-z_]*\.h\)\",include \"runtime/tcp/\1\"," \
		"$1" >"$2.c" && $CC -std=gnu11 -O1 -w -D_GNU_SOURCE -I. -Iinclude -c "$2.c" -o "$2"
}

# passes TEST OBJECT: the test, with that object in place of the library's. 0: it passes, 1: it fails.
passes()
{
	local harness=()

	[ "${1%%/*}" = sim ] && mapfile -t harness < <(find build/obj/tests/sim -name '*.o' ! -name 'test_*')
	# shellcheck disable=SC2086
	$CC -o "$2.test" "build/obj/tests/$1.o" "$2" "${harness[@]}" build/lib/liblrp.a -lcmocka $LRP_TEST_LIBS || return 2
	timeout 20 "$2.test" >"$2.out" 2>&1 || return 1
}

one()
{
	local name=$1 key rest rfc='' file='' from='' to='' test='' all='' object result

	while read -r key rest; do
		case $key in
		rfc) rfc=$rest ;;
		file) file=$rest ;;
		-) from=$rest ;;
		+) to=$rest ;;
		everywhere) all=1 ;;
		test) test=$rest ;;
		esac
	done < <(awk -v name="$name" '$1 == "mutant" { on = $2 == name } on' "$table")
	mkdir -p "$work/$name"
	object=$work/$name/mutant.o
	FROM=$from TO=$to ALL=$all perl -0777 -pe '
		my $n = () = /\Q$ENV{FROM}\E/g;
		die "it stands there $n times\n" unless $n == 1 || ($n > 1 && $ENV{ALL});
		s/\Q$ENV{FROM}\E/$ENV{TO}/g' "runtime/tcp/$file" >"$work/$name/$file" &&
		compile "$work/$name/$file" "$object" && passes "$test" "$object"
	result=$?
	if [ "$result" = 0 ]; then
		echo "FAIL  $name: $test passes without it ($rfc)"
	elif [ "$result" != 1 ] || [ ! -e "$object.out" ]; then
		echo "FAIL  $name: cannot be made ($file)"
	elif ! compile "runtime/tcp/$file" "$object" || ! passes "$test" "$object"; then
		echo "FAIL  $name: $test does not pass with it either"
	else
		echo "ok    $name: $test fails without it ($rfc)"
	fi
	rm -rf "${work:?}/$name"
}

if [ "${ONE:-}" ]; then
	one "$1"
	exit 0
fi
mkdir -p "$work"
names=("$@")
[ $# -gt 0 ] || mapfile -t names < <(awk '$1 == "mutant" { print $2 }' "$table")
printf '%s\n' "${names[@]}" | ONE=1 xargs -P "$(nproc)" -n 1 "$0" >"$work/result"
if [ "${V:-}" = 1 ] || [ $# -gt 0 ]; then
	sort "$work/result"
else
	grep ^FAIL "$work/result"
fi
passed=$(grep -c ^ok "$work/result")
failed=$(grep -c ^FAIL "$work/result")
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
