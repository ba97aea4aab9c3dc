"""One cell and what has to be around it, for as long as a trial takes."""

from __future__ import annotations

import itertools
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from farm import fleeting, spool
from farm.connector import Line, Unit
from farm.core.job import Ending, Finished, JobSpec, Launch, Limits, Outcome, Stage
from farm.lines import Malformed, decode
from farm.settings import SourceSettings
from farm.workers.pool import Pool

SPOOL_BYTES = 256 * 1024 * 1024
LOOK_S = 0.05
_END = b'{"type":"END"'


@dataclass(frozen=True, slots=True)
class Tried:
    """One job's ending and what it found."""

    ending: Ending
    lines: list[Line | Malformed]


class Bench:
    """A pool of one cell in a state folder of its own, which is removed at the end.

    `secrets_of`: the state folder whose secrets the source's connector may ask for.
    """

    def __init__(self, source: SourceSettings, secrets_of: Path | None = None) -> None:
        self.source = source
        self._stack = ExitStack()
        self.home = self._stack.enter_context(fleeting.folder("farm-trial-"))
        self._woken = threading.Event()
        self._ids = itertools.count(1)
        self._pool = Pool(
            self.home,
            cells=1,
            instance=secrets.token_hex(4),
            wake=self._woken.set,
            spool_max_bytes=SPOOL_BYTES,
            secrets=secrets_of,
        )

    def __enter__(self) -> Self:
        try:
            self._pool.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._pool.close()
        finally:
            self._stack.close()

    def limits(self, timeout_s: float | None = None) -> Limits:
        """Those of the source's profile; as much memory as a job could ever be given."""
        profile = self.source.profile
        timeout_s = profile.timeout_s if timeout_s is None else min(timeout_s, profile.timeout_s)
        memory_bytes = max(profile.memory_max_bytes, profile.memory_bytes)
        return Limits(
            timeout_s,
            min(profile.stall_s, timeout_s),
            memory_bytes,
            profile.nice,
            self.source.requests_per_s,
            self.source.burst,
        )

    def discover(
        self,
        enough: Callable[[Line | Malformed], bool],
        *,
        timeout_s: float | None = None,
        connector: str | None = None,
        options: str | None = None,
    ) -> tuple[Ending, bool]:
        """List the source; `enough` is given each line as it comes, and ends the listing by True.

        Returns how it ended, and whether it was let to its end.
        """
        payload = json.dumps({"cursor": None, "paths": None})
        launch = self._launch([JobSpec(1, next(self._ids), Stage.DISCOVER, payload=payload)], timeout_s)
        if connector is not None:
            launch = replace(launch, connector=connector, options=options or "{}")
        self._pool.launch(launch)
        lines, stopped = self._tail(launch.id), False
        while True:
            finished = self._finished(launch.id)
            for line in lines:
                if line is None:
                    break
                if not stopped and enough(line):
                    stopped = True
                    self._pool.kill(launch.id, Outcome.INTERRUPTED, "enough was seen")
            if finished is not None:
                if finished.endings:
                    return finished.endings[0], not stopped
                return Ending(1, launch.id, Outcome.INTERRUPTED, "it was not started"), False

    def extract(self, units: Sequence[Unit]) -> Iterator[Tried]:
        """Read these units one after the other; the ones behind a job that ended its worker get a new worker."""
        waiting = list(units)
        while waiting:
            specs = [
                JobSpec(n, next(self._ids), Stage.EXTRACT, unit.key, unit.version, _payload(unit))
                for n, unit in enumerate(waiting)
            ]
            launch = self._launch(specs, None)
            self._pool.launch(launch)
            while (finished := self._finished(launch.id)) is None:
                pass
            for ending in finished.endings:
                yield Tried(ending, list(spool.read(self._spool(launch.id), ending.start, ending.end)))
            self._spool(launch.id).unlink(missing_ok=True)
            if not finished.endings:
                return  # no worker can be had
            waiting = [waiting[n] for n in sorted(finished.unstarted)]

    def _launch(self, specs: Sequence[JobSpec], timeout_s: float | None) -> Launch:
        source = self.source
        return Launch(
            specs[0].attempt_id,
            source.name,
            source.connector,
            source.options_json,
            tuple(specs),
            self.limits(timeout_s),
            source.profile.cpu,
        )

    def _spool(self, launch_id: int) -> Path:
        return spool.path_of(self.home, launch_id)

    def _finished(self, launch_id: int) -> Finished | None:
        """The launch's end, if it comes within a moment."""
        self._woken.wait(LOOK_S)
        self._woken.clear()
        return next((f for f in self._pool.poll() if f.launch_id == launch_id), None)

    def _tail(self, launch_id: int) -> Iterator[Line | Malformed | None]:
        """The content lines as they are written; None where there is no more yet."""
        path, offset = self._spool(launch_id), 0
        while True:
            if path.exists():
                with path.open("rb") as file:
                    file.seek(offset)
                    for raw in file:
                        if not raw.endswith(b"\n"):
                            break
                        offset += len(raw)
                        if not raw.startswith(_END):
                            yield decode(raw)
            yield None


def _payload(unit: Unit) -> str:
    payload: dict[str, Any] = {"data": unit.data, "uri": unit.uri, "held": ""}
    return json.dumps(payload)
