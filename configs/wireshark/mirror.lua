-- SPDX-License-Identifier: GPL-2.0-only
--
-- Says in Wireshark and tshark which process a packet belongs to, from what `mirrorctl up --identity` put into the capture:
-- announcements, trailers or IPFIX records (docs/wire-format.md of mirrorctl). Fields mirror.*; works on any capture, and
-- says nothing about one without identity. One file for Wireshark 4.0 and newer: Lua 5.1 to 5.4, so no operators of 5.3.

local VERSION = "1"
local ETHERTYPE = 0x88b5
local MAGIC, END_MAGIC = "MIR1", "1RIM"
local OUR_MAC = "\2MIR1\0"
local COLORS = 8

set_plugin_info({ version = VERSION, description = "which process a mirrored packet belongs to", author = "mirrorctl",
		  repository = "" })

local mirror = Proto("mirror", "Mirror")
local announce = Proto("mirror_announce", "Mirror announcement")

local REASONS = { [0] = "socket", "listener", "linger", "icmp_id", "icmp_error", "raw", "fragment" }
local PROTOCOLS = { [1] = "ICMP", [6] = "TCP", [17] = "UDP", [58] = "ICMPv6", [136] = "UDP-Lite" }

local f = {
	proc = ProtoField.string("mirror.proc", "Process", "command[process id]"),
	pid = ProtoField.uint32("mirror.pid", "Process id"),
	comm = ProtoField.string("mirror.comm", "Command"),
	uid = ProtoField.uint32("mirror.uid", "User id"),
	cgroup = ProtoField.string("mirror.cgroup", "Control group", "unit or container"),
	start = ProtoField.uint64("mirror.start", "Start", base.DEC, nil, nil, "nanoseconds since boot"),
	dir = ProtoField.string("mirror.dir", "Direction", "out: the process sends it, in: it receives it"),
	reason = ProtoField.string("mirror.reason", "Reason", "why the packet, or the announced one, was matched"),
	announced_in = ProtoField.framenum("mirror.announced_in", "Announced in", base.NONE, frametype.NONE),
	color = ProtoField.uint8("mirror.color", "Color", base.DEC, nil, nil, "0 to 7, the same for each frame of a process"),
	seq = ProtoField.uint64("mirror.seq", "Sequence number", base.DEC, nil, nil, "of the frames of one processor"),
	cpu = ProtoField.uint16("mirror.cpu", "Processor"),
	lost = ProtoField.uint64("mirror.lost", "Frames lost before this one", base.DEC, nil, nil, "by the capture"),
	ifindex = ProtoField.uint32("mirror.ifindex", "Source", base.DEC, nil, nil, "interface index the copy was taken on"),
	len = ProtoField.uint32("mirror.len", "Length of the packet", base.DEC, nil, nil, "before it was cut"),
	trailer = ProtoField.bytes("mirror.trailer", "Trailer"),
}
mirror.fields = f

local a = {
	version = ProtoField.uint8("mirror_announce.version", "Version"),
	flow = ProtoField.string("mirror_announce.flow", "Conversation", "local end, remote end"),
	pid = ProtoField.uint32("mirror_announce.pid", "Process id"),
	start = ProtoField.uint64("mirror_announce.start", "Start", base.DEC, nil, nil, "nanoseconds since boot"),
	comm = ProtoField.string("mirror_announce.comm", "Command"),
	uid = ProtoField.uint32("mirror_announce.uid", "User id"),
	cgroup = ProtoField.string("mirror_announce.cgroup", "Control group"),
	reason = ProtoField.string("mirror_announce.reason", "Reason"),
	dir = ProtoField.string("mirror_announce.dir", "Direction"),
	unknown = ProtoField.bytes("mirror_announce.unknown", "Of a newer version"),
}
announce.fields = a

-- What has been learnt from this file. Wireshark calls init() before it reads a file, and again before it reads it anew.
local flows		-- key of a conversation, seen from a process -> { { frame = n, who = {} }, ... } by frame
local fragments		-- datagram -> keys of its first fragment
local fragment_keys	-- frame of a later fragment -> keys of its first one
local sequences		-- processor -> last sequence number
local lost_before	-- frame -> frames that are missing before it
local sequenced		-- highest frame whose sequence number was looked at

