#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The pages against the tree: what they name must be there. TAP on standard output; no root, no network.

usage: docs/check.py [BINARY]       from anywhere; BINARY is the mirrorctl that is asked for its verbs

Relative links and their anchors resolve; addresses are listed, for somebody who has a network. Verbs, options, make targets,
files and test cases that pages name exist. Limits that `status` may print are explained. Sources that the background names
are listed and used; its translation has the same sections, sources, figures and numbers. Figures are what their script makes.
"""
import fnmatch
import glob
import itertools
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(TOP, os.environ.get("OUT", ".output"), "mirrorctl")
os.chdir(TOP)

PAGES = ["README.md", "CHANGELOG.md", *sorted(glob.glob("docs/*.md")), *sorted(glob.glob("netns-test/**/*.md", recursive=True))]
LIMIT_SOURCES = ("mirrorctl/limits.c", "mirrorctl/cmd_status.c", "mirrorctl/tap_show.c")
LINK = re.compile(r"(!?)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+(?:\([^()]*\))?)\)")
ADDRESS = re.compile(r"https?://[^\s<>)\"'`|]+")
ROOMS = r"(?:tc|xdp|include|mirrorctl|netns-test|configs|docs|\.ci)"
SOURCE = re.compile(r"(?<![*!])\[([A-Z][\w.-]*(?: [\w.-]+)?)\](?!\()")
KERNEL = {"__bpf_trace_run", "__bpf_prog_enter_recur", "sock_graft", "tcp_done", "dev_direct_xmit", "bpf_redirect_peer"}

problems = []


def read(path):
    """The text of a file."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def output(*argv):
    """What a command prints; it must succeed."""
    return subprocess.run(argv, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def wrong(path, line, text):
    """One thing that is not as a page says."""
    problems.append(f"{path}:{line}: {text}")


def prose(text):
    """(number, line) outside fenced blocks."""
    fenced = False
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def fenced(text):
    """(number, line) of the commands in blocks of shell and console."""
    kind = None
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("```"):
            kind = None if kind is not None else line[3:]
        elif kind == "console" and line.startswith("$ "):
            yield number, line[2:]
        elif kind in ("sh", "") and re.match(r"(sudo )?(mirrorctl|make) ", line):
            yield number, line.split("#")[0]


def spans(text):
    """(number, code) of what stands in backticks."""
    for number, line in prose(text):
        for code in re.findall(r"``(.+?)``|`([^`]+)`", line):
            yield number, code[0] or code[1]


def anchors(path):
    """The anchors of a page's headings, as the usual renderers make them."""
    seen, found = {}, set()
    for _, line in prose(read(path)):
        head = re.match(r"#{1,6} +(.*?) *#*$", line)
        if not head:
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head.group(1)).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
        seen[slug] = seen.get(slug, 0) + 1
    return found


def check_links():
    """Every relative link leads somewhere, anchors included."""
    count = 0
    for page in PAGES:
        for number, line in prose(read(page)):
            for _, target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
                if ADDRESS.match(target):
                    continue
                count += 1
                name, _, anchor = target.partition("#")
                path = os.path.normpath(os.path.join(os.path.dirname(page), name)) if name else page
                if not os.path.exists(path):
                    wrong(page, number, f"link to {target}: no such file")
                elif anchor and (not path.endswith(".md") or anchor not in anchors(path)):
                    wrong(page, number, f"link to {target}: no such heading")
    return f"{count} links in {len(PAGES)} pages lead somewhere"


