-- Every Keyset that was in force: what was verified when it was taken in stays verifiable when its signer's key
-- has been replaced since.
CREATE TABLE keysets (
    version INTEGER PRIMARY KEY,
    raw BLOB NOT NULL
) STRICT;
INSERT INTO keysets SELECT keyset_version, raw FROM signed_objects WHERE kind = 'keyset';

-- Grants are looked up by their hash and bounded by who signed them.
DROP TABLE grants;
CREATE TABLE grants (
    sha256 BLOB PRIMARY KEY,
    issuer_kid BLOB NOT NULL,
    cti BLOB NOT NULL,
    exp_s INTEGER NOT NULL,
    raw BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_by_issuer ON grants (issuer_kid);
CREATE INDEX grants_by_expiry ON grants (exp_s);
