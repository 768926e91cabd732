#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Draws the figures of these pages as SVG, always the same from the same data, and writes the totals of docs/exactness.md into
the background.

usage: docs/figures.py [--check] [--cost FILE]

--check writes nothing and says which figure is not what this script makes. --cost takes the JSON of `make bench` as the new
data of the chart: its medians, quartiles and goals are kept in docs/figures/cost.json.
"""
import argparse
import json
import os
import sys
from xml.sax.saxutils import escape

PAGES = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(PAGES, "figures", "cost.json")
MARK, END = "<!-- exactness -->", "<!-- end -->"
INK, GREY, LINE = "#1f2328", "#57606a", "#8c959f"
BLUE, GREEN, AMBER, PAPER = "#ddf4ff", "#dafbe1", "#fff8c5", "#ffffff"
BAR, GOAL = "#54aeff", "#cf222e"


class Drawing:
    """SVG elements on paper of a fixed size."""

    def __init__(self, width, height, title):
        self.width, self.height, self.title = width, height, title
        self.parts = []

    def box(self, x, y, w, h, fill=PAPER, dash=False):
        """A rectangle with round corners."""
        self.parts.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{fill}" stroke="{LINE}"'
                          + (' stroke-dasharray="5 4"' if dash else "") + "/>")

    def text(self, x, y, words, size=13, anchor="start", bold=False, fill=INK, mono=False):
        """One line."""
        family = ' font-family="monospace"' if mono else ""
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"{family}{weight}>'
                          f"{escape(words)}</text>")

    def lines(self, x, y, rows, anchor="middle", size=12):
        """Several lines, the first one bold."""
        for i, row in enumerate(rows):
            self.text(x, y + i * (size + 5), row, 14 if i == 0 else size, anchor, bold=i == 0, fill=INK if i == 0 else GREY)

    def path(self, points, arrow=True, dash=False, color=INK, width=1.6):
        """A line through points, with a head at its end."""
        way = " ".join(f"{'M' if i == 0 else 'L'}{x:g} {y:g}" for i, (x, y) in enumerate(points))
        self.parts.append(f'<path d="{way}" fill="none" stroke="{color}" stroke-width="{width}"'
                          + (' stroke-dasharray="5 4"' if dash else "") + (' marker-end="url(#head)"' if arrow else "") + "/>")

    def svg(self):
        """The file."""
        return "\n".join([
            '<?xml version="1.0" encoding="UTF-8"?>',
            "<!-- SPDX-License-Identifier: GPL-2.0-only. Made by docs/figures.py; do not edit. -->",
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" font-family="sans-serif" role="img">',
            f"<title>{escape(self.title)}</title>",
            f'<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            f'<path d="M0 0 L8 4 L0 8 z" fill="{INK}"/></marker></defs>',
            f'<rect width="{self.width}" height="{self.height}" fill="{PAPER}"/>',
            *self.parts, "</svg>", ""])


WORLDS = {
    "en": {"title": "Two worlds, and the one thing in both", "left": "The world of processes", "right": "The world of packets",
           "process": ["process 1234", "command, user, container"], "worker": ["process 1250", "its child: same descriptor"],
           "files": ["open file", "shared, passed on, inherited"], "sock": ["struct sock"], "owner": "owner: 1234",
           "frame": ["frame on eth0", "addresses, ports, bytes"], "not": ["no process id", "none was ever sent"],
           "tuple": ["skb->sk, or lookup by tuple", "timers, retransmits, resets: too"],
           "write": "written: create, accept, use", "read": "read: for each packet",
           "lnote": "in a system call: current is the process", "rnote": "in a softirq: current is whoever was interrupted"},
    "es": {"title": "Dos mundos, y lo único que está en ambos", "left": "El mundo de los procesos",
           "right": "El mundo de los paquetes", "process": ["proceso 1234", "orden, usuario, contenedor"],
           "worker": ["proceso 1250", "su hijo: mismo descriptor"],
           "files": ["archivo abierto", "compartido, cedido, heredado"], "sock": ["struct sock"], "owner": "dueño: 1234",
           "frame": ["trama en eth0", "direcciones, puertos, bytes"], "not": ["sin identificador de proceso", "nunca se envió"],
           "tuple": ["skb->sk, o búsqueda por tupla", "también temporizadores y RST"],
           "write": "se escribe: crear, aceptar, usar", "read": "se lee: en cada paquete",
           "lnote": "en llamada al sistema: current es el proceso", "rnote": "en softirq: current es quien fue interrumpido"},
}


def two_worlds(lang):
    """Processes on one side, packets on the other; the socket is in both."""
    say = WORLDS[lang]
    d = Drawing(920, 400, say["title"])
    d.box(15, 45, 330, 320, BLUE)
    d.box(575, 45, 330, 320, GREEN)
    d.text(180, 32, say["left"], 16, "middle", True)
    d.text(740, 32, say["right"], 16, "middle", True)
    for y, key in ((75, "process"), (155, "worker"), (245, "files")):
        d.box(50, y, 260, 58)
        d.lines(180, y + 25, say[key])
    d.path([(50, 104), (32, 104), (32, 274), (48, 274)])
    d.path([(180, 213), (180, 243)])
    for y, key in ((75, "frame"), (155, "not"), (245, "tuple")):
        d.box(610, y, 260, 58, dash=key == "not")
        d.lines(740, y + 25, say[key])
    d.path([(870, 104), (888, 104), (888, 274), (872, 274)])
    d.box(380, 225, 160, 100, AMBER)
    d.lines(460, 250, say["sock"])
    d.box(400, 268, 120, 38)
    d.text(460, 292, say["owner"], 14, "middle", True, mono=True)
    d.path([(310, 275), (378, 275)])
    d.path([(610, 275), (542, 275)])
    d.text(460, 205, say["write"], 12, "middle", fill=GREY)
    d.text(460, 345, say["read"], 12, "middle", fill=GREY)
    d.text(180, 345, say["lnote"], 12, "middle", fill=GREY)
    d.text(740, 345, say["rnote"], 12, "middle", fill=GREY)
    return d.svg()


STAGES = {
    "en": {"title": "Three stages", "owner": ["1. owner", "who does this socket belong to?", "process context", "slow is fine"],
           "mirror": ["2. mirror", "is this packet a target's, why?", "TC, every source", "never looks for a process"],
           "monitor": ["3. monitor", "what does the copy look like?", "TC egress of mon0", "touches copies only"],
           "calls": ["socket calls,", "fork, exec, exit"], "packet": ["packet", "in or out"],
           "original": ["the original, untouched,", "to the next program, device, stack"],
           "storage": "owner on the socket", "clone": "clone, identity in cb",
           "tools": ["dumpcap, Wireshark,", "tcpdump, Zeek, ..."],
           "ctl": ["mirrorctl", "a command, no daemon: loads, attaches, pins; tags the sockets a new target holds"],
           "pins": "pinned maps and links"},
    "es": {"title": "Tres etapas", "owner": ["1. dueño", "¿de quién es este socket?", "contexto de proceso", "puede ser lenta"],
           "mirror": ["2. espejo", "¿es de un objetivo, y por qué?", "TC, cada origen", "nunca busca un proceso"],
           "monitor": ["3. monitor", "¿qué aspecto tiene la copia?", "TC de salida de mon0", "solo toca copias"],
           "calls": ["llamadas de socket,", "fork, exec, exit"], "packet": ["paquete", "entra o sale"],
           "original": ["el original, intacto,", "al programa siguiente, dispositivo, pila"],
           "storage": "dueño en el socket", "clone": "clon, identidad en cb",
           "tools": ["dumpcap, Wireshark,", "tcpdump, Zeek, ..."],
           "ctl": ["mirrorctl", "una orden, no un demonio: carga, engancha, ancla; marca los sockets que tiene un objetivo nuevo"],
           "pins": "mapas y enlaces anclados"},
}


def three_stages(lang):
    """Owner, mirror, monitor, and what passes from one to the next."""
    say = STAGES[lang]
    d = Drawing(920, 420, say["title"])
    for x, key, fill in ((30, "owner", BLUE), (345, "mirror", GREEN), (660, "monitor", AMBER)):
        d.box(x, 110, 230, 110, fill)
        d.lines(x + 115, 138, say[key])
    d.lines(145, 40, ["", *say["calls"]], size=13)
    d.path([(145, 82), (145, 108)])
    d.lines(460, 40, ["", *say["packet"]], size=13)
    d.path([(460, 82), (460, 108)])
    d.path([(460, 220), (460, 262)])
    d.lines(460, 262, ["", *say["original"]], size=13)
    d.path([(260, 165), (343, 165)])
    d.text(302, 100, say["storage"], 12, "middle", fill=GREY)
    d.path([(302, 106), (302, 160)], arrow=False, dash=True, color=LINE, width=1)
    d.path([(575, 165), (658, 165)])
    d.text(617, 100, say["clone"], 12, "middle", fill=GREY)
    d.path([(617, 106), (617, 160)], arrow=False, dash=True, color=LINE, width=1)
    d.path([(775, 220), (775, 268)])
    d.text(775, 290, "mon0", 15, "middle", True, mono=True)
    d.lines(775, 292, ["", *say["tools"]], size=13)
    d.box(30, 350, 860, 58)
    d.lines(460, 374, say["ctl"])
    for x in (145, 685):
        d.path([(x, 348), (x, 222)], dash=True)
    d.text(155, 310, say["pins"], 12, fill=GREY)
    return d.svg()


DIGITS = {"ratio": 3, "ns": 0}
LABELS, LEFT, RIGHT, ROW = 340, 350, 800, 20


def panel(d, y, table, rows):
    """One table as bars from its base; returns where the next one begins."""
    ratio = table["unit"] == "ratio"
    base = 1.0 if ratio else 0.0
    low = min([0.0] + [min(row["q1"], row["median"]) for row in rows])
    high = max([base] + [max(row["q3"], row["median"], row.get("most", 0.0), row.get("least", 0.0)) for row in rows]) * 1.02 or 1.0

    def at(value):
        return round(LEFT + (value - low) * (RIGHT - LEFT) / (high - low), 1)

    unit = "" if ratio else f", {table['unit']}"
    d.text(20, y, table["title"] + unit, 14, bold=True)
    note = table["note"] or (f"against {table['base']}" if table["base"] else "")
    d.text(20, y + 16, note, 11, fill=GREY)
    top = y + 28
    zero = at(base if ratio else 0.0)
    for i, row in enumerate(rows):
        mid = top + i * ROW + 9
        start, end = (at(0.0), at(row["median"])) if ratio else sorted((zero, at(row["median"])))
        d.text(LABELS, mid + 4, row["name"], 11, "end")
        d.parts.append(f'<rect x="{start}" y="{mid - 6}" width="{max(end - start, 1):.1f}" height="12" fill="{BAR}"/>')
        d.path([(at(row["q1"]), mid), (at(row["q3"]), mid)], arrow=False)
        for goal in ("least", "most"):
            if goal in row:
                d.path([(at(row[goal]), mid - 8), (at(row[goal]), mid + 8)], arrow=False, color=GOAL, width=2)
        d.text(RIGHT + 12, mid + 4, f"{row['median']:.{DIGITS.get(row['unit'], 1)}f}", 11)
    d.path([(zero, top - 2), (zero, top + len(rows) * ROW)], arrow=False, color=GREY, width=1)
    return top + len(rows) * ROW + 26


def cost():
    """The benchmark's tables, but for those that only say what the base itself takes."""
    with open(DATA, encoding="utf-8") as file:
        data = json.load(file)
    tables = [(table, [row for row in data["rows"] if row["table"] == table["id"]]) for table in data["tables"]
              if table["unit"] != "per second" and not table["id"].startswith("base")]
    tables = [(table, rows) for table, rows in tables if rows]
    height = 60 + sum(54 + len(rows) * ROW for _, rows in tables)
    d = Drawing(920, height, "What the mirror costs")
    y = 28
    for table, rows in tables:
        y = panel(d, y, table, rows)
    machine = data["machine"]
    d.text(20, y, "Bar: median. Line: quartiles. Red: the goal. Grey: the base, without what the row adds. Made by docs/figures.py "
           "from the JSON of `make bench`:", 11, fill=GREY)
    d.text(20, y + 15, f"Linux {machine['kernel']} ({machine['arch']}), {machine['cpus']} processors"
           f"{', virtual' if machine['hypervisor'] else ''}, {data['rounds']} rounds, load average {data['load']}.", 11, fill=GREY)
    return d.svg()


