// A client of orval with fetch: node orval.js ADDRESS KEY FILE; FILE is an .npy of one image.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { kindsEncodeJson, kindsGenerate, kindsGenerateJson } from "./client/api";

const [address = "", key = "", path = ""] = process.argv.slice(2);
const plain = globalThis.fetch;
globalThis.fetch = (url, options) => plain(`${address}${url}`, options);
const keyed = (options: RequestInit = {}) => ({ ...options, headers: { authorization: `Bearer ${key}` } });
const image = new Blob([await readFile(path)]);
const odd = ['sea, "deep"', "snow 🦉"];

const form = { image: [image, image], place: odd };
const uploaded = await kindsGenerate(form, { gen_mod: ["animal"], K: 20 }, keyed());
assert.ok(uploaded.status === 200, JSON.stringify(uploaded.data));
assert.deepEqual([uploaded.data.n_data, uploaded.data.cond_mod], [2, ["image", "place"]]);
const first: number | undefined = uploaded.data.targets.animal?.probabilities?.[0]?.[0];
assert.ok(first !== undefined && first > 0);

const inputs = { place: [...odd, null], body: [{ height: 180, mass: null }, null, { age: 3 }] };
const rows = await kindsGenerateJson({ inputs }, { gen_mod: ["body", "place"], K: 20 }, keyed());
assert.ok(rows.status === 200, JSON.stringify(rows.data));
assert.deepEqual(rows.data.targets.body?.columns, ["height", "mass", "age"]);
assert.deepEqual(new Set(rows.data.targets.place?.ranked?.[0]), new Set([...odd, "it's"]));
const encoded = await kindsEncodeJson({ inputs: { place: odd } }, {}, keyed());
assert.ok(encoded.status === 200);

const wrong = await kindsGenerate({ image: [image] }, { cond_mod: ["sound"] }, keyed());
assert.ok(wrong.status === 422);
assert.equal(wrong.data.type, "urn:anyview:wrong-input");
assert.match(wrong.data.detail, /cond_mod names 'sound'/);
console.log(JSON.stringify(encoded.data.mu));
