# SPDX-License-Identifier: GPL-2.0-only
"""Builds the initial file system of a guest: three cpio archives, one behind the other, that the kernel unpacks in turn.

base     tools of this host with the libraries they are linked to, Python, our binary and tests; the same for every kernel
modules  what the cases need of one kernel's modules, with their dependencies
job      what this boot shall do (job.json)
Uncompressed: under software emulation unpacking costs more than reading.
"""

import compileall
import glob
import json
import os
import re
import shutil
import stat
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))

TOOLS = """
    bash dash sh ip bridge tc ping dumpcap curl bpftool strace ethtool nsenter unshare setpriv capsh modprobe lsmod mount umount
    basename cat chmod chown cp cut date dd df dirname dmesg echo env expr false find grep head hostname id install kill ln
    ls mkdir mktemp mountpoint mv nproc od pgrep printf prlimit ps readlink rm rmdir sed seq sleep sort stat stdbuf stty su sysctl
    tail tee test timeout touch tr true tty uname uniq wc
""".split()
OPTIONAL = "wg iptables ip6tables nft tcpdump iperf3 runuser less vi".split()
# Kernel modules by name; dependencies come along.
MODULES = """
    veth bridge br_netfilter dummy tun ifb macvlan ipvlan vxlan geneve vrf bonding wireguard 8021q netkit nlmon
    ip_gre ip6_gre ipip sit ip6_tunnel fou ppp_generic
    sch_ingress sch_fq sch_fq_codel sch_htb sch_netem sch_prio cls_bpf cls_u32 cls_flower cls_matchall cls_fw
    act_bpf act_mirred act_gact act_vlan act_skbedit
    nf_tables nft_counter nft_chain_nat nft_ct nft_masq iptable_nat iptable_filter ip_tables xt_MASQUERADE
    nft_compat nft_nat nft_redir xt_nat xt_REDIRECT xt_tcpudp
    af_packet unix ipv6 udp_diag tcp_diag inet_diag mptcp_diag raw_diag unix_diag sctp tls
    libcurve25519 libchacha20poly1305 chacha20poly1305 authenc overlay
    esp4 ah4 xfrm_user xfrm_interface echainiv iptable_mangle xt_TPROXY xt_socket xt_mark
""".split()
STDLIB_WITHOUT = re.compile(r"/(test|tests|idlelib|tkinter|ensurepip|lib2to3|distutils|turtledemo|pydoc_data|dist-packages"
                            r"|config-[^/]*)(/|$)")


class Archive:
    """A cpio archive in the format the kernel reads ("newc")."""

    def __init__(self, path):
        self.file = open(path, "wb")
        self.names = set()
        self.inode = 0

    def entry(self, name, mode, data=b"", device=(0, 0), mtime=0):
        """Adds one member; directories above it come first."""
        name = name.strip("/")
        if name in self.names:
            return
        parent = os.path.dirname(name)
        if parent and parent not in self.names:
            self.entry(parent, stat.S_IFDIR | 0o755)
        self.names.add(name)
        self.inode += 1
        raw = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, mtime, len(data), 0, 0, *device, len(raw), 0)
        self.write(b"070701" + b"".join(b"%08X" % field for field in fields) + raw)
        self.write(data)

    def write(self, data):
        """Everything is padded to four bytes."""
        self.file.write(data + b"\0" * (-len(data) % 4))

    def copy(self, source, name=None):
        """Adds a file of this host under its own name or another; links are followed. Compiled Python goes by the time of
        its source."""
        status = os.stat(source)
        with open(source, "rb") as file:
            self.entry(name or source, stat.S_IFREG | (status.st_mode & 0o777), file.read(), mtime=int(status.st_mtime))

    def link(self, name, target):
        """Adds a symbolic link."""
        self.entry(name, stat.S_IFLNK | 0o777, target.encode())

    def text(self, name, text, mode=0o644):
        """Adds a small file."""
        self.entry(name, stat.S_IFREG | mode, text.encode())

    def close(self):
        """Ends the archive. Whatever is appended must begin at a multiple of four bytes, which it does."""
        self.entry("TRAILER!!!", 0)
        self.file.close()


def libraries(path):
    """Shared libraries a program is linked to."""
    out = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    return re.findall(r"(?:=> |^\s+)(/\S+) \(0x", out, re.M)


def add_program(archive, path, name=None):
    """Adds a program and its libraries, under the names they are asked for by."""
    archive.copy(path, name)
    for library in libraries(path):
        archive.copy(library)


def add_python(archive):
    """The distribution's Python with its standard library."""
    python = os.path.realpath("/usr/bin/python3")
    add_program(archive, python)
    archive.link("/usr/bin/python3", os.path.basename(python))
    script = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    top = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    for root, _, names in os.walk(top):
        if STDLIB_WITHOUT.search(root):
            continue
        for name in sorted(names):
            path = os.path.join(root, name)
            if name.endswith((".opt-1.pyc", ".opt-2.pyc")):
                continue
            archive.copy(path)
            if name.endswith(".so"):
                for library in libraries(path):
                    archive.copy(library)


