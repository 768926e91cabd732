#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Does the score count right? Invented wires and captures, no root. Prints TAP."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from score.world import Score, Tally, coarse, segments  # noqa: E402

# name, target's, others', seen again below, missed by a limit, mirrored by a limit, captured, expected counts
CASES = (
    ("everything", "aab", "c", "", "", "", "aab", (3, 3, 0, 0, 0, True)),
    ("nothing", "aab", "c", "", "", "", "", (3, 0, 3, 0, 0, False)),
    ("one of two equal frames", "aab", "c", "", "", "", "ab", (3, 2, 1, 0, 0, False)),
    ("a foreign frame", "ab", "cd", "", "", "", "abc", (2, 2, 0, 1, 0, False)),
    ("a frame twice", "ab", "c", "", "", "", "abb", (2, 2, 0, 0, 1, False)),
    ("a frame that was not on the wire", "ab", "c", "", "", "", "abx", (2, 2, 0, 1, 0, False)),
    ("a stranger's equal frame", "a", "a", "", "", "", "aa", (1, 1, 0, 1, 0, False)),
    ("three of two equal ones", "a", "a", "", "", "", "aaa", (1, 1, 0, 1, 1, False)),
    ("missed by a limit", "abc", "d", "", "c", "", "ab", (3, 2, 1, 0, 0, True)),
    ("a limit that does not hold", "abc", "d", "", "c", "", "abc", (3, 3, 0, 0, 0, False)),
    ("another frame than the limit's", "abc", "d", "", "c", "", "ac", (3, 2, 1, 0, 0, False)),
    ("foreign by a limit", "ab", "cd", "", "", "c", "abc", (2, 2, 0, 1, 0, True)),
    ("more than the limit allows", "ab", "cd", "", "", "c", "abcd", (2, 2, 0, 2, 0, False)),
    ("seen again below", "ab", "c", "ab", "", "", "abab", (2, 2, 0, 0, 2, False)),
    ("only seen below", "ab", "c", "x", "", "", "abx", (2, 2, 0, 0, 1, False)),
)


class Segment:
    """As much of a packet as coarse() looks at."""

    def __init__(self, seq, payload):
        self.src, self.dst, self.payload, self.tcp_at = "a", "b", payload, 0
        self.frame = bytes(4) + seq.to_bytes(4, "big") + bytes(6) + payload


def count(want, beside, again, lost, lent, have):
    """The score of one row."""
    score, tally = Score(), Tally()
    for name, frames in (("want", want), ("beside", beside), ("again", again), ("lost", lost), ("lent", lent), ("have", have)):
        getattr(tally, name).update(frames)
    tally.known = {frame: frame for frame in want + beside + again}
    tally.shown = {frame: frame for frame in have}
    tally.fill(score)
    return (score.wire, score.mirrored, score.missed, score.foreign, score.duplicated, score.exact())


def main():
    """Runs the table; returns the exit status."""
    rows = [(name, count(*row), wanted) for name, *row, wanted in CASES]
    whole, bounds = Segment(1000, b"x" * 25), {(("a", "b", bytes(4)), 1000): {10}, (("a", "b", bytes(4)), 1010): {15}}
    cut = [unit for piece in (Segment(1000, b"x" * 10), Segment(1010, b"x" * 15)) for unit in coarse(piece, bounds)]
    rows.append(("a super-packet is its segments", coarse(whole, bounds), cut))
    both = segments([Segment(1000, b"x" * 10), Segment(1010, b"x" * 15), whole])
    rows.append(("a super-packet and its pieces are the pieces", coarse(whole, both, min), cut))
    print(f"TAP version 13\n1..{len(rows)}")
    for number, (name, got, wanted) in enumerate(rows, 1):
        print(f"{'ok' if got == wanted else 'not ok'} {number} - {name}")
        if got != wanted:
            print(f"# got {got}, want {wanted}")
    return any(got != wanted for _, got, wanted in rows)


if __name__ == "__main__":
    sys.exit(main())
