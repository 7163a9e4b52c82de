import { z } from "zod";
import { noteKey, parseKey, type NoteKey } from "../core/settlement/proof/note.ts";
import { checked, ConfigError } from "../io/config.ts";
import { openSigningKey, sha256 } from "../io/signing.ts";
import { openWitnessState, type WitnessState } from "../io/witness-state.ts";
import { Witness } from "../io/witness.ts";

const key = z.string().min(1).max(512);

/** How a vendor witnesses its log at the operator. */
export const witnessSchema = z.strictObject({
  /** Name of the witness's key, such as `northgrid.example/witness`. */
  name: z
    .string()
    .regex(/^[^\s+]+$/, "expected a name without spaces and plus")
    .max(256),
  /** PEM file of the witness's key; made if there is none. One key for one witness. */
  keyFile: z.string().min(1),
  /** What was signed. Whoever loses it may sign two histories. */
  stateFile: z.string().min(1),
  /** The log at the operator, such as `vendor:northgrid`. */
  logId: z.string().min(1).max(256),
  /** Keys of the log, as the operator gave them: `name+id+base64`. */
  logKeys: z.array(key).min(1).max(16),
  intervalMs: z.int().min(200).max(3_600_000).default(10_000),
  /** Reads every leaf and makes their root, instead of believing in proofs alone. */
  everyLeaf: z.boolean().default(false),
});

export type WitnessConfig = z.output<typeof witnessSchema>;

export interface OpenWitness {
  readonly witness: Witness;
  readonly logKeys: readonly NoteKey[];
  readonly state: WitnessState;
}

/** Opens key and state of a witness that knows one log or several. */
export async function openWitness(
  config: Pick<WitnessConfig, "name" | "keyFile" | "stateFile" | "logKeys">,
  nowMs: () => number,
): Promise<OpenWitness> {
  const { name, keyFile, stateFile } = config;
  const logKeys = config.logKeys.map(toLogKey);
  const { publicKey, sign } = await openSigningKey(keyFile);
  const state = openWitnessState(stateFile);
  const witness = new Witness({
    key: noteKey({ name, type: "cosignature", publicKey }, sha256),
    sign,
    heads: state,
    keysOf: (origin) => {
      const keys = logKeys.filter((each) => each.name === origin);
      return keys.length === 0 ? undefined : keys;
    },
    nowSeconds: () => BigInt(Math.floor(nowMs() / 1_000)),
  });
  return { witness, logKeys, state };
}

/** Throws `ConfigError` for what is no key of a log. */
function toLogKey(text: string): NoteKey {
  const parsed = parseKey(text, sha256);
  if (typeof parsed === "string") throw new ConfigError("logKeys", [parsed]);
  if (parsed.type !== "signature") {
    throw new ConfigError("logKeys", [
      `expected the key of a log, found that of a witness: ${text}`,
    ]);
  }
  return parsed;
}

/** Settings of `tokengrid witness` as its options say them. */
export function toWitnessConfig(options: unknown): WitnessConfig {
  return checked("tokengrid witness", options, witnessSchema);
}
