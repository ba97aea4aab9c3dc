"""A Singer tap runs unchanged: one made with Singer's own library, called as its runners call it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from farm.connector import Item, Listing, Log, Record, Schema, State
from tests.connectors_command.conftest import Bench

TAP = '''
    """tap-ships: as the Singer template has it."""
    import os
    import singer
    from singer import utils

    LOGGER = singer.get_logger()
    SCHEMA = {"type": "object", "properties": {
        "id": {"type": "integer"}, "name": {"type": "string"}, "seen": {"type": "string", "format": "date-time"}}}

    @utils.handle_top_exception(LOGGER)
    def main():
        args = utils.parse_args(["start_id", "token"])
        if args.config["token"] != "s3cret":
            raise Exception("unauthorized")
        begin = singer.get_bookmark(args.state, "ships", "id", args.config["start_id"])
        version = 7
        singer.write_schema("ships", SCHEMA, ["id"], bookmark_properties=["id"])
        singer.write_message(singer.ActivateVersionMessage("ships", version))
        state = args.state
        for id_ in range(begin, begin + 3):
            record = {"id": id_, "name": f"Ship {id_}", "seen": "2026-01-01T00:00:00Z"}
            if id_ == 2:
                record["_sdc_deleted_at"] = "2026-01-02T00:00:00Z"
            singer.write_message(singer.RecordMessage("ships", record, version=version, time_extracted=utils.now()))
            state = singer.write_bookmark(state, "ships", "id", id_ + 1)
        singer.write_state(state)
        singer.write_message(singer.ActivateVersionMessage("ships", version))
        LOGGER.info("synced ships")

    if __name__ == "__main__":
        main()
    '''


def run(bench: Bench, cursor: Any, token: str = "secret:ships") -> list[Item]:
    return bench.discover(
        TAP,
        args=["--config", "{config}", "--state", "{state}"],
        config={"start_id": 1, "token": token},
        cursor=cursor,
        more={"secrets": {"ships": "s3cret"}},
    )


def test_a_tap_gives_its_records_and_goes_on_where_it_stopped(bench: Bench) -> None:
    first = run(bench, None)
    assert [type(item) for item in first] == [Schema, Record, Record, Record, State, Listing]
    schema, *records, state, _ = first
    assert isinstance(schema, Schema)
    assert (schema.stream, schema.key_properties) == ("ships", ["id"])
    assert [record.record["id"] for record in records if isinstance(record, Record)] == [1, 2, 3]
    assert [record.deleted for record in records if isinstance(record, Record)] == [False, True, False]
    assert "synced ships" in bench.ctx.logged

    assert isinstance(state, State)
    assert state.value == {"bookmarks": {"ships": {"id": 4}}}
    second = run(bench, state.value)
    assert [item.record["id"] for item in second if isinstance(item, Record)] == [4, 5, 6]


def test_a_tap_that_fails_says_why(bench: Bench) -> None:
    import pytest

    from farm.connector import Transient

    with pytest.raises(Transient, match="unauthorized"):
        run(bench, None, token="wrong")


def test_batch_files_are_refused_aloud(bench: Bench, tmp_path: Path) -> None:
    batch = {"type": "BATCH", "stream": "s", "encoding": {"format": "jsonl"}, "manifest": ["file:///x.jsonl"]}
    found = bench.discover(f'print({json.dumps(batch)!r}); print(\'{{"type":"STATE","value":1}}\')')
    assert found == [
        Log(
            level="rejected",
            message="line 1: BATCH files are not read: configure the tap to print RECORD lines",
        ),
        State(1),
        Listing(),
    ]
