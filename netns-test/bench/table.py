# SPDX-License-Identifier: GPL-2.0-only
"""The figures as text and as Markdown."""

DIGITS = {"ratio": 3, "times": 2, "us": 2, "ns": 1, "ms": 1, "per second": 0, "frames": 0, "percent": 2}


def number(value, unit):
    """A figure with as many digits as its unit deserves."""
    return f"{value:,.{DIGITS.get(unit, 2)}f}"


def goal(row):
    """What the row should be, and whether it is."""
    if "least" in row:
        return f"at least {row['least']:g}" + ("" if row["median"] >= row["least"] else ": missed")
    if "most" in row:
        return f"at most {row['most']:g}" + ("" if row["median"] <= row["most"] else ": missed")
    return ""


def lines(result, table):
    """The rows of one table as lists of words."""
    found = []
    for row in result["rows"]:
        if row["table"] == table["id"]:
            found.append([row["name"], number(row["median"], row["unit"]),
                          f"{number(row['q1'], row['unit'])} to {number(row['q3'], row['unit'])}", str(row["n"]), goal(row)])
    return found


def text(result):
    """All tables, for a terminal."""
    out = []
    for table in result["tables"]:
        rows = lines(result, table)
        if not rows:
            continue
        wide = [max(len(row[i]) for row in rows) for i in range(5)]
        unit = "" if table["unit"] == "ratio" else f", {table['unit']}"
        out.append(f"\n{table['title']}{unit}" + (f" ({table['note']})" if table["note"] else ""))
        for row in rows:
            out.append(f"  {row[0]:{wide[0]}}  {row[1]:>{wide[1]}}  [{row[2]:>{wide[2]}}]  n {row[3]}  {row[4]}".rstrip())
    for row in result["skipped"]:
        out.append(f"# not measured: {row['table']}, {row['name']}: {row['why']}")
    out.append(f"# {result['machine']['kernel']}, {result['machine']['cpus']} processors, {result['rounds']} rounds, "
               f"{result['seconds']:.0f} s")
    return "\n".join(out)


def markdown(result, ident):
    """One table for docs/performance.md."""
    table = next((table for table in result["tables"] if table["id"] == ident), None)
    if not table:
        raise SystemExit(f"the run has no table {ident}; it measured {', '.join(t['id'] for t in result['tables'])}")
    rows = lines(result, table)
    out = ["| configuration | median | quartiles | n | goal |", "| --- | ---: | :---: | ---: | --- |"]
    out += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(out)
