-- The ledger, the same for SQLite and PostgreSQL: BIGINT and TEXT alone. Money is nano-CNY, exact products are
-- pico-CNY as decimal text, instants are microseconds since the Unix epoch, hashes are hex, lists are canonical JSON.
-- What may never change is kept by triggers, which `ledger-schema.ts` has.

-- What these tables look like. Another number is another form, which is not opened.
CREATE TABLE IF NOT EXISTS ledger_schema (
  name TEXT NOT NULL PRIMARY KEY,
  version BIGINT NOT NULL
);

-- Who writes. A process that opens the ledger raises the epoch, and the one before it can commit no more.
CREATE TABLE IF NOT EXISTS writer (
  shard TEXT NOT NULL PRIMARY KEY,
  epoch BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS usage_record (
  attempt_id TEXT NOT NULL,
  rev BIGINT NOT NULL,
  request_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  vendor_id TEXT NOT NULL,
  pool_id TEXT NOT NULL,
  region_id TEXT NOT NULL,
  model_id TEXT NOT NULL,
  opened_us BIGINT NOT NULL,
  period TEXT NOT NULL,
  booking TEXT NOT NULL,
  ending TEXT NOT NULL,
  cost_side TEXT NOT NULL,
  in_uncached BIGINT NOT NULL CHECK (in_uncached >= 0),
  in_cache_read BIGINT NOT NULL CHECK (in_cache_read >= 0),
  in_cache_write BIGINT NOT NULL CHECK (in_cache_write >= 0),
  out_response BIGINT NOT NULL CHECK (out_response >= 0),
  out_reasoning BIGINT NOT NULL CHECK (out_reasoning >= 0),
  count_basis TEXT NOT NULL,
  slot TEXT NOT NULL,
  flags TEXT NOT NULL,
  charges TEXT NOT NULL,
  amount_nano BIGINT NOT NULL,
  fees TEXT NOT NULL,
  sold TEXT NOT NULL,
  body TEXT NOT NULL,
  hash TEXT NOT NULL,
  seq BIGINT NOT NULL PRIMARY KEY,
  UNIQUE (attempt_id, rev)
);
CREATE INDEX IF NOT EXISTS usage_record_by_request ON usage_record (request_id);
CREATE INDEX IF NOT EXISTS usage_record_by_instant ON usage_record (opened_us);
CREATE INDEX IF NOT EXISTS usage_record_by_vendor ON usage_record (vendor_id, opened_us);
CREATE INDEX IF NOT EXISTS usage_record_by_tenant ON usage_record (tenant_id, opened_us);
CREATE INDEX IF NOT EXISTS usage_record_by_booking ON usage_record (vendor_id, booking, attempt_id);
-- What is compared with claims goes by attempt, without the rows of others.
CREATE INDEX IF NOT EXISTS usage_record_by_attempt ON usage_record (vendor_id, attempt_id, rev, opened_us);

-- Kept and not paid until someone looked, or until what was missing came.
CREATE TABLE IF NOT EXISTS quarantine (
  attempt_id TEXT NOT NULL,
  rev BIGINT NOT NULL,
  request_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  vendor_id TEXT NOT NULL,
  pool_id TEXT NOT NULL,
  region_id TEXT NOT NULL,
  model_id TEXT NOT NULL,
  opened_us BIGINT NOT NULL,
  reason TEXT NOT NULL,
  body TEXT NOT NULL,
  hash TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'released')),
  PRIMARY KEY (attempt_id, rev)
);
CREATE INDEX IF NOT EXISTS quarantine_waiting ON quarantine (attempt_id, rev) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS quarantine_by_vendor ON quarantine (vendor_id, opened_us);
CREATE INDEX IF NOT EXISTS quarantine_by_tenant ON quarantine (tenant_id, opened_us);

