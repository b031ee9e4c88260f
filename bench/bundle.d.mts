/** bundle - the types of bundle.mjs, for tests. */
export function bundle(files: readonly string[], out: string): Promise<void>;
