-- The ledger, the same for SQLite and PostgreSQL: BIGINT and TEXT alone. Money is nano-CNY, exact products are
-- pico-CNY as decimal text, instants are microseconds since the Unix epoch, hashes are hex, lists are canonical JSON.

-- Who writes. A process that opens the ledger raises the epoch, and the one before it can commit no more.
CREATE TABLE IF NOT EXISTS writer (
  shard TEXT NOT NULL PRIMARY KEY,
  epoch BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS usage_record (
  attempt_id TEXT NOT NULL,
  rev BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  request_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  vendor_id TEXT NOT NULL,
  pool_id TEXT NOT NULL,
  region_id TEXT NOT NULL,
  model_id TEXT NOT NULL,
  opened_us BIGINT NOT NULL,
  period TEXT NOT NULL,
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
  body TEXT NOT NULL,
  hash TEXT NOT NULL,
  PRIMARY KEY (attempt_id, rev)
);
CREATE INDEX IF NOT EXISTS usage_record_by_request ON usage_record (request_id);
CREATE INDEX IF NOT EXISTS usage_record_by_instant ON usage_record (opened_us);
CREATE INDEX IF NOT EXISTS usage_record_by_vendor ON usage_record (vendor_id, opened_us);
CREATE INDEX IF NOT EXISTS usage_record_by_tenant ON usage_record (tenant_id, opened_us);

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
CREATE INDEX IF NOT EXISTS quarantine_by_state ON quarantine (state, attempt_id, rev);
CREATE INDEX IF NOT EXISTS quarantine_by_vendor ON quarantine (vendor_id, opened_us);

-- One amount from one account to another: what does not balance cannot be written down.
CREATE TABLE IF NOT EXISTS entry (
  seq BIGINT NOT NULL PRIMARY KEY,
  entry_id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  record_id TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  unit TEXT NOT NULL,
  debit TEXT NOT NULL,
  credit TEXT NOT NULL,
  amount_nano BIGINT NOT NULL CHECK (amount_nano > 0)
);

-- Cached sums of the entries, checked against them. The upper bound refuses what 64 bits cannot hold.
CREATE TABLE IF NOT EXISTS balance (
  unit TEXT NOT NULL,
  account TEXT NOT NULL,
  posted_dr BIGINT NOT NULL CHECK (posted_dr >= 0 AND posted_dr <= 9000000000000000000),
  posted_cr BIGINT NOT NULL CHECK (posted_cr >= 0 AND posted_cr <= 9000000000000000000),
  PRIMARY KEY (unit, account)
);

-- State of rating: one row per contract, period, line and pool.
CREATE TABLE IF NOT EXISTS cumulative (
  contract_id TEXT NOT NULL,
  period TEXT NOT NULL,
  line_id TEXT NOT NULL,
  scope TEXT NOT NULL,
  tokens BIGINT NOT NULL CHECK (tokens >= 0),
  pico TEXT NOT NULL,
  records BIGINT NOT NULL CHECK (records >= 0),
  PRIMARY KEY (contract_id, period, line_id, scope)
);

-- What statements add up: the charges of the records in force, by hour.
CREATE TABLE IF NOT EXISTS usage_hour (
  vendor_id TEXT NOT NULL,
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
  PRIMARY KEY (vendor_id, hour_us, line_id, pool_id, region_id)
);

-- Versions of price books that were charged by.
CREATE TABLE IF NOT EXISTS price_version (
  book_id TEXT NOT NULL,
  version BIGINT NOT NULL,
  hash TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (book_id, version)
);

CREATE TABLE IF NOT EXISTS statement (
  seq BIGINT NOT NULL PRIMARY KEY,
  statement_id TEXT NOT NULL UNIQUE,
  vendor_id TEXT NOT NULL,
  from_us BIGINT NOT NULL,
  to_us BIGINT NOT NULL,
  time_zone TEXT NOT NULL,
  rev BIGINT NOT NULL,
  body TEXT NOT NULL,
  digest TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS statement_by_period ON statement (vendor_id, from_us, to_us, rev);

-- How far each gateway's dense sequence has come.
CREATE TABLE IF NOT EXISTS producer (
  gateway_id TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  next_seq BIGINT NOT NULL,
  ahead TEXT NOT NULL,
  lost BIGINT NOT NULL,
  PRIMARY KEY (gateway_id, epoch)
);
