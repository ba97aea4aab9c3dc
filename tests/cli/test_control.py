from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from farm import control
from farm.errors import FarmError, FarmNotRunning, FarmRunning, NotFound
from tests.support.wait import until


def echo(op: str, args: dict[str, Any], actor: str) -> object:
    match op:
        case "fail":
            raise NotFound("there is no job 7")
        case "drained":
            error = FarmError("three are left")
            error.exit_code = 3
            raise error
        case "break":
            raise ZeroDivisionError("by zero")
        case "odd":
            return object()
        case _:
            return {"op": op, "args": args, "actor": actor}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    server = control.Server(tmp_path, echo)
    server.start()
    yield tmp_path
    server.close()


def raw(home: Path, request: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(home / control.SOCKET))
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as answers:
            line = answers.readline()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_call_carries_op_arguments_and_actor(served: Path) -> None:
    answer = control.call(served, "run", actor="ada", source="notes")
    assert answer == {"op": "run", "args": {"source": "notes"}, "actor": "ada"}
    assert control.call(served, "ping")["actor"] == control.user()


def test_a_refusal_is_raised_with_its_sentence_and_code(served: Path) -> None:
    with pytest.raises(FarmError, match="there is no job 7"):
        control.call(served, "fail")
    with pytest.raises(FarmError, match="three are left") as refused:
        control.call(served, "drained")
    assert refused.value.exit_code == 3


def test_an_unexpected_error_is_answered_and_reported(tmp_path: Path) -> None:
    heard: list[str] = []
    server = control.Server(tmp_path, echo, lambda op, error: heard.append(f"{op} {type(error).__name__}"))
    server.start()
    try:
        with pytest.raises(FarmError, match="ZeroDivisionError"):
            control.call(tmp_path, "break")
        with pytest.raises(FarmError, match="TypeError"):
            control.call(tmp_path, "odd")
        assert heard == ["break ZeroDivisionError", "odd TypeError"]
        assert control.call(tmp_path, "ping")["op"] == "ping"
    finally:
        server.close()


def test_only_the_owner_may_open_the_socket(served: Path) -> None:
    assert stat.S_IMODE((served / control.SOCKET).stat().st_mode) == 0o600


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    server = control.Server(tmp_path, echo)
    try:
        server.start()
        assert stat.S_IMODE((tmp_path / control.SOCKET).stat().st_mode) == 0o600
    finally:
        os.umask(before)
        server.close()


def test_a_path_longer_than_a_socket_may_have_works(tmp_path: Path) -> None:
    home = tmp_path / ("a" * 90) / ("b" * 90)
    home.mkdir(parents=True)
    server = control.Server(home, echo)
    server.start()
    try:
        assert len(str(home / control.SOCKET)) > 108
        assert stat.S_IMODE((home / control.SOCKET).stat().st_mode) == 0o600
        assert control.call(home, "ping")["op"] == "ping"
    finally:
        server.close()
    with pytest.raises(FarmNotRunning):
        control.call(home, "ping")


def test_a_second_server_is_refused_and_the_first_goes_on(served: Path) -> None:
    with pytest.raises(FarmRunning):
        control.Server(served, echo).start()
    assert control.call(served, "ping")["op"] == "ping"


def test_the_socket_of_a_dead_farm_is_replaced(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / control.SOCKET))
    left.close()
    with pytest.raises(FarmNotRunning):
        control.call(tmp_path, "ping")
    server = control.Server(tmp_path, echo)
    server.start()
    try:
        assert control.call(tmp_path, "ping")["op"] == "ping"
    finally:
        server.close()
    assert not (tmp_path / control.SOCKET).exists()


@pytest.mark.parametrize(
    "garbage", [b"\n", b"hello\n", b"[]\n", b"{}\n", b'{"op": 3}\n', b"\xff\xfe\n", b"[" * 9000 + b"\n"]
)
def test_garbage_is_refused_and_harms_nobody(served: Path, garbage: bytes) -> None:
    answer = raw(served, garbage)
    assert answer["ok"] is False
    assert "not a request" in answer["error"]
    assert control.call(served, "ping")["op"] == "ping"


def test_a_request_too_large_is_refused_in_a_sentence(served: Path) -> None:
    with pytest.raises(FarmError, match="larger than 16 MiB"):
        control.call(served, "submit", jobs="x" * (control.MAX_REQUEST_BYTES + 1))
    assert control.call(served, "ping")["op"] == "ping"


def test_a_large_request_that_fits_passes(served: Path) -> None:
    text = "x" * 4_000_000
    assert control.call(served, "submit", jobs=text)["args"]["jobs"] == text


def test_one_connection_may_ask_many_times(served: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(served / control.SOCKET))
        with client.makefile("rb") as answers:
            for n in range(100):
                client.sendall(json.dumps({"op": "ping", "args": {"n": n}}).encode() + b"\n")
                assert json.loads(answers.readline())["result"]["args"] == {"n": n}


def test_many_clients_are_answered_at_once(served: Path) -> None:
    with ThreadPoolExecutor(32) as clients:
        found = list(clients.map(lambda n: control.call(served, "ping", n=n)["args"]["n"], range(300)))
    assert found == list(range(300))


def test_a_slow_answer_does_not_hold_up_others(tmp_path: Path) -> None:
    release = threading.Event()

    def slow(op: str, args: dict[str, Any], actor: str) -> object:
        if op == "wait":
            release.wait(20)
        return op

    server = control.Server(tmp_path, slow)
    server.start()
    try:
        with ThreadPoolExecutor(1) as waiting:
            late = waiting.submit(control.call, tmp_path, "wait")
            assert control.call(tmp_path, "ping") == "ping"
            assert not late.done()
            release.set()
            assert late.result(10) == "wait"
    finally:
        server.close()


def test_clients_that_only_connect_or_vanish_leave_no_thread(served: Path) -> None:
    before = threading.active_count()
    clients = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    for client in clients:
        client.connect(str(served / control.SOCKET))
    assert control.call(served, "ping")["op"] == "ping"
    for client in clients:
        client.send(b'{"op": "pi')
        client.close()
    until(lambda: threading.active_count() <= before, what="client threads end")


def test_a_server_that_closes_lets_the_answer_under_way_out(tmp_path: Path) -> None:
    begun, release = threading.Event(), threading.Event()

    def slow(op: str, args: dict[str, Any], actor: str) -> object:
        begun.set()
        release.wait(20)
        return "done"

    server = control.Server(tmp_path, slow)
    server.start()
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(control.call, tmp_path, "stop")
        assert begun.wait(10)
        closed = pool.submit(server.close, 20)
        release.set()
        assert asked.result(20) == "done"
        closed.result(20)
    assert not (tmp_path / control.SOCKET).exists()


def test_nobody_there_is_said_as_such(tmp_path: Path) -> None:
    with pytest.raises(FarmNotRunning, match="no farm is running"):
        control.call(tmp_path, "ping")
    with pytest.raises(FarmNotRunning):
        control.call(tmp_path / "missing", "ping")
    assert not control.answers(tmp_path / "missing")


def test_a_farm_that_dies_before_it_answers_is_said_as_such(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / control.SOCKET))
        listener.listen()

        def hang_up() -> None:
            client, _ = listener.accept()
            client.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(FarmError, match="ended before it answered"):
            control.call(tmp_path, "ping")
        thread.join()


def test_a_farm_that_does_not_answer_is_given_up_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / control.SOCKET))
        listener.listen()
        with pytest.raises(FarmError, match=r"did not answer within 0\.1 s"):
            control.call(tmp_path, "ping", timeout_s=0.1)
