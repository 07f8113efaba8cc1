// Node's own fetch: node fetch.mjs ADDRESS KEY FILE; FILE is an npz archive.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

const [address, key, file] = process.argv.slice(2);
const rows = JSON.stringify({ inputs: { animal: ["owl", "cat"] } });
const stream = () => new Blob([rows]).stream();
const form = new FormData();
for (const label of ["owl", "cat"]) form.append("animal", label);
const authorization = `Bearer ${key}`;
const json = { authorization, "content-type": "application/json" };
const sent = [
  { headers: json, body: rows },
  { headers: json, body: stream(), duplex: "half" }, // in chunks
  { headers: { authorization, "content-type": "application/x-npz" }, body: await readFile(file) },
  { headers: { authorization }, body: form },
];
for (const options of sent) {
  const response = await fetch(`${address}/models/kinds/encode`, { method: "POST", ...options });
  assert.equal(response.status, 200, await response.clone().text());
  console.log(JSON.stringify(await response.json()));
}
const page = await fetch(`${address}/openapi.json`, { headers: { authorization } });
assert.match(page.headers.get("content-encoding"), /^(gzip|deflate|zstd)$/);
assert.equal((await page.json()).openapi.slice(0, 2), "3.");
const refused = await fetch(`${address}/models/nothing`, { headers: { authorization } });
assert.equal(refused.status, 404);
assert.match((await refused.json()).detail, /no model 'nothing' is loaded/);