local function forget()
	flows, fragments, fragment_keys, sequences, lost_before, sequenced = {}, {}, {}, {}, {}, 0
end
mirror.init = forget
forget()

local function u16(s, at)
	local high, low = s:byte(at, at + 1)
	return high * 256 + low
end

local function u32(s, at)
	return u16(s, at) * 65536 + u16(s, at + 2)
end

-- Text up to the first zero; what a terminal would obey becomes a question mark.
local function text(s)
	local stop = s:find("\0", 1, true)
	return ((stop and s:sub(1, stop - 1) or s):gsub("%c", "?"))
end

local function same(one, other)
	return one.pid == other.pid and one.start == other.start
end

-- ---- conversations -----------------------------------------------------------------------------------------------------
-- A key is protocol, local port, remote port, local address, remote address, as struct mir_wire_flow has them.

local MAPPED = ("\0"):rep(10) .. "\255\255"
local NO_PORTS = "\0\0\0\0"
local ICMP_REQUEST = { [8] = true, [13] = true, [15] = true, [17] = true, [42] = true }
local ICMP_REPLY = { [0] = true, [14] = true, [16] = true, [18] = true, [43] = true }
local ICMP_ERROR = { [3] = true, [4] = true, [5] = true, [11] = true, [12] = true }
local ICMP6_REQUEST = { [128] = true, [160] = true }
local ICMP6_REPLY = { [129] = true, [161] = true }
local ICMP6_ERROR = { [1] = true, [2] = true, [3] = true, [4] = true }
local EXTENSION = { [0] = true, [43] = true, [44] = true, [51] = true, [60] = true }

local read_ip

-- Keys of a packet whose transport header begins at `at`: `out` is seen from its sender, `inn` from its receiver. `request`
-- tells them apart where both ends are the same.
local function read_transport(s, proto, at, src, dst, version)
	local p = string.char(proto)

	if proto == 6 or proto == 17 or proto == 136 then
		local sport, dport = s:sub(at, at + 1), s:sub(at + 2, at + 3)
		if #dport < 2 then return nil end
		return { out = p .. sport .. dport .. src .. dst, inn = p .. dport .. sport .. dst .. src }
	end
	if (version == 4 and proto == 1) or (version == 6 and proto == 58) then
		local kind = s:byte(at)
		if not kind then return nil end
		local four = version == 4
		local request = (four and ICMP_REQUEST or ICMP6_REQUEST)[kind]
		if (four and ICMP_ERROR or ICMP6_ERROR)[kind] then
			local quoted = read_ip(s, at + 8, version)
			return quoted and not quoted.later and { inn = quoted.out } or nil
		end
		if request or (four and ICMP_REPLY or ICMP6_REPLY)[kind] then
			local id = s:sub(at + 4, at + 5) .. "\0\0"
			if #id < 4 then return nil end
			return { out = p .. id .. src .. dst, inn = p .. id .. dst .. src, request = request }
		end
	end
	return { out = p .. NO_PORTS .. src .. dst, inn = p .. NO_PORTS .. dst .. src, request = true }
end

local function read_ip4(s, at)
	if #s < at + 19 then return nil end
	local ihl = (s:byte(at) % 16) * 4
	local proto, frag = s:byte(at + 9), u16(s, at + 6) % 16384
	local src, dst = MAPPED .. s:sub(at + 12, at + 15), MAPPED .. s:sub(at + 16, at + 19)
	local id = frag > 0 and s:sub(at + 4, at + 5) .. string.char(proto) .. src .. dst or nil

	if frag % 8192 > 0 then return { later = id } end
	local keys = read_transport(s, proto, at + ihl, src, dst, 4)
	if keys then keys.first = id end
	return keys
end

