/**
 * generate - writes docs/api.md from the doc comments of what src/index.ts exports; `--check` only compares.
 *
 * Anything public without a doc comment, and any link that leads nowhere, is an error.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  Application,
  Comment,
  Converter,
  IntrinsicType,
  LiteralType,
  ReferenceType,
  ReflectionKind,
  UnionType,
} from "typedoc";
import { MarkdownTheme } from "typedoc-plugin-markdown";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../..");
const target = join(root, "docs/api.md");

const HEAD = `# pagefold: the module

Made from the sources' doc comments by \`npm run docs\`. The guide is [embedding.md](embedding.md).
`;

const VALUES = ["Variable", "Function", "Class", "Constructor", "Property", "Method", "Accessor"];
const TYPES = ["Interface", "TypeAlias"];

/** One page; nothing in it depends on the day, the machine or the commit. */
const options = {
  entryPoints: [join(root, "src/index.ts")],
  tsconfig: join(here, "tsconfig.json"),
  plugin: ["typedoc-plugin-markdown"],
  router: "module",
  theme: "compact",
  name: "pagefold",
  readme: "none",
  logLevel: "Warn",
  sort: ["source-order"],
  groupOrder: ["Functions", "Classes", "Interfaces", "*", "Properties", "Accessors", "Methods"],
  excludeInternal: true,
  excludePrivate: true,
  excludeExternals: true,
  disableSources: true,
  disableGit: true,
  githubPages: false,
  hideGenerator: true,
  requiredToBeDocumented: [...VALUES, ...TYPES],
  treatWarningsAsErrors: true,
  validation: { notExported: true, invalidLink: true, notDocumented: true },
  hidePageHeader: true,
  hideBreadcrumbs: true,
  useCodeBlocks: true,
  expandParameters: true,
  expandObjects: true,
  interfacePropertiesFormat: "table",
  typeDeclarationFormat: "table",
  parametersFormat: "none",
  tableColumnSettings: { hideDefaults: true, leftAlignHeaders: true },
};

/** Signatures are shown whole, so parameters and results need no lists of their own. */
class CompactTheme extends MarkdownTheme {
  getRenderContext(page) {
    const context = super.getRenderContext(page);
    context.partials = { ...context.partials, signatureReturns: () => "", inheritance: () => "" };
    return context;
  }
}

/** What a class has from another is shown there. */
function dropInherited({ project }) {
  for (const reflection of project.getReflectionsByKind(ReflectionKind.ClassMember)) {
    if (reflection.inheritedFrom !== undefined) project.removeReflection(reflection);
  }
}

/** A constant that is a text says itself what it is. */
function describeConstants({ project }) {
  for (const reflection of project.getReflectionsByKind(ReflectionKind.Property)) {
    if (reflection.type?.type !== "literal" || reflection.hasComment()) continue;
    reflection.comment = new Comment([{ kind: "text", text: reflection.type.value }]);
    reflection.type = new IntrinsicType("string");
    delete reflection.defaultValue;
  }
}

/** `(typeof NAMES)[number]` says nothing to a reader: the names do. */
function expandNames(context) {
  for (const reflection of context.project.getReflectionsByKind(ReflectionKind.TypeAlias)) {
    if (reflection.type?.type !== "indexedAccess") continue;
    const symbol = context.getSymbolFromReflection(reflection);
    const { types } = context.programs[0].getTypeChecker().getDeclaredTypeOfSymbol(symbol);
    reflection.type = new UnionType(types.map(({ value }) => new LiteralType(value)));
  }
}

/** The other way round: every error code at once is the type that is named so. */
function nameErrorCodes({ project }) {
  const codes = project.getChildByName("ERROR_CODES").type.declaration.children;
  const name = project.getChildByName("ErrorCode");
  const kinds = ReflectionKind.Property | ReflectionKind.Parameter;
  for (const reflection of project.getReflectionsByKind(kinds)) {
    if (reflection.type?.type !== "union" || reflection.type.types.length !== codes.length)
      continue;
    reflection.type = ReferenceType.createResolvedReference(name.name, name, project);
  }
}

async function generate() {
  const app = await Application.bootstrapWithPlugins(options);
  app.renderer.defineTheme("compact", CompactTheme);
  for (const step of [dropInherited, describeConstants, expandNames, nameErrorCodes]) {
    app.converter.on(Converter.EVENT_RESOLVE_BEGIN, step);
  }
  const project = await app.convert();
  if (project === undefined) throw new Error("the sources do not compile");
  for (const { children } of project.groups) {
    children.sort((a, b) => (a.name < b.name ? -1 : 1));
  }
  app.validate(project);
  const out = mkdtempSync(join(tmpdir(), "pagefold-api-"));
  try {
    await app.outputs.writeOutput({ name: "markdown", path: out }, project);
    if (app.logger.hasErrors() || app.logger.hasWarnings()) {
      throw new Error("docs/api.md cannot be generated: see above");
    }
    const page = readFileSync(join(out, "README.md"), "utf8");
    return HEAD + page.replace(/^# pagefold\n/, "").replaceAll(/ +$/gm, "");
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

const text = await generate();
if (!process.argv.includes("--check")) {
  writeFileSync(target, text);
} else if (readFileSync(target, "utf8") !== text) {
  console.error("docs/api.md is not what the doc comments say; run `npm run docs`");
  process.exitCode = 1;
}
