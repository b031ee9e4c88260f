/**
 * refusal - why a process cannot be read, as the user is told.
 */
import { BadInput } from "../../bad-input.js";
import { isSystemError } from "../system-error.js";
import { lives } from "./proc.js";

export const NAME_A_FILE = "name a file, such as a core dump of it";

/** What to throw where looking at a process threw `error`. */
export function refusal(spec: string, pid: number, error: unknown): unknown {
  if (!isSystemError(error)) return error;
  const { code, path } = error;
  const unreadable = `its memory cannot be read (${code})`;
  switch (code) {
    case "ENOENT": {
      if (!lives(pid)) return hasEnded(spec);
      const wrong = `this kernel does not tell its pages (${path}: ${code})`;
      return new BadInput(spec, wrong, NAME_A_FILE);
    }
    case "ESRCH":
      return hasEnded(spec);
    case "EACCES":
    case "EPERM":
      return new BadInput(spec, unreadable, "run as its owner or as root, where ptrace is allowed");
    case "EMFILE":
    case "ENFILE":
      return new BadInput(spec, unreadable, "name fewer processes, or allow more open files");
    default:
      return new BadInput(spec, unreadable, NAME_A_FILE);
  }
}

export function hasEnded(spec: string): BadInput {
  return new BadInput(spec, "has ended", "name a process that runs");
}
