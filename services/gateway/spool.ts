import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { UsageRecord } from "../core/settlement/counting/usage.ts";
import type { AttemptId, GatewayId, InstantUs } from "../core/units.ts";
import { systemTimers, type Clock, type Timers } from "../io/clock.ts";
import type { Log } from "../io/log.ts";
import type { SegmentDisk } from "../io/segment-disk.ts";
import type { Position } from "../io/segment-records.ts";
import { openSegments, SegmentsError, type Segments } from "../io/segments.ts";
import {
  UsageRecordSchema,
  type UsageRecord as WireUsageRecord,
} from "../wire/gen/tokengrid/v1/usage_pb.js";
import { encodeUsageRecord } from "../wire/usage-codec.ts";
import { toUsageRecord } from "../wire/usage.ts";
import { crashed, recover } from "./spool-recovery.ts";
import { Unconfirmed } from "./unconfirmed.ts";
import { toSpooled, spooledKinds, type Watermark } from "./spooled.ts";

/** Usage cannot be made durable, so no work may be sent. */
export class MeteringError extends Error {
  override name = "MeteringError";
}

/** A record as the attempt's owner knows it: the spool numbers it. */
export type UnnumberedRecord = Omit<UsageRecord, "gateway" | "epoch" | "producerSeq">;

/** A closed record as bytes of its message, ready to be sent. */
export interface SpooledRecord {
  readonly id: string;
  readonly bytes: Uint8Array;
}

/** Closed records that the ledger has not confirmed yet, in the order of the spool. */
export interface Batch {
  readonly records: readonly SpooledRecord[];
  /** Behind the last one. */
  readonly next: Position;
  readonly bytes: number;
}

export interface SpoolLimits {
  /** Above it attempts are refused; those that run may still be closed. */
  readonly bytesMax: number;
  readonly segmentBytesMax: number;
}

export const defaultSpoolLimits: SpoolLimits = {
  bytesMax: 4 * 1024 ** 3,
  segmentBytesMax: 16 * 1024 ** 2,
};

/** An attempt is opened before it has a pool and is written down: what is younger may not be known yet. */
const openingUsMax = 60_000_000n;

interface OpenAttempt {
  readonly at: Position;
  readonly openedUs: InstantUs;
}

/** Every attempt that was opened before the instant has a record that the ledger has confirmed. */
export interface ProducerMark {
  readonly gatewayId: GatewayId;
  readonly epoch: bigint;
  readonly completeUntilUs: InstantUs;
}

const writeAgainMs = 1_000;

/**
 * What this gateway owes the ledger, on its own disk. An attempt is in it before it is sent, its record before
 * it is shipped, and both leave it only on the ledger's word.
 */
export class Spool {
  readonly #options: SpoolOptions;
  readonly #segments: Segments;
  readonly #epoch: bigint;
  #seq = 0n;
  /** Each attempt that is still open, with a place at or before it. */
  readonly #openAt = new Map<AttemptId, OpenAttempt>();
  readonly #unconfirmed = new Unconfirmed();
  #acknowledged: Position;
  #unacknowledged = { records: 0, bytes: 0, oldestUs: 0n };
  #wake: () => void = () => undefined;
  /** False after a write that the disk did not take, until one that it did. */
  #hasRoom = true;

  constructor(
    options: SpoolOptions,
    segments: Segments,
    start: { epoch: bigint; acknowledged: Position },
  ) {
    this.#options = options;
    this.#segments = segments;
    this.#epoch = start.epoch;
    this.#acknowledged = start.acknowledged;
  }

  /** Not confirmed by the ledger. `oldestUs` is 0 if there are none. */
  get unacknowledged(): {
    readonly records: number;
    readonly bytes: number;
    readonly oldestUs: bigint;
  } {
    return this.#unacknowledged;
  }

  /** An attempt could be opened now, as far as is known. */
  get isWritable(): boolean {
    return this.#hasRoom && this.#isOpen;
  }

