/**
 * pagefold - merges equal pages of guest memory in the background, while guests keep writing.
 *
 * `createEngine` makes a machine of nodes and guests; `attachEngine` joins it from a worker of yours.
 */
/// <reference types="node" preserve="true" />
export { ERROR_CODES, type ErrorCode, InvariantError, PagefoldError } from "./base/errors.js";
export { PAGE_SIZE } from "./base/units.js";
export type { HashName, KernelImplementation } from "./kernels/options.js";
export type { Counters } from "./ksm/counters.js";
export type { Knobs } from "./ksm/knobs.js";
export { AttachedEngine, attachEngine } from "./machine/attach.js";
export type { BlockStats, Released } from "./machine/block-keeper.js";
export type { CallOptions } from "./machine/channel.js";
export type { CheckReport } from "./machine/check.js";
export {
  createEngine,
  Engine,
  type EngineEvents,
  type GuestOptions,
  type Ksm,
  type MigrateOptions,
} from "./machine/engine.js";
export { type EngineGuest, Guest } from "./machine/guest.js";
export type { EngineHandle } from "./machine/handle.js";
export type { MigrationFailures, MigrationResult } from "./machine/migration.js";
export type { EngineOptions } from "./machine/options.js";
export type { Pin, PinnedPage } from "./machine/pin.js";
export type { GuestProgram, ProgramContext } from "./machine/program.js";
export type { GuestReport, HistogramRow, Report } from "./machine/report.js";
export type { FrameStats, Stats } from "./machine/stats.js";
export type { Vcpu } from "./machine/vcpu.js";
export type { Policy } from "./migrate/policies/policy.js";
