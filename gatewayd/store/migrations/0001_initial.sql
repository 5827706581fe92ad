-- Times are UTC seconds (_s) or milliseconds (_ms). Ids, hashes and signed objects are raw bytes.

-- Everything that changes with most writes stands in this one row, and so in one page of the file:
-- an entry costs a card two pages, not five.
CREATE TABLE gateway (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    boot INTEGER NOT NULL DEFAULT 0,              -- starts of the daemon on this store
    machine_boot TEXT NOT NULL DEFAULT '',        -- the machine's boot id at the last of them
    running INTEGER NOT NULL DEFAULT 0 CHECK (running IN (0, 1)), -- 1 from a start to a clean stop
    time_floor_ms INTEGER,                        -- UTC has reached this
    time_anchors TEXT NOT NULL DEFAULT '{}',      -- JSON: lock id in hex -> [lock boot, lock uptime ms, lo ms, hi ms]
    log_id BLOB NOT NULL CHECK (length(log_id) = 16),
    log_size INTEGER NOT NULL DEFAULT 0,          -- entries ever appended
    frontier BLOB NOT NULL,                       -- of the tree over all of them
    sent INTEGER NOT NULL DEFAULT 0,              -- entries below it have been handed to a broker: a hint
    received INTEGER NOT NULL DEFAULT 0,          -- entries below it are covered by a receipt of the central log
    oldest INTEGER NOT NULL DEFAULT 0,            -- entries below it have been pruned
    oldest_frontier BLOB NOT NULL,                -- of the tree over the pruned ones
    CHECK (0 <= oldest AND oldest <= received AND received <= log_size AND 0 <= sent AND sent <= log_size)
) STRICT;

CREATE TABLE entries (
    idx INTEGER PRIMARY KEY,
    leaf BLOB NOT NULL,                           -- exactly the bytes that are published
    leaf_hash BLOB NOT NULL CHECK (length(leaf_hash) = 32)
) STRICT;

CREATE TABLE checkpoints (
    log_size INTEGER PRIMARY KEY,
    root BLOB NOT NULL,
    note BLOB NOT NULL,                           -- signed by this gateway
    signed_boot INTEGER NOT NULL,                 -- when it was first signed: gateway.boot,
    signed_boottime_ms INTEGER NOT NULL,          -- and CLOCK_BOOTTIME
    receipt BLOB                                  -- the note as the central log has cosigned it
) STRICT;

CREATE TABLE signed_objects (
    kind TEXT PRIMARY KEY CHECK (kind IN ('keyset', 'authority_state')),
    raw BLOB NOT NULL,
    keyset_version INTEGER NOT NULL,
    seq INTEGER NOT NULL                          -- 0 for the Keyset itself
) STRICT, WITHOUT ROWID;

CREATE TABLE authorities (
    saved INTEGER PRIMARY KEY,                    -- order of arrival
    kid BLOB NOT NULL UNIQUE,
    raw BLOB NOT NULL
) STRICT;

CREATE TABLE grants (
    sha256 BLOB PRIMARY KEY,
    raw BLOB NOT NULL,
    exp_s INTEGER NOT NULL
) STRICT;
CREATE INDEX grants_by_expiry ON grants (exp_s);

CREATE TABLE locks (
    lock_id BLOB PRIMARY KEY CHECK (length(lock_id) = 8),
    owner_epoch INTEGER NOT NULL,
    session_reserved INTEGER NOT NULL DEFAULT 0,  -- session counters up to it may have been used
    command_seq INTEGER NOT NULL DEFAULT 0,       -- the last one given out
    version_floor INTEGER NOT NULL DEFAULT 0,
    log_id BLOB,                                  -- of the lock's own log, as far as it is copied
    log_seq INTEGER,
    log_head BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE lock_homes (
    lock_id BLOB PRIMARY KEY,
    pairing_order BLOB NOT NULL,
    door BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Which entry of the journal holds which record of a lock; rows below the received mark are folded into one.
CREATE TABLE lock_records (
    lock_id BLOB NOT NULL,
    log_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    journal_index INTEGER NOT NULL,
    PRIMARY KEY (lock_id, log_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE commands (
    kid BLOB NOT NULL,
    command_id BLOB NOT NULL,
    command_sha256 BLOB NOT NULL,
    lock_id BLOB NOT NULL,
    grant_cti BLOB NOT NULL,
    action INTEGER NOT NULL,
    reserved_utc_s INTEGER NOT NULL,
    command_seq INTEGER,                          -- NULL: refused
    receipt BLOB NOT NULL,
    code INTEGER NOT NULL,
    journal_index INTEGER NOT NULL,
    closed INTEGER NOT NULL CHECK (closed IN (0, 1)), -- 0: permitted, and the outcome is not known yet
    PRIMARY KEY (kid, command_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX commands_open ON commands (reserved_utc_s) WHERE closed = 0;

CREATE TABLE grant_uses (
    grant_cti BLOB PRIMARY KEY,
    use_count INTEGER NOT NULL,
    last_utc_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE issued (
    kid BLOB NOT NULL,
    lock_id BLOB NOT NULL,
    epoch BLOB NOT NULL,
    issued INTEGER NOT NULL,
    PRIMARY KEY (kid, lock_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE buckets (
    name TEXT PRIMARY KEY,
    arrival_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE alarms (
    lock_id BLOB NOT NULL,
    alarm_ref BLOB NOT NULL,
    until_ms INTEGER NOT NULL,                    -- on CLOCK_BOOTTIME of the machine's boot
    PRIMARY KEY (lock_id, alarm_ref)
) STRICT, WITHOUT ROWID;
