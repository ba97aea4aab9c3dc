-- The store: the truth of the content. One writer (the landing thread); everybody else reads.
-- Times are Unix seconds (UTC). A fence is the attempt that wrote a row last: a smaller one never overwrites it.
-- Plain SQLite: Datasette and sqlite-utils open it as it is, and find the full-text index of document.

-- A tombstone (deleted_at set) keeps who it was and loses what it said; re-landing revives the row.
CREATE TABLE document (
    id           INTEGER PRIMARY KEY,         -- rowid of document_fts
    doc_id       TEXT NOT NULL UNIQUE,        -- hash of source and key
    source       TEXT NOT NULL,
    unit         TEXT NOT NULL,               -- key of the unit it was extracted from; '': discover landed it itself
    key          TEXT NOT NULL,               -- unique within the source
    uri          TEXT NOT NULL,               -- where a person finds it
    mime         TEXT NOT NULL,
    created_at   REAL,                        -- of the original
    modified_at  REAL,                        -- of the original
    metadata     TEXT NOT NULL,               -- JSON object
    content_hash TEXT NOT NULL,               -- as the connector gave it
    digest       TEXT NOT NULL,               -- of what landed: the same again changes nothing
    version      TEXT NOT NULL,               -- the unit's
    bytes        INTEGER NOT NULL,            -- of text, as UTF-8
    landed_at    REAL NOT NULL,               -- when what it says landed
    job_id       INTEGER NOT NULL,
    fence        INTEGER NOT NULL,
    deleted_at   REAL,
    title        TEXT NOT NULL,
    text         TEXT NOT NULL                -- last, so that a list of documents never reads it
) STRICT;
CREATE INDEX document_key ON document (source, key);
CREATE INDEX document_unit ON document (source, unit) WHERE deleted_at IS NULL;

-- How a search is fast beside 20 MB/s of landing, measured on SQLite 3.40 with English text, one thread:
-- * External content: the text is kept once, in document. A change gives the index the old text to take out
--   ('delete') before the row changes; contentless deletes would need 3.43.
-- * The index is written by its own statement, a chunk of documents at a time in the order of their ids
--   (an id smaller than the last makes FTS5 flush): 30 MB/s; by triggers, row by row, 10 MB/s.
-- * INSERT … SELECT from document is as fast as binding the texts a second time, and cannot disagree with it.
-- * automerge 8 and crisismerge 64 instead of 4 and 16: small transactions 25 instead of 21 MB/s; without
--   automerge a crisis merge held a commit for 200 ms; with automerge 32 landing takes a tenth less CPU, a search for
--   a phrase of common words a third more. A page cache of 256 MB gained nothing.
-- * hashsize 8 MB instead of 1: a batch becomes one segment, so that less is merged: a tenth faster beside 60,000
--   documents.
-- * pgsz 8000, one block of the index for each of the file's pages of 8 KiB: both together land small documents with
--   a tenth less CPU.
-- * bm25 counts a word of the title five times.
CREATE VIRTUAL TABLE document_fts USING fts5 (
    title, text, content="document", content_rowid="id", tokenize="unicode61 remove_diacritics 2"
);
INSERT INTO document_fts (document_fts, rank) VALUES
    ('automerge', 8), ('crisismerge', 64), ('hashsize', 8388608), ('pgsz', 8000), ('rank', 'bm25(5.0, 1.0)');

