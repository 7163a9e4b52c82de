import { testSeeds } from "./settlement-seeds.ts";

/** Beside `settlement.test.ts`, so that both cores have something to do. */
testSeeds(101, 100);
