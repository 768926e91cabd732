#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Programs that are shipped say nothing on the kernel's trace pipe; those of a debug build do (docs/development.md). TAP on
# standard output; needs clang and llvm-objdump as the build does, no root.
set -u

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0

# talks OBJECT: has it calls of bpf_trace_printk() (helper 6 of <linux/bpf.h>)? silent OBJECT: is it there, and has none?
talks() { llvm-objdump -d "$1" 2> /dev/null | grep 'call 6$' > /dev/null; }
silent() { [ -s "$1" ] && ! talks "$1"; }

# expect NAME STATUS: one TAP line
expect()
{
	n=$((n + 1))
	if [ "$2" -eq 0 ]; then echo "ok $n - $1"; else echo "not ok $n - $1"; failed=1; fi
}

failed=0
# The caller's make must not tell this one where things go.
if ! env -u MAKEFLAGS -u MAKEOVERRIDES make -s DEBUG=1 OUT="$tmp" "$tmp/mirror.bpf.o" "$tmp/owner.bpf.o" > "$tmp/log" 2>&1; then
	sed 's/^/# /' "$tmp/log"
fi
for object in mirror owner; do
	talks "$tmp/$object.bpf.o"
	expect "$object: a debug build talks" $?
	silent "${OUT:-.output}/$object.bpf.o"
	expect "$object: the shipped one does not" $?
done
echo "1..$n"
exit $failed
