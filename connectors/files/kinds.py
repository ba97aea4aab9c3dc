"""What a file is: its family (which reader it gets) and its media type, by name first.

Discover asks by name, and looks into a file only when the name says nothing. Extract always looks: the bytes
overrule the name, so that a PDF called .txt is read as a PDF.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Family(StrEnum):
    """Which reader takes it."""

    TEXT = "text"
    CODE = "code"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"
    XML = "xml"
    HTML = "html"
    MAIL = "mail"
    RICH = "rich"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Kind:
    family: Family
    mime: str
    label: str
    """What a person calls it, as in "damaged PDF"."""


_OOXML = "application/vnd.openxmlformats-officedocument."
_ODF = "application/vnd.oasis.opendocument."

TEXT = Kind(Family.TEXT, "text/plain", "text")
CODE = Kind(Family.CODE, "text/plain", "text")
MARKDOWN = Kind(Family.MARKDOWN, "text/markdown", "Markdown")
HTML = Kind(Family.HTML, "text/html", "HTML page")
XML = Kind(Family.XML, "application/xml", "XML")
MAIL = Kind(Family.MAIL, "message/rfc822", "e-mail")
PDF = Kind(Family.RICH, "application/pdf", "PDF")
RTF = Kind(Family.RICH, "application/rtf", "RTF")
DOCX = Kind(Family.RICH, _OOXML + "wordprocessingml.document", "DOCX")
PPTX = Kind(Family.RICH, _OOXML + "presentationml.presentation", "PPTX")
XLSX = Kind(Family.RICH, _OOXML + "spreadsheetml.sheet", "XLSX")
XLSB = Kind(Family.RICH, "application/vnd.ms-excel.sheet.binary.macroEnabled.12", "XLSB")
ODT = Kind(Family.RICH, _ODF + "text", "ODT")
ODS = Kind(Family.RICH, _ODF + "spreadsheet", "ODS")
ODP = Kind(Family.RICH, _ODF + "presentation", "ODP")
EPUB = Kind(Family.RICH, "application/epub+zip", "EPUB")
DOC = Kind(Family.RICH, "application/msword", "DOC")
XLS = Kind(Family.RICH, "application/vnd.ms-excel", "XLS")
PPT = Kind(Family.RICH, "application/vnd.ms-powerpoint", "PPT")
MSG = Kind(Family.RICH, "application/vnd.ms-outlook", "Outlook message")
CSV = Kind(Family.CSV, "text/csv", "CSV")
TSV = Kind(Family.CSV, "text/tab-separated-values", "TSV")
JSON = Kind(Family.JSON, "application/json", "JSON")
JSON_LINES = Kind(Family.JSON, "application/jsonl", "JSON lines")
PNG = Kind(Family.IMAGE, "image/png", "image")
JPEG = Kind(Family.IMAGE, "image/jpeg", "image")
TIFF = Kind(Family.IMAGE, "image/tiff", "image")
GIF = Kind(Family.IMAGE, "image/gif", "image")
BMP = Kind(Family.IMAGE, "image/bmp", "image")
WEBP = Kind(Family.IMAGE, "image/webp", "image")
NOTEBOOK = Kind(Family.RICH, "application/x-ipynb+json", "notebook")


_WORDS = {
    TEXT: "txt text log rst adoc asciidoc org wiki textile tex ltx bib srt vtt nfo ics vcf",
    XML: "xml docbook dbk rss atom opml fb2 gpx kml svg xsl xslt xsd dtd tei",
    CODE: (
        "py pyi pyx js mjs cjs jsx ts tsx vue svelte css scss less java kt kts scala groovy gradle clj cljs "
        "c h cc cpp cxx hh hpp hxx m mm cs fs fsx vb go rs swift d zig nim v sv vhd vhdl rb erb php pl pm t "
        "lua r jl hs ml mli elm ex exs erl hrl lisp el scm rkt f f90 f95 pas ada adb ads asm s "
        "sh bash zsh fish ps1 psm1 bat cmd awk sed sql graphql gql proto thrift cmake mk make nix tf hcl "
        "toml ini cfg conf config properties yaml yml lock editorconfig desktop service timer "
        "diff patch po pot feature rules in am ac m4 j2 jinja tmpl tpl"
    ),
    DOCX: "docx docm dotx dotm",
    PPTX: "pptx pptm ppsx ppsm potx potm",
    XLSX: "xlsx xlsm xltx xltm xlam",
    DOC: "doc dot",
    PPT: "ppt pps pot",
    XLS: "xls xlt xla",
    XLSB: "xlsb",
    ODT: "odt ott",
    ODS: "ods ots",
    ODP: "odp otp",
    PDF: "pdf",
    RTF: "rtf",
    EPUB: "epub",
    MSG: "msg",
    NOTEBOOK: "ipynb",
    HTML: "html htm shtml xhtml xht",
    MAIL: "eml",
    MARKDOWN: "md markdown mdown mkd mdx",
    CSV: "csv",
    TSV: "tsv tab",
    JSON: "json geojson",
    JSON_LINES: "jsonl ndjson",
    PNG: "png",
    JPEG: "jpg jpeg",
    TIFF: "tif tiff",
    GIF: "gif",
    BMP: "bmp",
    WEBP: "webp",
}
BY_EXTENSION = {extension: kind for kind, words in _WORDS.items() for extension in words.split()}

_NO_TEXT = (
    "so o a lib dll dylib exe com sys bin pdb class jar war ear pyc pyo pyd whl egg wasm node "
    "zip gz tgz bz2 tbz xz txz zst lz lz4 lzma br 7z rar tar cpio rpm deb apk dmg iso img vhd vmdk qcow2 "
    "mp3 m4a aac flac ogg oga opus wav aif aiff aifc au mid wma mp4 m4v mkv mov avi webm wmv flv mpg mpeg "
    "ico icns psd ai eps ps xcf raw cr2 nef arw dng heic heif avif jxl jp2 emf wmf cur exr hdr "
    "ppm pgm pbm pnm "
    "ttf otf woff woff2 eot pfb pfm sqlite sqlite3 db db-wal db-shm mdb accdb parquet feather arrow avro orc "
    "pkl pickle npy npz h5 hdf5 pt pth onnx safetensors gguf ckpt swp swo swn tmp temp part crdownload "
    "lnk url torrent dbf pst ost mo qm pem key crt cer der p12 pfx ppk jks keystore gpg asc sig kdbx"
)
BINARY = frozenset(_NO_TEXT.split())
"""Names that promise no text worth a search (programs, archives, media, fonts, keys): never opened."""


def extension_of(name: str) -> str:
    """The last extension in lower case, without its dot; empty where there is none.

    >>> extension_of("Report.PDF"), extension_of("Makefile"), extension_of(".profile")
    ('pdf', '', '')
    """
    stem, dot, extension = name.rpartition(".")
    return extension.lower() if dot and stem else ""


def by_name(name: str) -> Kind | None:
    """The kind that the name promises, if any."""
    return BY_EXTENSION.get(extension_of(name))
