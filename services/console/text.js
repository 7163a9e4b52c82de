/** What the page says, in two languages, and how it writes numbers. Absent is a dash, never a zero. */

/** @typedef {"en" | "zh"} Language */

/** @type {readonly Language[]} */
const languages = ["en", "zh"];
const storageKey = "tokengrid.language";
export const unknown = "–";

/** @type {Record<Language, Record<string, string>>} */
const catalogues = { en: {}, zh: {} };

/** @type {Language} */
let language = "en";

/** @type {(() => void)[]} */
const listeners = [];

export async function loadTexts() {
  await Promise.all(
    languages.map(async (each) => {
      const response = await fetch(`/texts/${each}.json`);
      catalogues[each] = await response.json();
    }),
  );
  const kept = localStorage.getItem(storageKey);
  language = (kept ?? navigator.language).startsWith("zh") ? "zh" : "en";
  apply();
}

export function switchLanguage() {
  language = language === "en" ? "zh" : "en";
  localStorage.setItem(storageKey, language);
  apply();
  for (const listener of listeners) listener();
}

/** @param {() => void} listener called after each change of language */
export function onLanguage(listener) {
  listeners.push(listener);
}

/** @returns {Language} */
export function currentLanguage() {
  return language;
}

/**
 * The text of a key. `{name}` in it is replaced by the value of that name.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function text(key, values = {}) {
  const found = catalogues[language][key] ?? key;
  return found.replaceAll(/\{(\w+)\}/g, (_whole, name) => String(values[name] ?? ""));
}

/**
 * The text of `prefix.value`, or the value itself where the catalogue has no word for it.
 * @param {string} prefix
 * @param {string} value
 */
export function word(prefix, value) {
  return catalogues[language][`${prefix}.${value}`] ?? value;
}

/**
 * @param {{ nameEn: string, nameZh: string }} named
 * @returns {string}
 */
export function nameOf({ nameEn, nameZh }) {
  return language === "zh" ? nameZh : nameEn;
}

/** The cluster without the words that all clusters share. @param {{ id: string, nameEn: string, nameZh: string }} region */
export function shortName(region) {
  const name = nameOf(region).replace(/ Cluster$|数据中心集群$|集群$/, "");
  return region.id === "yrd-demo" ? text("map.yrd") : name;
}

/** Fills every element that names its text. */
function apply() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = text("page.title");
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = text(element.getAttribute("data-text") ?? "");
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.getAttribute("data-label") ?? ""));
  }
  for (const element of document.querySelectorAll("[data-hint]")) {
    element.setAttribute("title", text(element.getAttribute("data-hint") ?? ""));
  }
  for (const element of document.querySelectorAll("[data-prompt]")) {
    element.setAttribute("placeholder", text(element.getAttribute("data-prompt") ?? ""));
  }
}

/**
 * @param {number | undefined} value
 * @param {number} [digits] after the point
 */
export function decimal(value, digits = 0) {
  if (value === undefined || !Number.isFinite(value)) return unknown;
  return formats(digits).format(value);
}

/** @param {number | undefined} ratio 0..1 */
export function percent(ratio, digits = 0) {
  return ratio === undefined ? unknown : `${decimal(ratio * 100, digits)} %`;
}

/** 820 ms, 1.24 s. @param {number | undefined} ms */
export function duration(ms) {
  if (ms === undefined || !Number.isFinite(ms)) return unknown;
  if (ms < 10) return `${decimal(ms, ms === 0 ? 0 : 1)} ms`;
  return ms < 1_000 ? `${decimal(ms)} ms` : `${decimal(ms / 1_000, ms < 10_000 ? 2 : 1)} s`;
}

/** 640 W, 12.4 kW, 1.31 MW. @param {number | undefined} watts */
export function power(watts) {
  if (watts === undefined) return unknown;
  if (watts < 1_000) return `${decimal(watts)} W`;
  return watts < 1e6 ? `${decimal(watts / 1e3, 1)} kW` : `${decimal(watts / 1e6, 2)} MW`;
}

/** Grams per joule as grams per kWh. @param {number | undefined} gramsPerJoule */
export function gramsPerKwh(gramsPerJoule) {
  return gramsPerJoule === undefined ? unknown : decimal(gramsPerJoule * 3.6e6);
}

/** pico-CNY per token as yuan per million tokens. @param {number | undefined} pico */
export function yuanPerMillion(pico) {
  return pico === undefined ? unknown : decimal(pico / 1e6, pico < 1e8 ? 2 : 1);
}

/**
 * Nano-CNY as yuan, to the last nano: exact, since the text is cut from whole numbers.
 * @param {bigint} nano
 */
export function yuan(nano) {
  const digits = (nano < 0n ? -nano : nano).toString().padStart(10, "0");
  const sign = nano < 0n ? "−" : "";
  return `${sign}¥${digits.slice(0, -9)}.${digits.slice(-9)}`;
}

/** @type {Map<number, Intl.NumberFormat>} */
const formatByDigits = new Map();

/** @param {number} digits */
function formats(digits) {
  let format = formatByDigits.get(digits);
  if (format === undefined) {
    // Both languages group by three and write a point, so one format serves both.
    format = new Intl.NumberFormat("en-US", {
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
      // No minus before what rounds to 0.
      signDisplay: "negative",
    });
    formatByDigits.set(digits, format);
  }
  return format;
}
