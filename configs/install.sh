#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# `install.sh install|uninstall`, called by make. Uninstalling is the exact inverse: directories that installing made are
# written to a manifest, and only those are removed, and only when empty. A configuration that was edited stays.
# Environment: OUT (build output), PREFIX, SYSCONFDIR, DESTDIR.
set -eu

: "${OUT:?}" "${PREFIX:?}" "${SYSCONFDIR:?}"

prefix=${DESTDIR:-}$PREFIX
sysconfdir=${DESTDIR:-}$SYSCONFDIR
data=$prefix/share/mirrorctl
manifest=$data/manifest
conf=$sysconfdir/mirrorctl/mirrorctl.conf

# Debian's zsh looks for packaged functions elsewhere than for local ones.
case $PREFIX in
/usr) zsh=$prefix/share/zsh/vendor-completions ;;
*) zsh=$prefix/share/zsh/site-functions ;;
esac

# Every file but the configuration: mode, source (a shell: its completion), destination.
files()
{
	cat <<-LIST
	0755 $OUT/mirrorctl $prefix/bin/mirrorctl
	0644 include/mirror/abi.h $prefix/include/mirror/abi.h
	0644 docs/mirrorctl.8 $prefix/share/man/man8/mirrorctl.8
	0644 docs/mirrorctl.conf.5 $prefix/share/man/man5/mirrorctl.conf.5
	0644 bash $prefix/share/bash-completion/completions/mirrorctl
	0644 zsh $zsh/_mirrorctl
	0644 fish $prefix/share/fish/vendor_completions.d/mirrorctl.fish
	0644 $OUT/units/mirrorctl.service $prefix/lib/systemd/system/mirrorctl.service
	0644 $OUT/units/mirrorctl-watch.service $prefix/lib/systemd/system/mirrorctl-watch.service
	0644 $OUT/units/mirror-capture@.service $prefix/lib/systemd/system/mirror-capture@.service
	0644 configs/mirrorctl.sysusers $prefix/lib/sysusers.d/mirrorctl.conf
	0644 configs/mirrorctl.conf $data/mirrorctl.conf
	LIST
}

# Makes a directory and those above it, and notes each that was not there before.
make_dir()
{
	if [ -d "$1" ]; then
		return
	fi
	make_dir "$(dirname "$1")"
	mkdir "$1"
	chmod 0755 "$1"
	made="$made$1
"
}

# From files of this host to those of the installed system.
strip_destdir()
{
	while read -r dir; do
		printf '%s\n' "${dir#"${DESTDIR:-}"}"
	done
}

put()
{
	make_dir "$(dirname "$3")"
	case $2 in
	bash | zsh | fish) "$OUT/mirrorctl" completion "$2" > "$3.new" ;;
	*) cp "$2" "$3.new" ;;
	esac
	chmod "$1" "$3.new"
	# A running mirrorctl keeps its own file.
	mv -f "$3.new" "$3"
}

do_install()
{
	made=
	if [ -n "${DESTDIR:-}" ]; then
		mkdir -p "$DESTDIR"
	fi
	make_dir "$data"
	# Installed over itself: what was made then is still ours.
	if [ -f "$manifest" ]; then
		while read -r dir; do
			made="$made${DESTDIR:-}$dir
"
		done < "$manifest"
	fi
	list=$(files)
	while read -r mode from to; do
		put "$mode" "$from" "$to"
	done <<-LIST
	$list
	LIST
	if [ ! -e "$conf" ]; then
		put 0644 configs/mirrorctl.conf "$conf"
	fi
	# Without DESTDIR: a package is built in one place and removed from another.
	printf '%s' "$made" | strip_destdir > "$manifest"
}

do_uninstall()
{
	# The installed original tells whether the configuration was edited.
	if [ -f "$conf" ] && [ -f "$data/mirrorctl.conf" ]; then
		if cmp -s "$conf" "$data/mirrorctl.conf"; then
			rm "$conf"
		else
			echo "uninstall: $conf was edited and stays" >&2
		fi
	fi
	list=$(files)
	while read -r _ _ to; do
		rm -f "$to"
	done <<-LIST
	$list
	LIST
	if [ ! -f "$manifest" ]; then
		return
	fi
	made=$(sed '1!G;h;$!d' "$manifest")	# deepest first
	rm "$manifest"
	while read -r dir; do
		if [ -n "$dir" ] && [ -d "${DESTDIR:-}$dir" ]; then
			rmdir "${DESTDIR:-}$dir" 2>/dev/null || :	# somebody else uses it by now
		fi
	done <<-LIST
	$made
	LIST
}

case ${1:-} in
install) do_install ;;
uninstall) do_uninstall ;;
*)
	echo "usage: install.sh install|uninstall" >&2
	exit 2
	;;
esac
