"""``python dying.py AFTER CALLS ARGUMENTS...``: ``skinlesion ARGUMENTS`` that scores parts of ten images and is killed.

That happens so many calls of any function after the beginning of that part: at no time of a clock. A program of its
own, since one that imported the test's module, and all that it needs, would take ten times as long to start.
"""

import itertools
import os
import signal
import sys

from skinlesion import cli
from skinlesion.serving import parts, score_local


def main(after: int, calls: int, arguments: list[str]) -> int:
    plain, begun, made = score_local.score_part, itertools.count(), itertools.count()

    def count(*_):
        if next(made) == calls:
            os.kill(os.getpid(), signal.SIGKILL)

    def work(*given):
        if next(begun) >= after:
            sys.setprofile(count)
        return plain(*given)

    score_local.score_part, parts.SMALLEST = work, 10
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