-- The parts of a document, replaced as a whole with it.
CREATE TABLE element (
    document     INTEGER NOT NULL REFERENCES document (id),
    ordinal      INTEGER NOT NULL,            -- from 0
    type         TEXT NOT NULL,               -- Title, NarrativeText, Table, ListItem …
    metadata     TEXT NOT NULL,               -- JSON object
    text         TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX element_document ON element (document, ordinal);

CREATE TABLE stream (
    source       TEXT NOT NULL,
    stream       TEXT NOT NULL,
    schema       TEXT NOT NULL,               -- JSON Schema of its records
    key_properties TEXT NOT NULL,             -- JSON array: the properties that make a record's key
    landed_at    REAL NOT NULL,
    job_id       INTEGER NOT NULL,
    fence        INTEGER NOT NULL,
    PRIMARY KEY (source, stream)
) STRICT;

CREATE TABLE record (
    id           INTEGER PRIMARY KEY,
    source       TEXT NOT NULL,
    stream       TEXT NOT NULL,
    key          TEXT NOT NULL,               -- given, or made of the key properties, or a hash of the data
    unit         TEXT NOT NULL,               -- as in document
    landed_at    REAL NOT NULL,
    job_id       INTEGER NOT NULL,
    fence        INTEGER NOT NULL,
    deleted_at   REAL,
    data         TEXT NOT NULL                -- JSON object
) STRICT;
CREATE UNIQUE INDEX record_key ON record (source, stream, key);
CREATE INDEX record_unit ON record (source, unit) WHERE deleted_at IS NULL;

-- What discover found and extract has read. A unit that was refused or is still waiting is not here.
CREATE TABLE unit (
    source       TEXT NOT NULL,
    key          TEXT NOT NULL,
    version      TEXT NOT NULL,               -- discover finds the same version: nothing to do
    content_hash TEXT NOT NULL,               -- of its one document; given back to extract as `held`
    uri          TEXT NOT NULL,
    documents    INTEGER NOT NULL,            -- and records that it gave
    seen         INTEGER NOT NULL,            -- the newest attempt to which it existed; a complete listing leaves it
    landed_at    REAL NOT NULL,
    job_id       INTEGER NOT NULL,
    fence        INTEGER NOT NULL,
    gone_at      REAL,                        -- discover no longer found it: a late attempt cannot bring it back
    PRIMARY KEY (source, key)
) STRICT;

-- A connector's opaque position, landed with the content before it.
CREATE TABLE cursor (
    source       TEXT PRIMARY KEY,
    value        TEXT NOT NULL,               -- JSON
    landed_at    REAL NOT NULL,
    job_id       INTEGER NOT NULL,
    fence        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which attempts have landed, and what came of it: landing one again changes nothing.
CREATE TABLE landing (
    attempt_id   INTEGER PRIMARY KEY,
    job_id       INTEGER NOT NULL,
    source       TEXT NOT NULL,
    stage        TEXT NOT NULL,
    key          TEXT NOT NULL,
    new          INTEGER NOT NULL,            -- documents and records
    changed      INTEGER NOT NULL,
    deleted      INTEGER NOT NULL,
    unchanged    INTEGER NOT NULL,
    rejected     INTEGER NOT NULL,            -- lines
    moved        INTEGER NOT NULL,            -- units
    children     INTEGER NOT NULL,            -- units to extract
    complete     INTEGER NOT NULL,            -- the listing was
    stale        INTEGER NOT NULL,            -- a later attempt had landed this unit before: nothing was written
    malformed    TEXT NOT NULL,               -- JSON array: the first rejected lines, a sentence each
    landed_at    REAL NOT NULL
) STRICT;

-- What sinks have to hear of: the newest change of each thing, so reading from 0 gives all that lives.
CREATE TABLE outbox (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    at           REAL NOT NULL,
    op           TEXT NOT NULL,               -- put, delete
    kind         TEXT NOT NULL,               -- document, record
    source       TEXT NOT NULL,
    ref          TEXT NOT NULL,               -- doc_id; for a record its stream:key
    was          TEXT NOT NULL DEFAULT '',    -- put after a move: the ref it had before; that ref's delete follows
    document     INTEGER                      -- id of the document whose doc_id ref is; NULL: no document's
) STRICT;
-- By id, not by doc_id: ids grow, so that landing writes to the end of the index, and not to pages all over it.
CREATE UNIQUE INDEX outbox_document ON outbox (document) WHERE document IS NOT NULL;
CREATE UNIQUE INDEX outbox_ref ON outbox (source, kind, ref) WHERE document IS NULL;

CREATE TABLE outbox_cursor (
    consumer     TEXT PRIMARY KEY,
    seq          INTEGER NOT NULL,            -- the last it has taken
    updated_at   REAL NOT NULL
) STRICT, WITHOUT ROWID;
