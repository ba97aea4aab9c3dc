"""Content by git: real repositories, served by git's own http-backend, requests counted."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from connectors.github import GitHub
from farm.connector import ConnectorError, Gone, InvalidInput, Listing, Permanent, SourceUnavailable, Unit
from tests.connectors_github.conftest import Source
from tests.connectors_github.gits import Work
from tests.connectors_github.hub import Hub

Make = Callable[..., Source]
FILES = ["files"]


def plain(source: Make, hub: Hub, slug: str = "octo/hello", **options: object) -> Source:
    return source(repository=slug, base_url=hub.url, content=FILES, **options)


def test_only_wanted_files_cross_the_network_and_only_once(source: Make, hub: Hub) -> None:
    noise = os.urandom(3_000_000)
    work = hub.repository("octo/hello", {"a.md": "# A\n", "src/b.py": "b = 1\n", "film.mp4": noise})
    reader = plain(source, hub)
    assert sorted(reader.run()) == ["a.md", "src/b.py"]
    assert sum(asked.bytes for asked in hub.asked) < 100_000
    assert hub.fetches() == 2, "the commit, and the files that are wanted"

    hub.forget()
    assert reader.run() == []
    assert hub.fetches() == 0
    assert len(hub.asked) == 2, "what it has, and where the branch is"

    work.commit({"a.md": "# A, changed\n"})
    hub.forget()
    assert reader.run() == ["a.md"]
    assert hub.fetches() == 2
    assert reader.documents["a.md"].title == "A, changed"
    assert reader.documents["a.md"].uri == f"{hub.url}/octo/hello/blob/main/a.md"

    work.commit({"a.md": None})
    hub.forget()
    assert reader.run() == []
    assert hub.fetches() == 1, "no file is needed for that"
    assert sorted(reader.documents) == ["src/b.py"]


def test_a_renamed_file_is_not_fetched_again_and_keeps_its_version(source: Make, hub: Hub) -> None:
    work = hub.repository("octo/hello", {"a.md": "# A\n", "b.md": "# B\n"})
    reader = plain(source, hub)
    reader.run()
    before = reader.held["a.md"]
    work.git("mv", "a.md", "c.md")
    work.commit()
    hub.forget()
    reader.run()
    assert reader.held == {"b.md": reader.held["b.md"], "c.md": before}
    assert hub.fetches() == 1
    work.git("mv", "c.md", "c.txt")
    work.commit()
    reader.run()
    assert reader.held["c.txt"] != before, "another name, another reading"


def test_after_a_force_push_exactly_the_new_tree_is_there(source: Make, hub: Hub) -> None:
    work = hub.repository("octo/hello", {"a.md": "a", "b.md": "b"})
    reader = plain(source, hub)
    reader.run()
    work.git("checkout", "--quiet", "--orphan", "other")
    work.git("rm", "-rfq", ".")
    work.commit({"b.md": "b", "c.md": "c"})
    work.git("branch", "-M", "main")
    work.git("reflog", "expire", "--expire=now", "--all")
    work.git("gc", "--quiet", "--prune=now")
    assert reader.run() == ["c.md"]
    assert sorted(reader.documents) == ["b.md", "c.md"]


def test_a_renamed_default_branch_is_followed_and_said(source: Make, hub: Hub) -> None:
    work = hub.repository("octo/hello", {"a.md": "a"})
    reader = plain(source, hub)
    reader.run()
    work.git("branch", "-m", "main", "trunk")
    hub.forget()
    assert reader.run() == []
    assert hub.fetches() == 0
    assert any("the branch is trunk now, and was main" in str(item) for item in reader.items)
    [unit] = [item for item in reader.items if isinstance(item, Unit)]
    assert unit.uri.endswith("/blob/trunk/a.md")


def test_a_configured_branch_that_is_gone_is_one_sentence(source: Make, hub: Hub) -> None:
    work = hub.repository("octo/hello", {"a.md": "a"})
    work.git("checkout", "--quiet", "-b", "next")
    work.commit({"n.md": "n"})
    reader = plain(source, hub, branch="next")
    assert sorted(reader.run()) == ["a.md", "n.md"]
    work.git("checkout", "--quiet", "main")
    work.git("branch", "-D", "next")
    with pytest.raises(Permanent, match="octo/hello has no branch 'next'"):
        reader.run()
    assert reader.check() == "octo/hello has no branch 'next'"


def test_gitattributes_are_honoured(source: Make, hub: Hub) -> None:
    latin = "größer als zuvor, naïve Übung\n".encode()
    work = hub.repository(
        "octo/hello",
        {
            ".gitattributes": "/internal export-ignore\ngen/*.js linguist-generated\nthird/** linguist-vendored=true\n"
            "data.txt binary\n*.pdf binary\nbig.md filter=lfs diff=lfs\n"
            "w.txt text working-tree-encoding=UTF-16\n",
            "internal/deep/secret.md": "no",
            "gen/out.js": "var a = 1;",
            "gen/notes.md": "yes",
            "third/lib.py": "x = 1",
            "third/.gitattributes": "mine.py -linguist-vendored\n",
            "third/mine.py": "y = 2",
            "data.txt": "raw",
            "big.md": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        },
    )
    (work.folder / "w.txt").write_bytes(latin.decode().encode("utf-16"))
    work.commit()
    reader = plain(source, hub)
    assert sorted(reader.run()) == ["gen/notes.md", "third/mine.py", "w.txt"]
    assert "größer als zuvor, naïve Übung" in reader.documents["w.txt"].text
    for reason in ("1 export-ignore", "1 generated", "2 vendored", "1 binary", "1 kept in Git LFS"):
        assert reason in reader.logged, reader.logged
    everything = plain(source, hub, generated=True, vendored=True)
    assert {"gen/out.js", "third/lib.py"} <= set(everything.run())


def test_huge_empty_and_unreadable_files_are_refused_one_by_one(source: Make, hub: Hub) -> None:
    hub.repository(
        "octo/hello",
        {
            "huge.txt": "x" * 3_000_000,
            "empty.md": "",
            "broken.pdf": b"%PDF-1.7\nno",
            "ok.md": "ok",
            "Makefile": "all:\n\ttrue\n",
            "blob": b"\0\1\2\3" * 100,
            "pointer.md": "version https://git-lfs.github.com/spec/v1\n",
        },
    )
    reader = plain(source, hub, max_size="1MB")
    units = {item.key: item for item in GitHub().discover(reader.context(), None) if isinstance(item, Unit)}
    reasons = {}
    for key, unit in units.items():
        try:
            reader.extract(unit)
        except InvalidInput as error:
            reasons[key] = str(error)
    assert reasons.keys() == {"huge.txt", "empty.md", "broken.pdf", "pointer.md"}
    assert "too large: 3.0 MB, and max_size is 1.0 MB" in reasons["huge.txt"]
    assert reader.extract(units["Makefile"]), "a name that says nothing, a content that is text"
    assert reader.extract(units["blob"]) == [], "no document: noted, not refused"


def test_nothing_of_a_hostile_repository_runs(source: Make, hub: Hub, tmp_path: Path) -> None:
    """Hooks, filters, fsmonitor, ssh command, alternates and pack hooks, in a folder that is read directly."""
    work = Work(tmp_path / "hostile")
    work.commit(
        {
            "a.md": "a",
            ".gitattributes": "* filter=evil diff=evil\n",
            ".lfsconfig": "[lfs]\nurl = ext::touch\n",
        }
    )
    work.commit({".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = ext::sh -c touch%20ran\n'})
    ran = tmp_path / "ran"
    for key in (
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "filter.evil.smudge",
        "filter.evil.clean",
        "filter.evil.process",
        "diff.evil.textconv",
        "uploadpack.packObjectsHook",
        "core.gitProxy",
        "core.alternateRefsCommand",
        "credential.helper",
        "core.askPass",
    ):
        work.git("config", key, f"touch {ran} #")
    for hook in (
        "post-checkout",
        "pre-auto-gc",
        "post-update",
        "reference-transaction",
        "post-rewrite",
        "update",
    ):
        path = work.folder / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {ran}\n")
        path.chmod(0o755)
    reader = source(repository=str(work.folder), hidden=True)
    read = reader.run()
    assert "a.md" in read
    reader.run()
    assert not ran.exists()


def test_what_the_user_configured_has_no_effect(
    source: Make, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repository("octo/hello", {"a.md": "a"})
    ran = tmp_path / "ran"
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[url "ext::touch {ran} "]\n\tinsteadOf = {hub.url}\n[credential]\n\thelper = "!touch {ran}"\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert plain(source, hub).run() == ["a.md"]
    assert not ran.exists()


@pytest.mark.parametrize("address", ["ext::sh -c id", "fd::17", "--upload-pack=id", "-u x/y", "foo://host/x"])
def test_an_address_that_could_run_something_is_refused(source: Make, address: str) -> None:
    with pytest.raises(ValueError, match="repository"):
        source(repository=address)


def test_a_token_goes_to_its_host_by_the_environment_only(source: Make, hub: Hub) -> None:
    hub.repository("octo/hello", {"a.md": "a"})
    hub.password = "sesame-open"
    without = plain(source, hub)
    with pytest.raises(Permanent, match="does not exist, or may not be read without a token"):
        without.run()
    wrong = plain(source, hub, token="github")
    wrong.secrets["github"] = "not-it-at-all"
    with pytest.raises(Permanent, match="refused the credentials") as raised:
        wrong.run()
    assert "not-it-at-all" not in str(raised.value)
    right = plain(source, hub, token="github")
    right.secrets["github"] = "sesame-open"
    assert right.run() == ["a.md"]
    left = [path for path in right.folder.rglob("*") if path.is_file() and b"sesame" in path.read_bytes()]
    assert left == [], "nothing of it is on disk"


def test_a_token_is_not_told_to_where_a_redirect_leads(source: Make, hub: Hub, tmp_path: Path) -> None:
    hub.repository("octo/hello", {"a.md": "a"})
    with Hub(tmp_path / "elsewhere") as thief:
        thief.repository("octo/hello", {"b.md": "b"})
        thief.password = "anything"
        hub.fault = lambda asked: (302, {"Location": thief.url + asked.path}, b"")
        reader = plain(source, hub, token="github")
        reader.secrets["github"] = "sesame-open"
        with pytest.raises(ConnectorError):
            reader.run()
        assert all("authorization" not in asked.headers for asked in thief.asked)
        api = source(repository="octo/hello", base_url=hub.url, content=["issues"], token="github")
        api.secrets["github"] = "sesame-open"
        thief.forget()
        with pytest.raises(Permanent, match="not followed"):
            api.run()
        assert thief.asked == []


def test_without_its_copy_everything_is_fetched_again_and_nothing_else_changes(
    source: Make, hub: Hub
) -> None:
    hub.repository("octo/hello", {"a.md": "a", "b.md": "b"})
    reader = plain(source, hub)
    reader.run()
    units = [item for item in reader.items if isinstance(item, Unit)]
    shutil.rmtree(reader.folder / "cache")
    assert [document.text for document in map(lambda u: reader.extract(u)[0], units)] == ["a", "b"]  # type: ignore[union-attr]
    shutil.rmtree(reader.folder / "cache")
    assert reader.run() == []
    assert len(reader.documents) == 2


def test_several_repositories_one_of_them_away(source: Make, hub: Hub) -> None:
    one = hub.repository("octo/one", {"a.md": "one", "gone.md": "one"})
    two = hub.repository("octo/two", {"a.md": "two"})
    reader = source(repository=["octo/one", "octo/two"], base_url=hub.url, content=FILES)
    assert sorted(reader.run()) == ["octo/one/a.md", "octo/one/gone.md", "octo/two/a.md"]
    hub.fault = lambda asked: (503, {}, b"") if "/two" in asked.path else None
    one.commit({"a.md": "one, changed", "gone.md": None})
    assert reader.run() == ["octo/one/a.md"]
    assert Listing(complete=True, unread=["octo/two/"]) in reader.items
    assert any("octo/two: " in str(item) and "rejected" in str(item) for item in reader.items)
    assert sorted(reader.documents) == ["octo/one/a.md", "octo/two/a.md"]
    hub.fault = lambda asked: (503, {}, b"")
    with pytest.raises(SourceUnavailable):
        reader.run()
    hub.fault = lambda asked: None
    two.commit({"a.md": None, "b.md": "new"})
    assert reader.run() == ["octo/two/b.md"]


def test_a_push_event_lists_what_the_push_changed(source: Make, hub: Hub) -> None:
    work = hub.repository("octo/hello", {"a.md": "a", "b.md": "b", "c.md": "c"})
    reader = plain(source, hub)
    reader.run()
    work.commit({"a.md": "a2", "b.md": None})
    assert reader.run(["/refs/heads/main"]) == ["a.md"]
    assert Gone("b.md") in reader.items
    assert Listing(complete=True) not in reader.items
    assert sorted(reader.documents) == ["a.md", "c.md"]


def test_names_that_are_no_utf8_and_links_and_submodules(source: Make, tmp_path: Path) -> None:
    work = Work(tmp_path / "odd")
    (work.folder / os.fsdecode(b"caf\xe9.md")).write_text("odd name")
    (work.folder / "link.md").symlink_to("/etc/hostname")
    work.commit({"日本語/メモ.md": "memo", "with space.md": "s"})
    reader = source(repository=str(work.folder))
    assert sorted(reader.run()) == ["caf\\xe9.md", "with space.md", "日本語/メモ.md"]
    assert reader.documents["caf\\xe9.md"].text == "odd name"


def test_servers_that_can_leave_nothing_out_are_read_all_the_same(
    source: Make, hub: Hub, tmp_path: Path
) -> None:
    work = hub.repository("octo/hello", {"a.md": "a", "film.mp4": b"film"})
    work.git("config", "uploadpack.allowFilter", "false")
    reader = plain(source, hub)
    assert reader.run() == ["a.md"]
    assert hub.fetches() == 1, "everything came with the commit"

    work.git("config", "uploadpack.allowFilter", "true")
    hub.old = True  # may leave files out, but not be asked for some
    old = plain(source, hub)
    assert old.run() == ["a.md"]
    work.commit({"a.md": "a2"})
    assert old.run() == ["a.md"]
    assert old.documents["a.md"].text == "a2"

    bare = tmp_path / "served" / "it.git"
    bare.parent.mkdir()
    work.git("clone", "--quiet", "--bare", str(work.folder), str(bare))
    _at(bare).git("update-server-info")
    with _files_only(bare.parent) as url:
        assert source(repository=f"{url}/it.git").run() == ["a.md"]


def test_many_small_fetches_are_brought_together(
    source: Make, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.git.mirror.PACKS", 4)
    work = hub.repository("octo/hello", {"a.md": "0", "b.md": "b"})
    reader = plain(source, hub)
    for number in range(6):
        work.commit({"a.md": f"{number}"})
        reader.run()
    packs = list((reader.folder / "cache").rglob("*.pack"))
    assert len(packs) <= 5
    assert reader.documents["a.md"].text == "5"
    hub.forget()
    assert reader.run() == []
    assert hub.fetches() == 0


def test_a_repository_of_many_files_is_listed_and_fetched(source: Make, tmp_path: Path) -> None:
    """More names than a pipe holds while git is slow to read them."""
    work = Work(tmp_path / "many")
    stream = ["commit refs/heads/main\ncommitter A <a@b> 0 +0000\ndata 0\n"]
    for number in range(6_000):
        text = f"file {number}\n"
        stream.append(f"M 644 inline d{number % 50}/f{number}.md\ndata {len(text)}\n{text}\n")
    work.git("fast-import", "--quiet", given="".join(stream).encode())
    reader = source(repository=str(work.folder))
    items = list(GitHub().discover(reader.context(), None))
    units = [item for item in items if isinstance(item, Unit)]
    assert len(units) == 6_000
    assert items[-1] == Listing(complete=True)
    assert reader.extract(units[4321])


def test_what_a_killed_git_left_stands_in_nobodys_way(source: Make, hub: Hub) -> None:
    work = hub.repository("octo/hello", {"a.md": "a"})
    reader = plain(source, hub)
    reader.run()
    [git] = (reader.folder / "cache").glob("*/git")
    for left in ("shallow.lock", "config.lock", "refs/farm/tip.lock", "objects/pack/tmp_pack_x"):
        (git / left).write_text("")
    work.commit({"a.md": "a2"})
    assert reader.run() == ["a.md"]
    assert not list(git.rglob("*.lock"))


def test_an_empty_repository_and_a_bare_one_and_one_with_sha256(source: Make, tmp_path: Path) -> None:
    empty = Work(tmp_path / "empty")
    reader = source(repository=str(empty.folder))
    assert reader.run() == []
    assert Listing(complete=True) in reader.items
    work = Work(tmp_path / "full")
    work.commit({"a.md": "a"})
    work.git("clone", "--quiet", "--bare", str(work.folder), str(tmp_path / "bare.git"))
    assert source(repository=str(tmp_path / "bare.git")).run() == ["a.md"]
    assert source(repository=f"file://{tmp_path}/bare.git").run() == ["a.md"]
    modern = tmp_path / "modern"
    modern.mkdir()
    _at(modern).git("init", "--quiet", "--object-format=sha256")
    _at(modern).commit({"a.md": "a"})
    assert source(repository=str(modern)).run() == ["a.md"]


def test_a_stop_while_git_waits_for_its_server_ends_it_soon(source: Make, hub: Hub) -> None:
    hub.repository("octo/hello", {"a.md": "a"})
    waits, stop = threading.Event(), threading.Event()

    def stall(asked: object) -> None:
        stop.set()
        waits.wait(20)

    hub.fault = stall  # type: ignore[assignment]
    reader = plain(source, hub)
    began = time.monotonic()
    assert reader.run(stop=stop.is_set) == []
    assert time.monotonic() - began < 5
    assert not any(isinstance(item, Listing) for item in reader.items)
    waits.set()


@contextmanager
def _files_only(folder: Path) -> Iterator[str]:
    """A web server that knows nothing of git."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _at(folder: Path) -> Work:
    work = Work.__new__(Work)
    work.folder = folder
    return work
