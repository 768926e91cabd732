#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The command line from outside: exit statuses, one clear line, -j errors, what needs no privilege, completion in bash.
# TAP on standard output. Changes nothing on the host and needs no root; parts that drop privileges say so when they skip.
# usage: cli_test.sh [BINARY]
set -u

here=$(dirname "$0")
mirrorctl=${1:-${OUT:-.output}/mirrorctl}
mirrorctl=$(realpath "$mirrorctl")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0
failed=0

ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { n=$((n + 1)); failed=1; echo "not ok $n - $1"; shift; printf '# %s\n' "$@"; }
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }

# run ARG...: fills $status, $tmp/out, $tmp/err.
run()
{
	"$mirrorctl" "$@" > "$tmp/out" 2> "$tmp/err" < /dev/null
	status=$?
}

details() { echo "exit $status"; sed 's/^/out: /' "$tmp/out"; sed 's/^/err: /' "$tmp/err"; }

# expect NAME STATUS OUT-REGEX ERR-REGEX: an empty regex wants nothing at all on that stream.
expect()
{
	local bad=
	[ "$status" -eq "$2" ] || bad="exit status $status, not $2"
	if [ -z "$3" ]; then [ ! -s "$tmp/out" ] || bad="$bad; standard output is not empty"
	else grep -qE -- "$3" "$tmp/out" || bad="$bad; standard output lacks '$3'"; fi
	if [ -z "$4" ]; then [ ! -s "$tmp/err" ] || bad="$bad; standard error is not empty"
	else grep -qE -- "$4" "$tmp/err" || bad="$bad; standard error lacks '$4'"; fi
	if [ -z "$bad" ]; then ok "$1"; else not_ok "$1" "$bad" "$(details)"; fi
}

# usage_error ARG... ::: REGEX: exit 2, exactly one line on standard error, nothing on standard output.
usage_error()
{
	local args=()
	while [ "$1" != ::: ]; do args+=("$1"); shift; done
	run "${args[@]}"
	if [ "$(wc -l < "$tmp/err")" -ne 1 ]; then
		not_ok "one line for: ${args[*]}" "$(details)"
	else
		expect "usage error: ${args[*]}" 2 '' "^mirrorctl: .*$2"
	fi
}

# ---- no verb, help, version ----
run; expect "no verb: short usage, exit 2" 2 '' '^usage: mirrorctl '
run -j; expect "no verb with -j" 2 '"code":2' 'no verb'
run --help; expect "--help" 0 '^  add-pid PID' ''
run help; expect "help" 0 '^  add-pid PID' ''
run help up; expect "help VERB" 0 '--monitor-type TYPE' ''
run up --help; expect "VERB --help needs no privilege" 0 '--monitor-type TYPE' ''
run add-pid --help; expect "VERB --help needs no words" 0 '--follow' ''
run --help up; expect "--help VERB" 0 '--monitor-type TYPE' ''
run version; expect "version" 0 '^mirrorctl [0-9.]+ \(abi [0-9]+, libbpf [0-9.]+\)$' ''
run --version; expect "--version" 0 '^mirrorctl ' ''
run -j version; expect "version -j" 0 '^\{"version":"[0-9.]+","abi":[0-9]+,"libbpf":"[0-9.]+"\}$' ''

# ---- usage errors ----
usage_error lst ::: "unknown verb 'lst'; did you mean 'list'\?"
usage_error frobnicate ::: "unknown verb 'frobnicate'; see"
usage_error __complete nothing ::: "takes devices, pids, targets, selectors or tap"
usage_error '' ::: "unknown verb ''"
usage_error help lst ::: "did you mean 'list'"
usage_error list now ::: "takes no words"
usage_error up --snaplne 64 ::: "did you mean '--snaplen'"
usage_error up --snaplen 1 ::: "64 to 65535"
usage_error up --monitor a23456789012 ::: "1 to 11 bytes"
usage_error up --monitor-type ifb ::: "auto, dummy, bridge or veth"
usage_error up --identity full ::: "none, announce, trailer or ipfix"
usage_error up eth0/1 ::: "device name"
usage_error add-pid ::: "add-pid PID"
usage_error add-pid x ::: "process ids"
usage_error add-pid 1 -2 ::: "unknown option '-2'"
usage_error del-pid --all 1 ::: "not both"
usage_error run ::: "CMD"
usage_error --netns a/b list ::: "absolute path"
usage_error --pin-root relative list ::: "absolute path"
usage_error completion csh ::: "bash, zsh and fish"
usage_error -x ::: "unknown option '-x'"

