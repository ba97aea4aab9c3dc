"""A small vault with one of everything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTES = {
    "Home.md": """---
title: not what Obsidian shows
aliases: [Start, Начало]
tags: [garden, area/home]
related: "[[Projects/Farm]]"
created: 2024-03-01
time: 12:30
ready: yes
---
# Welcome

See [[Farm]] and [[Projects/Farm#Plan|the plan]], [[farm#^goal]] and [[Not There Yet]].
![[Diagram.png|300]] and ![[Farm#Plan]], a [relative one](Projects/Farm.md) and [outside](https://example.org).
Only the alias: [[Старт сада]]. Code: `[[no link]]`, mathematics: $[[neither]]$. #garden/seeds #2024 no#tag

> [!warning]- Mind the [[日本語 ノート]]
> The body of the callout, with #tagged/inside.

%%A comment with [[Hidden]] and #hidden.%%

%%
Another one, over
several lines, with [[Hidden]].
%%

```dataview
LIST FROM [[Fenced]] #fenced
```

| Name | Link |
|---|---|
| one | [[Farm\\|shown]] |

- [ ] water the [[Garden]] ^task-1
- [x] done
    - [/] half done

A paragraph with an id. ^para-1

> quoted
> text

^quote-1
""",
    "Projects/Farm.md": "# Farm\n\n## Plan\nBack to [[Home]].\n\nThe goal. ^goal\n",
    "Projects/Garden.md": "---\naliases: Старт сада\n---\n[[../Home]] and [[./Farm]]\n",
    "日本語 ノート.md": "これは[[Home|ホーム]]へのリンクです。 #タグ\n",
    "Projects/Sub/Farm.md": "# Another farm\n[[Farm]]\n",
    "Empty.md": "",
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    root = write(tmp_path / "vault", NOTES)
    (root / "Diagram.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    (root / "Board.canvas").write_text(
        json.dumps(
            {
                "nodes": [
                    {"id": "1", "type": "text", "text": "A card about [[Home]] #card"},
                    {"id": "2", "type": "file", "file": "Projects/Farm.md", "subpath": "#Plan"},
                    {"id": "3", "type": "group", "label": "The group"},
                    {"id": "4", "type": "link", "url": "https://example.org"},
                ],
                "edges": [{"id": "e", "fromNode": "1", "toNode": "2", "label": "leads to"}],
            }
        )
    )
    (root / "Notes.base").write_text(
        'filters:\n  and:\n    - file.hasTag("garden")\nviews:\n  - type: table\n    name: All of it\n'
    )
    (root / "Attached.csv").write_text("name,number\nbeans,7\n")
    write(
        root, {".obsidian/app.json": "{}", ".trash/Old.md": "[[Home]]", ".obsidian/plugins/x/README.md": "no"}
    )
    return root