local function read_ip6(s, at)
	if #s < at + 39 then return nil end
	local proto, src, dst = s:byte(at + 6), s:sub(at + 8, at + 23), s:sub(at + 24, at + 39)
	local id

	at = at + 40
	for _ = 1, 8 do
		if not EXTENSION[proto] then break end
		if #s < at + 7 then return nil end
		local following = s:byte(at)
		if proto == 44 then
			local frag = u16(s, at + 2)
			if frag % 2 == 1 or frag >= 8 then id = s:sub(at + 4, at + 7) .. src .. dst end
			if frag >= 8 then return { later = id } end
			at = at + 8
		elseif proto == 51 then
			at = at + (s:byte(at + 1) + 2) * 4
		else
			at = at + (s:byte(at + 1) + 1) * 8
		end
		proto = following
	end
	local keys = read_transport(s, proto, at, src, dst, 6)
	if keys then keys.first = id end
	return keys
end

function read_ip(s, at, version)
	if not s:byte(at) or math.floor(s:byte(at) / 16) ~= version then return nil end
	if version == 4 then return read_ip4(s, at) end
	return read_ip6(s, at)
end

-- Keys of an Ethernet frame by its outermost addresses, or nil.
local function read_frame(s)
	if #s < 14 then return nil end
	local at, kind = 15, u16(s, 13)

	while (kind == 0x8100 or kind == 0x88a8) and #s >= at + 3 do
		kind, at = u16(s, at + 2), at + 4
	end
	if kind == 0x0800 then return read_ip(s, at, 4) end
	if kind == 0x86dd then return read_ip(s, at, 6) end
	return nil
end

-- A later fragment has the keys of the first one.
local function keys_of(s, frame)
	local keys = read_frame(s)

	if not keys then return nil end
	if keys.later then
		fragment_keys[frame] = fragment_keys[frame] or fragments[keys.later]
		return fragment_keys[frame]
	end
	if keys.first then fragments[keys.first] = keys end
	return keys
end

-- Index of the last entry at or before the frame, 0 if there is none.
local function find(list, frame)
	local low, high = 0, #list
	while low < high do
		local middle = math.ceil((low + high) / 2)
		if list[middle].frame <= frame then low = middle else high = middle - 1 end
	end
	return low
end

local function learn(key, frame, who)
	local list = flows[key]
	if not list then
		flows[key] = { { frame = frame, who = who } }
		return
	end
	local i = find(list, frame)
	if i > 0 and list[i].frame == frame then return end	-- read before: redissected
	table.insert(list, i + 1, { frame = frame, who = who })
end

-- Whose the conversation is at this frame; before its first announcement, whose it is going to be.
local function owner_at(key, frame)
	local list = key and flows[key]
	if not list then return nil end
	local entry = list[math.max(find(list, frame), 1)]
	return entry.who, entry.frame
end

-- ---- announcements -----------------------------------------------------------------------------------------------------

