#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""House rules that no stock tool checks. Prints FILE:LINE: what, exits 1 if there was anything.

Files of at most 600 lines, functions of at most 80, lines of at most 132 columns; an SPDX line first (behind #!); in C no
`//` comment, no call that cannot be bounded, no goto on the user side, tabs for indentation.
"""
import os
import re
import sys

FILE_MAX = 600
FUNCTION_MAX = 80
COLUMNS = 132
TOPS = ["Makefile", ".ci", "configs", "docs", "include", "mirrorctl", "netns-test", "tc", "xdp"]
NO_SPDX = (".conf", ".json", ".md", ".1", ".5", ".7", ".8")
BANNED = {
    "atoi": "mctl_parse_u32()", "atol": "mctl_parse_u32()", "atoll": "mctl_parse_u32()", "strcpy": "snprintf()",
    "strcat": "snprintf()", "strncpy": "snprintf()",
    "sprintf": "snprintf()", "vsprintf": "vsnprintf()", "gets": "fgets()", "system": "posix_spawn()",
    "bpf_printk": "a counter, or mir_debug()", "bpf_trace_printk": "a counter, or mir_debug()",
}

problems = 0


def complain(path, line, text):
    global problems
    problems += 1
    print(f"{path}:{line}: {text}")


def files():
    for top in TOPS:
        if os.path.isfile(top):
            yield top
        for root, dirs, names in os.walk(top):
            dirs[:] = sorted(d for d in dirs if d not in ("corpus", "__pycache__", ".output"))
            for name in sorted(names):
                if top == "docs" and not name.endswith(".py"):
                    continue    # pages have tables and output as wide as they are
                yield os.path.join(root, name)


def blank(text):
    """The C text with comments and literals blanked out, lines kept; and where `//` comments start."""
    out, slashes, i, line = [], [], 0, 1
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    for hit in pattern.finditer(text):
        line += text.count("\n", i, hit.start())
        out.append(text[i:hit.start()])
        if hit.group().startswith("//"):
            slashes.append(line)
        out.append(re.sub(r"[^\n]", " ", hit.group()))
        line += hit.group().count("\n")
        i = hit.end()
    out.append(text[i:])
    return "".join(out), slashes


def check_functions(path, lines):
    start = None
    for number, line in enumerate(lines, 1):
        # Kernel style: a function's brace stands alone in column 1; a table's does not.
        if line.rstrip() == "{" and start is None:
            start = number
        elif line.startswith("}") and start is not None:
            if number - start - 1 > FUNCTION_MAX:
                complain(path, start, f"function of {number - start - 1} lines (at most {FUNCTION_MAX})")
            start = None


def check_c(path, text):
    code, slashes = blank(text)
    for number in slashes:
        complain(path, number, "`//` comment: use /* */")
    for number, line in enumerate(code.split("\n"), 1):
        for hit in re.finditer(r"\b([a-z_]+)\s*\(", line):
            if hit.group(1) in BANNED and path != "tc/debug.bpf.h":
                complain(path, number, f"{hit.group(1)}() is refused: use {BANNED[hit.group(1)]}")
        if re.search(r"\bgoto\b", line) and not path.startswith(("tc/", "xdp/")):
            complain(path, number, "goto is not used in user code")
    for number, line in enumerate(text.split("\n"), 1):
        if re.match(r"^\t* {8}", line):
            complain(path, number, "indented by spaces: use tabs")
    check_functions(path, code.split("\n"))


def check(path):
    with open(path, "rb") as f:
        raw = f.read()
    if b"\0" in raw:
        return
    text = raw.decode("utf-8", "replace")
    lines = text.split("\n")
    if text and not text.endswith("\n"):
        complain(path, len(lines), "no newline at the end")
    if len(lines) - 1 > FILE_MAX:
        complain(path, FILE_MAX, f"file of {len(lines) - 1} lines (at most {FILE_MAX})")
    first = lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]
    if not path.endswith(NO_SPDX) and "SPDX-License-Identifier:" not in first:
        complain(path, 1, "the first line is no SPDX-License-Identifier")
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            complain(path, number, "white space at the end of the line")
        if len(line.expandtabs(8)) > COLUMNS:
            complain(path, number, f"{len(line.expandtabs(8))} columns (at most {COLUMNS})")
    if path.endswith((".c", ".h")):
        check_c(path, text)


def main():
    for path in files():
        check(path)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
