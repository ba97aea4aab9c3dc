BEGIN;
CREATE VIRTUAL TABLE document_fts USING fts5 (
    title, text, content="document", content_rowid="id", tokenize="unicode61 remove_diacritics 2"
);
DELETE FROM "document_fts_config";
DELETE FROM "document_fts_data";
DELETE FROM "document_fts_docsize";
DELETE FROM "document_fts_idx";
CREATE TABLE cursor (
    source       TEXT PRIMARY KEY,
    value        TEXT NOT NULL,               -- JSON
    landed_at    REAL NOT NULL,
    job_id       INTEGER NOT NULL,
    fence        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
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
INSERT INTO "document" VALUES(1,'0960626a88e7591a36e9b432170b30aa','sleeps','alder','alder','','',NULL,NULL,'{}','','6805d93a98f79a5c907dfc36e35615a7','1',5,1.7952972321180775165e+09,5,5,NULL,'','slept');
INSERT INTO "document" VALUES(2,'1b87494c696530c8979a3d4fd2d6a42f','sleeps','birch','birch','','',NULL,NULL,'{}','','6805d93a98f79a5c907dfc36e35615a7','1',5,1.79529723212711286549e+09,6,8,NULL,'','slept');
INSERT INTO "document" VALUES(3,'adab7759357075283b6f2ade325f5495','sleeps','cedar','cedar','','',NULL,NULL,'{}','','6805d93a98f79a5c907dfc36e35615a7','1',5,1.79529723214175367359e+09,7,10,NULL,'','slept');
INSERT INTO "document_fts_config" VALUES('automerge',8);
INSERT INTO "document_fts_config" VALUES('crisismerge',64);
INSERT INTO "document_fts_config" VALUES('hashsize',8388608);
INSERT INTO "document_fts_config" VALUES('pgsz',8000);
INSERT INTO "document_fts_config" VALUES('rank','bm25(5.0, 1.0)');
INSERT INTO "document_fts_config" VALUES('version',4);
INSERT INTO "document_fts_data" VALUES(1,X'030003');
INSERT INTO "document_fts_data" VALUES(10,X'000000050103030003010101020101030101');
INSERT INTO "document_fts_data" VALUES(137438953473,X'000000100630736C657074010601010204');
INSERT INTO "document_fts_data" VALUES(274877906945,X'000000100630736C657074020601010204');
INSERT INTO "document_fts_data" VALUES(412316860417,X'000000100630736C657074030601010204');
INSERT INTO "document_fts_docsize" VALUES(1,X'0001');
INSERT INTO "document_fts_docsize" VALUES(2,X'0001');
INSERT INTO "document_fts_docsize" VALUES(3,X'0001');
INSERT INTO "document_fts_idx" VALUES(1,X'',2);
INSERT INTO "document_fts_idx" VALUES(2,X'',2);
INSERT INTO "document_fts_idx" VALUES(3,X'',2);
CREATE TABLE element (
    document     INTEGER NOT NULL REFERENCES document (id),
    ordinal      INTEGER NOT NULL,            -- from 0
    type         TEXT NOT NULL,               -- Title, NarrativeText, Table, ListItem …
    metadata     TEXT NOT NULL,               -- JSON object
    text         TEXT NOT NULL
) STRICT;
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
INSERT INTO "landing" VALUES(1,1,'sleeps','discover','',0,0,0,0,0,0,3,1,0,'[]',1.79529723197073173522e+09);
INSERT INTO "landing" VALUES(2,2,'broken','discover','',0,0,0,0,0,0,1,1,0,'[]',1.79529723211406040195e+09);
INSERT INTO "landing" VALUES(3,3,'later','discover','',0,0,0,0,0,0,1,1,0,'[]',1.79529723197761607172e+09);
INSERT INTO "landing" VALUES(4,4,'hangs','discover','',0,0,0,0,0,0,1,1,0,'[]',1.79529723210613369934e+09);
INSERT INTO "landing" VALUES(5,5,'sleeps','extract','alder',1,0,0,0,0,0,0,0,0,'[]',1.7952972321180775165e+09);
INSERT INTO "landing" VALUES(8,6,'sleeps','extract','birch',1,0,0,0,0,0,0,0,0,'[]',1.79529723212711286549e+09);
INSERT INTO "landing" VALUES(10,7,'sleeps','extract','cedar',1,0,0,0,0,0,0,0,0,'[]',1.79529723214175367359e+09);
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
INSERT INTO "outbox" VALUES(1,1.7952972321180775165e+09,'put','document','sleeps','0960626a88e7591a36e9b432170b30aa','',1);
INSERT INTO "outbox" VALUES(2,1.79529723212711286549e+09,'put','document','sleeps','1b87494c696530c8979a3d4fd2d6a42f','',2);
INSERT INTO "outbox" VALUES(3,1.79529723214175367359e+09,'put','document','sleeps','adab7759357075283b6f2ade325f5495','',3);
CREATE TABLE outbox_cursor (
    consumer     TEXT PRIMARY KEY,
    seq          INTEGER NOT NULL,            -- the last it has taken
    updated_at   REAL NOT NULL
) STRICT, WITHOUT ROWID;
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
INSERT INTO "unit" VALUES('sleeps','alder','1','','',1,5,1.7952972321180775165e+09,5,5,NULL);
INSERT INTO "unit" VALUES('sleeps','birch','1','','',1,8,1.79529723212711286549e+09,6,8,NULL);
INSERT INTO "unit" VALUES('sleeps','cedar','1','','',1,10,1.79529723214175367359e+09,7,10,NULL);
CREATE INDEX document_key ON document (source, key);
CREATE INDEX document_unit ON document (source, unit) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX element_document ON element (document, ordinal);
CREATE UNIQUE INDEX record_key ON record (source, stream, key);
CREATE INDEX record_unit ON record (source, unit) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX outbox_document ON outbox (document) WHERE document IS NOT NULL;
CREATE UNIQUE INDEX outbox_ref ON outbox (source, kind, ref) WHERE document IS NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('outbox',3);
COMMIT;
PRAGMA user_version = 2;
