"""Runs `virembed` and does something at one point of it. The program itself knows nothing of this.

    inject.py POINT CALL WHEN ACTION ARGUMENT...

POINT is the dotted name of a function, CALL the number of the call, WHEN `before` or `after` it,
ACTION a command of the shell, whose $PPID is the program; ARGUMENTs are those of `virembed`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib import import_module


def resolve(point: str) -> tuple[object, str]:
    """The module or class that holds a function, and its name there."""
    parts = point.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            owner: object = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:-1]:
            owner = getattr(owner, name)
        return owner, parts[-1]
    raise ModuleNotFoundError(point)


def inject(point: str, *, call: int, when: str, action: str) -> None:
    owner, name = resolve(point)
    function = getattr(owner, name)
    calls = 0

    def with_fault(*args, **kwargs):
        nonlocal calls
        calls += 1
        is_here = calls == call
        if is_here and when == "before":
            subprocess.run(action, shell=True, check=True)
        result = function(*args, **kwargs)
        if is_here and when == "after":
            subprocess.run(action, shell=True, check=True)
        return result

    setattr(owner, name, with_fault)


if __name__ == "__main__":
    point, call, when, action, *arguments = sys.argv[1:]
    # a shell starts what runs in its background with this one ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    inject(point, call=int(call), when=when, action=action)
    from virembed.cli import main

    main(arguments)
