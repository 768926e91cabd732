# SPDX-License-Identifier: GPL-2.0-only
"""Turns results into totals, text and docs/exactness.md."""

import platform

COMMAND = "make score"
TOOL_ORDER = ("mirrorctl", "dumpcap", "nsntrace")
MEASURED = ("exact", "limit", "wrong")
COUNTS = ("wire", "mirrored", "missed", "foreign", "duplicated", "changed")


def ratio(part, rest):
    """part / (part + rest), cut (never rounded up) to four digits; a dash when there is nothing to divide."""
    total = part + rest
    return f"{part * 10000 // total / 10000:.4f}" if total else "-"


def totals(rows):
    """Sums of measured rows, with recall and precision, once as they are and once beside what named limits explain."""
    rows = [row for row in rows if row["verdict"] in MEASURED]
    out = {name: sum(row[name] for row in rows) for name in COUNTS}
    out["limit_missed"] = sum(row["limit_missed"] for row in rows)
    out["limit_foreign"] = sum(row["limit_foreign"] for row in rows)
    out["scenarios"] = len(rows)
    for verdict in MEASURED:
        out[verdict] = sum(row["verdict"] == verdict for row in rows)
    out["recall"] = ratio(out["mirrored"], out["missed"])
    out["precision"] = ratio(out["mirrored"], out["foreign"] + out["duplicated"])
    return out


def groups(rows):
    """Group names in the order of the catalogue."""
    return list(dict.fromkeys(row["scenario"].split(".")[0] for row in rows))


def tools(rows):
    """Tool names, ours first."""
    found = {row["tool"] for row in rows}
    return [name for name in TOOL_ORDER if name in found] + sorted(found - set(TOOL_ORDER))


def summary(rows):
    """Totals by tool and group."""
    out = {}
    for tool in tools(rows):
        mine = [row for row in rows if row["tool"] == tool]
        out[tool] = {"total": totals(mine),
                     "not_measured": {v: sum(row["verdict"] == v for row in mine) for v in ("cannot", "skipped", "broken")},
                     "groups": {g: totals([row for row in mine if row["scenario"].startswith(g + ".")]) for g in groups(mine)}}
    return out


def summary_text(rows):
    """The totals as lines of text."""
    lines = [""]
    for tool, sums in summary(rows).items():
        t, out = sums["total"], sums["not_measured"]
        lines.append(f"{tool}: {t['scenarios']} scenarios: {t['exact']} exact, {t['limit']} exact under a named limit, "
                     f"{t['wrong']} wrong; {out['cannot']} cannot, {out['skipped']} skipped, {out['broken']} broken")
        lines.append(f"  wire {t['wire']}, mirrored {t['mirrored']}, missed {t['missed']} ({t['limit_missed']} by limits), "
                     f"foreign {t['foreign']} ({t['limit_foreign']} by limits), duplicated {t['duplicated']}, "
                     f"originals changed {t['changed']}, recall {t['recall']}, precision {t['precision']}")
    return "\n".join(lines)


