/**
 * help - what `--help` says beside the list of commands and options. No line is wider than 80 columns.
 */

const EXIT_HELP = `Exit status:
  0              done
  1              a page differs from its source, a failed check or a broken
                 invariant; or the result could not be written where it should
  2              bad input or usage; nothing on standard output
  129, 130, 143  ended by HUP, INT, TERM; what was known by then is printed
`;

export const HELP = `
Examples:
  pagefold run                    four Node processes, started for it
  pagefold run pid:1234 pid:5678  your processes; they are only read
  pagefold run a.img b.img --json --output result.json
  pagefold stress --seconds 600   does the engine keep every byte, here?

${EXIT_HELP}`;

export const RUN_HELP = `
A SOURCE becomes a guest. It is
  FILE        a regular file, taken as raw memory; zeros fill up its last page
              (./pid:1 is a file too)
  pid:1234    the private anonymous pages of a live process (Linux). It is only
              read, and runs on: neither stopped nor written to
  synth:...   memory made from numbers; keys left out have these values:
              synth:pages=65536,dup=0.5,alike=16,zero=0.1,seed=1,guests=2
              zero * pages zero pages, dup * pages in groups of alike equal
              ones, the rest unique, shuffled by seed; the same in each guest

Without a SOURCE, pagefold starts four Node processes that parse and compact the
same modules, folds their memory, and ends them. It writes to no file other than
that of --output.

Pages are loaded and merged until nothing changes any more. Then each is read
back through a vCPU and compared with its source: read again, or for a process
with a copy kept as it was read.

${EXIT_HELP}`;

export const STRESS_HELP = `
Guests on all nodes write, read and pin pages of a few contents, from a vCPU
each on different nodes. Meanwhile ksmd merges, everything and regions are
unmerged, knobs are switched, and frames are moved between nodes. Every word
of a page tells which page and version it belongs to; each read is checked.

It goes in rounds. At the end of each everybody pauses, every page is read, and
the engine is audited. It fails at the first wrong byte, at an audit that finds
anything, and if somebody had nothing to do.

The same seed and options make the same plan (plan_digest); how threads
interleave is new each time.

${EXIT_HELP}`;
