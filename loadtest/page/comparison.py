"""The page of a comparison: for each work, bars of what every peer reached, with the spread of its turns.

What `compare.json` holds is known here and nowhere else in the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from loadtest.figures import median
from loadtest.page.html import machine, number, whole

KINDS = {
    "work": ("at work", "jobs/s", 1, True),
    "through": ("enqueueing and work", "jobs/s", 1, True),
    "enqueue": ("enqueueing", "jobs/s", 1, True),
    "cpu_us": ("processor, at work", "µs a job", 1, False),
    "wall_s": ("by the clock", "ms a document", 1000, False),
    "cpu_s": ("processor", "ms a document", 1000, False),
}
"""What was measured → what to call it, the unit it is shown in and its factor, and whether more is better."""


@dataclass(frozen=True, slots=True)
class Work:
    """One work in one measure."""

    name: str
    kind: str
    values: Mapping[str, Sequence[float]]
    """Of each peer, turn by turn."""
    ratios: Mapping[str, Mapping[str, float]]
    """Of each other peer, the farm's figure over its own: median, least, most."""


def comparison(found: Mapping[str, Any]) -> str:
    """The page of what `loadtest compare` found."""
    busy = median(found["busy_before_cores"])
    head = (
        "<header><h1>The farm beside its peers</h1>"
        f"<p class=fine>{escape(machine(found['machine'], None))}; {found['workers']} workers each; turns "
        f"interleaved; others took {busy:.2f} cores before a turn (median)</p></header>"
    )
    body = [head, *(_drawn(work) for work in works(found)), _said(found)]
    return whole("load test: comparison", "\n".join(body))


def works(found: Mapping[str, Any]) -> Iterator[Work]:
    """Each work and measure that some peer has values of."""
    for name, values, ratios in _parts(found):
        for kind in KINDS:
            factor = KINDS[kind][2]
            of_kind = {p: [v * factor for v in kinds[kind]] for p, kinds in values.items() if kinds.get(kind)}
            if of_kind:
                yield Work(name, kind, of_kind, {n: r[kind] for n, r in ratios.items() if kind in r})


def _parts(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """(work, values by peer and kind, ratios by peer and kind): one work with all its peers, or several works."""
    if "work" in found:
        rates = {peer: side["rates"] for peer, side in found["peers"].items()}
        yield found["work"], rates, found["ratios"]
        return
    for name in ("no-op", "real"):
        if name in found:
            yield name, found[name]["values"], found[name]["ratios"]


def _drawn(work: Work) -> str:
    label, unit, _, more = KINDS[work.kind]
    most = max(max(values) for values in work.values.values())
    order = sorted(work.values, key=lambda peer: median(work.values[peer]), reverse=more)
    rows = "".join(_row(peer, work.values[peer], most, work.ratios.get(peer)) for peer in order)
    better = "more is better" if more else "less is better"
    return (
        f"<section class=peers><h2>{escape(work.name)}, {label} <small>{unit}; {better}</small></h2>"
        f"<table class=figures>{rows}</table></section>"
    )


def _row(peer: str, values: Sequence[float], most: float, ratio: Mapping[str, float] | None) -> str:
    middle, least = median(values), min(values)
    versus = ""
    if ratio:
        versus = f"farm {ratio['median']:.2f}x ({ratio['least']:.2f}x to {ratio['most']:.2f}x)"
    return (
        f"<tr{' class=own' if peer == 'farm' else ''}><th>{escape(peer)}</th><td class=n>{number(middle)}</td>"
        f'<td class=bar><i style="width:{middle / most:.1%}"></i>'
        f'<b style="left:{least / most:.1%};width:{(max(values) - least) / most:.1%}"></b></td>'
        f"<td class=fine>{number(least)} to {number(max(values))}, n = {len(values)}</td>"
        f"<td class=versus>{versus}</td></tr>"
    )


def _said(found: Mapping[str, Any]) -> str:
    """What each of them does not do, and who could not take part."""
    lacks = [(peer, lack) for peer, side in found["peers"].items() for lack in side.get("lacks", ())]
    lacks += [(peer, f"left out: {why}") for peer, why in found.get("left_out", {}).items()]
    rows = "".join(f"<li><b>{escape(peer)}</b> {escape(said)}</li>" for peer, said in lacks)
    return f"<section><h2>What they do not do</h2><ul>{rows}</ul></section>" if rows else ""