def take(path):
    """Keeps of a benchmark's JSON what the chart shows."""
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    if data["version"] != 1:
        sys.exit(f"{path}: JSON of version {data['version']}, this script knows 1")
    machine = {key: data["machine"][key] for key in ("kernel", "arch", "cpus", "hypervisor")}
    machine["kernel"] = machine["kernel"].split("-")[0]
    keep = {"version": 1, "machine": machine, "rounds": data["rounds"], "load": data["facts"]["load_average"].split()[0],
            "tables": data["tables"],
            "rows": [{key: round(row[key], 4) if isinstance(row[key], float) else row[key]
                      for key in ("table", "name", "unit", "n", "median", "q1", "q3", "least", "most") if key in row}
                     for row in data["rows"]]}
    with open(DATA, "w", encoding="utf-8") as file:
        json.dump(keep, file, indent=1)
        file.write("\n")


HEADS = {"en": ("tool", "scenarios", "exact", "recall", "precision"),
         "es": ("herramienta", "escenarios", "exactos", "recall", "precisión")}


def exactness(lang):
    """The line of totals of docs/exactness.md as a table."""
    with open(os.path.join(PAGES, "exactness.md"), encoding="utf-8") as file:
        lines = file.read().split("\n")
    head = next(line for line in lines if line.startswith("| class |"))
    total = next(line for line in lines if line.startswith("| all |"))
    cells = dict(zip([cell.strip() for cell in head.split("|")], [cell.strip() for cell in total.split("|")]))
    rows = ["| " + " | ".join(HEADS[lang]) + " |", "| --- | ---: | ---: | ---: | ---: |"]
    for name in (key.removesuffix(" exact") for key in cells if key.endswith(" exact")):
        exact, _, count = cells[f"{name} exact"].partition("/")
        rows.append(f"| {name} | {count} | {exact} | {cells[f'{name} recall']} | {cells[f'{name} precision']} |")
    return "\n".join(rows)


