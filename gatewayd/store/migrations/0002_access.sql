-- Uses of a grant: for class 2 the newest episode and what it has moved so far.
ALTER TABLE grant_uses ADD COLUMN episode_ms INTEGER;
ALTER TABLE grant_uses ADD COLUMN movement_count INTEGER NOT NULL DEFAULT 0;

-- Which use a command took, so that it can be given back: an episode's start, 0 for a single use, NULL for none.
ALTER TABLE commands ADD COLUMN use_name INTEGER;

CREATE TABLE lockouts (
    kid BLOB NOT NULL,
    lock_id BLOB NOT NULL,
    refusal_count INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,                     -- trusted lower bound of UTC
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (kid, lock_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX lockouts_by_age ON lockouts (last_ms);

-- Signed proof that somebody else holds our keys. A PairingOrder of a higher owner epoch for the lock takes it away.
CREATE TABLE suspicions (
    lock_id BLOB PRIMARY KEY,
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- When the lock was paired, for the installer's hour: the machine's boot, and CLOCK_BOOTTIME in it.
ALTER TABLE lock_homes ADD COLUMN paired_machine_boot TEXT NOT NULL DEFAULT '';
ALTER TABLE lock_homes ADD COLUMN paired_boottime_ms INTEGER NOT NULL DEFAULT 0;
