#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# `make install` and `make uninstall` are exact inverses: the tree is compared before and after, with and without things
# that were there before. TAP on standard output; writes below a temporary directory only.
set -u

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0
failed=0

ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { n=$((n + 1)); failed=1; echo "not ok $n - $1"; shift; printf '# %s\n' "$@"; }

# Calls the script itself: make's part (building, naming the units' binary) is done by `make check`.
install_sh()
{
	DESTDIR=$tmp/root PREFIX=$prefix SYSCONFDIR=/etc OUT=${OUT:-.output} configs/install.sh "$1" > "$tmp/log" 2>&1
}

# Names, types, modes and contents.
tree() { (cd "$tmp/root" && find . -printf '%y %m %p\n' -type f -exec sha256sum {} \; | sort); }

same()
{
	if diff -u "$tmp/before" <(tree) > "$tmp/diff"; then ok "$1"; else not_ok "$1" "$(cat "$tmp/diff" "$tmp/log")"; fi
}

fresh() { rm -rf "$tmp/root"; mkdir -p "$tmp/root"; }

for prefix in /usr /usr/local /opt/mirror; do
	fresh
	tree > "$tmp/before"
	if install_sh install; then ok "$prefix: install"; else not_ok "$prefix: install" "$(cat "$tmp/log")"; fi
	missing=
	for f in "$prefix/bin/mirrorctl" "$prefix/share/man/man8/mirrorctl.8" "$prefix/share/man/man5/mirrorctl.conf.5" \
		"$prefix/share/bash-completion/completions/mirrorctl" "$prefix/lib/systemd/system/mirrorctl.service" \
		"$prefix/lib/systemd/system/mirror-capture@.service" "$prefix/lib/sysusers.d/mirrorctl.conf" \
		"$prefix/include/mirror/abi.h" /etc/mirrorctl/mirrorctl.conf; do
		[ -s "$tmp/root$f" ] || missing="$missing $f"
	done
	if [ -z "$missing" ]; then ok "$prefix: files"; else not_ok "$prefix: files" "missing:$missing"; fi
	if grep -rq '@BINDIR@\|@SYSCONFDIR@' "$tmp/root$prefix/lib"; then
		not_ok "$prefix: units name real paths"
	else
		ok "$prefix: units name real paths"
	fi
	if grep -rqF "$tmp" "$tmp/root"; then
		not_ok "$prefix: no installed file names DESTDIR" "$(grep -rlF "$tmp" "$tmp/root")"
	else
		ok "$prefix: no installed file names DESTDIR"
	fi
	install_sh install	# over itself
	install_sh uninstall
	same "$prefix: nothing is left, after two installs too"
done

prefix=/usr/local
fresh
mkdir -p "$tmp/root/usr/local/bin" "$tmp/root/usr/local/share/man" "$tmp/root/etc" "$tmp/root/usr/local/lib/systemd"
echo other > "$tmp/root/usr/local/bin/other"
tree > "$tmp/before"
install_sh install
install_sh uninstall
same "directories and files of others stay, empty ones too"

fresh
mkdir -p "$tmp/root/etc/mirrorctl"
echo 'linger = 5' > "$tmp/root/etc/mirrorctl/mirrorctl.conf"
tree > "$tmp/before"
install_sh install
if grep -qx 'linger = 5' "$tmp/root/etc/mirrorctl/mirrorctl.conf"; then
	ok "a configuration that is there is kept"
else
	not_ok "a configuration that is there is kept"
fi
install_sh uninstall
same "and kept when uninstalling"

fresh
install_sh install
echo 'linger = 7' >> "$tmp/root/etc/mirrorctl/mirrorctl.conf"
install_sh uninstall
left=$(cd "$tmp/root" && find . -type f)
if [ "$left" = ./etc/mirrorctl/mirrorctl.conf ]; then
	ok "an edited configuration is all that stays"
else
	not_ok "an edited configuration is all that stays" "$left"
fi

fresh
install_sh install
mkdir -p "$tmp/root/usr/local/share/mirrorctl" && touch "$tmp/root/usr/local/share/man/man8/other.8"
install_sh uninstall
if [ -f "$tmp/root/usr/local/share/man/man8/other.8" ] && [ ! -e "$tmp/root/usr/local/share/mirrorctl" ]; then
	ok "a directory that others came to use stays"
else
	not_ok "a directory that others came to use stays" "$(tree)"
fi
install_sh uninstall && ok "uninstalling twice does no harm"

echo "1..$n"
exit "$failed"