run -j up --snaplen 1
expect "usage error with -j" 2 '^\{"error":\{"code":2,"message":".*64 to 65535"\}\}$' '64 to 65535'
run -j "$(printf 'a\377\033b')"
if python3 -c 'import json,sys; json.loads(open(sys.argv[1],"rb").read().decode("utf-8"))' "$tmp/out" &&
	! grep -q "$(printf '\033')" "$tmp/err"; then
	ok "bytes that are not UTF-8: valid JSON, terminal not steered"
else
	not_ok "bytes that are not UTF-8" "$(details)"
fi

# ---- check FILE ----
printf '# fine\nmonitor = mon1\nsources = { lo }\n' > "$tmp/good.conf"
printf 'monitor = mon1\nsnaplen = 5\nlinger = x\n' > "$tmp/bad.conf"
run check "$here/../../configs/mirrorctl.conf"; expect "check: the shipped configuration" 0 'no problem found' ''
run check "$tmp/good.conf"; expect "check: good file" 0 'no problem found' ''
run -j check "$tmp/good.conf"; expect "check -j: good file" 0 '"valid":true' ''
run check "$tmp/bad.conf"; expect "check: FILE:LINE" 2 '' "bad.conf:2: '5' is no value for 'snaplen'"
expect "check: every problem is named" 2 '' "bad.conf:3: 'x' is no value for 'linger'"
run -j check "$tmp/bad.conf"
if [ "$(wc -l < "$tmp/out")" -eq 1 ]; then
	expect "check -j: one object, the first problem" 2 '"code":2,"message":".*bad.conf:2:' 'bad.conf:3'
else
	not_ok "check -j: one object" "$(details)"
fi
run check "$tmp/none.conf"; expect "check: no such file" 3 '' 'no configuration file'
run check "$tmp"; expect "check: a directory" 1 '' 'Is a directory'
printf 'monitor = "$%s"\n' '{HOME}' > "$tmp/environment.conf"
run check "$tmp/environment.conf"; expect "check: environment is not expanded" 2 '' 'environment'

# ---- write errors ----
if [ -w /dev/full ]; then
	for verb in version help "-j version" "completion bash"; do
		# shellcheck disable=SC2086 # two words are meant
		"$mirrorctl" $verb > /dev/full 2> "$tmp/err"
		status=$?
		: > "$tmp/out"
		expect "$verb > /dev/full" 1 '' 'cannot write to standard output: No space left'
	done
else
	skip "write errors" "no /dev/full"
fi

# ---- not permitted ----
drop=
if [ "$(id -u)" -ne 0 ]; then
	drop='env --'
elif command -v setpriv > /dev/null; then
	drop="setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs"
fi
# The binary may lie below a directory that only root may search.
cp "$mirrorctl" "$tmp/mirrorctl"
chmod 0755 "$tmp" "$tmp/mirrorctl"
for args in up down "add-pid 1" "del-pid --all" "run -- true" list status stats; do
	if [ -z "$drop" ]; then skip "not permitted: $args" "no setpriv"; continue; fi
	# shellcheck disable=SC2086 # several words are meant
	$drop "$tmp/mirrorctl" $args > "$tmp/out" 2> "$tmp/err"
	status=$?
	expect "not permitted: $args" 4 '' "^mirrorctl: '${args%% *}' needs CAP_.*lacks CAP_.*sudo"