def page(name, lang):
    """A page with its measured table as it is now."""
    with open(os.path.join(PAGES, name), encoding="utf-8") as file:
        text = file.read()
    before, mark, rest = text.partition(MARK)
    _, end, after = rest.partition(END)
    if not mark or not end:
        sys.exit(f"{name} has no place for the measured table ({MARK}, {END})")
    return f"{before}{mark}\n{exactness(lang)}\n{end}{after}"


def figures():
    """{file name below docs/: content}"""
    made = {"figures/cost.svg": cost()}
    for lang, ending in (("en", ""), ("es", ".es")):
        made[f"figures/two-worlds{ending}.svg"] = two_worlds(lang)
        made[f"figures/three-stages{ending}.svg"] = three_stages(lang)
        made[f"background{ending}.md"] = page(f"background{ending}.md", lang)
    return made


def main():
    """Writes the figures, or compares them."""
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n", 2)[1].removeprefix("usage: "))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--cost", metavar="FILE")
    options = parser.parse_args()
    if options.cost:
        take(options.cost)
    status = 0
    for name, content in figures().items():
        path = os.path.join(PAGES, name)
        if options.check:
            with open(path, encoding="utf-8") as file:
                if file.read() != content:
                    print(f"{name} is not what docs/figures.py makes; run `make figures`")
                    status = 1
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
    return status


if __name__ == "__main__":
    sys.exit(main())
