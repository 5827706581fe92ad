-- 1: what the store says of revocations may be older than what was held before it was repaired, until the next state comes.
ALTER TABLE gateway ADD COLUMN repaired INTEGER NOT NULL DEFAULT 0;
