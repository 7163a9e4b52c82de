import { join } from "node:path";

/** File of the key that a simulated party signs with. */
export function keyFileOf(keys: string, pair: string): string {
  return join(keys, `${pair.replace(":", "-")}.pem`);
}

/** Under which name the operator has it. */
export function kidOf(pair: string): string {
  return `${pair}/dev`;
}

/** File of the key that a simulated vendor cosigns its log with: one key, one purpose. */
export function witnessKeyFile(keys: string, vendor: string): string {
  return join(keys, `witness-${vendor}.pem`);
}

/** What the witness of a simulated vendor signs as. */
export function witnessName(vendor: string): string {
  return `${vendor}.localhost/witness`;
}
