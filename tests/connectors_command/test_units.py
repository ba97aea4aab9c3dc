"""mode "units": the program is called with `discover`, then with `extract` and a unit."""

from __future__ import annotations

import pytest

from farm.connector import Document, InvalidInput, Listing, Log, State, Unchanged, Unit
from tests.connectors_command.conftest import Bench

PROGRAM = """
    import json, sys
    step, given = sys.argv[1], json.load(sys.stdin)
    if step == "discover":
        for key in given["paths"] or ["a", "b", "bad"]:
            print(json.dumps({"type": "UNIT", "key": key, "version": "1", "data": {"n": 7}}))
        print(json.dumps({"type": "STATE", "value": {"was": given["state"]}}))
    elif given["key"] == "bad":
        print("cannot read it", file=sys.stderr)
        sys.exit(65)
    elif given["held"]:
        print(json.dumps({"type": "UNCHANGED", "key": given["key"]}))
    else:
        print(json.dumps({"type": "DOCUMENT", "key": given["key"], "text": str(given["data"]["n"])}))
    """


def test_discover_lists_units_and_gets_the_cursor(bench: Bench) -> None:
    assert bench.discover(PROGRAM, mode="units", cursor=3, complete=True) == [
        *(Unit(key, f"{key}@1", {"n": 7}) for key in ("a", "b", "bad")),
        State({"was": 3}),
        Listing(complete=True),
    ]


def test_discover_is_told_which_keys_are_asked_for(bench: Bench) -> None:
    found = bench.discover(PROGRAM, mode="units", complete=True, more={"paths": ["b"]})
    assert found == [Unit("b", "b@1", {"n": 7}), State({"was": None}), Listing(complete=False)]


def test_extract_reads_one_unit(bench: Bench) -> None:
    assert bench.extract(PROGRAM, Unit("a", "1", {"n": 7})) == [Document("a", "7")]


def test_extract_may_say_that_nothing_changed(bench: Bench) -> None:
    assert bench.extract(PROGRAM, Unit("a", "2", {"n": 7}), more={"held": "hash"}) == [Unchanged("a")]


def test_a_unit_that_cannot_be_read_is_refused_alone(bench: Bench) -> None:
    with pytest.raises(InvalidInput, match=r"status 65 \(bad input\): cannot read it"):
        bench.extract(PROGRAM, Unit("bad", "1"))
    assert bench.extract(PROGRAM, Unit("b", "1", {"n": 7})) == [Document("b", "7")]


def test_a_listing_does_not_belong_into_extract(bench: Bench) -> None:
    found = bench.extract(
        """
        print('{"type":"DOCUMENT","key":"a"}')
        print('{"type":"LISTING","complete":true}')
        print('{"type":"STATE","value":1}')
        """,
        Unit("a", "1"),
    )
    assert found == [
        Document("a"),
        Log(level="rejected", message="line 2: LISTING does not belong into the answer to extract"),
        Log(level="rejected", message="line 3: STATE does not belong into the answer to extract"),
    ]


def test_a_large_unit_reaches_a_program_that_does_not_read_it(bench: Bench) -> None:
    code = """print('{"type":"DOCUMENT","key":"a"}')"""
    assert bench.extract(code, Unit("a", "1", {"x": "y" * 1_000_000})) == [Document("a")]


def test_two_units_of_one_version_are_not_taken_for_one_that_moved(bench: Bench) -> None:
    """Versions of a program may be as plain as 1, 2, 3; it gets them back as it gave them."""
    units = [item for item in bench.discover(PROGRAM, mode="units") if isinstance(item, Unit)]
    assert len({unit.version for unit in units}) == 3
    echo = """import json, sys; print(json.dumps({"type": "DOCUMENT", "key": json.load(sys.stdin)["version"]}))"""
    assert bench.extract(echo, units[0]) == [Document("1")]
