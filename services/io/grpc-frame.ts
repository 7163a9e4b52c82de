import { Code, ConnectError } from "@connectrpc/connect";

/** A flag byte and the length of the message, big-endian. */
const prefixBytes = 5;

/** Cuts a gRPC byte stream into messages. It holds at most one unfinished message of `bytesMax`. */
export class FrameReader {
  readonly #bytesMax: number;
  #rest: Buffer | undefined;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /**
   * The messages that this chunk completes, as views of it. Throws RESOURCE_EXHAUSTED for a message above the bound and
   * UNIMPLEMENTED for a compressed one.
   */
  push(chunk: Buffer): Buffer[] {
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    const messages: Buffer[] = [];
    let offset = 0;
    while (bytes.length - offset >= prefixBytes) {
      const end = offset + prefixBytes + this.#lengthAt(bytes, offset);
      if (end > bytes.length) break;
      messages.push(bytes.subarray(offset + prefixBytes, end));
      offset = end;
    }
    this.#rest = offset === bytes.length ? undefined : bytes.subarray(offset);
    return messages;
  }

  /** True if the stream may end here. */
  get isEmpty(): boolean {
    return this.#rest === undefined;
  }

  #lengthAt(bytes: Buffer, offset: number): number {
    if (bytes[offset] !== 0) {
      throw new ConnectError("expected an uncompressed message", Code.Unimplemented);
    }
    const length = bytes.readUInt32BE(offset + 1);
    if (length > this.#bytesMax) {
      throw new ConnectError(
        `expected a message of at most ${this.#bytesMax} bytes, found ${length}`,
        Code.ResourceExhausted,
      );
    }
    return length;
  }
}

/** Messages as one piece of gRPC byte stream, so that a batch of answers is one write. */
export function framed(messages: readonly Uint8Array[]): Buffer {
  const length = messages.reduce((sum, message) => sum + prefixBytes + message.length, 0);
  const bytes = Buffer.allocUnsafe(length);
  let offset = 0;
  for (const message of messages) {
    bytes[offset] = 0;
    bytes.writeUInt32BE(message.length, offset + 1);
    bytes.set(message, offset + prefixBytes);
    offset += prefixBytes + message.length;
  }
  return bytes;
}
