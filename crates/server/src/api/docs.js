// Renders /openapi.json of this server: what each endpoint takes and answers, and a form to try it. Needs no other host.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
const keyField = document.getElementById("key");
keyField.value = sessionStorage.getItem("carillon-key") || "";
keyField.addEventListener("input", () => sessionStorage.setItem("carillon-key", keyField.value.trim()));

// Makes an element; text is always text, never markup.
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Text with `names` in it, as the comments in the code are written.
function prose(text) {
  return String(text || "").split(/`([^`]*)`/).map((piece, i) => (i % 2 ? el("code", {}, piece) : piece));
}

function resolve(api, schema) {
  const name = schema && schema.$ref && schema.$ref.split("/").pop();
  return name ? api.components.schemas[name] : schema || {};
}

// An example of a schema: the one written down, else one made of its parts; optional parts without an example are left out.
function example(api, given, depth = 0) {
  const schema = resolve(api, given);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples && schema.examples.length) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (depth > 5) return null;
  if (schema.allOf) return Object.assign({}, ...schema.allOf.map((part) => example(api, part, depth + 1)));
  const choice = (schema.oneOf || schema.anyOf || []).find((part) => part.type !== "null");
  if (choice) return example(api, choice, depth + 1);
  const type = [].concat(schema.type || []).find((t) => t !== "null");
  if (type === "object" || schema.properties) {
    const required = schema.required || [];
    const shown = Object.entries(schema.properties || {}).filter(([name, part]) => required.includes(name) || resolve(api, part).example !== undefined);
    return Object.fromEntries(shown.map(([name, part]) => [name, example(api, part, depth + 1)]));
  }
  if (type === "array") return [example(api, schema.items, depth + 1)];
  return { integer: 1, number: 1, boolean: true, string: "text" }[type] ?? null;
}

function typeOf(api, given) {
  if (given.$ref) return given.$ref.split("/").pop();
  const choice = (given.oneOf || given.anyOf || []).find((part) => part.type !== "null");
  if (choice) return typeOf(api, choice);
  const type = [].concat(given.type || "any").filter((t) => t !== "null").join(" or ");
  return type === "array" ? `list of ${typeOf(api, given.items || {})}` : type;
}

function choices(schema) {
  return (schema.oneOf || schema.anyOf || []).filter((part) => part.type !== "null");
}

function fieldsTable(api, given, needed = "Always") {
  const schema = resolve(api, given);
  if (choices(schema).length > 1) {
    return el("div", {}, ...choices(schema).flatMap((part) => [el("h3", {}, `Either: ${typeOf(api, part)}`), fieldsTable(api, part, needed)]));
  }
  const properties = Object.entries(schema.properties || {});
  if (!properties.length) return "";
  const required = schema.required || [];
  const rows = properties.map(([name, part]) => {
    const about = part.description || resolve(api, part).description || "";
    return el("tr", {}, el("td", {}, el("code", {}, name)), el("td", {}, typeOf(api, part)), el("td", {}, required.includes(name) ? "yes" : ""), el("td", {}, ...prose(about)));
  });
  const head = el("tr", {}, ...["Field", "Type", needed, "Meaning"].map((text) => el("th", { scope: "col" }, text)));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function requestOf(form, method, path) {
  let filled = path;
  const query = new URLSearchParams();
  const headers = {};
  for (const input of form.querySelectorAll("[data-in]")) {
    if (input.dataset.in === "path") filled = filled.replace(`{${input.name}}`, encodeURIComponent(input.value));
    else if (!input.value) continue;
    else if (input.dataset.in === "header") headers[input.name] = input.value;
    else query.set(input.name, input.value);
  }
  const url = location.origin + filled + (query.size ? `?${query}` : "");
  if (keyField.value.trim()) headers.Authorization = `Bearer ${keyField.value.trim()}`;
  const area = form.querySelector("textarea");
  if (area) headers["Content-Type"] = "application/json";
  return { url, options: { method, headers, body: area ? area.value : undefined } };
}

function curlOf({ url, options }) {
  const headers = Object.entries(options.headers).map(([name, value]) => ` \\\n  -H ${quoted(`${name}: ${value}`)}`);
  return `curl -X ${options.method} ${quoted(url)}${headers.join("")}${options.body ? ` \\\n  -d ${quoted(options.body)}` : ""}`;
}

async function run(form, method, path, output) {
  const request = requestOf(form, method, path);
  output.textContent = "…";
  try {
    const started = performance.now();
    const answer = await fetch(request.url, request.options);
    const took = Math.round(performance.now() - started);
    const text = await answer.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
    output.textContent = `${answer.status} ${answer.statusText} (${took} ms)\n\n${shown}`;
  } catch (error) {
    output.textContent = `The server does not answer: ${error.message}`;
  }
}

function tryForm(api, method, path, operation) {
  const id = operation.operationId;
  const form = el("form", { "aria-label": `Try ${method} ${path}` });
  for (const parameter of operation.parameters || []) {
    const field = `${id}-${parameter.name}`;
    const note = [parameter.required ? " (required) " : " ", ...prose(parameter.description)];
    const input = el("input", { id: field, name: parameter.name, "data-in": parameter.in, autocomplete: "off" });
    input.required = Boolean(parameter.required);
    form.append(el("label", { for: field }, parameter.name, el("small", {}, ...note)), input);
  }
  const content = operation.requestBody && operation.requestBody.content["application/json"];
  if (content) {
    const area = el("textarea", { id: `${id}-body`, spellcheck: "false" });
    const examples = Object.entries(content.examples || {});
    const show = (value) => { area.value = JSON.stringify(value, null, 2); };
    show(content.example ?? examples[0]?.[1].value ?? example(api, content.schema));
    if (examples.length > 1) {
      const options = examples.map(([name, one]) => el("option", { value: name }, one.summary || name));
      const choose = el("select", { id: `${id}-example`, onchange: (event) => show(content.examples[event.target.value].value) }, ...options);
      form.append(el("label", { for: `${id}-example` }, "Example"), choose);
    }
    form.append(el("label", { for: `${id}-body` }, "Body"), area);
  }
  const output = el("pre", { role: "status", "aria-live": "polite", hidden: "" });
  const show = (action) => (event) => {
    event.preventDefault();
    output.hidden = false;
    action();
  };
  form.addEventListener("submit", show(() => run(form, method, path, output)));
  const curl = el("button", { type: "button", onclick: show(() => { output.textContent = curlOf(requestOf(form, method, path)); }) }, "Show curl");
  const fields = content ? fieldsTable(api, content.schema, "Required") : "";
  form.append(el("button", { type: "submit" }, "Send"), curl, output, fields);
  return form;
}

function answers(api, operation) {
  const parts = [];
  for (const [status, answer] of Object.entries(operation.responses)) {
    const content = Object.values(answer.content || {})[0];
    if (status === "default" || !content) continue;
    parts.push(el("h3", {}, `Answer ${status}`), el("pre", {}, JSON.stringify(content.example ?? example(api, content.schema), null, 2)), fieldsTable(api, content.schema));
  }
  return parts;
}

function render(api) {
  document.getElementById("about").textContent = `${api.info.description} Version ${api.info.version}. Every refusal is a problem with a stable code.`;
  const operations = document.getElementById("operations");
  const index = document.getElementById("index");
  const known = (api.tags || []).map((tag) => tag.name);
  const all = Object.entries(api.paths).flatMap(([path, item]) => METHODS.filter((m) => item[m]).map((m) => ({ path, method: m.toUpperCase(), operation: item[m] })));
  const tags = [...new Set([...known, ...all.map((entry) => entry.operation.tags?.[0] || "Other")])];
  for (const tag of tags) {
    const entries = all.filter((entry) => (entry.operation.tags?.[0] || "Other") === tag);
    if (!entries.length) continue;
    operations.append(el("h2", {}, tag), el("p", {}, (api.tags || []).find((t) => t.name === tag)?.description || ""));
    const links = el("ul");
    for (const { path, method, operation } of entries) {
      const id = operation.operationId;
      const title = el("summary", {}, el("span", { class: `method ${method}` }, method), el("code", {}, path), el("span", { class: "what" }, ...prose(operation.summary)));
      const body = el("div", { class: "body" }, el("p", {}, ...prose(operation.description)), tryForm(api, method, path, operation), ...answers(api, operation));
      const details = el("details", { id }, title, body);
      operations.append(details);
      links.append(el("li", {}, el("a", { href: `#${id}` }, ...prose((operation.summary || id).replace(/\.$/, "")))));
    }
    index.append(el("h2", {}, tag), links);
  }
  addEventListener("hashchange", showTarget);
  // A link to where one is already changes no hash, but may be meant to open what was closed.
  index.addEventListener("click", (event) => { if (event.target.closest("a")) setTimeout(showTarget); });
  showTarget();
}

// Opens the endpoint the address names and moves the keyboard there.
function showTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (!target || target.tagName !== "DETAILS") return;
  target.open = true;
  target.scrollIntoView();
  target.querySelector("summary").focus({ preventScroll: true });
}

// On a narrow screen the list of endpoints would hide the page.
if (matchMedia("(max-width: 50rem)").matches) document.getElementById("toc").open = false;

fetch("/openapi.json").then((answer) => answer.json()).then(render).catch((error) => {
  document.getElementById("about").textContent = `The description of this server could not be read: ${error.message}`;
});
