"""The page, from records made by hand: it is read as a browser would read it."""

import json
import math
import re
from html.parser import HTMLParser

import pytest

from loadtest import report
from loadtest.figures import Span
from loadtest.page import page, series
from loadtest.page.comparison import comparison
from loadtest.page.plots import MOST_ROWS
from loadtest.page.series import STEPS, Steps
from tests.loadtest.events import MACHINE, attempt, job, phases, record, sample, source, status

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Read(HTMLParser):
    """The tags, what is in them, and whether all were closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.places, self.links, self.plots, self.text = [], 0, [], "", []
        self.feed(text)
        self.close()
        self.plots = json.loads(self.plots)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append((tag, attributes.get("id")))
        self.places += "data-plot" in attributes
        self.links += [attributes[name] for name in ("src", "href") if name in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == ("script", "plots"):
            self.plots += data
        elif not self.open or self.open[-1][0] not in ("script", "style"):
            self.text.append(data)


def read(found):
    made = page(found, report.build(found))
    parsed = Read(made)
    assert parsed.open == []
    assert parsed.links == []
    assert not re.search(r"@import|url\(", made)
    assert parsed.places == len(parsed.plots)
    for plot in parsed.plots:
        assert plot["x"]
        for line in plot["lines"]:
            assert len(line["values"]) == len(plot["x"])
            assert any(value is not None for value in line["values"])
    return parsed, made


def eventful():
    """Something of everything."""
    return record(
        *phases(0.0, 10.0),
        job(1, run=1),
        job(2, "b", state="quarantined"),
        job(3, "files", created=2.0, key="one.md"),
        job(4, state="retrying"),
        attempt(1, 1, 0.5),
        attempt(2, 2, 1.0, wall_s=2.0, outcome="timed_out"),
        attempt(3, 3, 2.5),
        attempt(4, 4, 4.0, outcome="transient"),
        attempt(5, 4, 6.0, outcome="transient"),
        *(sample(at, cpu_s=at * 0.2, pending=3 - int(at / 4), retrying=1) for at in (0.5, 1.0, 5.0, 9.0)),
        *(status(at, "memory", "no_cell", landing=2) for at in (1.0, 2.0, 3.0)),
        ("gone", {"key": "k2", "at": 3.01}),
        ("file", {"source": "files", "key": "one.md", "at": 2.0, "bytes": 5}),
        (
            "restart",
            {"killed": 8.0, "started": 8.0, "answered": 8.3, "leased": 8.4, "in_flight": 1, "cpu_s": 0.3},
        ),
        ("figure", {"name": "idle.memory_mb", "unit": "MB", "values": [40.0, 50.0]}),
        ("waiting", {"source": "b", "jobs": 4, "since": 0.0}),
        sources=["a", source("b", profile={"timeout": "2s"}), source("files", folder={"watch": True})],
        goals=[{"figure": "budget.exceeded", "at_most": 0}, {"figure": "no.such", "at_least": 1}],
    )


def test_everything_that_happened_is_drawn():
    parsed, _ = read(eventful())
    assert [plot["title"] for plot in parsed.plots] == [
        "Throughput",
        "Queue",
        "Wait before the start",
        "Share of each source",
        "Fairness",
        "Processor",
        "Memory",
        "Searchable: files",
        "Killing",
        "Kills and failures",
        "Retries",
        "Holds",
        "Landing",
    ]
    lines = {plot["title"]: [line["label"] for line in plot["lines"]] for plot in parsed.plots}
    assert lines["Holds"] == ["memory", "no cell"]
    assert lines["Kills and failures"] == ["timed out", "transient"]
    assert lines["Share of each source"] == ["a", "b", "files"]
    assert all(plot["marks"] == [8.0] for plot in parsed.plots)
    killing = next(plot for plot in parsed.plots if plot["title"] == "Killing")
    assert killing["lines"][0]["values"] == [10.0]


def test_the_goals_stand_on_top_with_the_missed_ones_first():
    parsed, made = read(eventful())
    text = " ".join(parsed.text)
    assert "1 of 2 goals met" in text
    assert text.index("no.such") < text.index("budget.exceeded")
    assert "not measured" in text
    assert made.index("no.such") < made.index("data-plot")


def test_one_job_is_enough_for_a_page():
    parsed, _ = read(record(*phases(0.0, 0.3), job(1), attempt(1, 1, 0.1, wall_s=0.1)))
    assert [plot["title"] for plot in parsed.plots] == ["Throughput", "Wait before the start"]


def test_figures_alone_make_a_page_without_plots():
    figure = {"name": "ledger.deep_ratio.lease", "unit": "x", "values": [1.17]}
    parsed, _ = read(record(("figure", figure), sources=[]))
    assert parsed.plots == []
    assert "ledger.deep_ratio.lease" in " ".join(parsed.text)


def test_names_are_text_and_not_markup():
    _, made = read(record(*phases(), job(1, "a</script>"), attempt(1, 1, 1.0), sources=["a</script>"]))
    assert "a&lt;/script&gt;" in made


def test_a_hundred_thousand_attempts_make_a_small_page():
    names = [f"s{n}" for n in range(12)]
    events = []
    for n in range(100_000):
        at = n * 0.03
        events += [job(n + 1, names[n % 12], created=at - 1), attempt(n + 1, n + 1, at, wall_s=0.05)]
    samples = [sample(at * 0.5, cpu_s=at * 0.1, pending=5) for at in range(6_000)]
    statuses = [status(float(at), "cpu") for at in range(3_000)]
    parsed, made = read(record(*phases(0.0, 3_000.0), *events, *samples, *statuses, sources=names))
    assert len(made) < 400_000
    assert all(len(plot["x"]) <= STEPS for plot in parsed.plots)
    share = next(plot for plot in parsed.plots if plot["title"] == "Share of each source")
    assert len(share["lines"]) == MOST_ROWS
    assert share["lines"][-1]["label"] == "others"


def test_what_is_not_finite_is_drawn_as_nothing():
    found = record(("figure", {"name": "odd", "unit": "x", "values": [math.nan]}), sources=[])
    assert "not measured" in " ".join(read(found)[0].text)


# -- comparisons


def compared(**changes):
    noop = {"farm": {"work": [9.0, 12.0, 10.0]}, "huey": {"work": [3.0, 2.0, 2.5]}}
    ratios = {"huey": {"work": {"median": 4.0, "least": 3.0, "most": 6.0}}}
    found = {
        "machine": MACHINE,
        "workers": 2,
        "busy_before_cores": [0.1],
        "peers": {"farm": {"lacks": []}, "huey": {"lacks": ["no <record>"]}},
        "no-op": {"values": noop, "ratios": ratios},
    }
    return {**found, **changes}


def test_a_comparison_has_a_bar_for_each_peer_and_work():
    real = {"farm": {"wall_s": [0.002]}, "floor": {"wall_s": [0.001]}}
    ratios = {"floor": {"wall_s": {"median": 2.0, "least": 2.0, "most": 2.0}}}
    made = comparison(compared(real={"values": real, "ratios": ratios}))
    parsed = Read(made)
    assert parsed.open == parsed.links == []
    text = " ".join(" ".join(parsed.text).split())
    assert "no-op, at work" in text
    assert "farm 4.00x (3.00x to 6.00x)" in text
    assert "real, by the clock" in text
    assert "farm 2.00x" in text
    assert "no <record>" in text
    assert made.count("<td class=bar>") == 4


def test_the_widest_bar_is_the_most_of_any_turn():
    made = comparison(compared())
    assert 'width:83.3%"></i><b style="left:75.0%;width:25.0%"' in made


def test_a_comparison_of_one_work_alone_is_drawn_too():
    peers = {"farm": {"rates": {"work": [4.0]}, "lacks": []}, "huey": {"rates": {"work": [1.0]}, "lacks": []}}
    ratios = {"huey": {"work": {"median": 4.0, "least": 4.0, "most": 4.0}}}
    found = {key: value for key, value in compared().items() if key != "no-op"}
    assert "farm 4.00x" in comparison({**found, "work": "no-op", "peers": peers, "ratios": ratios})


# -- the arithmetic of the rows

TEN = Steps(100.0, 1.0, 10)


@pytest.mark.parametrize(
    ("length", "step", "n"), [(0.0, 0.2, 1), (12.0, 0.2, 60), (60.0, 0.5, 120), (3600.0, 15, 240)]
)
def test_steps_are_round_and_not_too_many(length, step, n):
    assert Steps.over(0.0, length) == Steps(0.0, step, n)


def test_a_rate_is_per_second_whatever_the_step():
    assert series.rate(Steps(0.0, 0.5, 3), [0.1, 0.2, 1.4, 9.0]) == [4.0, 0.0, 2.0]


def test_quantiles_are_of_their_step_and_nothing_where_nothing_was():
    rows = series.quantiles(TEN, [(100.5, 1.0), (100.6, 3.0), (102.0, 7.0)], (0.5, 0.99))
    assert rows[0][:3] == [1.0, None, 7.0]
    assert rows[1][:3] == [3.0, None, 7.0]


def test_a_span_is_spent_where_it_was_held():
    spent = series.spent(
        TEN, [(Span("a", 100.5, 102.25, 1.0, 1), 2.0), (Span("a", 90.0, 100.5, 1.0, 1), 1.0)]
    )
    assert spent[:4] == pytest.approx([1.5, 2.0, 0.5, 0.0])


def test_the_index_is_of_those_who_waited_all_the_time():
    got = {"a": [2.0] * 10, "b": [1.0] * 10, "c": [9.0] * 10}
    waits = {"a": [(100.0, 110.0)], "b": [(100.0, 105.0)], "c": [(109.5, 110.0)]}
    row = series.jain_over(TEN, got, waits, {"a": 2.0, "b": 1.0, "c": 1.0}, 1)
    assert row == [1.0] * 5 + [None] * 5
    uneven = series.jain_over(TEN, got, waits, {"a": 1.0, "b": 1.0, "c": 1.0}, 1)
    assert uneven[0] == 0.9


def test_points_are_thinned_to_the_lowest_middle_and_highest_of_a_step():
    points = [(100.0 + n / 1000, float(n)) for n in range(100)]
    assert series.thinned(TEN, points) == ([0.0, 0.05, 0.099], [0.0, 50.0, 99.0])