-- One amount from one account to another: what does not balance cannot be written down.
CREATE TABLE IF NOT EXISTS entry (
  entry_id TEXT NOT NULL UNIQUE,
  txn TEXT NOT NULL,
  kind TEXT NOT NULL,
  phase TEXT NOT NULL CHECK (phase IN ('posted', 'held', 'released')),
  cause TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  unit TEXT NOT NULL,
  debit TEXT NOT NULL,
  credit TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount > 0),
  corrects TEXT NOT NULL,
  seq BIGINT NOT NULL PRIMARY KEY
);

-- Cached sums of the entries, checked against them. The upper bound refuses what 64 bits cannot hold; a wallet can
-- never give more than it has, of which what is set aside is no more to be had.
CREATE TABLE IF NOT EXISTS balance (
  unit TEXT NOT NULL,
  account TEXT NOT NULL,
  posted_dr BIGINT NOT NULL CHECK (posted_dr >= 0 AND posted_dr <= 9000000000000000000),
  posted_cr BIGINT NOT NULL CHECK (posted_cr >= 0 AND posted_cr <= 9000000000000000000),
  held_dr BIGINT NOT NULL CHECK (held_dr >= 0 AND held_dr <= 9000000000000000000),
  held_cr BIGINT NOT NULL CHECK (held_cr >= 0 AND held_cr <= 9000000000000000000),
  PRIMARY KEY (unit, account),
  CONSTRAINT wallet_not_overdrawn
    CHECK (substr(account, 1, 7) <> 'wallet:' OR posted_cr - posted_dr >= held_dr)
);

-- State of rating: one row per counterparty, period, line and scope.
CREATE TABLE IF NOT EXISTS cumulative (
  pair_id TEXT NOT NULL,
  period TEXT NOT NULL,
  line_id TEXT NOT NULL,
  scope TEXT NOT NULL,
  tokens BIGINT NOT NULL CHECK (tokens >= 0),
  pico TEXT NOT NULL,
  records BIGINT NOT NULL CHECK (records >= 0),
  PRIMARY KEY (pair_id, period, line_id, scope)
);

-- What statements add up: the charges of the records in force, by the hour of use and the period of the statement.
CREATE TABLE IF NOT EXISTS usage_hour (
  pair_id TEXT NOT NULL,
  booking TEXT NOT NULL,
  hour_us BIGINT NOT NULL,
  line_id TEXT NOT NULL,
  pool_id TEXT NOT NULL,
  region_id TEXT NOT NULL,
  model_id TEXT NOT NULL,
  token_class TEXT NOT NULL,
  slot TEXT NOT NULL,
  tokens BIGINT NOT NULL,
  pico TEXT NOT NULL,
  amount_nano BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  PRIMARY KEY (pair_id, booking, hour_us, line_id, pool_id, region_id)
);
CREATE INDEX IF NOT EXISTS usage_hour_by_instant ON usage_hour (pair_id, hour_us);

-- What tenants owe for records. One that waits has no price yet; one that was billed changes no more.
CREATE TABLE IF NOT EXISTS sale (
  attempt_id TEXT NOT NULL,
  rev BIGINT NOT NULL,
  request_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  opened_us BIGINT NOT NULL,
  booking TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'billed', 'replaced')),
  reason TEXT NOT NULL,
  billed_nano BIGINT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (attempt_id, rev)
);
CREATE INDEX IF NOT EXISTS sale_waiting ON sale (attempt_id, rev) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS sale_by_booking ON sale (tenant_id, booking, attempt_id);
CREATE INDEX IF NOT EXISTS sale_in_force ON sale (request_id) WHERE state <> 'replaced';