def check_addresses():
    """Lists every address; one with a blank or a comma at its end was not meant so."""
    where = {}
    for page in PAGES:
        for number, line in enumerate(read(page).split("\n"), 1):
            for address in ADDRESS.findall(line):
                where.setdefault(address.rstrip(".,;:"), []).append(f"{page}:{number}")
    for address, places in sorted(where.items()):
        print(f"# {address} {' '.join(places)}")
        if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d+)?(/[\w./~%+?=&#@:,;!$()*\[\]-]*)?", address):
            wrong(*places[0].rsplit(":", 1), f"odd address {address}")
    return f"{len(where)} addresses are listed"


def options_of(verb, known={}):
    """The long options of a verb and the global ones; None for what is no verb."""
    if not known:
        for name in re.findall(r"^  ([a-z][a-z-]*)", output(BINARY, "help").split("\n\n")[1], re.M):
            known[name] = set(re.findall(r"--[a-z][a-z-]+", output(BINARY, "help", name)))
    return known.get(verb)


def check_command(page, number, command):
    """The verb and options of each mirrorctl in a command line."""
    count = 0
    for hit in re.finditer(r"(?:^|[\s;|&(`])(?:[./]*\.output/)?mirrorctl\s+([^;|&)`#]*)", command):
        words = hit.group(1).split()
        while words and words[0].startswith("-"):
            words = words[2 if words[0] in ("--netns", "--pin-root") else 1:]
        if not words or not re.fullmatch(r"[a-z][a-z-]*", words[0]):
            continue    # VERB, (8), ... or global options alone
        options = options_of(words[0])
        count += 1
        if options is None:
            wrong(page, number, f"no verb '{words[0]}': {command.strip()}")
            continue
        for word in itertools.takewhile(lambda w: w != "--", words[1:]):
            if re.fullmatch(r"--[a-z][a-z-]+", word) and word not in options:
                wrong(page, number, f"'{words[0]}' has no option {word}")
    return count


def check_commands():
    """Commands that pages show are such that the binary has."""
    count = 0
    for page in PAGES:
        text = read(page)
        for number, command in itertools.chain(fenced(text), spans(text)):
            count += check_command(page, number, command)
    return f"{count} commands have a verb and options that exist"


def check_make():
    """`make TARGET`."""
    makefile = read("Makefile")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.M))
    count = 0
    for page in PAGES:
        text = read(page)
        for number, command in itertools.chain(fenced(text), spans(text)):
            for words in re.findall(r"(?:^|[\s;&])make((?: [\w=.$@-]+)+)", command):
                for word in words.split():
                    if word.startswith("-") or "=" in word:
                        continue
                    count += 1
                    if word not in targets:
                        wrong(page, number, f"no target '{word}' in the Makefile")
    return f"{count} targets of make exist"


def check_files():
    """Files of the tree that pages name. `name` stands for any name, `*` as in a shell."""
    count = 0
    for page in PAGES:
        for number, code in spans(read(page)):
            for path in re.findall(rf"(?<![\w/.-]){ROOMS}/[\w.*/@-]+", code):
                path = path.rstrip(".")
                if "name" in os.path.basename(path).split(".")[0].split("_"):
                    continue
                count += 1
                if not glob.glob(path):
                    wrong(page, number, f"no file {path}")
    return f"{count} files that pages name exist"


def check_rooms():
    """Every source file has a room in the architecture."""
    text = read("docs/architecture.md")
    rooms = {code for _, code in spans(text) if re.fullmatch(rf"{ROOMS}/[\w.*/]*", code)} - {"mirrorctl/"}
    files = [path for top in ("tc", "xdp", "include/mirror", "mirrorctl") for path in glob.glob(f"{top}/*.[ch]")]
    for path in files:
        source = re.sub(r"\.h$", ".c", path) if path.startswith("mirrorctl/") else path
        if not any(fnmatch.fnmatch(name, room + "*" if room.endswith("/") else room) for room in rooms for name in (path, source)):
            wrong("docs/architecture.md", 1, f"no room for {path}")
    return f"{len(files)} source files have a room"


