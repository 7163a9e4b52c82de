import { readFileSync } from "node:fs";
import { z } from "zod";
import { verifyDetached } from "../../core/settlement/proof/jws.ts";
import {
  bookOfText,
  LeafPrices,
  type HashedBook,
} from "../../core/settlement/statements/leaf-prices.ts";
import type { Check, Trust } from "../../core/settlement/statements/statement-check.ts";
import type { Statement } from "../../core/settlement/statements/statement.ts";
import { termsJwsType } from "../../core/settlement/terms/consent.ts";
import { sha256, verify } from "../../io/signing.ts";
import { Failure } from "../outcome.ts";

/** A version of a price book with who has signed it, as `price get --out` writes it. */
export const signedBookSchema = z.object({
  canonical_json: z.string(),
  signatures: z.array(z.object({ party_id: z.string(), jws: z.string() })),
});

export type SignedBook = z.output<typeof signedBookSchema>;

interface BookFile extends HashedBook {
  readonly path: string;
  readonly signed: SignedBook;
}

/** Rates the leaves again by the books of some files, and says who has signed those. */
export class PriceVerify {
  readonly #prices: LeafPrices;
  readonly #files: readonly BookFile[];
  readonly #statement: Statement;
  readonly #trust: Trust;

  constructor(paths: readonly string[], statement: Statement, trust: Trust) {
    this.#files = paths.map(readBook);
    this.#prices = new LeafPrices(statement, this.#files);
    this.#statement = statement;
    this.#trust = trust;
  }

  add(leaf: string): void {
    this.#prices.add(leaf);
  }

  get checks(): Check[] {
    const { messages, leaves, openKeys } = this.#prices;
    const rest =
      openKeys === 0
        ? "to the nano"
        : `but ${openKeys} sums, of which the range shows a part: right within their tiers and a nano`;
    return [
      ...this.#files.flatMap((file) => this.#signatures(file)),
      ...(messages.length === 0
        ? [{ name: "prices", isGood: true, detail: `${leaves} leaves rated again, ${rest}` }]
        : messages.map((detail) => ({ name: "prices", isGood: false, detail }))),
    ];
  }

  /** Books whose signature could not be checked, for want of one or of its key. */
  get unsigned(): string[] {
    const signed = this.#files.filter((file) => this.#signatures(file).length > 0);
    return this.#files.filter((file) => !signed.includes(file)).map(nameOf);
  }

  #signatures(file: BookFile): Check[] {
    const { canonical_json: payload, signatures } = file.signed;
    return signatures.flatMap(({ party_id: id, jws }): Check[] => {
      const party = id === "internal" ? "operator" : id;
      const known: string[] = [];
      const keyOf = (kid: string) => {
        const key = this.#trust.keyOf(kid, this.#statement);
        if (key?.party !== party) return undefined;
        known.push(kid);
        return key.publicKey;
      };
      const header = verifyDetached({ jws, payload, typ: termsJwsType, keyOf }, verify);
      if (known.length === 0) return [];
      const isGood = typeof header !== "string";
      const detail = isGood ? `${nameOf(file)} signed by ${header.kid}, ${party}` : header;
      return [{ name: "book", isGood, detail }];
    });
  }
}

function nameOf({ book }: HashedBook): string {
  return `${book.id}@${book.version}`;
}

/** Either what `price get --out` writes, or the canonical text alone. */
function readBook(path: string): BookFile {
  const text = readFileSync(path, "utf8").trimEnd();
  const signed = signedBookSchema.safeParse(jsonOf(text, path)).data ?? {
    ...{ canonical_json: text, signatures: [] },
  };
  const book = bookOfText(signed.canonical_json);
  if (typeof book === "string") throw new Failure(`${path}: expected a price version: ${book}`);
  return { path, signed, book, hash: sha256(signed.canonical_json) };
}

function jsonOf(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) throw new Failure(`${path}: expected JSON, found none`);
    throw error;
  }
}
