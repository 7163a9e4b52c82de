/**
 * `4.00` → 4000000n with 6 digits. Decimal text is all that is read, never a double; undefined for what is no decimal text,
 * or is not whole in units of 10^-digits. Zeros at the end say nothing and are no mistake.
 */
export function decimalOf(text: string, digits: number): bigint | undefined {
  const [, whole, part = ""] = /^(0|[1-9]\d{0,17})(?:\.(\d{1,30}))?$/.exec(text) ?? [];
  const matters = part.replace(/0+$/, "");
  if (whole === undefined || matters.length > digits) return undefined;
  return BigInt(whole + matters.padEnd(digits, "0"));
}

/** 4000000n with 6 digits → `4`; the other way. */
export function decimalText(value: bigint, digits: number): string {
  const size = value < 0n ? -value : value;
  const text = size.toString().padStart(digits + 1, "0");
  const part = text.slice(text.length - digits).replace(/0+$/, "");
  const whole = text.slice(0, text.length - digits);
  return `${value < 0n ? "-" : ""}${whole}${part === "" ? "" : `.${part}`}`;
}

/** Millionths. */
export const ppmOfOne = 1_000_000n;

/**
 * A price with a discount on it. Undefined: it is no whole number of pico, so the discount is not one of the price, and
 * has to be agreed as one of the contract, which is settled at close as an exact fraction.
 */
export function discounted(pico: bigint, discountPpm: bigint): bigint | undefined {
  const exact = pico * (ppmOfOne - discountPpm);
  return exact % ppmOfOne === 0n ? exact / ppmOfOne : undefined;
}
