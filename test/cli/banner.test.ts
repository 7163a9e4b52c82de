import { expect, test } from "vitest";
import { banner, type BannerFacts } from "../../services/cli/dev/banner.ts";

function facts(changes: Partial<BannerFacts> = {}): BannerFacts {
  return {
    version: "0.1.0",
    host: "127.0.0.1",
    ports: { gateway: 8080, rpc: 7233, console: 8233, metrics: 9464, sim: 40_001 },
    dataPath: "/srv/tokengrid/.tokengrid",
    cwd: "/srv/tokengrid",
    isFirstStart: true,
    startedInMs: 2_345,
    pools: { reporting: 14, all: 14 },
    somePool: "west-ningxia-1",
    ...changes,
  };
}

test("banner() of a first start reads as it did", async () => {
  await expect(banner(facts())).toMatchFileSnapshot("../golden/cli/banner.txt");
});

test("banner() of other ports, another folder and no simulation reads as it did", async () => {
  const text = banner(
    facts({
      host: "0.0.0.0",
      ports: { gateway: 1, rpc: 2, console: 3, metrics: 4, sim: 0 },
      dataPath: "/var/lib/my grid",
      isFirstStart: false,
      pools: undefined,
      somePool: undefined,
    }),
  );
  await expect(text).toMatchFileSnapshot("../golden/cli/banner-other.txt");
});
