import { createReadStream, statSync } from "node:fs";
import { Command } from "commander";
import {
  batchClaimsMax,
  batchOf,
  claimsJwsType,
  toBatchText,
} from "../../core/settlement/claims/claim-batch.ts";
import type { UsageClaim } from "../../core/settlement/claims/claim.ts";
import type { PairId, VendorId } from "../../core/units.ts";
import { ClaimFile, claimColumns, focusClaimColumns } from "../../io/claim-file.ts";
import { CsvError, CsvReader } from "../../io/csv.ts";
import { sha256 } from "../../io/signing.ts";
import { fromUsageClaim } from "../../wire/claim.ts";
import {
  ClaimService,
  ClaimStatus,
  type ClaimResult,
} from "../../wire/gen/tokengrid/v1/claim_pb.js";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { exits, type ExitCode, Refusal } from "../outcome.ts";
import { grouped, print, textCard } from "../print.ts";
import { openSigner, withKey, type KeyOptions } from "../signed.ts";
import { openWorkProgress } from "../work-progress.ts";

type SubmitOptions = ServerOptions & OutputOptions & KeyOptions & { readonly vendor: string };

/** Claims that were given back and are shown one by one. */
const shownMax = 20;

export function command(): Command {
  return new Command("claim")
    .description("What a vendor counted itself, beside what the operator did.")
    .addCommand(submitCommand());
}

function submitCommand(): Command {
  return withKey(withOutput(withServer(new Command("submit"))))
    .summary("sign and send claims of a CSV or FOCUS file")
    .description(
      `Reads claims from CSV with the columns ${claimColumns.join(", ")} and perhaps rev, or from FOCUS rows with ` +
        `${focusClaimColumns.join(", ")}. Signs them in batches of ${grouped(batchClaimsMax)} that follow on the ` +
        "last one, and sends them. The same file again changes nothing.",
    )
    .argument("<file>", "CSV, UTF-8; instants with their zone")
    .requiredOption("--vendor <id>", "whose claims they are")
    .action(exits(submit));
}

interface Tally {
  readonly counts: Record<ClaimWord, number>;
  readonly given: ClaimResult[];
  batches: number;
}

type ClaimWord = "accepted" | "exists" | "conflict" | "refused";

const words: Readonly<Record<ClaimStatus, ClaimWord>> = {
  [ClaimStatus.UNSPECIFIED]: "refused",
  [ClaimStatus.ACCEPTED]: "accepted",
  [ClaimStatus.EXISTS]: "exists",
  [ClaimStatus.CONFLICT]: "conflict",
  [ClaimStatus.REFUSED]: "refused",
};

async function submit(path: string, options: SubmitOptions): Promise<ExitCode> {
  // Nothing is sent of a file that is wrong somewhere: it is read to its end first.
  let claims = 0;
  for await (const page of pagesOf(path, options.vendor)) claims += page.length;
  const send = await sender(options);
  const progress = openWorkProgress("submit", "claims");
  let sent = 0;
  try {
    for await (const page of pagesOf(path, options.vendor)) {
      await send.batch(page);
      sent += page.length;
      progress.at(sent, claims);
    }
  } finally {
    progress.stop();
  }
  const { counts, given, batches } = send.tally;
  print(options.output, {
    json: { vendor_id: options.vendor, batches, ...counts, given_back: given.map(givenJson) },
    names: given.map(({ claimId }) => claimId),
    text: () => tallyText(send.tally),
  });
  return counts.conflict + counts.refused > 0 ? 2 : 0;
}

/** Signs each batch so that it follows on the one before. */
async function sender(options: SubmitOptions) {
  const sign = await openSigner(options, claimsJwsType);
  const service = client(ClaimService, options);
  const { vendor: vendorId } = options;
  const pair = `vendor:${vendorId}` as PairId;
  const chain = await answered(options, () => service.getClaimChain({ vendorId }));
  let head = chain.batches === 0n ? undefined : { number: chain.batches, hash: chain.lastHash };
  const counts = { accepted: 0, exists: 0, conflict: 0, refused: 0 };
  const tally: Tally = { counts, given: [], batches: 0 };
  const batch = async (claims: readonly UsageClaim[]): Promise<void> => {
    const made = batchOf(claims, { pair, head, submittedUs: BigInt(Date.now()) * 1_000n, sha256 });
    const batchJson = toBatchText(made);
    const request = {
      vendorId,
      batchJson,
      jws: sign(batchJson),
      claims: claims.map(fromUsageClaim),
    };
    const { results, batchHash } = await answered(options, () => service.submitClaims(request));
    head = { number: made.number, hash: batchHash };
    tally.batches += 1;
    for (const result of results) {
      const word = words[result.status];
      counts[word] += 1;
      if (word === "conflict" || word === "refused") tally.given.push(result);
    }
  };
  return { tally, batch };
}

/** Claims in batches, as the file is read. */
async function* pagesOf(path: string, vendor: string): AsyncGenerator<UsageClaim[]> {
  if (statSync(path).isDirectory()) throw new Refusal(`${path}: expected a file, found a folder`);
  const file = new ClaimFile(vendor as VendorId);
  const reader = new CsvReader();
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let page: UsageClaim[] = [];
  try {
    for await (const chunk of createReadStream(path)) {
      for (const row of reader.push(decoder.decode(chunk, { stream: true }))) {
        page.push(...file.push(row));
        if (page.length < batchClaimsMax) continue;
        yield page;
        page = [];
      }
    }
    reader.push(decoder.decode());
    reader.end();
    page = [...page, ...file.end()];
  } catch (error) {
    if (error instanceof CsvError) throw new Refusal(`${path}:${error.message}`, { cause: error });
    if (error instanceof TypeError) throw new Refusal(`${path}: expected text in UTF-8`);
    throw error;
  }
  for (let from = 0; from < page.length; from += batchClaimsMax) {
    yield page.slice(from, from + batchClaimsMax);
  }
}

function givenJson({ claimId, status, reason }: ClaimResult) {
  return { claim_id: claimId, status: words[status], reason };
}

function tallyText({ counts, given, batches }: Tally): string {
  const card = textCard([
    ["batches", grouped(batches)],
    ["accepted", grouped(counts.accepted)],
    ["were there", grouped(counts.exists)],
    ["in conflict", grouped(counts.conflict)],
    ["refused", grouped(counts.refused)],
  ]);
  const shown = given.slice(0, shownMax).map((each) => `${each.claimId}: ${each.reason}\n`);
  const rest = given.length - shown.length;
  return `${card}${shown.join("")}${rest > 0 ? `and ${grouped(rest)} more, all with -o json\n` : ""}`;
}
