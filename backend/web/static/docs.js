"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
const list = document.getElementById("operations");
const search = document.getElementById("search");

/** An element; text is only ever set as text, never as markup. */
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function resolve(schema, api) {
  if (!schema.$ref) return schema;
  return api.components.schemas[schema.$ref.split("/").pop()];
}

/** "string", "integer 1–500", "array of user | admin", "string or null". */
function typeName(schema, api) {
  const found = resolve(schema, api);
  if (found.anyOf) return found.anyOf.map((one) => typeName(one, api)).join(" or ");
  if (found.enum) return found.enum.join(" | ");
  if (found.const !== undefined) return String(found.const);
  if (found.contentMediaType) return "file";
  if (found.type === "array") return `array of ${typeName(found.items ?? {}, api)}`;
  if (schema.$ref && found.type === "object") return found.title ?? "object";
  return `${found.format ?? found.type ?? "any"}${range(found)}`;
}

function range(schema) {
  const low = schema.minimum ?? schema.minLength;
  const high = schema.maximum ?? schema.maxLength;
  if (low === undefined && high === undefined) return "";
  if (high === undefined || high > Number.MAX_SAFE_INTEGER) return ` ≥ ${low ?? 0}`;
  return ` ${low ?? 0}–${high}`;
}

function note(schema, required) {
  const parts = [schema.description ?? ""];
  if (required) parts.unshift("required");
  else if (schema.default !== undefined && schema.default !== null) parts.unshift(`default ${JSON.stringify(schema.default)}`);
  return parts.filter(Boolean).join(" · ");
}

function table(title, rows) {
  if (!rows.length) return null;
  const lines = rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell))));
  return element("section", {}, element("h3", { textContent: title }), element("table", {}, element("tbody", {}, ...lines)));
}

const code = (text) => element("code", { textContent: text });

/** The members of an object, and those of the objects inside it, as dotted names. */
function members(schema, api, prefix = "", depth = 0) {
  const found = resolve(schema, api);
  return Object.entries(found.properties ?? {}).flatMap(([name, member]) => {
    const path = prefix + name;
    const inner = (member.anyOf ?? [member]).map((one) => (one.type === "array" ? one.items ?? {} : one)).map((one) => resolve(one, api)).find((one) => one.properties);
    const array = typeName(member, api).startsWith("array");
    const row = [code(path), typeName(member, api), note(member, (found.required ?? []).includes(name))];
    return [row, ...(inner && depth < 3 ? members(inner, api, `${path}${array ? "[]" : ""}.`, depth + 1) : [])];
  });
}

/** A value that a caller can start from. */
function example(schema, api) {
  const found = resolve(schema, api);
  if (found.default !== undefined) return found.default;
  if (found.anyOf) return example(found.anyOf[0], api);
  if (found.enum) return found.enum[0];
  if (found.type === "array") return [example(found.items ?? {}, api)];
  if (found.type === "integer" || found.type === "number") return found.minimum ?? 0;
  if (found.type === "boolean") return false;
  if (found.type !== "object") return "…";
  const needed = Object.entries(found.properties ?? {}).filter(([name]) => (found.required ?? []).includes(name));
  return Object.fromEntries(needed.map(([name, member]) => [name, example(member, api)]));
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(entry, api) {
  const words = ["curl"];
  if (entry.method !== "get") words.push("-X", entry.method.toUpperCase());
  if (entry.operation["x-required-role"]) words.push("-H", '"Authorization: Bearer $TOKEN"');
  const content = entry.operation.requestBody?.content ?? {};
  if (content["application/json"]) {
    words.push("-H", quoted("Content-Type: application/json"), "-d", quoted(JSON.stringify(example(content["application/json"].schema, api))));
  }
  const form = content["multipart/form-data"];
  if (form) {
    const fields = resolve(form.schema, api);
    for (const name of fields.required ?? []) {
      words.push("-F", quoted(`${name}=${typeName(fields.properties[name], api) === "file" ? "@FILE" : "…"}`));
    }
  }
  words.push(quoted(location.origin + entry.path));
  return words.join(" ");
}

function command(text) {
  const button = element("button", { type: "button", textContent: "Copy" });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.nextElementSibling);
      button.textContent = "Press Ctrl-C";
    }
  });
  return element("section", { className: "command" }, button, element("pre", { textContent: text }));
}

function content(entry, api) {
  const { operation } = entry;
  const parameters = (operation.parameters ?? []).map((one) => [code(one.name), `${one.in}, ${typeName(one.schema, api)}`, note(one.schema, one.required)]);
  const schemaOf = (holder) => Object.values(holder?.content ?? {})[0]?.schema;
  const body = schemaOf(operation.requestBody);
  const [status, success] = Object.entries(operation.responses).find(([number]) => number < "300");
  const answer = schemaOf(success);
  const problems = Object.entries(operation.responses).filter(([number]) => number >= "300").map(([number, one]) => `${number} ${one.description}`);
  return element(
    "div",
    { className: "body" },
    operation.description ? element("p", { textContent: operation.description }) : null,
    operation["x-required-scope"] ? element("p", { textContent: `An API key needs the scope “${operation["x-required-scope"]}”.` }) : null,
    table("Parameters", parameters),
    body ? table("Body", members(body, api)) : null,
    table(`Answer ${status} ${success.description}`, answer ? members(answer, api) : []),
    element("h3", { textContent: "Problems" }),
    element("p", { textContent: problems.join(", ") }),
    element("h3", { textContent: "Try it" }),
    command(curl(entry, api)),
  );
}

function card(entry, api) {
  const { method, path, operation } = entry;
  const head = element(
    "summary",
    {},
    element("b", { className: `method ${method}`, textContent: method.toUpperCase() }),
    code(path),
    element("span", { textContent: operation.summary }),
    element("small", { className: "role", textContent: operation["x-required-role"] ?? "public" }),
  );
  const made = element("details", { id: operation.operationId }, head);
  made.addEventListener("toggle", () => {
    if (made.open && made.childElementCount === 1) made.append(content(entry, api));
  });
  return made;
}

function draw(entries, api) {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = entries.filter((entry) => words.every((word) => entry.text.includes(word)));
  const groups = grouped(shown);
  const sections = [...groups].map(([tag, found]) => element("section", {}, element("h2", { textContent: tag }), ...found.map((entry) => card(entry, api))));
  list.replaceChildren(...(sections.length ? sections : [element("p", { className: "empty", textContent: "No operation matches." })]));
}

function grouped(entries) {
  const groups = new Map();
  for (const entry of entries) groups.set(entry.tag, [...(groups.get(entry.tag) ?? []), entry]);
  return groups;
}

function entriesOf(api) {
  return Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => {
      const operation = item[method];
      const role = operation["x-required-role"] ?? "public";
      const text = [method, path, operation.summary, operation.description, role, operation.tags[0]].join(" ").toLowerCase();
      return { path, method, operation, text, tag: operation.tags[0] };
    }),
  );
}

async function start() {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`openapi.json: ${answer.status}`);
  const api = await answer.json();
  document.getElementById("version").textContent = api.info.version;
  const entries = entriesOf(api);
  search.addEventListener("input", () => draw(entries, api));
  draw(entries, api);
  const linked = document.getElementById(location.hash.slice(1));
  if (linked) linked.open = true;
}

start().catch((error) => {
  list.replaceChildren(element("p", { className: "empty", textContent: `The description cannot be read: ${error.message}` }));
});
