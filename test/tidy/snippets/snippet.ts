/**
 * snippet - a small tree to try a rule on.
 */
export interface Snippet {
  /** Continues "finds ..." or "accepts ...". */
  readonly name: string;
  /** Text by path. */
  readonly files: Readonly<Record<string, string>>;
}

export interface Failing extends Snippet {
  /** Where the violations are: "path:line", in the order in which the rule reports them. */
  readonly at: readonly string[];
}

/** At least one of each, or a rule has not been shown to work. */
export interface Snippets {
  readonly fails: readonly [Failing, ...Failing[]];
  readonly passes: readonly [Snippet, ...Snippet[]];
}
