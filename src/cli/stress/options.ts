/**
 * options - what `pagefold stress` was asked to do.
 */
export interface StressOptions {
  /** 0: until it is interrupted. */
  readonly seconds: number;
  readonly seed: number;
  readonly nodes: number;
  readonly guests: number;
  /** Of each guest. */
  readonly vcpus: number;
  readonly ksmd: number;
  readonly migrators: number;
  /** Bytes. */
  readonly memoryPerNode: number;
  readonly json: boolean;
  /** File that gets the state of the machine if the stress fails. */
  readonly dump: string | null;
  readonly quiet: boolean;
}
