# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# layers.awk: the rules, for tools/lint/layers. Reads
#   R  folder TAB folders that it may use
#   I  file, included file
#   S  file, symbol, type                   [nm -P]
#   A  a line of layers.allowed
# and prints what breaks the rules; exit 1 if anything does.

function folder_of(path,	best, f)
{
	best = ""
	for (f in may)
		if (index(path, f) == 1 && length(f) > length(best))
			best = f
	return best
}

# `from` is a file, `to` what it uses, by include or call
function use(kind, from, to, by,	ours, theirs, key)
{
	ours = folder_of(from)
	theirs = folder_of(to)
	if (ours == "" || theirs == "" || ours == theirs || index(may[ours], " " theirs " "))
		return
	key = kind " " from " " theirs
	if (key in allowed) {
		met[key]
		return
	}
	if (kind == "include")
		print from ": includes " to ", but " ours " may not use " theirs
	else
		print from ": calls " by " of " to ", but " ours " may not use " theirs
	bad = 1
}

# Depth-first search of Tarjan: strongly connected files of one folder.
function visit(v,	i, n, next_file, size)
{
	number[v] = low[v] = ++count
	stack[++depth] = v
	on_stack[v] = 1
	n = split(calls[v], edge, " ")
	for (i = 1; i <= n; i++) {
		split(calls[v], edge, " ")
		next_file = edge[i]
		if (!(next_file in number)) {
			visit(next_file)
			if (low[next_file] < low[v])
				low[v] = low[next_file]
		} else if (on_stack[next_file] && number[next_file] < low[v]) {
			low[v] = number[next_file]
		}
	}
	if (low[v] != number[v])
		return
	members = ""
	size = 0
	do {
		next_file = stack[depth--]
		on_stack[next_file] = 0
		members = members " " next_file
		size++
	} while (next_file != v)
	if (size > circle[folder_of(v)]) {
		circle[folder_of(v)] = size
		circle_files[folder_of(v)] = members
	}
}

BEGIN { MOST = 12 }

$1 == "R" {
	split($0, field, "\t")
	may[field[2]] = " " field[3] " "
}
$1 == "A" && $2 == "circle" { most[$3] = $4 }
$1 == "A" && $2 != "circle" { allowed[$2 " " $3 " " $4] }
$1 == "I" { from[++includes] = $2; to[includes] = $3 }
$1 == "S" && $4 == "U" { user[++users] = $2; wanted[users] = $3 }
$1 == "S" && $4 != "U" && $4 != "w" { defined[$3] = $2 }

END {
	for (i = 1; i <= includes; i++)
		use("include", from[i], to[i])
	for (i = 1; i <= users; i++) {
		if (!(wanted[i] in defined))
			continue
		at = defined[wanted[i]]
		use("call", user[i], at, wanted[i] "()")
		if (folder_of(at) == folder_of(user[i]) && at != user[i])
			calls[user[i]] = calls[user[i]] " " at
	}
	for (f in calls)
		files[++n_files] = f
	for (i = 1; i <= n_files; i++)
		if (!(files[i] in number))
			visit(files[i])
	for (f in circle) {
		limit = f in most ? most[f] : MOST
		if (circle[f] > limit) {
			print f ": " circle[f] " files call each other in a circle, " limit \
				" may:" circle_files[f]
			bad = 1
		} else if (f in most && (circle[f] < limit || limit <= MOST)) {
			print "layers.allowed: the circle of " f " has " circle[f] \
				" files by now: correct or remove its entry"
			bad = 1
		}
	}
	for (key in allowed)
		if (!(key in met)) {
			print "layers.allowed: no longer so, remove it: " key
			bad = 1
		}
	exit bad
}
