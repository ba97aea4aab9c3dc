"""The watches of all sources that ask for one: begun, changed and ended as farm.toml says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from farm import registry
from farm.settings import SourceSettings
from farm.triggers.listen import Listen
from farm.triggers.watch import Fire, Watch


class Watches:
    """Of each source with `watch = true` one Watch where its connector has a folder, one Listen where it listens."""

    def __init__(
        self,
        fire: Fire,
        degraded: Callable[[str, str], None],
        listen: Callable[[SourceSettings], Listen] | None = None,
    ) -> None:
        self._fire = fire
        self._degraded = degraded
        self._listen = listen
        self._watches: dict[str, tuple[SourceSettings, Watch | Listen]] = {}

    def reload(self, sources: Iterable[SourceSettings]) -> None:
        """Take on these sources; a watch whose settings did not change goes on."""
        wanted = {source.name: source for source in sources if source.watch}
        for name in list(self._watches):
            settings, watch = self._watches[name]
            if wanted.get(name) != settings:
                watch.close()
                del self._watches[name]
        for name, settings in wanted.items():
            if name not in self._watches and (begun := self._begin(settings)) is not None:
                self._watches[name] = (settings, begun)

    def close(self) -> None:
        for _, watch in self._watches.values():
            watch.close()
        self._watches.clear()

    def _begin(self, settings: SourceSettings) -> Watch | Listen | None:
        connector = registry.load(settings.connector)()
        options = connector.Options.model_validate_json(settings.options_json)
        if self._listen is not None and connector.listens(options):
            listen = self._listen(settings)
            listen.start()
            return listen
        path = connector.watch_path(options)
        if path is None:
            self._degraded(
                settings.name, f"{settings.connector} has nothing to watch: it runs by its schedule only"
            )
            return None

        def key_of(changed: Path) -> str | None:
            return connector.watch_key(options, changed)

        watch = Watch(settings.name, path, key_of, self._fire, self._degraded, rescan_s=settings.rescan_s)
        watch.start()
        return watch
