BEGIN;
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
INSERT INTO "attempt" VALUES(1,1,1,1,1.0,512000000,1.79529723195617580411e+09,1.79529723197326350212e+09,'succeeded',0.011786,0.008226,33284096,NULL,NULL,'',NULL);
INSERT INTO "attempt" VALUES(2,2,1,2,1.0,512000000,1.79529723197842383392e+09,1.79529723212670516965e+09,'succeeded',0.013409,0.009224,33284096,NULL,NULL,'',NULL);
INSERT INTO "attempt" VALUES(3,3,1,3,1.0,512000000,1.79529723197441077233e+09,1.79529723198335742955e+09,'succeeded',0.000365,0.000357,33284096,NULL,NULL,'',NULL);
INSERT INTO "attempt" VALUES(4,4,1,4,1.0,512000000,1.79529723198057055474e+09,1.79529723212055110932e+09,'succeeded',0.000342,0.000334,33284096,NULL,NULL,'',NULL);
INSERT INTO "attempt" VALUES(5,5,1,5,1.0,512000000,1.79529723211318492886e+09,1.79529723212320208546e+09,'succeeded',0.002464,0.000401,33284096,NULL,NULL,'',NULL);
INSERT INTO "attempt" VALUES(6,8,1,6,1.0,512000000,1.79529723211496448518e+09,1.79529723211801099779e+09,'transient',0.00204,0.001655,33415168,NULL,NULL,'try again',NULL);
INSERT INTO "attempt" VALUES(7,9,1,7,1.0,512000000,1.79529723212108683586e+09,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'',NULL);
INSERT INTO "attempt" VALUES(8,6,1,8,1.0,512000000,1.79529723212448978422e+09,1.79529723212921953198e+09,'succeeded',0.001262,0.000354,33415168,NULL,NULL,'',NULL);
INSERT INTO "attempt" VALUES(9,10,1,9,1.0,512000000,1.79529723213021802905e+09,1.79529723213326930994e+09,'permanent',0.002419,0.000976,33415168,NULL,NULL,'it will never work',NULL);
INSERT INTO "attempt" VALUES(10,7,1,10,1.0,512000000,1.79529723214075732232e+09,1.79529723214360713962e+09,'succeeded',0.000403,0.000297,33415168,NULL,NULL,'',NULL);
CREATE TABLE delivery (
    id           TEXT PRIMARY KEY,            -- as the sender named it
    event        TEXT NOT NULL,
    sources      TEXT NOT NULL,               -- JSON: the names of those it concerned
    received_at  REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE fuse (
    source       TEXT PRIMARY KEY,
    failures     INTEGER NOT NULL,            -- in a row
    opened       INTEGER NOT NULL,            -- how often in a row it has opened
    until        REAL,                        -- next try; NULL: still closed, failures are being counted
    message      TEXT NOT NULL                -- of the last failure
) STRICT, WITHOUT ROWID;
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
INSERT INTO "job" VALUES(1,1,'sleeps','discover','','','{"paths": null, "type": "incremental"}','succeeded',1,1,0,0,1,0,'succeeded','','',NULL,NULL,1.79529723153285527227e+09,1.79529723197332143785e+09,1.79529723197332143785e+09);
INSERT INTO "job" VALUES(2,2,'broken','discover','','','{"paths": null, "type": "incremental"}','succeeded',1,1,0,0,1,0,'succeeded','','',NULL,NULL,1.79529723156393861767e+09,1.79529723212672710419e+09,1.79529723212672710419e+09);
INSERT INTO "job" VALUES(3,3,'later','discover','','','{"paths": null, "type": "incremental"}','succeeded',1,1,0,0,1,0,'succeeded','','',NULL,NULL,1.79529723157276511189e+09,1795297231.98339,1795297231.98339);
INSERT INTO "job" VALUES(4,4,'hangs','discover','','','{"paths": null, "type": "incremental"}','succeeded',1,1,0,0,1,0,'succeeded','','',NULL,NULL,1.79529723157593750957e+09,1.79529723212058401108e+09,1.79529723212058401108e+09);
INSERT INTO "job" VALUES(5,1,'sleeps','extract','alder','1','{"data":{},"uri":"","held":""}','succeeded',1,1,0,0,1,0,'succeeded','','',NULL,3,1.79529723197220611573e+09,1.79529723212322735786e+09,1.79529723212322735786e+09);
INSERT INTO "job" VALUES(6,1,'sleeps','extract','birch','1','{"data":{},"uri":"","held":""}','succeeded',1,1,0,0,1,0,'succeeded','','',NULL,3,1.79529723197220611573e+09,1.79529723212924504282e+09,1.79529723212924504282e+09);
INSERT INTO "job" VALUES(7,1,'sleeps','extract','cedar','1','{"data":{},"uri":"","held":""}','succeeded',1,1,0,0,1,0,'succeeded','','',NULL,3,1.79529723197220611573e+09,1.79529723214364695556e+09,1.79529723214364695556e+09);
INSERT INTO "job" VALUES(8,3,'later','extract','bad','1','{"data":{},"uri":"","held":""}','retrying',1,1,0,0,1,0,'transient','','try again',1.79530033536572432521e+09,4,1.79529723197959375385e+09,1.79529723211861205103e+09,NULL);
INSERT INTO "job" VALUES(9,4,'hangs','extract','bad','1','{"data":{},"uri":"","held":""}','running',1,0,0,0,1,0,'','','',NULL,6,1.79529723211187386506e+09,1.79529723212109565736e+09,NULL);
INSERT INTO "job" VALUES(10,2,'broken','extract','bad','1','{"data":{},"uri":"","held":""}','quarantined',1,1,0,0,1,0,'permanent','connector_error','it will never work',NULL,8,1.79529723212347221378e+09,1.79529723213364076619e+09,NULL);
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
INSERT INTO "run" VALUES(1,'sleeps','incremental','succeeded','manual',NULL,'root',1.79529723153268408776e+09,1.79529723153464031227e+09,1.79529723214399480812e+09,'',3,0,0,0,0);
INSERT INTO "run" VALUES(2,'broken','incremental','partial','manual',NULL,'root',1.79529723156387305263e+09,1.79529723156473231321e+09,1.79529723213446354866e+09,'',0,0,0,0,0);
INSERT INTO "run" VALUES(3,'later','incremental','running','manual',NULL,'root',1.79529723157270145418e+09,1.79529723196981453895e+09,NULL,'',0,0,0,0,0);
INSERT INTO "run" VALUES(4,'hangs','incremental','running','manual',NULL,'root',1.79529723157588195795e+09,1.79529723197629165654e+09,NULL,'',0,0,0,0,0);
CREATE TABLE schedule (
    source       TEXT PRIMARY KEY,
    spec         TEXT NOT NULL,               -- 'every 900' or 'cron 0 * * * *': a changed spec starts anew
    last_fire_at REAL,
    next_fire_at REAL
) STRICT, WITHOUT ROWID;
CREATE TABLE source (
    name         TEXT PRIMARY KEY,
    paused_at    REAL,
    paused_by    TEXT NOT NULL DEFAULT '',
    degraded     TEXT NOT NULL DEFAULT '',    -- a sentence while something about it does not work
    virtual_s    REAL NOT NULL DEFAULT 0,     -- fairness: weighted resource seconds served
    served_s     REAL NOT NULL DEFAULT 0      -- resource seconds served, ever
) STRICT, WITHOUT ROWID;
CREATE TABLE tally (
    run_id  INTEGER NOT NULL,
    state   TEXT NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (run_id, state)
) STRICT, WITHOUT ROWID;
INSERT INTO "tally" VALUES(1,'pending',0);
INSERT INTO "tally" VALUES(1,'running',0);
INSERT INTO "tally" VALUES(1,'succeeded',4);
INSERT INTO "tally" VALUES(2,'failed',0);
INSERT INTO "tally" VALUES(2,'pending',0);
INSERT INTO "tally" VALUES(2,'quarantined',1);
INSERT INTO "tally" VALUES(2,'running',0);
INSERT INTO "tally" VALUES(2,'succeeded',1);
INSERT INTO "tally" VALUES(3,'failed',0);
INSERT INTO "tally" VALUES(3,'pending',0);
INSERT INTO "tally" VALUES(3,'retrying',1);
INSERT INTO "tally" VALUES(3,'running',0);
INSERT INTO "tally" VALUES(3,'succeeded',1);
INSERT INTO "tally" VALUES(4,'pending',0);
INSERT INTO "tally" VALUES(4,'running',1);
INSERT INTO "tally" VALUES(4,'succeeded',1);
CREATE TABLE task (
    id          INTEGER PRIMARY KEY,
    queue       TEXT NOT NULL,
    data        BLOB NOT NULL,                -- Huey's message as JSON
    priority    REAL NOT NULL DEFAULT 0.0,
    due_at      REAL,                         -- NULL: ready
    lease       INTEGER,                      -- the attempt that holds it
    waiting_since REAL NOT NULL DEFAULT 0
) STRICT;
INSERT INTO "task" VALUES(8,'later',X'7B226964223A202238222C20226E616D65223A20226661726D2E6C65646765722E71756575652E65787472616374222C20227072696F72697479223A20312E302C202261726773223A205B385D7D',1.0,1.79530033536572432521e+09,NULL,1.79529723211871433262e+09);
INSERT INTO "task" VALUES(9,'hangs',X'7B226964223A202239222C20226E616D65223A20226661726D2E6C65646765722E71756575652E65787472616374222C20227072696F72697479223A20312E302C202261726773223A205B395D7D',1.0,NULL,7,1.79529723211193943024e+09);
CREATE TABLE total (
    source  TEXT NOT NULL,
    state   TEXT NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (source, state)
) STRICT, WITHOUT ROWID;
INSERT INTO "total" VALUES('broken','failed',0);
INSERT INTO "total" VALUES('broken','pending',0);
INSERT INTO "total" VALUES('broken','quarantined',1);
INSERT INTO "total" VALUES('broken','running',0);
INSERT INTO "total" VALUES('broken','succeeded',1);
INSERT INTO "total" VALUES('hangs','pending',0);
INSERT INTO "total" VALUES('hangs','running',1);
INSERT INTO "total" VALUES('hangs','succeeded',1);
INSERT INTO "total" VALUES('later','failed',0);
INSERT INTO "total" VALUES('later','pending',0);
INSERT INTO "total" VALUES('later','retrying',1);
INSERT INTO "total" VALUES('later','running',0);
INSERT INTO "total" VALUES('later','succeeded',1);
INSERT INTO "total" VALUES('sleeps','pending',0);
INSERT INTO "total" VALUES('sleeps','running',0);
INSERT INTO "total" VALUES('sleeps','succeeded',4);
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
INSERT INTO "transition" VALUES(1,1,NULL,'pending','submit','manual','root',1.79529723153285527227e+09);
INSERT INTO "transition" VALUES(2,1,'pending','running','lease','','farm',1.79529723153388857839e+09);
INSERT INTO "transition" VALUES(3,2,NULL,'pending','submit','manual','root',1.79529723156393861767e+09);
INSERT INTO "transition" VALUES(4,2,'pending','running','lease','','farm',1.79529723156439423564e+09);
INSERT INTO "transition" VALUES(5,3,NULL,'pending','submit','manual','root',1.79529723157276511189e+09);
INSERT INTO "transition" VALUES(6,4,NULL,'pending','submit','manual','root',1.79529723157593750957e+09);
INSERT INTO "transition" VALUES(7,3,'pending','running','lease','','farm',1.79529723196944642066e+09);
INSERT INTO "transition" VALUES(8,5,NULL,'pending','submit','listed by job 1','farm',1.79529723197220611573e+09);
INSERT INTO "transition" VALUES(9,6,NULL,'pending','submit','listed by job 1','farm',1.79529723197220611573e+09);
INSERT INTO "transition" VALUES(10,7,NULL,'pending','submit','listed by job 1','farm',1.79529723197220611573e+09);
INSERT INTO "transition" VALUES(11,1,'running','succeeded','succeed','','farm',1.79529723197332143785e+09);
INSERT INTO "transition" VALUES(12,4,'pending','running','lease','','farm',1.79529723197599816323e+09);
INSERT INTO "transition" VALUES(13,8,NULL,'pending','submit','listed by job 3','farm',1.79529723197959375385e+09);
INSERT INTO "transition" VALUES(14,3,'running','succeeded','succeed','','farm',1795297231.98339);
INSERT INTO "transition" VALUES(15,5,'pending','running','lease','','farm',1.79529723198392534254e+09);
INSERT INTO "transition" VALUES(16,8,'pending','running','lease','','farm',1.79529723210858058925e+09);
INSERT INTO "transition" VALUES(17,9,NULL,'pending','submit','listed by job 4','farm',1.79529723211187386506e+09);
INSERT INTO "transition" VALUES(18,8,'running','failed','fail','try again','farm',1.79529723211841964721e+09);
INSERT INTO "transition" VALUES(19,8,'failed','retrying','retry','','farm',1.79529723211861205103e+09);
INSERT INTO "transition" VALUES(20,4,'running','succeeded','succeed','','farm',1.79529723212058401108e+09);
INSERT INTO "transition" VALUES(21,9,'pending','running','lease','','farm',1.79529723212109565736e+09);
INSERT INTO "transition" VALUES(22,6,'pending','running','lease','','farm',1.79529723212127470966e+09);
INSERT INTO "transition" VALUES(23,5,'running','succeeded','succeed','','farm',1.79529723212322735786e+09);
INSERT INTO "transition" VALUES(24,10,NULL,'pending','submit','listed by job 2','farm',1.79529723212347221378e+09);
INSERT INTO "transition" VALUES(25,2,'running','succeeded','succeed','','farm',1.79529723212672710419e+09);
INSERT INTO "transition" VALUES(26,10,'pending','running','lease','','farm',1.79529723212786078458e+09);
INSERT INTO "transition" VALUES(27,6,'running','succeeded','succeed','','farm',1.79529723212924504282e+09);
INSERT INTO "transition" VALUES(28,10,'running','failed','fail','it will never work','farm',1.79529723213341259953e+09);
INSERT INTO "transition" VALUES(29,10,'failed','quarantined','quarantine','it will never work','farm',1.79529723213364076619e+09);
INSERT INTO "transition" VALUES(30,7,'pending','running','lease','','farm',1.79529723213423323627e+09);
INSERT INTO "transition" VALUES(31,7,'running','succeeded','succeed','','farm',1.79529723214364695556e+09);
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
CREATE INDEX run_open ON run (source) WHERE finished_at IS NULL;
CREATE INDEX run_source ON run (source);
CREATE TRIGGER tally_began AFTER INSERT ON tally BEGIN
    INSERT INTO total (source, state, n) SELECT source, new.state, new.n FROM run WHERE id = new.run_id
    ON CONFLICT (source, state) DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER tally_moved AFTER UPDATE OF n ON tally BEGIN
    UPDATE total SET n = n + new.n - old.n
    WHERE source = (SELECT source FROM run WHERE id = new.run_id) AND state = new.state;
END;
CREATE UNIQUE INDEX job_unfinished ON job (source, stage, key, version) WHERE finished_at IS NULL;
CREATE INDEX job_attention ON job (state, id) WHERE state = 'retrying' OR state = 'quarantined' OR state = 'paused';
CREATE INDEX job_discarded ON job (source, key, version) WHERE state = 'cancelled' AND reason = 'discarded';
CREATE INDEX job_run ON job (run_id);
CREATE INDEX attempt_job ON attempt (job_id);
CREATE UNIQUE INDEX attempt_running ON attempt (job_id) WHERE outcome IS NULL;
CREATE INDEX transition_job ON transition (job_id);
CREATE INDEX task_ready ON task (queue, priority DESC, id) WHERE lease IS NULL AND due_at IS NULL;
CREATE INDEX task_due ON task (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX delivery_age ON delivery (received_at);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('run',4);
INSERT INTO "sqlite_sequence" VALUES('job',10);
INSERT INTO "sqlite_sequence" VALUES('attempt',10);
COMMIT;
PRAGMA user_version = 3;
