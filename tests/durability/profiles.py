"""How much hypothesis tries: little and always the same in CI, as much as you like elsewhere."""

from __future__ import annotations

import os
from datetime import timedelta

from hypothesis import HealthCheck, Phase, settings


def stateful(*, examples: int, steps: int) -> settings:
    """Settings for a state machine over a database. `STATEFUL=20` tries twenty times as much."""
    times = int(os.environ.get("STATEFUL") or 0)
    # Over a database it takes minutes to find the shortest way to a failure.
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] * bool(times))]
    return settings(
        max_examples=examples * max(1, times),
        stateful_step_count=steps,
        derandomize=bool(os.environ.get("CI")),
        deadline=timedelta(seconds=20),
        database=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
