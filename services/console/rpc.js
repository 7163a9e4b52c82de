/** The services' calls as JSON over HTTP, by the Connect protocol: plain posts, and streams of framed messages. */

const headers = { "connect-protocol-version": "1" };
const frameHeadBytes = 5;
const frameBytesMax = 16 * 1024 * 1024;
const isEndOfStream = 0b10;
const isCompressed = 0b01;

const pauseMsMin = 500;
const pauseMsMax = 8_000;

/**
 * @typedef {Record<string, unknown>} Json
 * @typedef {"connecting" | "live" | "lost"} LinkState
 */

export class RpcError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.name = "RpcError";
    this.code = code;
  }
}

/**
 * One question, one answer.
 * @param {string} method such as `PlacementService/Explain`
 * @param {Json} message
 * @returns {Promise<Json>}
 */
export async function call(method, message) {
  const response = await fetch(`/tokengrid.v1.${method}`, {
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify(message),
  });
  if (!response.ok) throw await toError(response);
  return response.json();
}

/**
 * One question, answers until the server or the signal ends it.
 * @param {string} method
 * @param {Json} message
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<Json>}
 */
export async function* stream(method, message, signal) {
  const response = await fetch(`/tokengrid.v1.${method}`, {
    method: "POST",
    headers: { ...headers, "content-type": "application/connect+json" },
    body: framed(message),
    signal,
  });
  if (!response.ok || response.body === null) throw await toError(response);
  for await (const { flags, text } of frames(response.body)) {
    if ((flags & isCompressed) !== 0) throw new RpcError("internal", "a frame is compressed");
    const json = JSON.parse(text);
    if ((flags & isEndOfStream) === 0) yield json;
    else if (json.error !== undefined)
      throw new RpcError(json.error.code, json.error.message ?? "");
    else return;
  }
  throw new RpcError("unavailable", "the stream ended without its last frame");
}

/**
 * Keeps a stream open for as long as the page lives: connects again after a pause that doubles up to a bound.
 * @param {string} method
 * @param {Json} message
 * @param {{ onMessage: (message: Json) => void, onState: (state: LinkState) => void, signal: AbortSignal }} options
 */
export async function follow(method, message, { onMessage, onState, signal }) {
  const isOver = () => signal.aborted;
  let pauseMs = pauseMsMin;
  while (!isOver()) {
    onState("connecting");
    try {
      for await (const each of stream(method, message, signal)) {
        pauseMs = pauseMsMin;
        onState("live");
        onMessage(each);
      }
    } catch (error) {
      if (isOver()) return;
      console.warn(method, error);
    }
    onState("lost");
    // Spread out, so that all open consoles do not come back in the same instant.
    await sleep(pauseMs * (0.5 + Math.random() / 2), signal);
    pauseMs = Math.min(pauseMs * 2, pauseMsMax);
  }
}

/** @param {Json} message */
function framed(message) {
  const json = new TextEncoder().encode(JSON.stringify(message));
  const frame = new Uint8Array(frameHeadBytes + json.length);
  new DataView(frame.buffer).setUint32(1, json.length);
  frame.set(json, frameHeadBytes);
  return frame;
}

/**
 * Flags and text of each frame, however the bytes were cut on their way.
 * @param {ReadableStream<Uint8Array>} body
 */
async function* frames(body) {
  let held = new Uint8Array(0);
  for await (const chunk of chunks(body)) {
    held = joined(held, chunk);
    let start = 0;
    while (held.length - start >= frameHeadBytes) {
      const view = new DataView(held.buffer, held.byteOffset + start, frameHeadBytes);
      const length = view.getUint32(1);
      if (length > frameBytesMax) throw new RpcError("resource_exhausted", `a frame of ${length}`);
      const end = start + frameHeadBytes + length;
      if (held.length < end) break;
      const text = new TextDecoder().decode(held.subarray(start + frameHeadBytes, end));
      yield { flags: view.getUint8(0), text };
      start = end;
    }
    held = held.slice(start);
  }
}

/** @param {ReadableStream<Uint8Array>} body */
async function* chunks(body) {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel();
  }
}

/**
 * @param {Uint8Array} one
 * @param {Uint8Array} other
 */
function joined(one, other) {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

/** @param {Response} response */
async function toError(response) {
  const text = await response.text();
  try {
    const { code, message } = JSON.parse(text);
    return new RpcError(code, message);
  } catch {
    return new RpcError("unknown", `${response.status} ${text.slice(0, 200)}`);
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}
