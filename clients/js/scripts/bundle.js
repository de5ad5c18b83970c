/**
 * Write dist/headrace.js: the browser's entry and all it imports as one module, for pages without a bundler.
 *
 * Each module becomes a function that returns its exports, in the order of their imports. It understands what tsc writes
 * for this package's own sources, and stops at anything else.
 */

import { readFileSync, writeFileSync } from "node:fs";

const dist = new URL("../dist/", import.meta.url);
const written = new Map();
const IMPORT = /^(import|export) (\{[^}]*\}|\* as \w+) from "\.\/([\w-]+)\.js";$/gm;
const EXPORT = /^export (?:class|const|function|async function) (\w+)/gm;

function variable(name) {
  return `module_${name.replaceAll("-", "_")}`;
}

function include(name) {
  if (written.has(name)) return;
  written.set(name, "");
  const exported = [];
  let source = readFileSync(new URL(`${name}.js`, dist), "utf8");
  for (const [, , , dependency] of source.matchAll(IMPORT)) include(dependency);
  source = source.replace(IMPORT, (_, word, names, dependency) => {
    if (word === "export") exported.push(...names.slice(1, -1).split(",").map((part) => part.trim()));
    const bound = names.startsWith("*") ? names.slice("* as ".length) : names.replaceAll(" as ", ": ");
    return `const ${bound} = ${variable(dependency)};`;
  });
  source = source.replace(EXPORT, (line, symbol) => (exported.push(symbol), line.slice("export ".length)));
  const strange = /^(import|export)\b.*$/m.exec(source);
  if (strange) throw new Error(`${name}.js: this script does not know ${strange[0]}`);
  written.delete(name); // now in its place: after what it imports
  written.set(name, `const ${variable(name)} = (() => {\n${source}return { ${exported.join(", ")} };\n})();\n`);
  return exported;
}

const exported = include("index");
const whole = [...written.values()].join("\n");
const names = `const { ${exported.join(", ")} } = ${variable("index")};\nexport { ${exported.join(", ")} };\n`;
writeFileSync(new URL("headrace.js", dist), `${whole}\n${names}`);
