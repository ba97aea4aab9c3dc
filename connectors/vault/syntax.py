"""Obsidian's own Markdown, as rules for markdown-it: what CommonMark has, and

- wikilinks and embeds  `[[Note#Heading|alias]]`, `![[pic.png|200]]`
- tags                  `#project/garden`
- comments              `%%not shown%%`, over several blocks, too
- highlights            `==marked==`
- callouts              `> [!warning]- Title`
- tasks                 `- [ ] open`, with any sign in the brackets
- block ids             `… ^a1b2c3`

Tables, strikethrough, footnotes and mathematics are the plug-ins' of markdown-it. Nothing is looked for inside
code, mathematics or HTML, because the parser has taken those before these rules are asked.
"""

from __future__ import annotations

from functools import cache

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin

_NO_TAG = frozenset("'\"!#$%&()*+,.:;<=>?@^`{|}~[]\\")
_BEFORE_TAG = frozenset(" \t\n([{>,;\u3000")
_LONGEST_LINK = 2_000


@cache
def parser() -> MarkdownIt:
    """For the body of a note. Line breaks count; raw HTML is taken as such, and not looked into."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    parser.use(dollarmath_plugin, allow_space=False, allow_digits=False, double_inline=True)
    parser.use(footnote_plugin)
    parser.block.ruler.before(
        "fence", "comment", _comment_block, {"alt": ["paragraph", "blockquote", "list"]}
    )
    parser.core.ruler.after("block", "marks", _marks)
    parser.inline.ruler.before("link", "wikilink", _wikilink)
    parser.inline.ruler.before("link", "tag", _tag)
    parser.inline.ruler.before("link", "comment", _comment)
    parser.inline.ruler.before("link", "highlight", _highlight)
    return parser


def is_tag_sign(sign: str) -> bool:
    """Whether a tag may hold it: letters of any script, digits, `_`, `-`, `/`, emoji; no punctuation.

    >>> [is_tag_sign(c) for c in "aß字-/_9🌱 .#—"]
    [True, True, True, True, True, True, True, True, False, False, False, False]
    """
    if sign.isalnum() or sign in "_-/":
        return True
    if sign.isspace() or sign in _NO_TAG:
        return False
    code = ord(sign)
    return code > 0x7F and not (0x2000 <= code <= 0x206F and code != 0x200D) and not 0x2E00 <= code <= 0x2E7F


# -- inline


def _wikilink(state: StateInline, silent: bool) -> bool:
    src, pos = state.src, state.pos
    embed = src.startswith("![[", pos)
    if not embed and not src.startswith("[[", pos):
        return False
    start = pos + (3 if embed else 2)
    end = src.find("]]", start, min(state.posMax, start + _LONGEST_LINK))
    if end < 0:
        return False
    inner = src[start:end]
    if "\n" in inner or "[[" in inner or not inner.partition("|")[0].strip(" #^\\"):
        return False
    if not silent:
        token = state.push("embed" if embed else "wikilink", "", 0)
        token.content = inner
    state.pos = end + 2
    return True


def _tag(state: StateInline, silent: bool) -> bool:
    src, pos = state.src, state.pos
    if src[pos] != "#" or (pos > 0 and src[pos - 1] not in _BEFORE_TAG and not src[pos - 1].isspace()):
        return False
    end = pos + 1
    while end < state.posMax and is_tag_sign(src[end]):
        end += 1
    name = src[pos + 1 : end].strip("/")
    if not name or name.replace("/", "").isdecimal():
        return False
    if not silent:
        token = state.push("tag", "", 0)
        token.content = name
    state.pos = end
    return True


def _comment(state: StateInline, silent: bool) -> bool:
    if not state.src.startswith("%%", state.pos):
        return False
    end = state.src.find("%%", state.pos + 2, state.posMax)
    if end < 0:
        return False
    if not silent:
        token = state.push("comment", "", 0)
        token.content = state.src[state.pos + 2 : end].strip()
    state.pos = end + 2
    return True


def _highlight(state: StateInline, silent: bool) -> bool:
    """Only the marks are dropped: what stands between them is read as any other text."""
    if not state.src.startswith("==", state.pos):
        return False
    if not silent:
        state.push("mark", "", 0)
    state.pos += 2
    return True


# -- blocks


def _comment_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """From a line that begins with %% and does not end the comment itself, to the line that does."""
    if state.is_code_block(start):
        return False
    first = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
    if not first.startswith("%%") or "%%" in first[2:]:
        return False
    for line in range(start + 1, end):
        if "%%" in state.src[state.bMarks[line] : state.eMarks[line]]:
            break
    else:
        return False
    if silent:
        return True
    token = state.push("comment_block", "", 0)
    token.map = [start, line + 1]
    token.content = state.getLines(start, line + 1, state.blkIndent, False).strip().strip("%").strip()
    state.line = line + 1
    return True


# -- what marks a block as a whole


def _marks(state: StateCore) -> None:
    tokens = state.tokens
    for at, token in enumerate(tokens):
        if token.type != "inline":
            continue
        before = tokens[at - 1].type
        if before == "paragraph_open" and at >= 2:
            if tokens[at - 2].type == "list_item_open":
                _task(token)
            elif tokens[at - 2].type == "blockquote_open":
                _callout(tokens[at - 2], token)
        if before in ("paragraph_open", "heading_open"):
            _block_id(token)


def _task(inline: Token) -> None:
    text = inline.content
    if len(text) >= 3 and text[0] == "[" and text[2] == "]" and text[3:4] in ("", " ") and text[1] != "[":
        inline.meta["task"] = text[1]
        inline.content = text[4:]


def _callout(quote: Token, inline: Token) -> None:
    if not inline.content.startswith("[!"):
        return
    first, newline, rest = inline.content.partition("\n")
    end = first.find("]")
    if end < 3:
        return
    title = first[end + 1 :]
    fold = title[:1] if title[:1] in ("+", "-") else ""
    quote.meta["callout"] = first[2:end].partition("|")[0].strip().lower()
    if fold:
        quote.meta["fold"] = fold
    # The title stays a line of its own, so that its links are links.
    title = title[len(fold) :].strip()
    inline.meta["title"] = bool(title)
    inline.content = f"{title}{newline if title else ''}{rest}"
    if not title and inline.map and newline:
        inline.map = [inline.map[0] + 1, inline.map[1]]


def _block_id(inline: Token) -> None:
    head, caret, name = inline.content.rpartition("^")
    if not caret or not name or not (head == "" or head[-1].isspace()):
        return
    if name.isascii() and name.replace("-", "").isalnum():
        inline.meta["block"] = name
        inline.content = head.rstrip()
