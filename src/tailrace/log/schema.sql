-- The SQLite store, version 4 (PRAGMA user_version). Version 1 had no `sealed`, no payloads, no
-- facts and no places; version 2 had no sizes and no `ephemeral`; version 3 had no `attempt`.
--
-- execution: one row a log: its fixed facts, and what the index must know without reading
--   events. `head` is the newest sequence, `floor` the oldest still held. A row of the epoch
--   '' is no log: it keeps the number of a newest log that was removed from being used again.
-- event: the log itself, clustered by (log, seq): an append goes to the end of its log, a read
--   is one index seek and then neighbours. `tail` is the envelope after its id, encoded once.
-- payload: values too large for an event, once for each log, by the SHA-256 of their JSON.
-- fact, place: what processes share beside the logs (facts.py).
-- producer: for each producer the last batch it had accepted and where that batch stands.
CREATE TABLE IF NOT EXISTS execution (
  log INTEGER PRIMARY KEY,
  execution_id TEXT NOT NULL UNIQUE,
  workspace TEXT NOT NULL,
  kind TEXT NOT NULL,
  flow TEXT NOT NULL,
  epoch TEXT NOT NULL,
  created_at TEXT NOT NULL,
  head INTEGER NOT NULL,
  floor INTEGER NOT NULL,
  updated_at TEXT NOT NULL,
  last_status_event TEXT NOT NULL,
  lease_until TEXT,
  sealed INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  aside_bytes INTEGER NOT NULL DEFAULT 0,
  ephemeral INTEGER NOT NULL DEFAULT 0,
  attempt INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS execution_by_workspace ON execution (workspace, log);
CREATE INDEX IF NOT EXISTS execution_by_lease ON execution (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX IF NOT EXISTS execution_open ON execution (workspace, log) WHERE sealed = 0;
CREATE INDEX IF NOT EXISTS execution_ended
  ON execution (kind, ephemeral, updated_at, bytes, aside_bytes) WHERE sealed = 1;
CREATE TABLE IF NOT EXISTS event (
  log INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  type TEXT NOT NULL,
  tail BLOB NOT NULL,
  PRIMARY KEY (log, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS producer (
  log INTEGER NOT NULL,
  name TEXT NOT NULL,
  batch INTEGER NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  PRIMARY KEY (log, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS payload (
  log INTEGER NOT NULL,
  digest TEXT NOT NULL,
  data BLOB NOT NULL,
  UNIQUE (log, digest)
) STRICT;
CREATE TABLE IF NOT EXISTS fact (
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  until TEXT,
  PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS fact_by_end ON fact (until) WHERE until IS NOT NULL;
CREATE TABLE IF NOT EXISTS place (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  holder TEXT NOT NULL,
  until TEXT NOT NULL,
  PRIMARY KEY (kind, name, holder)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS place_by_holder ON place (kind, holder);
CREATE INDEX IF NOT EXISTS place_by_end ON place (until);
