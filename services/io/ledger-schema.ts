import { readFileSync } from "node:fs";

/** Of `ledger.sql`. A change of its tables is the next number. */
export const schemaVersion = 3n;

/** What may not be done to a table, ever or when a condition on OLD and NEW holds. */
interface Rule {
  readonly table: string;
  readonly change: "UPDATE" | "DELETE";
  readonly when?: string;
}

const appendOnly = [
  "ledger_schema",
  "usage_record",
  "entry",
  "price_version",
  "document",
  "leaf",
  "tile",
  "claim",
] as const;

const changed = (...columns: readonly string[]): string =>
  columns.map((each) => `NEW.${each} <> OLD.${each}`).join(" OR ");

const rules: readonly Rule[] = [
  ...appendOnly.flatMap((table): Rule[] => [
    { table, change: "UPDATE" },
    { table, change: "DELETE" },
  ]),
  {
    table: "sale",
    change: "UPDATE",
    when: `OLD.state <> 'waiting' AND (${changed("request_id", "tenant_id", "opened_us", "booking", "billed_nano", "body")})`,
  },
  { table: "sale", change: "DELETE" },
  { table: "quarantine", change: "UPDATE", when: changed("reason", "body", "hash") },
  { table: "quarantine", change: "DELETE" },
];

const tables = readFileSync(new URL("./ledger.sql", import.meta.url), "utf8");

/** With the tables, so that there are none without a number. */
const number = `INSERT INTO ledger_schema (name, version) VALUES ('ledger', ${schemaVersion})
  ON CONFLICT (name) DO NOTHING;`;

const nameOf = ({ table, change }: Rule): string => `${table}_no_${change.toLowerCase()}`;

/** A number that is the key is the row's own in SQLite, and needs no index beside the table. */
export function sqliteSchema(): string {
  const triggers = rules.map((rule) => {
    const { table, change, when } = rule;
    return `CREATE TRIGGER IF NOT EXISTS ${nameOf(rule)} BEFORE ${change} ON ${table}
      ${when === undefined ? "" : `WHEN ${when}`}
      BEGIN SELECT RAISE(ABORT, '${table} is append-only'); END;`;
  });
  const numbered = tables.replaceAll("BIGINT NOT NULL PRIMARY KEY", "INTEGER NOT NULL PRIMARY KEY");
  return `${numbered} ${number} ${triggers.join("\n")}`;
}

/** Texts compare by their bytes, as in SQLite; and who writes has no right to change what is written. */
export function postgresSchema(): string {
  const triggers = rules.map((rule) => {
    const { table, change, when } = rule;
    return `CREATE OR REPLACE TRIGGER ${nameOf(rule)} BEFORE ${change} ON ${table} FOR EACH ROW
      ${when === undefined ? "" : `WHEN (${when})`} EXECUTE FUNCTION refuse_change();`;
  });
  const emptying = [...appendOnly, "sale", "quarantine"].map(
    (table) =>
      `CREATE OR REPLACE TRIGGER ${table}_no_truncate BEFORE TRUNCATE ON ${table}
        EXECUTE FUNCTION refuse_change();`,
  );
  const rights = appendOnly.map(
    (table) => `REVOKE UPDATE, DELETE, TRUNCATE ON ${table} FROM PUBLIC, CURRENT_USER;`,
  );
  return `${tables.replaceAll(/\bTEXT\b/g, 'TEXT COLLATE "C"')}
    CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$;
    ${[number, ...triggers, ...emptying, ...rights].join("\n")}`;
}
