-- The lowest schema whose gatewayd may open this file: a step that only adds leaves it as it is, so that the
-- release before can go on after a rollback.
ALTER TABLE gateway ADD COLUMN readable_from INTEGER NOT NULL DEFAULT 4;

-- Why the journal has to begin anew at the next start; '': it need not.
ALTER TABLE gateway ADD COLUMN doubt TEXT NOT NULL DEFAULT '';

-- Entries of the log before this one that the central log had not signed for; they are carried over and go.
CREATE TABLE former_entries (
    idx INTEGER PRIMARY KEY,
    leaf BLOB NOT NULL
) STRICT;
