import type { InstantUs } from "../../units.ts";

/** CloudEvents 1.0 in JSON, one on a line. */
export interface CloudEvent {
  /** Unique with the source. */
  readonly id: string;
  /** A URI reference of who says so: `//grid.example/tokengrid/vendor/northgrid`. */
  readonly source: string;
  readonly type: CloudEventType;
  /** What it is about. */
  readonly subject: string;
  readonly atUs: InstantUs;
  /** Canonical text: kept byte for byte, so that its digest is still that of the log. */
  readonly data: string;
}

export const cloudEventTypes = {
  "io.tokengrid.statement.v1": "urn:tokengrid:statement:1",
  "io.tokengrid.usage.v1": "urn:tokengrid:usage:1",
} as const;

export type CloudEventType = keyof typeof cloudEventTypes;

/** A line without its end. */
export function cloudEventText(event: CloudEvent): string {
  const attributes = {
    specversion: "1.0",
    id: event.id,
    source: event.source,
    type: event.type,
    subject: event.subject,
    time: rfc3339(event.atUs),
    datacontenttype: "application/json",
    dataschema: cloudEventTypes[event.type],
  };
  return `${JSON.stringify(attributes).slice(0, -1)},"data":${event.data}}`;
}

/** RFC 3339 to the microsecond. */
export function rfc3339(us: InstantUs): string {
  const iso = new Date(Number(us / 1_000n)).toISOString();
  return `${iso.slice(0, -1)}${String(us % 1_000n).padStart(3, "0")}Z`;
}
