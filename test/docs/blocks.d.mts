/** blocks - the types of blocks.mjs, which is JavaScript so that scripts can use it as well. */
export interface Block {
  /** Line of the page at which the code begins. */
  readonly line: number;
  readonly code: string;
  /** Its file's name; null: it is a program. */
  readonly name: string | null;
}

export interface Ran {
  readonly printed: readonly string[];
  readonly stderr: string;
}

export declare const ROOT: string;
export declare function readPage(path: string): string;
export declare function blocksOf(page: string): Block[];
export declare function promisesOf(block: Block): string[];
export declare function saysSo(comment: string, printed: string): boolean;
export declare function runBlock(
  blocks: readonly Block[],
  program: Block,
  pagefold?: string,
  node?: string,
): Promise<Ran>;
