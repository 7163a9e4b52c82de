import type { Hash } from "../../core/settlement/proof/merkle.ts";
import { consistencyHashesMax, formatAddCheckpoint } from "../../core/settlement/proof/witness.ts";
import { parseSize } from "../../core/settlement/proof/checkpoint.ts";

/** What a witness answered. */
export type WitnessAnswer =
  | { readonly kind: "signed"; readonly lines: string }
  /** It has signed that many leaves, not as many as it was told. */
  | { readonly kind: "elsewhere"; readonly size: bigint }
  /** It has signed another tree: no growth of ours follows on it. */
  | { readonly kind: "inconsistent"; readonly reason: string }
  | { readonly kind: "unwilling"; readonly reason: string };

const timeoutMs = 10_000;
const answerBytesMax = 65_536;

/** Asks a witness of C2SP tlog-witness for its signature. Throws if it cannot be reached. */
export async function askWitness(
  url: string,
  request: {
    readonly oldSize: bigint;
    readonly path: readonly Hash[];
    readonly checkpoint: string;
  },
  signal: AbortSignal,
): Promise<WitnessAnswer> {
  if (request.path.length > consistencyHashesMax) {
    return { kind: "unwilling", reason: `expected at most ${consistencyHashesMax} hashes` };
  }
  const response = await fetch(`${url.replace(/\/$/, "")}/add-checkpoint`, {
    method: "POST",
    body: formatAddCheckpoint(request),
    headers: { "content-type": "text/plain; charset=utf-8" },
    redirect: "error",
    signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
  });
  const text = await bounded(response);
  if (response.status === 200) return { kind: "signed", lines: text };
  if (response.status === 409) {
    const size = parseSize(text.trim());
    const isSize = response.headers.get("content-type")?.startsWith("text/x.tlog.size") === true;
    // Witnesses of an earlier text of the protocol answer so to another root of the same size.
    if (!isSize || size === undefined || size === request.oldSize) {
      return { kind: "inconsistent", reason: `answered 409: ${text.trim()}` };
    }
    return { kind: "elsewhere", size };
  }
  const reason = `answered ${response.status}: ${text.trim().slice(0, 200)}`;
  return { kind: response.status === 422 ? "inconsistent" : "unwilling", reason };
}

async function bounded(response: Response): Promise<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let [text, bytes] = ["", 0];
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > answerBytesMax) throw new Error(`expected at most ${answerBytesMax} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}
