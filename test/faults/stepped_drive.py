"""The drive node in a process whose wall clock is set an hour forth or back by a signal.

Setting the machine's clock takes rights and harms whatever else runs on it, so this replaces what
the process reads as wall clock. The steady clock goes on, as it does when a clock is set.
"""

import signal
import time

STEPS_S = {signal.SIGUSR1: 3600, signal.SIGUSR2: -3600}

_real_ns, _offset_ns = time.time_ns, [0]


def _step(number, _frame) -> None:
    _offset_ns[0] += STEPS_S[number] * 10**9


def _stepped_ns() -> int:
    return _real_ns() + _offset_ns[0]


if __name__ == '__main__':
    time.time_ns, time.time = _stepped_ns, lambda: _stepped_ns() / 1e9
    for _number in STEPS_S:
        signal.signal(_number, _step)
    from vla_nav.nodes.drive import main

    raise SystemExit(main())
