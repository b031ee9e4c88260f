/** child - runs an example as its reader would: `node FILE`. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";

export const EXAMPLES = fileURLToPath(new URL("../../examples/", import.meta.url));

export interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export function node(file: string): Promise<Result> {
  return new Promise((resolve) => {
    execFile(process.execPath, [file], (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
  });
}
