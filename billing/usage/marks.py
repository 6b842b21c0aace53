"""By what a series is known in a chart: a hue and a pattern, of which there are 21.

Each series of a kind has a turn, from 1, which decides its mark: the first 21 have one each, whoever comes later shares
one. Numbers alone; `billing.usage.marking` says which turn a series has.
"""

from collections.abc import Collection, Mapping

HUES = 7
PATTERNS = 3
# As `templates/billing/patterns.html` has them: `#q24` is hue 4 with its third pattern.
MARKS = tuple(10 * pattern + hue for pattern in range(PATTERNS) for hue in range(1, HUES + 1))
OTHERS = 8  # the mark of what has no series of its own


def mark_of(turn: int) -> int:
    return MARKS[(turn - 1) % len(MARKS)]


def hue_of(mark: int) -> int:
    return mark % 10


def told_apart(turns: Mapping[str, int]) -> dict[str, int]:
    """The mark of each series of a chart, at most as many as there are marks.

    Of those that share one, the first keeps it; the others, and who has no turn (0), take what nobody in the chart has.
    The order in which they are drawn does not matter.
    """
    found: dict[str, int] = {}
    evading = []
    for key, turn in sorted(turns.items(), key=lambda one: (one[1], one[0])):
        if turn and mark_of(turn) not in found.values():
            found[key] = mark_of(turn)
        else:
            evading.append(key)
    for key in evading:
        following = (mark_of(turns[key] + step) for step in range(1, len(MARKS) + 1))
        found[key] = next(mark for mark in following if mark not in found.values())
    return found


def next_turn(taken: Collection[int], drawn: Collection[int]) -> int:
    """For who is drawn for the first time, in a chart with the turns `drawn`; `taken` are all that were given.

    Its mark is none of the chart's; nobody's, as long as there is such a one; of a hue that the chart does not have
    yet, if there is such a one too; and of these the first.
    """
    marks = {mark_of(turn) for turn in drawn}
    hues = {hue_of(mark) for mark in marks}
    free = (turn for turn in range(1, max(taken, default=0) + len(MARKS) + 1) if turn not in taken)
    return min(
        free,
        key=lambda turn: (mark_of(turn) in marks, (turn - 1) // len(MARKS), hue_of(mark_of(turn)) in hues, turn),
    )
