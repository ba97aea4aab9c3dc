-- The ledger: the truth of the work. One writer (the dispatcher); everybody else reads.
-- Times are Unix seconds (UTC). Every change of job.state stands in transition, written in the same transaction.

CREATE TABLE run (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    source        TEXT NOT NULL,
    type          TEXT NOT NULL,              -- full, incremental, replay, backfill, event
    state         TEXT NOT NULL,              -- draft, queued, running, paused, succeeded, partial, failed, cancelled
    trigger       TEXT NOT NULL,              -- every, cron, watch, rescan, webhook, manual, catch_up, submit
    trigger_key   TEXT UNIQUE,                -- (schedule, fire time): the same fire never runs twice
    actor         TEXT NOT NULL DEFAULT '',   -- who asked
    requested_at  REAL NOT NULL,
    started_at    REAL,
    finished_at   REAL,
    message       TEXT NOT NULL DEFAULT '',
    documents_new       INTEGER NOT NULL DEFAULT 0,
    documents_changed   INTEGER NOT NULL DEFAULT 0,
    documents_deleted   INTEGER NOT NULL DEFAULT 0,
    documents_unchanged INTEGER NOT NULL DEFAULT 0,
    documents_rejected  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX run_open ON run (source) WHERE finished_at IS NULL;
CREATE INDEX run_source ON run (source);

-- How many jobs of a run rest in which state: kept by every move, so that status never counts rows.
CREATE TABLE tally (
    run_id  INTEGER NOT NULL,
    state   TEXT NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (run_id, state)
) STRICT, WITHOUT ROWID;

-- The same per source, for as long as the ledger lives: a status that summed up all runs would take a second
-- after a year of them. Kept by triggers, as a tally changes once for many jobs.
CREATE TABLE total (
    source  TEXT NOT NULL,
    state   TEXT NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (source, state)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER tally_began AFTER INSERT ON tally BEGIN
    INSERT INTO total (source, state, n) SELECT source, new.state, new.n FROM run WHERE id = new.run_id
    ON CONFLICT (source, state) DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER tally_moved AFTER UPDATE OF n ON tally BEGIN
    UPDATE total SET n = n + new.n - old.n
    WHERE source = (SELECT source FROM run WHERE id = new.run_id) AND state = new.state;
END;

CREATE TABLE job (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id      INTEGER NOT NULL REFERENCES run (id),
    source      TEXT NOT NULL,
    stage       TEXT NOT NULL,                -- discover, extract
    key         TEXT NOT NULL DEFAULT '',     -- the unit's key
    version     TEXT NOT NULL DEFAULT '',     -- the unit's version
    payload     TEXT NOT NULL DEFAULT 'null', -- JSON for the worker: ids and options of the unit, never content or secrets
    state       TEXT NOT NULL,
    priority    INTEGER NOT NULL,             -- 0 low, 1 normal, 2 high
    attempts    INTEGER NOT NULL DEFAULT 0,   -- that count against max_attempts
    deaths      INTEGER NOT NULL DEFAULT 0,   -- of workers
    losses      INTEGER NOT NULL DEFAULT 0,   -- attempts lost with the farm
    number      INTEGER NOT NULL DEFAULT 0,   -- attempts ever made
    memory_bytes INTEGER NOT NULL DEFAULT 0,  -- reservation raised after out_of_memory; 0: the profile's
    outcome     TEXT NOT NULL DEFAULT '',     -- of the last attempt
    reason      TEXT NOT NULL DEFAULT '',     -- of quarantine
    message     TEXT NOT NULL DEFAULT '',
    due_at      REAL,                         -- when a retrying job may run again
    listed      INTEGER,                      -- the newest attempt when a listing last named the unit; NULL: none did
    created_at  REAL NOT NULL,
    updated_at  REAL NOT NULL,
    finished_at REAL                          -- when it succeeded or was cancelled
) STRICT;
-- The idempotency key: one unfinished job for a unit's version. Not told by the state, which a lease would change:
-- an index whose terms a move does not touch costs the move nothing.
CREATE UNIQUE INDEX job_unfinished ON job (source, stage, key, version) WHERE finished_at IS NULL;
-- Written with OR, as SQLite uses it for a query of one state then, and not when it is written with IN.
CREATE INDEX job_attention ON job (state, id) WHERE state = 'retrying' OR state = 'quarantined' OR state = 'paused';
-- A discarded unit's version is not tried again.
CREATE INDEX job_discarded ON job (source, key, version) WHERE state = 'cancelled' AND reason = 'discarded';
CREATE INDEX job_run ON job (run_id);

-- An attempt's id is its fence: whoever holds a smaller one has lost the job.
CREATE TABLE attempt (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id       INTEGER NOT NULL REFERENCES job (id),
    number       INTEGER NOT NULL,
    launch_id    INTEGER NOT NULL,            -- id of the launch's first attempt; names the spool
    cpu          REAL NOT NULL,               -- cores reserved
    memory_bytes INTEGER NOT NULL,            -- reserved
    started_at   REAL NOT NULL,
    ended_at     REAL,
    outcome      TEXT,
    wall_s       REAL,
    cpu_s        REAL,
    memory_peak_bytes INTEGER,
    exit         INTEGER,
    signal       INTEGER,
    message      TEXT NOT NULL DEFAULT '',
    evidence     TEXT                         -- JSON {traceback, log, versions} of an attempt that failed
) STRICT;
CREATE INDEX attempt_job ON attempt (job_id);
CREATE UNIQUE INDEX attempt_running ON attempt (job_id) WHERE outcome IS NULL;

CREATE TABLE transition (
    id          INTEGER PRIMARY KEY,
    job_id      INTEGER NOT NULL,
    from_state  TEXT,                         -- NULL for the first
    to_state    TEXT NOT NULL,
    event       TEXT NOT NULL,
    cause       TEXT NOT NULL DEFAULT '',
    actor       TEXT NOT NULL,                -- farm, recovery, or an operator's name
    at          REAL NOT NULL
) STRICT;
CREATE INDEX transition_job ON transition (job_id);

-- Huey's queue table, extended by the lease. One ticket per job, under the job's own id; queue is the lane (the source).
CREATE TABLE task (
    id          INTEGER PRIMARY KEY,
    queue       TEXT NOT NULL,
    data        BLOB NOT NULL,                -- Huey's message as JSON
    priority    REAL NOT NULL DEFAULT 0.0,
    due_at      REAL,                         -- NULL: ready
    lease       INTEGER,                      -- the attempt that holds it
    waiting_since REAL NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX task_ready ON task (queue, priority DESC, id) WHERE lease IS NULL AND due_at IS NULL;
CREATE INDEX task_due ON task (due_at) WHERE due_at IS NOT NULL;

-- What the farm knows of a source beside its settings.
CREATE TABLE source (
    name         TEXT PRIMARY KEY,
    paused_at    REAL,
    paused_by    TEXT NOT NULL DEFAULT '',
    degraded     TEXT NOT NULL DEFAULT '',    -- a sentence while something about it does not work
    virtual_s    REAL NOT NULL DEFAULT 0,     -- fairness: weighted resource seconds served
    served_s     REAL NOT NULL DEFAULT 0      -- resource seconds served, ever
) STRICT, WITHOUT ROWID;

-- A source's breaker while it is not closed: its jobs rest until then, then one of them tries.
CREATE TABLE fuse (
    source       TEXT PRIMARY KEY,
    failures     INTEGER NOT NULL,            -- in a row
    opened       INTEGER NOT NULL,            -- how often in a row it has opened
    until        REAL,                        -- next try; NULL: still closed, failures are being counted
    message      TEXT NOT NULL                -- of the last failure
) STRICT, WITHOUT ROWID;

-- Recent measurements of a source's stage: what the next reservation is made from.
CREATE TABLE usage (
    source       TEXT NOT NULL,
    stage        TEXT NOT NULL,
    samples      TEXT NOT NULL,               -- JSON: the newest [wall_s, cpu_s, memory_peak_bytes], at most 200
    memory_bytes INTEGER NOT NULL,            -- the reservation that follows from them
    cpu          REAL NOT NULL,               -- cores
    wall_s       REAL NOT NULL,               -- median
    updated_at   REAL NOT NULL,
    PRIMARY KEY (source, stage)
) STRICT, WITHOUT ROWID;

-- Webhook deliveries that led to work, for 30 days: the same one again is acknowledged and does nothing.
CREATE TABLE delivery (
    id           TEXT PRIMARY KEY,            -- as the sender named it
    event        TEXT NOT NULL,
    sources      TEXT NOT NULL,               -- JSON: the names of those it concerned
    received_at  REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_age ON delivery (received_at);

CREATE TABLE schedule (
    source       TEXT PRIMARY KEY,
    spec         TEXT NOT NULL,               -- 'every 900' or 'cron 0 * * * *': a changed spec starts anew
    last_fire_at REAL,
    next_fire_at REAL
) STRICT, WITHOUT ROWID;
