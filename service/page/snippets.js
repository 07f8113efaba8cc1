// "Copy as": exactly the questions that the page has asked, for a shell, Python or TypeScript.

import { currentKey, path } from "./client.js";
import { button, h } from "./dom.js";

const LANGUAGES = { curl: asCurl, Python: asPython, TypeScript: asTypeScript };

export function snippetsPanel() {
  let question = null;
  let language = "curl";
  const code = h("code", {});
  const copied = h("span", { class: "note", role: "status" });
  const tabs = Object.keys(LANGUAGES).map((name) =>
    button(name, () => choose(name), { "aria-pressed": String(name === language), class: "tab" }));

  function choose(name) {
    language = name;
    for (const tab of tabs) tab.setAttribute("aria-pressed", String(tab.textContent === name));
    render();
  }

  function render() {
    if (!element.open || !question) return; // who does not look at it does not wait for it
    code.textContent = LANGUAGES[language](question, document.baseURI);
    copied.textContent = "";
  }

  async function copy() {
    try {
      await navigator.clipboard.writeText(code.textContent);
      copied.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(code);
      copied.textContent = "Selected; copy it with the keyboard.";
    }
  }

  const element = h("details", { class: "snippets", ontoggle: render }, h("summary", {}, h("h3", {}, "Ask this from a program")),
    h("div", { class: "buttons" }, tabs, button("Copy", copy), copied),
    h("pre", { tabindex: "0", role: "region", "aria-label": "The request as a program" }, code));
  return {
    element,
    show(asked) {
      question = asked;
      render();
    },
  };
}

const OPERATIONS = ["generate", "encode"];

/** Files that were chosen are named, not copied: a form with files then, else JSON. */
const filesOf = (asked) => asked.names.some((name) => asked.observed[name].file);

function partsOf(asked) {
  return asked.names.map((name) => {
    const { value, file } = asked.observed[name];
    if (file) return { name, file };
    return isFile(value) ? { name, content: value } : { name, text: typeof value === "string" ? value : JSON.stringify(value) };
  });
}

/** Base64 of a file, rather than a label: nothing that people name begins like a PNG or a WAV. */
const isFile = (value) => typeof value === "string" && /^(iVBORw0KGgo|UklGR)/.test(value);

/** A key is nothing to copy: programs take it from their environment. */
const WITH_KEY = {
  curl: ' -H "Authorization: Bearer $ANYVIEW_KEY"',
  python: ', headers={"Authorization": "Bearer " + os.environ["ANYVIEW_KEY"]}',
  typescript: "Authorization: `Bearer ${process.env.ANYVIEW_KEY}`",
};
const withKey = (language) => (currentKey() !== null ? WITH_KEY[language] : "");

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function asCurl(asked, base) {
  const target = (operation) => `${quoted(new URL(path(asked, operation), base).href)}${withKey("curl")}`;
  if (!asked.body) return OPERATIONS.map((operation) => `curl -X POST ${target(operation)}`).join("\n\n");
  if (!filesOf(asked)) {
    const body = `body=${quoted(JSON.stringify(asked.body))}`;
    const lines = OPERATIONS.map((operation) => `curl ${target(operation)} \\\n  -H 'Content-Type: application/json' -d "$body"`);
    return [body, ...lines].join("\n\n");
  }
  const parts = partsOf(asked).map(({ name, file, content, text }) => {
    if (file) return `-F ${quoted(`${name}=@${file}`)}`;
    return content ? `-F ${name}=@<(base64 -d <<< ${content})` : `--form-string ${quoted(`${name}=${text}`)}`;
  });
  return OPERATIONS.map((operation) => `curl ${target(operation)} \\\n  ${parts.join(" \\\n  ")}`).join("\n\n");
}

/** JSON as Python writes it. */
function literal(value) {
  if (value === null) return "None";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object")
    return `{${Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${literal(item)}`).join(", ")}}`;
  return JSON.stringify(value);
}

function asPython(asked, base) {
  const lines = [...(currentKey() !== null ? ["import os"] : []), "import httpx", "", `base = ${literal(new URL(`models/${asked.model}`, base).href)}`];
  let body = "";
  if (asked.body && filesOf(asked)) {
    lines.unshift("import base64");
    const parts = partsOf(asked).map(({ name, file, content, text }) => {
      const value = file ? `open(${literal(file)}, "rb").read()` : content ? `base64.b64decode(${literal(content)})` : `${literal(text)}.encode()`;
      return `    ${literal(name)}: ${value},`;
    });
    lines.push("files = {", ...parts, "}");
    body = ", files=files";
  } else if (asked.body) {
    lines.push(`body = ${literal(asked.body)}`);
    body = ", json=body";
  }
  for (const operation of OPERATIONS)
    lines.push(`${operation === "generate" ? "generated" : "encoded"} = httpx.post(f"{base}/${operation}", params=${literal(asked[operation])}${body}${withKey("python")}).raise_for_status().json()`);
  return [...lines, 'print(generated["targets"].keys(), encoded["contributions"])'].join("\n");
}

function asTypeScript(asked, base) {
  const lines = [];
  const headers = currentKey() !== null ? [WITH_KEY.typescript] : [];
  let body = "";
  if (asked.body && filesOf(asked)) {
    lines.push('import { readFile } from "node:fs/promises";', "", "const body = new FormData();");
    for (const { name, file, content, text } of partsOf(asked)) {
      const value = file ? `new Blob([await readFile(${JSON.stringify(file)})])`
        : content ? `new Blob([Buffer.from(${JSON.stringify(content)}, "base64")])` : JSON.stringify(text);
      lines.push(`body.set(${JSON.stringify(name)}, ${value});`);
    }
    body = ", body";
  } else if (asked.body) {
    lines.push(`const body = JSON.stringify(${JSON.stringify(asked.body)});`);
    headers.push('"Content-Type": "application/json"');
    body = ", body";
  }
  const init = `{ method: "POST"${headers.length ? `, headers: { ${headers.join(", ")} }` : ""}${body} }`;
  for (const operation of OPERATIONS) {
    const name = operation === "generate" ? "generated" : "encoded";
    lines.push(`const ${name} = await (await fetch(${JSON.stringify(new URL(path(asked, operation), base).href)}, ${init})).json();`);
  }
  return [...lines, "console.log(generated.targets, encoded.contributions);"].join("\n");
}
