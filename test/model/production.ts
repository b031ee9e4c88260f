/** production - every module that the model tests run, as one bundle (loader.ts). */
export * as layout from "../../src/base/layout.js";
export * as base from "../../src/base/memory.js";
export * as fault from "../../src/mm/fault.js";
export * as frames from "../../src/mm/frames.js";
export * as guest from "../../src/mm/guest.js";
export * as keyhole from "../../src/mm/keyhole.js";
export * as limbo from "../../src/mm/limbo.js";
export * as pageLock from "../../src/mm/page-lock.js";
export * as pageMapping from "../../src/mm/page-mapping.js";
export * as pageRef from "../../src/mm/page-ref.js";
export * as pin from "../../src/mm/pin.js";
export * as pte from "../../src/mm/pte.js";
export * as rmap from "../../src/mm/rmap.js";
export * as shootdown from "../../src/mm/shootdown.js";
export * as tlb from "../../src/mm/tlb.js";
export * as vcpu from "../../src/mm/vcpu.js";