done
if [ -n "$drop" ]; then
	$drop "$tmp/mirrorctl" -j list > "$tmp/out" 2> "$tmp/err"
	status=$?
	expect "not permitted with -j" 4 '^\{"error":\{"code":4,"message":' 'CAP_BPF'
	$drop "$tmp/mirrorctl" run --user nobody -- true > "$tmp/out" 2> "$tmp/err"
	status=$?
	expect "run --user needs to change users" 4 '' 'CAP_SETUID'
	$drop "$tmp/mirrorctl" up --snaplen 1 > "$tmp/out" 2> "$tmp/err"
	status=$?
	expect "wrong usage is said before missing permission" 2 '' '64 to 65535'
	for args in version help "help up" "completion zsh" "check $tmp/good.conf"; do
		chmod 0644 "$tmp/good.conf"
		# shellcheck disable=SC2086 # several words are meant
		$drop "$tmp/mirrorctl" $args > "$tmp/out" 2> "$tmp/err"
		status=$?
		expect "needs no privilege: $args" 0 '.' ''
	done
fi
if [ "$(id -u)" -eq 0 ] && [ -n "$drop" ] && command -v unshare > /dev/null; then
	run --netns no-such-namespace status; expect "--netns: unknown name" 3 '' "no-such-namespace"
	run --netns /etc/passwd status; expect "--netns: a file that is none" 3 '' 'not a network namespace'
	mkfifo "$tmp/fifo"
	timeout 10 "$mirrorctl" --netns "$tmp/fifo" status > "$tmp/out" 2> "$tmp/err"
	status=$?
	expect "--netns: a FIFO does not hang it" 3 '' 'not a network namespace'
	run --netns /proc/self/ns/net __complete devices l; expect "--netns: a path" 0 '^lo' ''
else
	skip "--netns" "needs root"
fi

# ---- completion ----
run __complete devices l; expect "__complete devices" 0 "^lo$(printf '\t')ifindex 1$" ''
run __complete pids "$$"; expect "__complete pids" 0 "^$$$(printf '\t')." ''
run completion bash
cp "$tmp/out" "$tmp/completion.bash"

# complete_bash WORD...: what bash offers for the last word.
complete_bash()
{
	PATH="$(dirname "$mirrorctl"):$PATH" bash -c '
		. "$1"; shift
		COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
		_mirrorctl; printf "%s\n" "${COMPREPLY[@]}" | sort' - "$tmp/completion.bash" "$@" > "$tmp/out" 2> "$tmp/err"
	status=$?
}
complete_bash mirrorctl a; expect "bash: verb" 0 '^add-pid$' ''
complete_bash mirrorctl --netns x st; expect "bash: verb behind global options" 0 '^status$' ''
complete_bash mirrorctl up --mon; expect "bash: option" 0 '^--monitor-type$' ''
complete_bash mirrorctl up --monitor-type d; expect "bash: value" 0 '^dummy$' ''
complete_bash mirrorctl up --monitor-type = br; expect "bash: value behind '='" 0 '^bridge$' ''
complete_bash mirrorctl up l; expect "bash: device" 0 '^lo$' ''
complete_bash mirrorctl add-pid "$$"; expect "bash: process" 0 "^$$\$" ''
complete_bash mirrorctl completion f; expect "bash: shell" 0 '^fish$' ''
complete_bash mirrorctl add-pid --sna; expect "bash: option of another verb" 0 '^$' ''
for shell in bash zsh fish; do
	run completion "$shell"
	cp "$tmp/out" "$tmp/completion.$shell"
	if ! command -v "$shell" > /dev/null; then
		skip "$shell: syntax" "$shell is not installed"
		continue
	fi
	"$shell" -n "$tmp/completion.$shell" > "$tmp/out" 2> "$tmp/err"
	status=$?
	expect "$shell: syntax" 0 '' ''
done
if command -v fish > /dev/null; then
	for pair in 'add:add-pid' 'up --monitor-type du:dummy' 'up --mon:--monitor' 'completion z:zsh' 'up l:lo'; do
		PATH="$(dirname "$mirrorctl"):$PATH" HOME=$tmp fish --no-config -c \
			"source $tmp/completion.fish; complete -C 'mirrorctl ${pair%%:*}'" > "$tmp/out" 2> "$tmp/err"
		status=$?
		expect "fish: ${pair%%:*}" 0 "^${pair#*:}" ''
	done
fi

echo "1..$n"
exit "$failed"