  get #isOpen(): boolean {
    return (
      this.#segments.failure === undefined && this.#segments.bytes < this.#options.limits.bytesMax
    );
  }

  get openAttempts(): number {
    return this.#openAt.size;
  }

  /** Up to when nothing is missing that this gateway has seen. */
  get mark(): ProducerMark {
    const nowUs = BigInt(Math.round(this.#options.clock.now() * 1_000));
    const opened = [...this.#openAt.values()].map(({ openedUs }) => openedUs);
    const { oldestUs } = this.#unconfirmed;
    if (oldestUs !== undefined) opened.push(oldestUs);
    const completeUntilUs = opened.reduce(
      (least, each) => (each < least ? each : least),
      nowUs - openingUsMax,
    );
    return { gatewayId: this.#options.gatewayId, epoch: this.#epoch, completeUntilUs };
  }

  /** Resolves when a crash could not forget the attempt any more. Throws `MeteringError`. */
  async open(draft: UnnumberedRecord): Promise<void> {
    if (!this.#isOpen) throw new MeteringError("the usage spool is full or failed");
    this.#openAt.set(draft.attempt, { at: this.#segments.end, openedUs: draft.openedUs });
    try {
      await this.#append(toSpooled("opened", this.#encoded(draft, 0n)));
    } catch (cause) {
      this.#openAt.delete(draft.attempt);
      throw new MeteringError("the attempt could not be written to the usage spool", { cause });
    }
  }

  /** How far an open attempt has come: a lower bound, should we crash. Waits for nothing. */
  watermark(mark: Watermark): void {
    this.#segments.note(toSpooled("watermark", Buffer.from(JSON.stringify(mark))));
  }

  /** Resolves when the record is durable. The number it gets leaves no hole. */
  async close(record: UnnumberedRecord): Promise<void> {
    this.#seq += 1n;
    const bytes = this.#encoded(record, this.#seq);
    this.#count(+1, bytes.length);
    this.#unconfirmed.add(record.openedUs);
    if (this.#unacknowledged.records === 1) this.#unacknowledged.oldestUs = record.closedUs;
    await this.#write(toSpooled("closed", bytes), record.id);
    this.#openAt.delete(record.attempt);
    this.#wake();
  }

  /** The oldest records that are not confirmed, at most so many. Empty if all are. */
  async nextBatch(recordsMax: number): Promise<Batch> {
    const records: SpooledRecord[] = [];
    let next = this.#acknowledged;
    let bytes = 0;
    for await (const spooled of this.#segments.read(this.#acknowledged)) {
      next = spooled.next;
      if (spooledKinds.get(spooled.bytes[0]) !== "closed") continue;
      const body = spooled.bytes.subarray(1);
      records.push({ id: idIn(body), bytes: body });
      bytes += spooled.bytes.length - 1;
      if (records.length >= recordsMax) break;
    }
    const [oldest] = records;
    if (oldest !== undefined) {
      this.#unacknowledged.oldestUs = fromBinary(UsageRecordSchema, oldest.bytes).closedUs;
    }
    return { records, next, bytes };
  }

  /** The ledger has them. What nobody needs any more is deleted. */
  async acknowledge({ records, next, bytes }: Batch): Promise<void> {
    this.#acknowledged = next;
    this.#count(-records.length, -bytes);
    this.#unconfirmed.confirm(records.length);
    this.#segments.note(this.#acknowledgement());
    const needed = this.#openAt.values().reduce((least, { at }) => Math.min(least, at), next);
    await this.#segments.trimBefore(needed);
  }

  /** A record that settlement cannot read is kept for people, and does not hold up the others. */
  async setAside({ id, bytes }: SpooledRecord): Promise<void> {
    const name = `refused-${id.replaceAll(/[^\w.-]/g, "_")}.bin`;
    await this.#options.disk.keep(this.#options.folder, name, bytes);
  }

  /** Resolves when a record was closed, or on `wake`. For one waiter. */
  changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  wake(): void {
    this.#wake();
  }

  async closeFiles(): Promise<void> {
    await this.#segments.close();
  }

  /** After a restart: what was open then is closed now, with what the watermarks knew. */
  async resume(found: Awaited<ReturnType<typeof recover>>): Promise<void> {
    const { openedUs, ...unacknowledged } = found.unacknowledged;
    this.#unacknowledged = unacknowledged;
    for (const each of openedUs) this.#unconfirmed.add(each);
    const closedUs = BigInt(Math.round(this.#options.clock.now() * 1_000));
    for (const { draft, mark } of found.open) {
      const record = await this.#readable(draft);
      if (record !== undefined) await this.close(crashed(record, mark, closedUs));
    }
  }

  /** One draft that cannot be read any more must not keep the gateway from starting. */
  async #readable(draft: WireUsageRecord): Promise<UsageRecord | undefined> {
    try {
      return toUsageRecord(draft);
    } catch (error) {
      const bytes = toBinary(UsageRecordSchema, draft);
      this.#options.log.error(
        { attempt: draft.attemptId, error: String(error) },
        "draft set aside",
      );
      await this.setAside({ id: draft.recordId, bytes });
      return undefined;
    }
  }

  #encoded(record: UnnumberedRecord, producerSeq: bigint): Uint8Array {
    const { gatewayId } = this.#options;
    const numbered = { ...record, gateway: gatewayId, epoch: this.#epoch, producerSeq };
    return encodeUsageRecord(numbered);
  }

  #acknowledgement(): Uint8Array {
    return toSpooled("acknowledged", Buffer.from(String(this.#acknowledged)));
  }

  /** A full disk may have room again later; after a failed fsync only a new start helps. */
  async #write(bytes: Uint8Array, id: string): Promise<void> {
    for (;;) {
      try {
        await this.#append(bytes);
        return;
      } catch (error) {
        this.#options.log.error({ record: id, error: String(error) }, "usage record not written");
        if (!mayRecover(error)) throw error;
        await this.#timers.wait(writeAgainMs);
      }
    }
  }

  async #append(bytes: Uint8Array): Promise<void> {
    try {
      await this.#segments.append(bytes);
      this.#hasRoom = true;
    } catch (error) {
      const isFull = error instanceof SegmentsError && error.reason === "write-failed";
      if (isFull && this.#hasRoom) {
        this.#hasRoom = false;
        this.#lookForRoom();
      }
      throw error;
    }
  }

  /**
   * Nobody may come, and so write, while the gateway is not ready. What is written to see whether there is room says
   * only again what is known.
   */
  #lookForRoom(): void {
    this.#timers
      .wait(writeAgainMs)
      .then(async () => this.#hasRoom || this.#append(this.#acknowledgement()))
      .catch((error: unknown) => {
        if (mayRecover(error)) this.#lookForRoom();
      });
  }

  get #timers(): Timers {
    return this.#options.timers ?? systemTimers;
  }

  #count(records: number, bytes: number): void {
    const { unacknowledged } = this;
    const left = unacknowledged.records + records;
    this.#unacknowledged = {
      records: left,
      bytes: unacknowledged.bytes + bytes,
      oldestUs: left === 0 ? 0n : unacknowledged.oldestUs,
    };
  }
}

export interface SpoolOptions {
  readonly folder: string;
  readonly gatewayId: GatewayId;
  readonly limits: SpoolLimits;
  readonly disk: SegmentDisk;
  readonly clock: Clock;
  readonly timers?: Timers;
  readonly log: Log;
  readonly onFsync: (durationMs: number) => void;
}

/** Opens the folder and closes, as `gateway-crash`, every attempt that was open when it was left. */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  const { folder, limits, disk, log, clock, onFsync } = options;
  const segments = await openSegments({
    folder,
    segmentBytesMax: limits.segmentBytesMax,
    disk,
    onFsync,
    onDamage: (damage) => log.error({ damage, folder }, "damaged place in the usage spool"),
  });
  const found = await recover(segments);
  const nowUs = BigInt(Math.round(clock.now() * 1_000));
  const epoch = nowUs > found.epoch ? nowUs : found.epoch + 1n;
  const spool = new Spool(options, segments, { epoch, acknowledged: found.acknowledged });
  await spool.resume(found);
  return spool;
}

function mayRecover(error: unknown): boolean {
  return error instanceof SegmentsError && !["failed", "closed"].includes(error.reason);
}

/** Field 1 stands first: its tag, its length in one byte, as ids are short, and its text. */
function idIn(bytes: Buffer): string {
  const [tag, length = 0] = bytes;
  if (tag === 0x0a && length < 0x80) return bytes.toString("utf8", 2, 2 + length);
  return fromBinary(UsageRecordSchema, bytes).recordId;
}
