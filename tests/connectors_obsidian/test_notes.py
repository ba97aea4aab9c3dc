"""What is read of a note, a canvas, a base; and what is left alone."""

from __future__ import annotations

import doctest
import importlib
import time
from pathlib import Path
from typing import Any

import pytest

from connectors.obsidian import Obsidian
from connectors.vault import boards, properties
from connectors.vault.links import Index, Target
from connectors.vault.note import Note, read_note
from farm.connector import Document, InvalidInput, Listing, State, Unchanged, Unit
from tests.connectors_obsidian.conftest import NOTES, write
from tests.support.context import Context


@pytest.fixture
def home() -> Note:
    return read_note(NOTES["Home.md"])


def targets(note: Note) -> list[str]:
    return [link.target.path for link in note.links]


def elements(note: Note, kind: str) -> list[tuple[str, dict[str, Any]]]:
    return [(element.text, element.metadata) for element in note.elements if element.type == kind]


@pytest.mark.parametrize("module", ["links", "note", "properties", "syntax", "table"])
def test_the_examples_in_the_code_are_true(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"connectors.vault.{module}")).failed == 0


def test_properties_are_read_as_obsidian_reads_them(home: Note) -> None:
    assert home.properties["created"] == "2024-03-01"
    assert (home.properties["time"], home.properties["ready"]) == ("12:30", "yes")
    assert home.aliases == ["Start", "Начало"]
    assert not home.fault


def test_links_have_their_kind_place_and_parts(home: Note) -> None:
    found = [(link.kind, link.target, link.line) for link in home.links]
    assert found[0] == ("property", Target("Projects/Farm"), 1)
    assert ("wikilink", Target("Projects/Farm", "Plan", "", "the plan"), 12) in found
    assert ("wikilink", Target("farm", "", "goal"), 12) in found
    assert ("embed", Target("Diagram.png", "", "", "300"), 13) in found
    assert ("markdown", Target("Projects/Farm.md"), 13) in found
    assert ("wikilink", Target("日本語 ノート"), 16) in found
    assert ("wikilink", Target("Farm", "", "", "shown"), 32) in found


def test_code_comments_and_formulas_are_left_alone(home: Note) -> None:
    assert not {"no link", "neither", "Hidden", "Fenced"} & set(targets(home))
    assert set(home.tags) == {"garden", "area/home", "garden/seeds", "tagged/inside"}
    assert elements(home, "Comment") == [("Another one, over\nseveral lines, with [[Hidden]].", {"line": 21})]
    [(code, about)] = elements(home, "CodeSnippet")
    assert code == "LIST FROM [[Fenced]] #fenced"
    assert about["language"] == "dataview"


def test_callouts_tasks_and_block_ids_are_told(home: Note) -> None:
    assert {e.text: e.metadata["callout"] for e in home.elements if "callout" in e.metadata} == {
        "Mind the 日本語 ノート\nThe body of the callout, with #tagged/inside.": "warning"
    }
    tasks = {text: about.get("task") for text, about in elements(home, "ListItem")}
    assert tasks == {"water the Garden": " ", "done": "x", "half done": "/"}
    blocks = {e.metadata["block"]: e.text for e in home.elements if "block" in e.metadata}
    assert blocks == {
        "task-1": "water the Garden",
        "para-1": "A paragraph with an id.",
        "quote-1": "quoted\ntext",
    }


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("#one #two/three", ["one", "two/three"]),
        ("#1984 #y1984 #", ["y1984"]),
        ("a#b https://x/#c [t](#d) `#e`", []),
        ("#тег #標籤 #🌱 #été", ["тег", "標籤", "🌱", "été"]),
        ("#one. #two, (#three) #four—five", ["one", "two", "three", "four"]),
        ("# Heading\n#tag", ["tag"]),
        ("\\#none", []),
    ],
)
def test_tags(text: str, tags: list[str]) -> None:
    assert list(read_note(text).tags.values()) == tags


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("[[a]][[b]]", ["a", "b"]),
        ("[[ a ]] [[]] [[|x]] [[a\nb]]", ["a"]),
        ("**[[a]]** _[[b]]_ ~~[[c]]~~ ==[[d]]==", ["a", "b", "c", "d"]),
        ("\\[[a]] `[[b]]` $[[c]]$ <!-- [[d]] -->", []),
        (
            "[x](a%20b.md) [y](<c d.md>) [z](http://e) [w](mailto:a@b.c) ![](p.png)",
            ["a b.md", "c d.md", "p.png"],
        ),
        ("[[#here]] [[a#b]] [[a#^c]]", ["", "a", "a"]),
        ("- item\n    - [[nested]]\n\n1. [[ordered]]", ["nested", "ordered"]),
        ("text[^1]\n\n[^1]: note with [[a]]", ["a"]),
        ("### [[CSS personnalisé]]", ["CSS personnalisé"]),
    ],
)
def test_links(text: str, paths: list[str]) -> None:
    assert targets(read_note(text)) == paths