def check_maps():
    """Every pinned map has its row in the architecture, with as many entries as it has."""
    rows = {row[0]: row for row in re.findall(r"^\| `(\w+)` \| ([^|]*) \|", read("docs/architecture.md"), re.M)}
    limits = dict(re.findall(r"^#define (MIR_\w+) (\d+)\b", read("include/mirror/abi.h"), re.M))
    maps = re.findall(r"\nstruct \{([^}]*)\} (\w+) SEC\(\"\.maps\"\)", read("tc/maps.bpf.h"))
    for body, name in maps:
        entries = re.search(r"max_entries, (\w+)\)", body)
        entries = limits.get(entries.group(1), entries.group(1)) if entries else ""
        if name not in rows:
            wrong("docs/architecture.md", 1, f"no row for map {name}")
        elif entries.isdigit() and not re.search(rf"\b{entries}\b", rows[name][1]):
            wrong("docs/architecture.md", 1, f"map {name} has {entries} entries, not {rows[name][1]}")
    if len(maps) < 10:
        wrong("docs/check.py", 1, f"found {len(maps)} maps only: the pattern is out of date")
    return f"{len(maps)} maps have their row"


def check_cases():
    """Test cases named in the architecture are among those the runners list."""
    python = sys.executable
    names = set(re.findall(r"^([a-z_]+\.[a-z0-9_]+)", output(python, "netns-test/run.py", "--list"), re.M))
    names |= {"tap." + name.split("@")[0] for name in output(python, "netns-test/tap/run.py", "--list").split()}
    names |= set(re.findall(r"^([a-z_]+\.[a-z0-9_]+):", output(python, "netns-test/score/main.py", "--list"), re.M))
    topics = {name.split(".")[0] for name in names}
    endings = {"c", "h", "py", "md", "sh", "txt", "conf", "lua", "json", "svg", "o", "service"}
    count = 0
    for page in ("docs/architecture.md", "docs/limits.md", "docs/development.md"):
        for number, code in spans(read(page)):
            for name in re.findall(r"(?<![\w./-])((?:tap\.)?[a-z_]+\.[a-z][a-z0-9_]*)(?:@\w+)?(?![\w./(-])", code):
                if name.split(".")[0] not in topics or name.rsplit(".", 1)[1] in endings:
                    continue
                count += 1
                if name not in names:
                    wrong(page, number, f"no test case {name}")
    if not count:
        wrong("docs/architecture.md", 1, "names no test case")
    return f"{count} test cases that pages name exist"


def check_unit_tests():
    """Functions of unit tests named in the architecture."""
    tests = "".join(read(path) for path in glob.glob("mirrorctl/test/*.c"))
    count = 0
    for number, code in spans(read("docs/architecture.md")):
        for name in re.findall(r"\btest_[a-z_]+", code):
            count += 1
            if f"cmocka_unit_test({name})" not in tests:
                wrong("docs/architecture.md", number, f"no unit test {name}")
    return f"{count} unit tests that the architecture names exist"


def check_functions():
    """Functions that pages name exist in the tree, or are the kernel's."""
    known = set()
    for top in ("tc", "xdp", "mirrorctl", "include", "netns-test", ".ci"):
        for path in glob.glob(f"{top}/**/*.*", recursive=True):
            if path.endswith((".c", ".h", ".py")):
                known.update(re.findall(r"\b[a-z_][a-z0-9_]{3,}\b", read(path)))
    count = 0
    for page in PAGES:
        for number, span in spans(read(page)):
            for name in re.findall(r"\b([a-z_][a-z0-9_]{3,})\(\)", span):
                count += 1
                if name not in KERNEL and name not in known:
                    wrong(page, number, f"no function {name}()")
    return f"{count} functions that pages name exist"


def limit_texts():
    """Texts, with conversions, that may become a `limit` line: what each() and snprintf() are given."""
    for path in LIMIT_SOURCES:
        text = read(path)
        for hit in re.finditer(r'(?:each\(|snprintf\(line, sizeof\(line\), )((?:"(?:\\.|[^"\\])*"|PRI\w+|\s)+)', text):
            words = re.findall(r'"((?:\\.|[^"\\])*)"|(PRI\w+)', hit.group(1))
            yield path, text.count("\n", 0, hit.start()) + 1, "".join(part for part, _ in words)


