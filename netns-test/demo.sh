#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the mirror does, in one minute: a host with two pings and two downloads, of which one each is selected. Stock
# dumpcap captures mon0, tshark prints it, and the last line says whether it is exactly the selected processes' traffic.
# Everything happens in network namespaces made here and removed at the end. Run by `sudo make demo`.

set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
mirrorctl=${MIRRORCTL:-$here/../.output/mirrorctl}
host=demo-$$-host
peer=demo-$$-peer
web=10.99.0.2
selected_id=4242
work=$(mktemp -d)
started=()

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() { echo "demo: $*" >&2; exit 1; }
inside() { nsenter --net=/run/netns/"$1" "${@:2}"; } # in the background nsenter itself is used: its pid is the command's

cleanup() {
	local pid
	for pid in "${started[@]}"; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	if [ -e "/run/netns/$host" ]; then
		"$mirrorctl" --netns "$host" down || true
	fi
	ip netns delete "$host" 2>/dev/null || true
	ip netns delete "$peer" 2>/dev/null || true
	rm -rf "$work"
}

# wait_for SECONDS TEXT COMMAND...: until the command succeeds
wait_for() {
	local end=$((SECONDS + $1)) text=$2
	shift 2
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || fail "no $text in time"
		sleep 0.05
	done
}

frames() { tshark -r "$1" -Y "${2:-frame}" 2>/dev/null | wc -l; }
holds() { [ "$(capinfos -Trc "$1" 2>/dev/null | cut -f2)" -ge "$2" ]; } 2>/dev/null
carried() { inside "$host" cat "/proc/net/dev" | awk -v dev="$1:" '$1 == dev { print $3 + $11 }'; }

check_tools() {
	local tool
	[ "$(id -u)" -eq 0 ] || fail "needs root: sudo make demo"
	[ -x "$mirrorctl" ] || fail "$mirrorctl is not built yet: make"
	for tool in ip nsenter ping curl python3 dumpcap tshark capinfos; do
		command -v "$tool" >/dev/null || fail "$tool is missing: make deps"
	done
}

make_network() {
	ip netns add "$host"
	ip netns add "$peer"
	ip link add eth0 netns "$host" index 11 type veth peer name eth0 netns "$peer" index 12
	ip -n "$host" addr add 10.99.0.1/24 dev eth0
	ip -n "$peer" addr add "$web"/24 dev eth0
	ip -n "$host" link set eth0 up
	ip -n "$peer" link set eth0 up
	mkdir "$work/www"
	head -c 30000 /dev/urandom >"$work/www/page"
	nsenter --net=/run/netns/"$peer" python3 -m http.server 80 --bind "$web" --directory "$work/www" >"$work/web.log" 2>&1 &
	started+=($!)
	wait_for 10 "web server" inside "$host" curl -s -o /dev/null "http://$web/page"
}

# capture DEV FILE: stock dumpcap in the background, ready when it returns
capture() {
	nsenter --net=/run/netns/"$host" dumpcap -q -i "$1" -B 16 -w "$2" 2>"$2.log" &
	started+=($!)
	wait_for 15 "capture on $1" grep -sq "File:" "$2.log"
}

stop() {
	kill "$1"
	wait "$1" 2>/dev/null || true
}

# strangers: another ping and other downloads with the same peer, until it is killed
strangers() {
	local ping_pid
	nsenter --net=/run/netns/"$host" ping -q -i 0.02 "$web" >/dev/null &
	ping_pid=$!
	trap 'kill "$ping_pid"; wait; exit 0' TERM
	while inside "$host" curl -s -o /dev/null "http://$web/page"; do :; done
}

main() {
	local before_eth0 before_mon0 eth0_pid mon0_pid strangers_pid port ours target mirrored foreign
	check_tools
	trap cleanup EXIT
	make_network

	say "\$ mirrorctl up eth0"
	"$mirrorctl" --netns "$host" up eth0
	before_eth0=$(carried eth0)
	before_mon0=$(carried mon0)
	capture eth0 "$work/eth0.pcapng"
	eth0_pid=${started[-1]}
	capture mon0 "$work/mon0.pcapng"
	mon0_pid=${started[-1]}

	strangers &
	strangers_pid=$!
	started+=("$strangers_pid")

	say "\$ mirrorctl run -- ping -c 3 $web            (beside another ping of the same host)"
	"$mirrorctl" --netns "$host" run -- ping -c 3 -i 0.2 -e "$selected_id" "$web"
	say "\$ mirrorctl run -- curl http://$web/page     (beside other downloads of the same page)"
	port=$("$mirrorctl" --netns "$host" run -- \
		curl -sS -o /dev/null -w '%{local_port}' "http://$web/page")
	echo "30000 bytes, from port $port"
	stop "$strangers_pid"

	wait_for 10 "complete capture of eth0" holds "$work/eth0.pcapng" $(($(carried eth0) - before_eth0))
	wait_for 10 "complete capture of mon0" holds "$work/mon0.pcapng" $(($(carried mon0) - before_mon0))
	stop "$eth0_pid"
	stop "$mon0_pid"

	say "\$ mirrorctl list"
	"$mirrorctl" --netns "$host" list
	say "\$ tshark -r mon0.pcapng                       (captured by dumpcap -i mon0)"
	tshark -n -r "$work/mon0.pcapng" 2>/dev/null | cut -c1-110

	ours="icmp.ident == $selected_id || tcp.port == $port"
	target=$(frames "$work/eth0.pcapng" "$ours")
	mirrored=$(frames "$work/mon0.pcapng" "$ours")
	foreign=$(frames "$work/mon0.pcapng" "!($ours)")
	say "eth0 carried $(frames "$work/eth0.pcapng") packets of everybody."
	echo "target packets $target, mirrored $mirrored, foreign $foreign"
	[ "$target" -gt 0 ] && [ "$target" -eq "$mirrored" ] && [ "$foreign" -eq 0 ]
}

main "$@"
