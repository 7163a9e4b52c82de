import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRouterTransport, type Transport } from "@connectrpc/connect";
import { Registry as Metrics } from "prom-client";
import { openControl, type Control } from "../../services/control/main.ts";
import type { Instant, ReplicaId } from "../../services/core/units.ts";
import { identityKey, type Identity } from "../../services/io/grpc-identity.ts";
import { validation } from "../../services/io/grpc-validation.ts";
import { openLog } from "../../services/io/log.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import type { Registry } from "../../services/io/registry.ts";
import { fromPlacementRequest } from "../../services/wire/placement.ts";
import { fromPoolRegistration, fromPoolReport } from "../../services/wire/pool.ts";
import { fromPriceBook } from "../../services/wire/price.ts";
import {
  geography,
  northgrid,
  priceBook,
  registration,
  report,
  request,
} from "../core/fixtures.ts";

export const operator: Identity = { kind: "operator", subject: "li" };
export const vendor: Identity = { kind: "vendor", subject: northgrid };
export const otherVendor: Identity = { kind: "vendor", subject: "southgrid" };
export const tenant: Identity = { kind: "tenant", subject: "acme" };

/** When tests begin: long after the calendar's start and every price's. */
export const startedAt = Date.parse("2026-11-21T12:00:00Z");

/** A clock that stands still until it is told to go on. */
export class HandClock {
  #now: Instant = startedAt;

  now(): Instant {
    return this.#now;
  }

  advance(ms: number): void {
    this.#now += ms;
  }
}

export interface TestControl extends Control {
  readonly clock: HandClock;
  readonly registry: Registry;
  readonly metrics: Metrics;
  readonly folder: string;
  /** All lines of the log from `error` up. */
  logged(): string;
  /** Calls in memory, as this caller. */
  as(caller: Identity | undefined): Transport;
  /** Ends it, and opens another on the same files at the same time. */
  restart(): Promise<TestControl>;
}

export async function openTestControl(
  changes: {
    readonly folder?: string;
    readonly clock?: HandClock;
    /** Of a registry that has nothing else: the policy's record as it lies on the disk. */
    readonly policyRecord?: string;
  } = {},
): Promise<TestControl> {
  const { folder = mkdtempSync(join(tmpdir(), "tokengrid-control-")), clock = new HandClock() } =
    changes;
  const registry = await openSqliteRegistry(join(folder, "registry.sqlite"));
  if (changes.policyRecord !== undefined) await writePolicy(registry, changes.policyRecord);
  const metrics = new Metrics();
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  const stop = new AbortController();
  const control = await openControl({
    registry,
    geography: geography(),
    log: openLog({ role: "test", level: "error", destination }),
    metrics,
    clock,
    replica: "control-1" as ReplicaId,
    journalFolder: join(folder, "journal"),
    tickMs: 5,
    signal: stop.signal,
  });
  const end = async (): Promise<void> => {
    stop.abort();
    await control.close();
    await registry.close();
  };
  return {
    ...control,
    clock,
    registry,
    metrics,
    folder,
    logged: () => lines.join(""),
    as: (caller) => transportOf(control, caller),
    close: async () => {
      await end();
      await rm(folder, { recursive: true, force: true });
    },
    restart: async () => {
      await end();
      return openTestControl({ folder, clock });
    },
  };
}

async function writePolicy(registry: Registry, value: string): Promise<void> {
  await registry.set({
    kind: "policy",
    key: "default",
    value,
    baseRevision: 0,
    author: "test",
    comment: "",
  });
}

function transportOf({ routes }: Control, caller: Identity | undefined): Transport {
  return createRouterTransport(routes, {
    router: {
      interceptors: [validation],
      requestGate: ({ values }) => {
        values.set(identityKey, caller);
      },
    },
  });
}

export const messages = {
  registration: (id: string, changes: Parameters<typeof registration>[1] = {}) =>
    fromPoolRegistration(
      registration(id, { pue: undefined, greenShare: undefined, ...changes }),
      startedAt,
    ),
  report: (id: string, changes: Parameters<typeof report>[1] = {}) =>
    fromPoolReport(report(id, { models: [], ...changes }), startedAt),
  prices: (changes: Parameters<typeof priceBook>[0] = {}) =>
    fromPriceBook(priceBook({ calendar: loadCalendar(), effectiveFromUs: 1n, ...changes })),
  place: (changes: Parameters<typeof request>[0] = {}) => fromPlacementRequest(request(changes)),
};
