import { defineConfig } from "vitest/config";

/** CI asks for a report beside what a person reads. */
const report = process.env["VITEST_JSON"];

export default defineConfig({
  test: {
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
    projects: [
      {
        test: {
          name: "pure",
          include: ["test/{unit,model,kernels,tidy}/**/*.test.ts"],
          testTimeout: 60_000,
          // All cores: nothing here measures time or starts threads.
          maxWorkers: "100%",
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          // Real workers and the machine's own KSM: one file at a time, on the built dist.
          name: "machine",
          include: ["test/{workers,peers,oracle,cli,examples,package,docs,bench}/**/*.test.ts"],
          testTimeout: 120_000,
          fileParallelism: false,
          pool: "forks",
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
