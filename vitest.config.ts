import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "pure",
          include: ["test/{unit,model,kernels,tidy}/**/*.test.ts"],
          testTimeout: 60_000,
        },
      },
      {
        test: {
          // Real workers and the machine's own KSM: one file at a time, on the built dist.
          name: "machine",
          include: ["test/{workers,peers,oracle,cli}/**/*.test.ts"],
          testTimeout: 120_000,
          fileParallelism: false,
          pool: "forks",
        },
      },
    ],
  },
});
