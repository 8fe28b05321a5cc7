"""Workloads in rounds of turns, and what came of them.

A shared machine drifts between fast and slow spells. So contenders take turns of a few seconds, each round begins with
another of them, a ratio is that of two turns of one round, and of all rounds the median counts.
"""

import statistics
import time

import load
import workloads

# A contender that takes milliseconds a request has few answers in a turn: fewer turns, and longer ones.
SLOW_ROUNDS, SLOW_SECONDS = 2, 5


class Results:
    """By workload: the turns of each contender, or why it has none."""

    def __init__(self):
        self.workloads, self.turns, self.failed, self.left_out = {}, {}, {}, {}

    def middle(self, workload, contender, figure):
        turns = self.turns.get(workload, {}).get(contender, [])
        return statistics.median(turn[figure] for turn in turns) if turns and figure in turns[0] else None

    def ratio(self, workload, contender, other, figure):
        """The median of the rounds, the least and the most; None where one of the two has no turn."""
        turns = self.turns.get(workload, {})
        pairs = [(one.get(figure), two.get(figure)) for one, two in zip(turns.get(contender, []), turns.get(other, []), strict=False)]
        ratios = sorted(one / two for one, two in pairs if one is not None and two)
        return (statistics.median(ratios), ratios[0], ratios[-1]) if ratios else None


def measure(workload, running, results, arguments):
    """All rounds of one workload. Who fails is left out of the rest of it, and the table says why."""
    faces = workload.faces(running) if workload.faces else [running[name] for name in workload.who if name in running]
    turns, failed = {face.name: [] for face in faces}, {}
    results.workloads[workload.name], results.turns[workload.name], results.failed[workload.name] = workload, turns, failed

    def attempt(face, what):
        try:
            return what()
        except load.Failed as reason:
            failed[face.name] = str(reason)
            turns[face.name].clear()
            return None

    def one(face, seconds):
        if face.name in workloads.SLOW:
            seconds = max(arguments.seconds, 3 if arguments.quick else SLOW_SECONDS)
        turn = attempt(face, lambda: workload.turn(face, seconds))
        return turn and reckoned(workload, turn)

    for face in faces:
        attempt(face, lambda face=face: workload.check(face))
        if face.name not in failed:
            # Connections made, caches and branches warm, none of which is counted.
            one(face, 1)
    for number in range(arguments.rounds):
        for face in faces[number % len(faces):] + faces[:number % len(faces)]:
            if face.name in failed or (face.name in workloads.SLOW and number >= SLOW_ROUNDS):
                continue
            if turn := one(face, arguments.seconds):
                turns[face.name].append(turn)


def reckoned(workload, turn):
    """By unit, where an answer has several, and without what means nothing here."""
    for figure in {"cpu", "store_cpu", "switches"} & turn.keys():
        turn[figure] /= workload.per
    return {figure: value for figure, value in turn.items() if figure not in workload.without}


class Budget:
    """The minutes that a run may take. What has not begun by then is left out, and said to be."""

    def __init__(self, minutes):
        self.until = time.monotonic() + minutes * 60

    def left(self):
        return self.until - time.monotonic()
