/** Why this pool? A decision as a bill: every candidate with every term in yuan, and who was out, and why. */

import { element, elementOf, make } from "./dom.js";
import { enumWord, list, number, optional, record, string } from "./messages.js";
import { call } from "./rpc.js";
import {
  currentLanguage,
  decimal,
  duration,
  onLanguage,
  percent,
  text,
  word,
  yuan,
} from "./text.js";

/**
 * @typedef {import("./rpc.js").Json} Json
 * @typedef {{ name: string, nano: bigint }} Term
 */

const termNames = ["price", "energy", "carbon", "latency", "congestion", "budget", "preference"];
const candidatesShown = 8;

export class Bill {
  #dialog = elementOf("bill", HTMLDialogElement);
  #body = element("bill-body");
  /** @type {readonly Json[]} */ #decisions = [];
  #asked = "";

  constructor() {
    element("bill-close").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    onLanguage(() => this.#draw());
  }

  /** @param {string} attempt */
  async open(attempt) {
    this.#asked = attempt;
    this.#body.replaceChildren(make("p", "lead", text("bill.loading")));
    if (!this.#dialog.open) this.#dialog.showModal();
    try {
      const answer = await call("PlacementService/Explain", { attemptId: attempt });
      if (this.#asked !== attempt) return;
      this.#decisions = list(answer["decisions"]);
      this.#draw();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#body.replaceChildren(make("p", "lead poor", text("bill.failed", { message })));
    }
  }

  #draw() {
    if (this.#decisions.length === 0) return;
    this.#body.replaceChildren(...this.#decisions.toReversed().flatMap((each) => sections(each)));
  }
}

/** @param {Json} decision @returns {HTMLElement[]} */
function sections(decision) {
  const candidates = list(decision["candidates"]);
  const chosen = candidates.find((each) => each["poolId"] === decision["poolId"]);
  return [
    headline(decision, chosen),
    asked(decision),
    policyRow(record(decision["policyRow"])),
    ...(candidates.length === 0 ? [] : [billTable(candidates, string(decision["poolId"]))]),
    ...(chosen === undefined ? [] : [expectations(record(chosen["expected"])), inputs(chosen)]),
    rejections(decision),
    provenance(decision),
  ];
}

/**
 * @param {Json} decision
 * @param {Json | undefined} chosen
 */
function headline(decision, chosen) {
  const pool = string(decision["poolId"]);
  const title = make("div", "headline");
  if (pool === "" || chosen === undefined) {
    const reason = enumWord(decision["unplaceableReason"], "UNPLACEABLE_REASON_");
    title.append(
      make("h3", "poor", text("bill.unplaceable")),
      make("p", "lead", word("reason", reason)),
    );
    return title;
  }
  const runnerUp = string(decision["runnerUpPoolId"]);
  const margin = yuan(nano(decision["marginNano"]));
  title.append(
    make("h3", "", pool, make("span", "total", yuan(nano(chosen["costNano"])))),
    make(
      "p",
      "lead",
      runnerUp === "" ? text("bill.only") : text("bill.margin", { pool: runnerUp, margin }),
    ),
  );
  return title;
}

/**
 * How the request came to its class and model, and the budgets that it is under.
 * @param {Json} decision
 */
function asked(decision) {
  const source = string(decision["classSource"]);
  const alias = string(decision["modelAlias"]);
  const name = word("class", enumWord(decision["serviceClass"], "SERVICE_CLASS_"));
  const lines = [
    ...(source === "" ? [] : [text("bill.class", { class: name, source })]),
    ...(alias === "" ? [] : [text("bill.alias", { alias, model: string(decision["modelId"]) })]),
    ...list(decision["passedOverModels"]).map(passedOverText),
    ...list(decision["overrides"]).map(overrideText),
    ...list(decision["budgets"]).map(budgetText),
  ];
  return make("section", "asked", ...lines.map((line) => make("p", "small", line)));
}

/** @param {Json} model */
function passedOverText(model) {
  const pools = Object.entries(record(model["poolsByFilter"])).map(
    ([filter, count]) => `${word("filter", filter)} ${number(count)}`,
  );
  const name = string(model["modelId"]);
  // Why its pools were out says more than that there was none.
  const reason = pools.length > 0 ? pools.join(", ") : word("reason", string(model["reason"]));
  return text("bill.passedOver", { model: name, reason });
}

/** @param {Json} override */
function overrideText(override) {
  const { settings } = override;
  return text("bill.override", {
    override: string(override["overrideId"]),
    basis: word("basis", string(override["basis"])),
    settings: Array.isArray(settings) ? settings.map(String).join(", ") : "",
    text: string(override[currentLanguage() === "zh" ? "textZh" : "textEn"]),
  });
}

/** Smallest units in one that people use, and what a dual price is per, by unit. */
const budgetUnits = new Map([
  ["cny", { name: "CNY", grains: 1e9, dualNano: 1 }],
  ["kwh", { name: "kWh", grains: 3.6e9, dualNano: 1e9 / 3.6e6 }],
  ["grams-co2e", { name: "gCO2e", grains: 1e6, dualNano: 1e9 }],
]);

/** @param {Json} standing */
function budgetText(standing) {
  const unit = budgetUnits.get(enumWord(standing["unit"], "BUDGET_UNIT_"));
  if (unit === undefined) return string(standing["budgetId"]);
  const used = Number(nano(standing["spent"])) + Number(nano(standing["held"]));
  return text("bill.budget", {
    budget: string(standing["budgetId"]),
    used: significant(used / unit.grains),
    limit: significant(Number(nano(standing["limit"])) / unit.grains),
    price: significant(number(standing["dualNano"]) / unit.dualNano),
    unit: unit.name,
  });
}

/** @param {Json} row */
function policyRow(row) {
  const id = string(row["rowId"]);
  if (id === "") return make("div", "");
  const written = string(row[currentLanguage() === "zh" ? "textZh" : "textEn"]);
  const sources = Array.isArray(row["sources"]) ? row["sources"].map(String) : [];
  return make(
    "section",
    "row",
    make("h4", "", text("bill.row")),
    make(
      "p",
      "",
      make("b", "tag", id),
      make("span", "basis", word("basis", string(row["basis"]))),
      written,
    ),
    make("p", "small", sources.join(" · ")),
  );
}

/**
 * @param {readonly Json[]} candidates cheapest first
 * @param {string} chosen
 */
function billTable(candidates, chosen) {
  const shown = candidates.slice(0, candidatesShown);
  const most = Math.max(...shown.map((each) => positiveSum(termsOf(each))), 1);
  const table = make("table", "bill");
  const head = table.createTHead().insertRow();
  for (const key of ["pool", ...termNames, "sum"]) head.append(heading(key));
  const body = table.createTBody();
  for (const each of shown) {
    const pool = string(each["poolId"]);
    const row = body.insertRow();
    row.className = pool === chosen ? "chosen" : "";
    const name = make("th", "", pool, stack(termsOf(each), most));
    name.scope = "row";
    row.append(name);
    for (const term of termsOf(each)) row.append(money(term));
    row.append(make("td", "sum", yuan(nano(each["costNano"]))));
  }
  const left = candidates.length - shown.length;
  const caption = left > 0 ? text("bill.more", { count: left }) : text("bill.cheapest");
  return make(
    "section",
    "",
    make("h4", "", text("bill.candidates")),
    scrolled(table),
    make("p", "small", caption),
  );
}

/** @param {string} key */
function heading(key) {
  const cell = make(
    "th",
    key,
    text(key === "pool" || key === "sum" ? `bill.${key}` : `term.${key}`),
  );
  cell.scope = "col";
  if (termNames.includes(key)) cell.title = text(`term.${key}.hint`);
  return cell;
}

/** @param {Term} term */
function money({ name, nano: amount }) {
  const cell = make("td", name, amount === 0n ? "0" : yuan(amount));
  if (amount < 0n) cell.classList.add("credit");
  if (amount === 0n) cell.classList.add("none");
  return cell;
}

/**
 * The positive terms one after the other, to the scale of the dearest candidate.
 * @param {readonly Term[]} terms
 * @param {number} most
 */
function stack(terms, most) {
  const bar = make("span", "stack");
  bar.setAttribute("aria-hidden", "true");
  for (const { name, nano: amount } of terms) {
    if (amount <= 0n) continue;
    const part = make("i", name);
    part.style.width = `${(100 * Number(amount)) / most}%`;
    bar.append(part);
  }
  return bar;
}

/** @param {Json} expected */
function expectations(expected) {
  /** @type {readonly [string, string][]} */
  const facts = [
    ["ttft", duration(number(expected["ttftMs"]))],
    ["roundtrip", duration(number(expected["roundTripMs"]))],
    ["wait", duration(number(expected["waitMs"]))],
    ["prefill", duration(number(expected["prefillMs"]))],
    ["tpot", duration(number(expected["tpotMs"]))],
    ["finish", duration(number(expected["finishMs"]))],
    ["miss", percent(number(expected["missProbability"]), 1)],
    ["uncached", decimal(number(expected["uncachedTokens"]))],
    ["cached", decimal(number(expected["cachedTokens"]))],
    ["output", decimal(number(expected["outputTokens"]))],
    ["joules", `${decimal(number(expected["joules"]), 1)} J`],
    ["added", `${decimal(number(expected["joulesAdded"]), 1)} J`],
    ["carbon", `${decimal(number(expected["gramsCo2"]), 4)} g`],
    ["others", duration(number(expected["delayOthersMs"]))],
  ];
  const all = make("dl", "facts");
  for (const [key, value] of facts) {
    all.append(make("div", "", make("dt", "", text(`expected.${key}`)), make("dd", "", value)));
  }
  return make("section", "", make("h4", "", text("bill.expected")), all);
}

/** @param {Json} candidate */
function inputs(candidate) {
  const table = make("table", "inputs");
  const head = table.createTHead().insertRow();
  for (const key of ["figure", "value", "source", "age", "confidence"]) {
    const cell = make("th", key, text(`input.${key}`));
    cell.scope = "col";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const each of list(candidate["inputs"])) {
    const source = enumWord(each["source"], "FIGURE_SOURCE_");
    const row = body.insertRow();
    const name = make("th", "", string(each["figure"]));
    name.scope = "row";
    row.append(
      name,
      make("td", "value", significant(optional(each["value"]) ?? 0)),
      make("td", `source ${source}`, word("source", source)),
      make("td", "age", duration(number(each["ageMs"]))),
      make("td", "confidence", percent(number(each["confidence"]))),
    );
  }
  return folded(text("bill.inputs", { count: body.rows.length }), scrolled(table));
}

/** @param {Json} decision */
function rejections(decision) {
  const counts = Object.entries(record(decision["poolsByFilter"]));
  const evaluated = number(decision["evaluated"]);
  const chips = make("p", "chips");
  for (const [filter, count] of counts) {
    chips.append(make("span", "chip", `${word("filter", filter)} ${number(count)}`));
  }
  const items = make("ul", "rejections");
  for (const each of list(decision["rejections"])) {
    const reason = word("filter", string(each["reason"]));
    const row = string(each["policyRow"]);
    const detail = [string(each["detail"]), row === "" ? "" : text("placed.row", { row })].filter(
      Boolean,
    );
    items.append(
      make(
        "li",
        "",
        make("b", "", string(each["poolId"])),
        ` ${reason} `,
        make("span", "small", detail.join(" · ")),
      ),
    );
  }
  const title = make("h4", "", text("bill.filters", { evaluated }));
  if (items.children.length === 0) return make("section", "", title, chips);
  return make("section", "", title, chips, folded(text("bill.rejections"), items));
}

/** @param {Json} decision */
function provenance(decision) {
  return make(
    "p",
    "small provenance",
    text("bill.provenance", {
      request: string(decision["requestId"]),
      attempt: string(decision["attemptId"]),
      by: word("by", string(decision["decidedBy"])),
      snapshot: string(decision["snapshotRevision"]),
      policy: string(decision["policyRevision"]),
      seed: number(decision["seed"]),
    }),
  );
}

/** @param {Json} candidate @returns {readonly Term[]} */
function termsOf(candidate) {
  const nanoByTerm = record(candidate["nanoByTerm"]);
  return termNames.map((name) => ({ name, nano: nano(nanoByTerm[name]) }));
}

/** @param {readonly Term[]} terms */
function positiveSum(terms) {
  return terms.reduce((sum, { nano: amount }) => sum + Math.max(0, Number(amount)), 0);
}

/** @param {unknown} value */
function nano(value) {
  return BigInt(string(value) || "0");
}

/** @param {number} value */
function significant(value) {
  return Math.abs(value) >= 1_000 ? decimal(value) : String(Number(value.toPrecision(4)));
}

/** @param {HTMLElement} content */
function scrolled(content) {
  const box = make("div", "scrolled", content);
  box.tabIndex = 0;
  return box;
}

/**
 * @param {string} title
 * @param {HTMLElement} content
 */
function folded(title, content) {
  return make("details", "", make("summary", "", title), content);
}