local function address(version, s)
	if version == 4 then return ("%d.%d.%d.%d"):format(s:byte(13, 16)) end
	local words = {}
	for i = 1, 15, 2 do words[#words + 1] = ("%x"):format(u16(s, i)) end
	return table.concat(words, ":")
end

local function flow_text(s)
	local version, proto = s:byte(1, 2)
	local lport, rport = u16(s, 3), u16(s, 5)
	local here, there = address(version, s:sub(7, 22)), address(version, s:sub(23, 38))
	local name = PROTOCOLS[proto] or ("protocol " .. proto)

	if proto == 1 or proto == 58 then return ("%s %s, %s id %d"):format(name, here, there, lport) end
	if version == 6 then here, there = "[" .. here .. "]", "[" .. there .. "]" end
	if proto == 6 or proto == 17 or proto == 136 then
		return ("%s %s:%d, %s:%d"):format(name, here, lport, there, rport)
	end
	return ("%s %s, %s"):format(name, here, there)
end

-- One function for each TLV: what it says of the process, how it is shown. Nothing is believed of a wrong length.
local tlvs = {
	[1] = { 38, function(who, s, tree, range) who.flow = s; tree:add(a.flow, range, flow_text(s)) end },
	[2] = { 4, function(who, s, tree, range) who.pid = u32(s, 1); tree:add(a.pid, range) end },
	[3] = { 8, function(who, _, tree, range) who.start = range:uint64(); tree:add(a.start, range) end },
	[4] = { nil, function(who, s, tree, range) who.comm = text(s); tree:add(a.comm, range, who.comm) end },
	[5] = { 4, function(who, s, tree, range) who.uid = u32(s, 1); tree:add(a.uid, range) end },
	[6] = { nil, function(who, s, tree, range) who.cgroup = text(s); tree:add(a.cgroup, range, who.cgroup) end },
	[7] = { 1, function(who, s, tree, range)
		who.reason = REASONS[s:byte()] or tostring(s:byte())
		tree:add(a.reason, range, who.reason)
	end },
	[8] = { 1, function(_, s, tree, range) tree:add(a.dir, range, s:byte() == 1 and "out" or "in") end },
}

function announce.dissector(tvb, pinfo, tree)
	local len = tvb:len()
	if len < 8 or tvb:raw(0, 4) ~= MAGIC or tvb(4, 1):uint() ~= 1 then return 0 end

	local at, stop = 8, math.min(len, 8 + tvb(6, 2):uint())
	local own = tree:add(announce, tvb(0, stop))
	local who = { comm = "?", proc = "?" }
	own:add(a.version, tvb(4, 1))
	while at + 2 <= stop do
		local kind, size = tvb(at, 1):uint(), tvb(at + 1, 1):uint()
		if at + 2 + size > stop then break end		-- cut by a snapshot length
		local known = tlvs[kind]
		if size > 0 and known and (not known[1] or known[1] == size) then
			known[2](who, tvb:raw(at + 2, size), own, tvb(at + 2, size))
		elseif size > 0 then
			own:add(a.unknown, tvb(at, 2 + size))
		end
		at = at + 2 + size
	end
	if who.flow and who.pid then
		learn(who.flow:sub(2), pinfo.number, who)
	end
	who.proc = ("%s[%s]"):format(who.comm, who.pid or "?")
	own:append_text((": %s"):format(who.proc))
	pinfo.cols.protocol = "MIRROR"
	pinfo.cols.info = ("%s owns %s"):format(who.proc, who.flow and flow_text(who.flow) or "?")
	return len
end

DissectorTable.get("ethertype"):add(ETHERTYPE, announce)

-- ---- trailers ----------------------------------------------------------------------------------------------------------

-- Where the trailer begins, or nil: it stands at the very end of a frame that was not cut. Its last six bytes are its length
-- and END_MAGIC; 72 bytes are what version 1 has.
local function trailer_at(tvb)
	local len = tvb:len()
	if len < 14 + 72 or len ~= tvb:reported_len() or tvb:raw(len - 4, 4) ~= END_MAGIC then return nil end
	local size = tvb(len - 6, 2):uint()
	if size < 72 or size > len - 14 or tvb:raw(len - size, 4) ~= MAGIC then return nil end
	return len - size
end

local function read_trailer(tvb, at)
	local t = tvb(at, 72)
	local who = { pid = t(8, 4):uint(), uid = t(12, 4):uint(), start = t(16, 8):uint64(), comm = text(tvb:raw(at + 40, 16)) }
	local reason = t(6, 1):uint()

	who.proc = ("%s[%d]"):format(who.comm, who.pid)
	return who, { at = at, sent = t(5, 1):uint() == 1, reason = REASONS[reason] or tostring(reason), seq = t(24, 8):uint64(),
		      ifindex = t(32, 4), len = t(36, 4), cpu = t(56, 2), range = t }
end

-- Each processor numbers its frames; a gap is what the capture lost. Looked at once, when the file is read in order.
local function count_lost(frame, trailer)
	if frame <= sequenced then return end
	sequenced = frame
	local cpu = trailer.cpu:uint()
	local seq = trailer.seq:tonumber()
	local gap = sequences[cpu] and seq - sequences[cpu] - 1 or 0
	if gap > 0 then lost_before[frame] = gap end
	sequences[cpu] = seq
end

-- The bytes are ours: without this the Ethernet dissector shows them as padding and a wrong checksum.
mirror:register_heuristic("eth.trailer", function(tvb, _, _)
	local len = tvb:len()
	return len >= 72 and tvb:raw(len - 4, 4) == END_MAGIC and tvb(len - 6, 2):uint() <= len
end)

-- ---- IPFIX records (--identity ipfix) ------------------------------------------------------------------------------------
-- A template and one record, at fixed places; told by the sender's address and the observation domain "MIR1".

local function learn_ipfix(s, frame)
	if #s < 180 or s:sub(55, 58) ~= MAGIC then return end
	local six = u16(s, 135) == 258
	local at = 139
	local size = six and 16 or 4
	local prefix = six and "" or MAPPED
	local here, there = prefix .. s:sub(at + 1, at + size), prefix .. s:sub(at + 1 + size, at + 2 * size)
	local rest = at + 1 + 2 * size
	if #s < rest + 32 then return end
	local who = { uid = u32(s, rest + 4), pid = u32(s, rest + 8), comm = text(s:sub(rest + 17, rest + 32)) }

	who.proc = ("%s[%d]"):format(who.comm, who.pid)
	learn(s:sub(at, at) .. s:sub(rest, rest + 3) .. here .. there, frame, who)
end

-- ---- every packet ------------------------------------------------------------------------------------------------------

local function generated(item)
	item:set_generated()
	return item
end

-- One subtree for each process the packet belongs to.
local function show(tree, who, sends, announced_in, trailer)
	local own = trailer and tree:add(mirror, trailer.range) or tree:add(mirror)
	local function put(field, value)
		if value ~= nil and value ~= "" then generated(own:add(field, value)) end
	end

	own:set_text(("Mirror: %s %s"):format(who.proc, sends and "sends" or "receives"))
	put(f.proc, who.proc)
	put(f.pid, who.pid)
	put(f.comm, who.comm)
	put(f.uid, who.uid)
	put(f.cgroup, who.cgroup)
	put(f.start, who.start)
	put(f.dir, sends and "out" or "in")
	put(f.reason, trailer and trailer.reason or who.reason)
	put(f.announced_in, announced_in)
	return own
end

local function show_trailer(own, frame, trailer)
	own:add(f.seq, trailer.range(24, 8))
	own:add(f.cpu, trailer.cpu)
	own:add(f.ifindex, trailer.ifindex)
	own:add(f.len, trailer.len)
	own:add(f.trailer, trailer.range)
	if lost_before[frame] then generated(own:add(f.lost, UInt64.new(lost_before[frame]))) end
end

local function add_color(own, who)
	generated(own:add(f.color, who.pid % COLORS))
end

-- The processes at both ends as announcements have them; `known` is what a trailer said of one of them.
local function owners(keys, frame, known, known_sends)
	local from, from_in, to, to_in
	if keys then
		from, from_in = owner_at(keys.out, frame)
		to, to_in = owner_at(keys.inn, frame)
	end
	if known then
		if known_sends then from, from_in = known, nil else to, to_in = known, nil end
	end
	if from and to and same(from, to) then
		-- Both ends have the same key, or the process talks to itself.
		if known then
			if known_sends then to = nil else from = nil end
		elseif keys.out == keys.inn and not keys.request then
			from = nil
		elseif keys.out == keys.inn then
			to = nil
		end
	end
	return from, from_in, to, to_in
end

function mirror.dissector(tvb, pinfo, tree)
	local len, frame = tvb:len(), pinfo.number
	if len < 14 then return end
	local head = tvb:raw(0, math.min(len, 512))
	if head:sub(7, 12) == OUR_MAC then
		if u16(head, 13) == 0x0800 then learn_ipfix(head, frame) end
		return
	end
	local at = trailer_at(tvb)
	if not at and not next(flows) then return end		-- no identity in this file so far: costs nothing

	local keys = keys_of(head, frame)
	local known, trailer
	if at then
		known, trailer = read_trailer(tvb, at)
		count_lost(frame, trailer)
		local key = keys and (trailer.sent and keys.out or keys.inn)
		local last = key and owner_at(key, frame)
		if key and not (last and same(last, known)) then learn(key, frame, known) end
	end
	local from, from_in, to, to_in = owners(keys, frame, known, trailer and trailer.sent)
	local first
	if from then
		local own = show(tree, from, true, from_in, from == known and trailer or nil)
		if from == known then show_trailer(own, frame, trailer) end
		add_color(own, from)
		first = true
	end
	if to then
		local own = show(tree, to, false, to_in, to == known and trailer or nil)
		if to == known then show_trailer(own, frame, trailer) end
		if not first then add_color(own, to) end
	end
end

register_postdissector(mirror)