def table(head, rows, left=1):
    """A Markdown table; the first `left` columns are text."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return ["| " + " | ".join(str(cell) for cell in row) + " |" for row in (head, rule, *rows)]


def comparison(rows):
    """Recall and precision of every tool for every class."""
    names, sums = tools(rows), summary(rows)
    body = []
    for group in [*groups(rows), "all"]:
        cells = [group]
        for name in names:
            t = sums[name]["total"] if group == "all" else sums[name]["groups"].get(group)
            cells += [f"{t['exact'] + t['limit']}/{t['scenarios']}", t["recall"], t["precision"]] if t and t["scenarios"] \
                else ["-", "-", "-"]
        body.append(cells)
    head = ["class", *(f"{name} {what}" for name in names for what in ("exact", "recall", "precision"))]
    return table(head, body)


def class_table(rows, group):
    """Every scenario of a class under our tool."""
    body = []
    for row in rows:
        if row["tool"] != "mirrorctl" or not row["scenario"].startswith(group + "."):
            continue
        note = "; ".join(row["limits"]) if row["verdict"] == "limit" else \
            row["lines"][0] if row["verdict"] in ("skipped", "cannot") and row["lines"] else ""
        verdict = row["verdict"] + (f": {note}" if note else "")
        body.append([f"`{row['scenario'].split('.', 1)[1]}`", row["about"].replace("|", "/"), verdict,
                     *(row[name] for name in COUNTS), row["beside"]])
    head = ["scenario", "what happens", "verdict", "on the wire", "mirrored", "missed", "foreign", "duplicated",
            "originals changed", "others' packets beside"]
    return table(head, body, 3)


def measured_facts(rows, group):
    """What the scenarios of a class have to say about themselves."""
    lines = [f"* `{row['scenario'].split('.', 1)[1]}`: {text}" for row in rows
             if row["tool"] == "mirrorctl" and row["scenario"].startswith(group + ".") for text in row.get("facts", [])]
    return [*lines, ""] if lines else []


def peer_table(rows, tool):
    """Where another tool fell short."""
    body = [[f"`{row['scenario']}`", *(row[name] for name in COUNTS[:5]), ratio(row["mirrored"], row["missed"]),
             ratio(row["mirrored"], row["foreign"] + row["duplicated"])]
            for row in rows if row["tool"] == tool and row["verdict"] in MEASURED]
    return table(["scenario", "on the wire", "captured", "missed", "foreign", "duplicated", "recall", "precision"], body)


def facts(rows):
    """What the numbers were measured on."""
    about = next((row["about_tool"] for row in rows if row["tool"] == "mirrorctl" and row.get("about_tool")), {})
    lines = [f"Kernel: Linux {platform.release().split('-')[0]} ({platform.machine()}).", ""]
    if about.get("attribution"):
        lines += ["How this kernel tells the owner of a socket (`mirrorctl status`):", ""]
        lines += table(["event", "how"], [[k, v] for k, v in about["attribution"].items()], 2) + [""]
    versions = {row["tool"]: row["about_tool"]["version"] for row in rows if row.get("about_tool", {}).get("version")}
    return lines + [f"* {name}: {text}" for name, text in versions.items()] + [""]


def limit_table(rows):
    """What each named limit costs, in packets."""
    found = {}
    for row in rows:
        if row["tool"] == "mirrorctl" and row["verdict"] in MEASURED:
            for name in row["limits"]:
                found.setdefault(name, []).append(row)
    body = [[name, len(hits), sum(r["limit_missed"] for r in hits), sum(r["limit_foreign"] for r in hits)]
            for name, hits in found.items()]
    return table(["limit, as `status` begins its line", "scenarios", "missed", "foreign"], body)


def write(path, rows):
    """Writes the report."""
    text = ["# Exactness, measured", "",
            f"Written by `{COMMAND}` (netns-test/score/), which repeats it. Every scenario puts packets of the selected process",
            "and packets of the same kind of other processes on the wire. The truth is a tap of the test's own on the same",
            "device and the rule of docs/architecture.md; a frame counts as mirrored when all its bytes are equal, one for one.",
            "*Recall* is mirrored / on the wire, *precision* is mirrored / (mirrored + foreign + duplicated), both cut to four",
            "digits. Verdict `limit`: this kernel cannot know better, `status` names the limit, and exactly the packets the",
            "scenario lays down for it are missed or foreign; they count in every total.", "", *facts(rows), "## Totals", "",
            *comparison(rows), "", "## Limits in force", "", *limit_table(rows), ""]
    for group in groups(rows):
        text += [f"## mirrorctl: {group}", "", *class_table(rows, group), "", *measured_facts(rows, group)]
    for tool in tools(rows):
        if tool == "mirrorctl":
            continue
        reasons = sorted({row["lines"][0] for row in rows if row["tool"] == tool and row["verdict"] == "cannot" and row["lines"]})
        count = sum(row["tool"] == tool and row["verdict"] == "cannot" for row in rows)
        text += [f"## {tool}", "", *([f"Cannot take part in {count} scenarios: {'; '.join(reasons)}", ""] if count else []),
                 *peer_table(rows, tool), ""]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(text).rstrip() + "\n")
