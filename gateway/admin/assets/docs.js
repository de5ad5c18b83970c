// The HTTP API's reference, made from /openapi.json: every operation with its parameters, body and answers.

const METHODS = ["get", "post", "put", "patch", "delete"];

function node(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function table(head, rows) {
  const body = rows.map((row) => node("tr", "", ...row.map((value) => (value instanceof Node ? node("td", "", value) : node("td", value)))));
  return node("table", "", node("tr", "", ...head.map((title) => node("th", title))), ...body);
}

function typeOf(schema = {}) {
  const type = schema.type ?? schema.$ref?.split("/").pop() ?? "";
  return schema.enum ? schema.enum.join(" | ") : type;
}

function parameters(operation, shared) {
  const all = [...(shared ?? []), ...(operation.parameters ?? [])];
  if (all.length === 0) return [];
  const rows = all.map((p) => [node("code", p.name), p.in, typeOf(p.schema), p.description ?? ""]);
  return [table(["parameter", "in", "type", ""], rows)];
}

function example(content) {
  const shown = Object.values(content ?? {})[0]?.example;
  if (shown === undefined) return [];
  return [node("pre", typeof shown === "string" ? shown : JSON.stringify(shown, null, 2))];
}

function answers(operation) {
  const made = Object.entries(operation.responses ?? {});
  const rows = made.map(([status, answer]) => [node("code", status), answer.description ?? ""]);
  return [table(["status", ""], rows), ...made.flatMap(([, answer]) => example(answer.content))];
}

function article(path, method, operation, shared) {
  const word = node("span", method);
  word.className = "method";
  const made = node("article", "", node("h3", "", word, path));
  if (operation.summary) made.append(node("p", operation.summary));
  if (operation.description) made.append(node("p", operation.description));
  made.append(...parameters(operation, shared), ...example(operation.requestBody?.content), ...answers(operation));
  return made;
}

function render(api) {
  document.getElementById("status").textContent = `${api.info.title} ${api.info.version}`;
  const sections = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = item[method].tags?.[0] ?? "Node";
      if (!sections.has(tag)) sections.set(tag, []);
      sections.get(tag).push(article(path, method, item[method], item.parameters));
    }
  }
  const made = [...sections].flatMap(([tag, articles]) => [node("h2", tag), ...articles]);
  document.getElementById("reference").append(node("p", api.info.description), ...made);
}

try {
  render(await (await fetch("/openapi.json")).json());
} catch (error) {
  document.getElementById("status").textContent = `The description could not be read: ${error.message}`;
}
