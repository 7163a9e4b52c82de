import { randomFromSeed, seedFromText } from "../core/random.ts";
import type { OriginId } from "../core/units.ts";

/**
 * How demand is spread over the cities of the preset. The traces do not say where a request came from, so
 * this is a house default: the gross product of each city in 2023, in 10 G CNY, rounded (general knowledge,
 * 2024), as a stand-in for its use of tokens. Four fifths of it are eastern.
 */
export const demandByCity: Readonly<Record<string, number>> = {
  beijing: 438,
  tianjin: 167,
  shijiazhuang: 75,
  jinan: 128,
  qingdao: 158,
  shanghai: 472,
  suzhou: 247,
  nanjing: 174,
  hangzhou: 201,
  ningbo: 165,
  hefei: 127,
  fuzhou: 129,
  xiamen: 81,
  guangzhou: 304,
  shenzhen: 346,
  dongguan: 114,
  wuhan: 200,
  changsha: 143,
  zhengzhou: 136,
  shenyang: 81,
  harbin: 56,
  xian: 120,
  chengdu: 221,
  chongqing: 301,
  guiyang: 52,
  kunming: 79,
  nanning: 55,
  hohhot: 38,
  lanzhou: 35,
  yinchuan: 27,
  urumqi: 42,
};

const cities = Object.entries(demandByCity);
const demandTotal = cities.reduce((sum, [, weight]) => sum + weight, 0);

/** The city of a trace's n-th request. Depends on seed and number alone, so a part of a trace agrees with the whole. */
export function cityOf(seed: number, index: number): OriginId {
  let left = randomFromSeed(seedFromText(`${seed}/city/${index}`))() * demandTotal;
  for (const [city, weight] of cities) {
    left -= weight;
    if (left < 0) return city as OriginId;
  }
  return "shanghai" as OriginId;
}
