import type { InstantUs } from "../../units.ts";
import { ppmOfOne } from "../decimal.ts";
import { successionMistakes } from "./effective.ts";
import { firstOf, Mistakes, type Mistake } from "./mistake.ts";
import { isWithTenant, isWithVendor, type AnyContract } from "./other-contracts.ts";

/** All that is wrong with a new version of a contract; the place is as canonical text has it. */
export function checkContract(
  contract: AnyContract,
  previous?: AnyContract,
  publishedUs?: InstantUs,
): Mistake[] {
  const found = new Mistakes();
  found.addAll(successionMistakes(contract, previous, publishedUs));
  const { pair, quorum, witnessKeys, discountPpm } = contract;
  if (previous !== undefined) {
    const isOther = pair !== previous.pair;
    found.add("pair_id", isOther, `expected ${previous.pair} as before, found ${pair}`);
    for (const name of ["period", "timeZone"] as const) {
      const [was, is] = [previous[name], contract[name]];
      const place = name === "period" ? "period" : "tz";
      const message = `expected ${was} as before, found ${is}: totals of a period cannot change their period`;
      found.add(place, was !== is, message);
    }
  }
  found.add("pair_id", pair.endsWith(":*"), `expected one party, found ${pair}`);
  const most = witnessKeys.length;
  found.add(
    "quorum",
    quorum > most,
    `expected at most ${most}, the keys there are, found ${quorum}`,
  );
  const names = witnessKeys.map((key) => key.split("+").slice(0, -2).join("+"));
  const twice = names.find((name, index) => names.indexOf(name) < index);
  found.add("witness_keys", twice !== undefined, `overlap: ${twice} is there twice`);
  const isAll = discountPpm >= ppmOfOne;
  found.add("discount_ppm", isAll, `expected less than ${ppmOfOne}, found ${discountPpm}`);
  found.addAll(partyMistakes(contract));
  return firstOf(found.all);
}

function partyMistakes(contract: AnyContract): Mistake[] {
  const found = new Mistakes();
  if (isWithVendor(contract)) {
    const { cancelPolicy, drainLimit, cancelGraceTokens } = contract;
    const isUndrained = cancelPolicy === "bill-full" && drainLimit.seconds === 0;
    found.add(
      "drain_limit.seconds",
      isUndrained,
      "expected more than 0 where all is billed, found 0",
    );
    const isGrace = cancelPolicy === "no-bill" && cancelGraceTokens > 0n;
    found.add(
      "cancel_grace_tokens",
      isGrace,
      `expected 0 with no_bill, found ${cancelGraceTokens}`,
    );
    return found.all;
  }
  if (isWithTenant(contract)) {
    const { channel = "channel:-" } = contract;
    found.add(
      "channel",
      !channel.startsWith("channel:"),
      `expected channel:<id>, found ${channel}`,
    );
    return found.all;
  }
  const isOwner = contract.pair.startsWith("model:");
  const { models, licenceBook } = contract;
  found.add(
    "models",
    isOwner && models.length === 0,
    "expected the models of their owner, found none",
  );
  found.add(
    "models",
    !isOwner && models.length > 0,
    `expected none of a channel, found ${models.length}`,
  );
  const hasBook = !isOwner && licenceBook !== undefined;
  found.add("licence_book", hasBook, `expected none of a channel, found ${licenceBook}`);
  return found.all;
}
