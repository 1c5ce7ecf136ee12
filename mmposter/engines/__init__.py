"""Where the work is done: in this process, in several, or on a Ray cluster; parts in, results out, in their order.

Nothing here knows what a part is. A `Task` says what to do with one (`mmposter.features.work`,
`mmposter.inference.task`).
"""

from __future__ import annotations

from mmposter.engines.choice import Workers, require_engine, run
from mmposter.engines.machine import automatic_workers, cores
from mmposter.engines.task import AHEAD, Task, finished

__all__ = ["AHEAD", "Task", "Workers", "automatic_workers", "cores", "finished", "require_engine", "run"]