@pytest.mark.parametrize(
    "text",
    [
        "---\na: [\n---\nbody",
        "---\ntemplate: {{date}}\n---\nbody",
        "---\n!!python/object/apply:os.system ['id']\n---\nbody",
        "---\n" + "[" * 100_000 + "\n---\nbody",
        "---\na: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefg", "bcdefgh", strict=True)
        )
        + "---\nbody",
    ],
    ids=["broken", "template", "python", "abyss", "bomb"],
)
def test_properties_that_are_none_cost_nobody_the_note(text: str) -> None:
    began = time.monotonic()
    note = read_note(text)
    assert note.fault
    assert [element.text for element in note.elements] == ["body"]
    assert time.monotonic() - began < 5


def test_a_line_that_is_no_property_block_is_text() -> None:
    assert properties.block_of("--- \ntext") == ("", 0)
    assert properties.block_of("----\na: 1\n---\n") == ("", 0)
    assert [e.text for e in read_note("text\n\n---\n\nmore").elements] == ["text", "more"]


@pytest.mark.parametrize("text", ["not json", "[1]", "{"])
def test_a_damaged_canvas_is_refused_and_an_empty_one_is_not(text: str) -> None:
    with pytest.raises(InvalidInput):
        boards.read_canvas(text)
    assert boards.read_canvas("").text == ""
    assert boards.read_canvas('{"nodes": [null, {"type": "file"}], "edges": 3}').text == ""


@pytest.mark.parametrize(
    ("link", "source", "to"),
    [
        ("Note", "x.md", "Note.md"),  # the whole path goes first
        ("note", "b/c/x.md", "Note.md"),
        ("c/Note", "x.md", "b/c/Note.md"),
        ("Other", "z/deep/x.md", "z/deep/Other.md"),  # the one nearby
        ("Other", "q.md", "a/Other.md"),  # the shorter path
        ("./Other", "a/x.md", "a/Other.md"),
        ("../a/Other", "b/x.md", "a/Other.md"),
        ("../../up", "b/x.md", None),
        ("/a/Other", "z/x.md", "a/Other.md"),
        ("/Other", "z/x.md", None),
        ("v1.2", "x.md", "v1.2.md"),
        ("e\u0301te\u0301", "x.md", "\u00e9t\u00e9.md"),  # composed or not
        ("ÉTÉ", "x.md", "\u00e9t\u00e9.md"),
        ("ther", "x.md", None),
        ("twice", "x.md", None),  # an alias of two notes leads nowhere
    ],
)
def test_a_link_leads_where_obsidian_has_it_lead(link: str, source: str, to: str | None) -> None:
    files = ["Note.md", "b/c/Note.md", "a/Other.md", "z/deep/Other.md", "v1.2.md", "\u00e9t\u00e9.md"]
    index = Index(files, {"Note.md": ["twice"], "a/Other.md": ["twice"]})
    assert index.resolve(link, source)[0] == to


def test_what_was_read_before_is_not_read_again(vault: Path) -> None:
    options = Obsidian.Options(path=vault)
    items = list(Obsidian().discover(Context(options), None))
    unit = next(item for item in items if isinstance(item, Unit) and item.key == "Home.md")
    document = next(iter(Obsidian().extract(Context(options), unit)))
    assert isinstance(document, Document)
    assert list(Obsidian().extract(Context(options, held=document.content_hash), unit)) == [
        Unchanged("Home.md")
    ]


def test_a_vault_that_is_not_mounted_is_not_an_empty_one(vault: Path) -> None:
    options = Obsidian.Options(path=vault)
    state = next(i for i in Obsidian().discover(Context(options), None) if isinstance(i, State))
    vault.rename(vault.with_name("elsewhere"))
    vault.mkdir()
    with pytest.raises(Exception, match="is its disk mounted"):
        list(Obsidian().discover(Context(options), state.value))


def test_what_lies_hidden_or_excluded_or_behind_a_link_is_not_listed(vault: Path, tmp_path: Path) -> None:
    write(tmp_path, {"outside/Secret.md": "no"})
    (vault / "way out").symlink_to(tmp_path / "outside")
    (vault / "Secret.md").symlink_to(tmp_path / "outside" / "Secret.md")
    options = Obsidian.Options(path=vault, exclude=("Projects/",), attachments=False)
    items = list(Obsidian().discover(Context(options), None))
    assert {item.key for item in items if isinstance(item, Unit)} == {
        "Home.md",
        "Empty.md",
        "日本語 ノート.md",
        "Board.canvas",
        "Notes.base",
    }
    assert items[-1] == Listing(complete=True)
