/**
 * columns - how wide text is on a terminal, and text made to fit.
 */

const CLUSTERS = new Intl.Segmenter("und", { granularity: "grapheme" });

/** A cluster that terminals show as one picture. */
const EMOJI = /\p{Emoji_Presentation}|\uFE0F/u;

/** East_Asian_Width W and F, apart from emoji. */
const WIDE = new RegExp(
  "[\u1100-\u115F\u2329\u232A\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97C\uAC00-\uD7A3\uF900-\uFAFF" +
    "\uFE10-\uFE19\uFE30-\uFE6F\uFF01-\uFF60\uFFE0-\uFFE6\u{16FE0}-\u{18DFF}\u{1AFF0}-\u{1B2FF}" +
    "\u{1F200}-\u{1F265}\u{20000}-\u{3FFFD}]",
  "u",
);

/** Marks, joiners, and vowels and finals of Hangul syllables: they stand on the character before. */
const ZERO = /[\p{Mn}\p{Me}\p{Cf}\u1160-\u11FF]/u;

const CUT = "...";

/** Columns that printable text takes. */
export function width(text: string): number {
  return clustersOf(text).reduce((columns, cluster) => columns + clusterWidth(cluster), 0);
}

/** Text whose middle is left out where it would take more than `columns`. */
export function shortened(text: string, columns: number): string {
  if (width(text) <= columns) return text;
  const kept = Math.max(columns - CUT.length, 0);
  const clusters = clustersOf(text);
  const head = fitting(clusters, Math.ceil(kept / 2));
  const tail = fitting(clusters.reverse(), Math.floor(kept / 2)).reverse();
  return [...head, CUT, ...tail].join("");
}

/** Lines of at most `columns`: text that is wider is broken at spaces, and its words where they must be. */
export function wrapped(text: string, columns: number): string[] {
  if (width(text) <= columns) return [text];
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ").flatMap((each) => piecesOf(each, columns))) {
    if (line !== "" && width(line) + 1 + width(word) > columns) {
      lines.push(line);
      line = "";
    }
    line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

function piecesOf(word: string, columns: number): string[] {
  const pieces: string[] = [];
  let clusters = clustersOf(word);
  while (clusters.length > 0) {
    const piece = fitting(clusters, columns);
    pieces.push(piece.join(""));
    clusters = clusters.slice(Math.max(piece.length, 1));
  }
  return pieces;
}

/** The first clusters that fit into `columns`. */
function fitting(clusters: readonly string[], columns: number): string[] {
  let left = columns;
  const end = clusters.findIndex((cluster) => {
    left -= clusterWidth(cluster);
    return left < 0;
  });
  return clusters.slice(0, end < 0 ? clusters.length : end);
}

function clustersOf(text: string): string[] {
  return Array.from(CLUSTERS.segment(text), ({ segment }) => segment);
}

function clusterWidth(cluster: string): number {
  if (EMOJI.test(cluster)) return 2;
  let columns = 0;
  for (const character of cluster) {
    if (!ZERO.test(character)) columns += WIDE.test(character) ? 2 : 1;
  }
  return columns;
}
