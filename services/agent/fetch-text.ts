import { request } from "undici";
import { ScrapeError } from "./prometheus-text.ts";

/** Bounds of one scrape. */
export const fetchLimits = {
  bytesMax: 8 * 1024 * 1024,
  timeoutMs: 5_000,
} as const;

/** The body of a 200 answer. Everything else is a `ScrapeError` that says what was found. */
export async function fetchText(
  url: string,
  options: { readonly engineKey?: string | undefined; readonly signal: AbortSignal },
): Promise<string> {
  const { engineKey, signal } = options;
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(fetchLimits.timeoutMs)]);
  try {
    const { statusCode, body } = await request(url, {
      headers: engineKey === undefined ? {} : { authorization: `Bearer ${engineKey}` },
      signal: deadline,
    });
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > fetchLimits.bytesMax) {
        throw new ScrapeError(`${url}: expected at most ${fetchLimits.bytesMax} bytes, found more`);
      }
      chunks.push(chunk);
    }
    if (statusCode !== 200) throw new ScrapeError(`${url}: expected 200, found ${statusCode}`);
    return Buffer.concat(chunks).toString("utf8");
  } catch (cause) {
    if (cause instanceof ScrapeError) throw cause;
    throw new ScrapeError(`${url}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}