def check_limits():
    """Each limit has its line in docs/limits.md, and each line there is a limit."""
    codes = dict.fromkeys(code for _, code in spans(read("docs/limits.md")) if len(code.split()) > 5)
    count, explained = 0, set()
    for path, number, text in limit_texts():
        count += 1
        parts = re.split(r"%[-.\d]*[a-z]?(?=[ :']|$)", text)
        pattern = re.compile(r"\S+".join(re.escape(part) for part in parts))
        found = {code for code in codes if pattern.fullmatch(code)}
        explained |= found
        if not found:
            wrong(path, number, f"docs/limits.md has no line '{text}'")
    for code in codes:
        if code not in explained:
            wrong("docs/limits.md", 1, f"no limit reads '{code}'")
    if count < 20:
        wrong("docs/check.py", 1, f"found {count} limits only: the pattern is out of date")
    return f"{count} limits are explained"


def shape(text):
    """What a translation must keep: levels of headings, links, addresses, sources, numbers."""
    body = "\n".join(line for _, line in prose(text))
    local = [re.sub(r"\.es(?=\.(md|svg))", "", target) for _, target in LINK.findall(body)]
    numbers = re.findall(r"\d+(?:[.,]\d+)?", re.sub(r"`[^`]*`|\]\([^)]*\)|https?://\S+", "", body))
    return {"headings": re.findall(r"^(#+) ", body, re.M),
            "rows of tables": len(re.findall(r"^\|", body, re.M)),
            "links": sorted(target.split("#")[0] for target in local if target.split("#")[0] and "background" not in target),
            "addresses": sorted(ADDRESS.findall(body)),
            "sources": sorted(SOURCE.findall(body)),
            "numbers": sorted(number.replace(",", ".") for number in numbers)}


def check_translation():
    """docs/background.es.md says what docs/background.md says."""
    ours, theirs = shape(read("docs/background.md")), shape(read("docs/background.es.md"))
    for what, want in ours.items():
        have = theirs[what]
        if have == want:
            continue
        if isinstance(want, int):
            wrong("docs/background.es.md", 1, f"{have} {what}, {want} in background.md")
            continue
        more = [str(x) for x in have if have.count(x) > want.count(x)]
        less = [str(x) for x in want if want.count(x) > have.count(x)]
        wrong("docs/background.es.md", 1, f"other {what}: too many {sorted(set(more))}, missing {sorted(set(less))}")
    return "the translation of the background has the same shape"


def check_sources():
    """Every source the background names is in its list, every one in the list is named."""
    for page in ("docs/background.md", "docs/background.es.md"):
        text = read(page)
        listed = set(re.findall(r"^\* \*\*\[([^\]]+)\]\*\*", text, re.M))
        named = set(SOURCE.findall(text))
        for key in sorted(named - listed):
            wrong(page, 1, f"source [{key}] is not in the list")
        for key in sorted(listed - named):
            wrong(page, 1, f"source [{key}] is listed, but not named")
        if len(listed) < 20:
            wrong(page, 1, f"{len(listed)} sources: the pattern is out of date")
    return "sources of the background are listed and named"


def check_figures():
    """What lies in docs/ is what the script makes of its data."""
    done = subprocess.run([sys.executable, "docs/figures.py", "--check"], capture_output=True, text=True, check=False)
    if done.returncode:
        wrong("docs/figures.py", 1, (done.stdout + done.stderr).strip().replace("\n", "; ") or "failed")
    return "figures are what docs/figures.py makes"


def main():
    """Runs every check; one TAP line each, with what is wrong below it."""
    checks = [value for name, value in globals().items() if name.startswith("check_") and name != "check_command"]
    failed = 0
    print(f"1..{len(checks)}")
    for number, check in enumerate(checks, 1):
        problems.clear()
        text = check()
        failed += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {number} - {text if not problems else check.__name__}")
        for problem in problems:
            print(f"# {problem}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