-- What tenants used, by all that it is asked for.
CREATE TABLE IF NOT EXISTS consumption (
  tenant_id TEXT NOT NULL,
  hour_us BIGINT NOT NULL,
  department TEXT NOT NULL,
  project TEXT NOT NULL,
  scenario TEXT NOT NULL,
  model_id TEXT NOT NULL,
  pool_id TEXT NOT NULL,
  region_id TEXT NOT NULL,
  requests BIGINT NOT NULL,
  in_uncached BIGINT NOT NULL,
  in_cache_read BIGINT NOT NULL,
  in_cache_write BIGINT NOT NULL,
  out_response BIGINT NOT NULL,
  out_reasoning BIGINT NOT NULL,
  sale_nano BIGINT NOT NULL,
  covered_nano BIGINT NOT NULL,
  billed_nano BIGINT NOT NULL,
  released_nano BIGINT NOT NULL,
  cost_nano BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, hour_us, department, project, scenario, model_id, pool_id, region_id)
);

-- Versions of price books that were charged by.
CREATE TABLE IF NOT EXISTS price_version (
  book_id TEXT NOT NULL,
  version BIGINT NOT NULL,
  hash TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (book_id, version)
);

-- Contracts, packages, statements, disputes and whatever else is rare and kept for ever.
CREATE TABLE IF NOT EXISTS document (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  pair_id TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  body TEXT NOT NULL,
  hash TEXT NOT NULL,
  seq BIGINT NOT NULL PRIMARY KEY,
  UNIQUE (kind, id)
);
CREATE INDEX IF NOT EXISTS document_by_kind ON document (kind, seq);
CREATE INDEX IF NOT EXISTS document_by_pair ON document (pair_id, seq);

-- Leaves of the logs, one log per counterparty, and their complete tiles.
CREATE TABLE IF NOT EXISTS leaf (
  log TEXT NOT NULL,
  idx BIGINT NOT NULL CHECK (idx >= 0),
  kind TEXT NOT NULL,
  ref TEXT NOT NULL,
  body TEXT NOT NULL,
  hash TEXT NOT NULL,
  PRIMARY KEY (log, idx),
  UNIQUE (log, kind, ref)
);
CREATE TABLE IF NOT EXISTS tile (
  log TEXT NOT NULL,
  level BIGINT NOT NULL CHECK (level >= 0),
  idx BIGINT NOT NULL CHECK (idx >= 0),
  hashes TEXT NOT NULL,
  PRIMARY KEY (log, level, idx)
);

-- Reservations.
CREATE TABLE IF NOT EXISTS hold (
  hold_id TEXT NOT NULL PRIMARY KEY,
  unit TEXT NOT NULL,
  debit TEXT NOT NULL,
  credit TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount > 0),
  amount_left BIGINT NOT NULL CHECK (amount_left >= 0 AND amount_left <= amount),
  expires_us BIGINT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'posted', 'void', 'expired'))
);
CREATE INDEX IF NOT EXISTS hold_ending ON hold (expires_us, hold_id) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS hold_open ON hold (hold_id) WHERE state = 'open';

-- Attempts as vendors counted them.
CREATE TABLE IF NOT EXISTS claim (
  pair_id TEXT NOT NULL,
  attempt_id TEXT NOT NULL,
  rev BIGINT NOT NULL,
  opened_us BIGINT NOT NULL,
  pool_id TEXT NOT NULL,
  model_id TEXT NOT NULL,
  in_uncached BIGINT NOT NULL CHECK (in_uncached >= 0),
  in_cache_read BIGINT NOT NULL CHECK (in_cache_read >= 0),
  in_cache_write BIGINT NOT NULL CHECK (in_cache_write >= 0),
  out_response BIGINT NOT NULL CHECK (out_response >= 0),
  out_reasoning BIGINT NOT NULL CHECK (out_reasoning >= 0),
  batch TEXT NOT NULL,
  body TEXT NOT NULL,
  hash TEXT NOT NULL,
  PRIMARY KEY (pair_id, attempt_id, rev)
);

-- How far each gateway's dense sequence has come.
CREATE TABLE IF NOT EXISTS producer (
  gateway_id TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  next_seq BIGINT NOT NULL,
  ahead TEXT NOT NULL,
  lost BIGINT NOT NULL,
  PRIMARY KEY (gateway_id, epoch)
);
