# SPDX-License-Identifier: GPL-2.0-only
"""Debian's cloud kernels, fetched by apt with a configuration of its own: the system's sources are read, never changed.

Mirror and keyrings are those of the system's own Debian sources. A kernel is asked for by its suite; which version that is
today the package says. Kept below .output/vm/ and asked for again after a day.
"""

import glob
import os
import re
import shutil
import subprocess
import time

SUITES = {
    "5.10": ("bullseye", "bullseye-security"),
    "6.1": ("bookworm", "bookworm-security"),
    "6.12": ("trixie", "trixie-security"),
    "7.2": ("sid",),
}
META = {"x86_64": "linux-image-cloud-amd64", "aarch64": "linux-image-cloud-arm64"}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
FRESH_S = 24 * 3600


class Unavailable(Exception):
    """This kernel cannot be had; the text says why."""


def run(argv, **more):
    """Runs a command quietly; raises Unavailable with its last words."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode:
        last = [line for line in done.stdout.splitlines() if line.strip()][-1:]
        raise Unavailable(f"{argv[0]}: {last[0] if last else done.returncode}")
    return done.stdout


def archives():
    """(archive, security archive) of the system's own Debian sources; a security archive may be missing."""
    main = security = None
    for uri in run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]).splitlines():
        tail = uri.rstrip("/").rsplit("/", 1)[-1]
        main = main or (uri if tail == "debian" else None)
        security = security or (uri if tail == "debian-security" else None)
    if not main:
        raise Unavailable("the system's apt sources name no Debian archive")
    return main, security


def sources(suites):
    """Text of a private sources.list for these suites."""
    main, security = archives()
    option = f" [signed-by={KEYRING}]" if os.path.exists(KEYRING) else ""   # else the keys apt trusts anyway
    lines = []
    for suite in suites:
        uri = security if suite.endswith("-security") else main
        if uri:
            lines.append(f"deb{option} {uri} {suite} main")
    return "\n".join(lines) + "\n"


def apt(root):
    """The options that keep apt inside `root`."""
    for name in ("lists/partial", "cache/archives/partial", "etc/preferences.d", "etc/sources.d"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    open(f"{root}/status", "a", encoding="ascii").close()
    # The sandbox user of apt could not write below a private directory. Suites that are no longer updated expire.
    return ["-q", "-o", f"Dir::Etc::sourcelist={root}/sources.list", "-o", f"Dir::Etc::sourceparts={root}/etc/sources.d",
            "-o", f"Dir::Etc::preferencesparts={root}/etc/preferences.d", "-o", "Dir::Etc::preferences=/dev/null",
            "-o", f"Dir::State={root}", "-o", f"Dir::State::lists={root}/lists", "-o", f"Dir::State::status={root}/status",
            "-o", f"Dir::Cache={root}/cache", "-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User=root",
            "-o", "Acquire::http::Timeout=30", "-o", "Acquire::Retries=2", "-o", "Acquire::Check-Valid-Until=false",
            "-o", "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false"]


def depends(options, package):
    """Names that the newest version of a package depends on, first alternatives only."""
    text = run(["apt-cache", *options, "show", "--no-all-versions", package])
    hit = re.search(r"^Depends: (.*)$", text, re.M)
    return [word.split()[0] for word in hit.group(1).split(",")] if hit else []


def packages(options, meta):
    """The real packages that the meta package stands for today: one, or image and modules apart."""
    images = [name for name in depends(options, meta) if name.startswith("linux-image-")]
    if not images:
        raise Unavailable(f"{meta} depends on no kernel")
    parts = ("linux-base-", "linux-binary-", "linux-modules-")
    return images[:1] + [name for name in depends(options, images[0]) if name.startswith(parts)]


def find_packages(options, meta):
    """packages() by fresh lists. A list that cannot be fetched matters only if nothing is found without it."""
    missing = None
    try:
        run(["apt-get", *options, "-o", "APT::Update::Error-Mode=any", "update"])
    except Unavailable as why:
        missing = why
    try:
        return packages(options, meta)
    except Unavailable as why:
        raise missing or why from None


def download(name, root):
    """Fetches and unpacks the kernel `name` into root/tree."""
    meta = META.get(os.uname().machine)
    if not meta:
        raise Unavailable(f"no cloud kernel for {os.uname().machine}")
    options = apt(root)
    with open(f"{root}/sources.list", "w", encoding="ascii") as file:
        file.write(sources(SUITES[name]))
    wanted = find_packages(options, meta)
    debs = {package: glob.glob(f"{root}/{package}_*.deb") for package in wanted}
    if not all(debs.values()):
        run(["apt-get", *options, "download", *wanted], cwd=root)
    shutil.rmtree(f"{root}/tree", ignore_errors=True)
    keep = [max(glob.glob(f"{root}/{package}_*.deb"), key=os.path.getmtime) for package in wanted]
    for deb in keep:
        run(["dpkg-deb", "-x", deb, f"{root}/tree"])
    for old in set(glob.glob(f"{root}/*.deb")) - set(keep):
        os.unlink(old)


def find(root):
    """(release, image, modules) of an unpacked kernel, or None. Both moved once: to /usr, and out of /boot."""
    for modules in glob.glob(f"{root}/tree/lib/modules/*") + glob.glob(f"{root}/tree/usr/lib/modules/*"):
        release = os.path.basename(modules)
        for image in (f"{modules}/vmlinuz", f"{root}/tree/boot/vmlinuz-{release}"):
            if os.path.exists(image):
                return release, image, modules
    return None


def fetch(name, out):
    """(release, image, modules) of kernel `name`; a copy of yesterday serves where the archive cannot be reached."""
    root = os.path.abspath(f"{out}/{name}")
    mark = f"{root}/fetched"
    os.makedirs(root, exist_ok=True)
    have = find(root)
    if have and os.path.exists(mark) and time.time() - os.path.getmtime(mark) < FRESH_S:
        return have
    try:
        download(name, root)
        with open(mark, "w", encoding="ascii"):
            pass
    except Unavailable as why:
        if not have:
            raise
        print(f"# kernel {name}: kept from before ({why})", flush=True)
    have = find(root)
    if not have:
        raise Unavailable("the package holds no kernel image with modules")
    return have