def add_repository(archive, files):
    """Our own files, below /mirror."""
    compileall.compile_dir(f"{TOP}/netns-test", quiet=1)
    for top in ("netns-test", "configs", "include"):
        for root, _, names in os.walk(f"{TOP}/{top}"):
            for name in names:
                path = os.path.join(root, name)
                archive.copy(path, "/mirror/" + os.path.relpath(path, TOP))
    for path in files:
        if os.path.exists(f"{TOP}/{path}"):
            add_program(archive, f"{TOP}/{path}", "/mirror/" + path)


def helpers(out):
    """The score's helper programs: {path on this host: path in the repository of the guest}. A guest has no compiler."""
    sources = glob.glob(f"{TOP}/netns-test/score/*.c")
    built = {}
    for source in sources if shutil.which("cc") else ():
        name = os.path.basename(source).removesuffix(".c")
        subprocess.run(["cc", "-O2", "-static", "-o", f"{out}/{name}", source], check=True)
        built[f"{out}/{name}"] = f".output/score/{name}"
    return built


def base(path, files):
    """Writes the archive every guest has in common. `files` are our binaries, as paths in the repository."""
    new = f"{path}.{os.getpid()}"     # of this run: another may be about
    archive = Archive(new)
    for name in ("proc", "sys", "dev", "run", "root", "etc", "var/tmp", "mnt"):
        archive.entry(name, stat.S_IFDIR | 0o755)
    archive.entry("tmp", stat.S_IFDIR | 0o1777)
    archive.entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.copy(f"{HERE}/guest.py", "/init")
    missing = []
    where = os.pathsep.join(["/usr/bin", "/usr/sbin", "/bin", "/sbin"])
    for tool in TOOLS + OPTIONAL:
        found = shutil.which(tool, path=where)
        if found:
            add_program(archive, os.path.realpath(found), f"/usr/bin/{tool}")
        elif tool in TOOLS:
            missing.append(tool)
    add_program(archive, os.path.realpath("/sbin/modprobe"), "/sbin/modprobe")
    for name in ("bin", "usr/sbin"):
        archive.link(f"/{name}/sh" if name == "bin" else f"/{name}/modprobe", "/usr/bin/" + ("sh" if name == "bin" else "modprobe"))
    archive.link("/bin/bash", "/usr/bin/bash")
    add_python(archive)
    for library in glob.glob("/usr/lib*/coreutils/libstdbuf.so") + glob.glob("/usr/libexec/coreutils/libstdbuf.so"):
        archive.copy(library)
    for plugin in glob.glob("/usr/lib/*/bpf/xdp-dispatcher.o") + glob.glob("/usr/lib/*/xtables/*.so"):
        archive.copy(plugin)
    for library in glob.glob("/lib/*/libnss_files.so*") + glob.glob("/lib/*/libgcc_s.so.1"):
        archive.copy(library)
    archive.text("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
                 "tcpdump:x:100:100::/:/bin/false\n")     # whom tcpdump becomes before it writes
    archive.text("/etc/group", "root:x:0:\ntcpdump:x:100:\nnogroup:x:65534:\n")
    archive.text("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    for name in ("/etc/protocols", "/etc/services", "/etc/iproute2/rt_tables", "/etc/ethertypes"):
        if os.path.exists(name):
            archive.copy(name)
    add_repository(archive, files)
    for built, name in helpers(os.path.dirname(path)).items():
        archive.copy(built, "/mirror/" + name)
    archive.close()
    os.rename(new, path)
    return missing


def closure(tree, release):
    """Paths of the wanted modules and of what they depend on, in modules.dep's terms."""
    with open(f"{tree}/lib/modules/{release}/modules.dep", encoding="ascii") as file:
        deps = {name: rest.split() for name, _, rest in (line.partition(":") for line in file)}
    stem = {re.sub(r"\.ko(\.\w+)?$", "", os.path.basename(path)).replace("-", "_"): path for path in deps}
    wanted, todo = set(), [stem[name] for name in MODULES if name in stem]
    while todo:
        path = todo.pop()
        if path not in wanted:
            wanted.add(path)
            todo.extend(deps[path])
    # Cryptography is asked for by algorithm, not by symbol.
    wanted.update(path for path in deps if "/crypto/" in path)
    return sorted(wanted)


def modules(path, release, source):
    """Writes the archive of one kernel's modules."""
    tree = os.path.dirname(path) + "/depmod"
    shutil.rmtree(tree, ignore_errors=True)
    os.makedirs(f"{tree}/lib/modules")
    os.symlink(source, f"{tree}/lib/modules/{release}")
    subprocess.run(["depmod", "-b", tree, release], check=True)
    new = f"{path}.{os.getpid()}"     # of this run: another may be about
    archive = Archive(new)
    for name in closure(tree, release):
        archive.copy(f"{source}/{name}", f"/lib/modules/{release}/{name}")
    for index in glob.glob(f"{source}/modules.*"):
        archive.copy(index, f"/lib/modules/{release}/{os.path.basename(index)}")
    archive.close()
    os.rename(new, path)


def job(path, plan):
    """Writes the archive that says what this boot shall do."""
    archive = Archive(path)
    archive.text("/job.json", json.dumps(plan))
    archive.close()


def join(path, parts):
    """Puts archives behind one another."""
    with open(path, "wb") as out:
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, out, 1 << 20)
