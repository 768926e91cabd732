#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The systemd units and the manual pages, by the tools made for them. TAP on standard output.
set -u

out=${OUT:-.output}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0
failed=0

ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { n=$((n + 1)); failed=1; echo "not ok $n - $1"; shift; printf '# %s\n' "$@"; }
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }

# verify NAME UNIT...: the paths of the build stand for those of an installation.
verify()
{
	local unit="$tmp/$1"
	sed -e "s|@BINDIR@|$(realpath "$out")|g" -e 's|@SYSCONFDIR@|/etc|g' "configs/$2" > "$unit"
	if ! command -v systemd-analyze > /dev/null; then
		skip "systemd-analyze verify $2" "systemd-analyze is not installed"
		return
	fi
	if grep -q /usr/bin/dumpcap "$unit" && [ ! -x /usr/bin/dumpcap ]; then
		skip "systemd-analyze verify $2" "dumpcap is not installed"
		return
	fi
	# --man=no: the pages of a tree that is not installed are not found.
	if systemd-analyze verify --man=no "$unit" > "$tmp/log" 2>&1 && ! grep -qF "$unit" "$tmp/log"; then
		ok "systemd-analyze verify $2"
	else
		not_ok "systemd-analyze verify $2" "$(cat "$tmp/log")"
	fi
}

verify mirrorctl.service mirrorctl.service
verify mirrorctl-watch.service mirrorctl-watch.service
verify mirror-capture@mon0.service mirror-capture@.service

if command -v systemd-sysusers > /dev/null; then
	# On standard input: a path would be looked for below --root.
	if systemd-sysusers --dry-run --root="$tmp" - < configs/mirrorctl.sysusers > "$tmp/log" 2>&1 &&
		! grep -qi 'ignoring\|failed' "$tmp/log"; then
		ok "systemd-sysusers takes configs/mirrorctl.sysusers"
	else
		not_ok "systemd-sysusers takes configs/mirrorctl.sysusers" "$(cat "$tmp/log")"
	fi
else
	skip "systemd-sysusers" "systemd-sysusers is not installed"
fi

for page in docs/*.[1-9]; do
	if ! command -v mandoc > /dev/null; then
		skip "mandoc -Tlint $page" "mandoc is not installed"
	elif mandoc -Tlint -Wwarning "$page" > "$tmp/log" 2>&1; then
		ok "mandoc -Tlint $page"
	else
		not_ok "mandoc -Tlint $page" "$(cat "$tmp/log")"
	fi
done

echo "1..$n"
exit "$failed"
