// A client of @hey-api/openapi-ts: node hey.js ADDRESS KEY FILE; FILE is an .npy of one image.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { client } from "./client/client.gen";
import { kindsEncodeJson, kindsGenerate, kindsGenerateJson } from "./client/sdk.gen";

const [baseUrl = "", key = "", path = ""] = process.argv.slice(2);
client.setConfig({ baseUrl, headers: { authorization: `Bearer ${key}` } });
const image = new File([await readFile(path)], "image.npy");
const odd = ['sea, "deep"', "snow 🦉"];

const form = { image: [image, image], place: odd };
const uploaded = await kindsGenerate({ body: form, query: { gen_mod: ["animal"], K: 20 } });
assert.equal(uploaded.data?.n_data, 2);
assert.deepEqual(uploaded.data.cond_mod, ["image", "place"]);
const first: number | undefined = uploaded.data.targets.animal?.probabilities?.[0]?.[0];
assert.ok(first !== undefined && first > 0);

const inputs = { place: [...odd, null], body: [{ height: 180, mass: null }, null, { age: 3 }] };
const rows = await kindsGenerateJson({ body: { inputs }, query: { gen_mod: ["body", "place"], K: 20 } });
assert.deepEqual(rows.data?.targets.body?.columns, ["height", "mass", "age"]);
assert.deepEqual(new Set(rows.data?.targets.place?.ranked?.[0]), new Set([...odd, "it's"]));
const encoded = await kindsEncodeJson({ body: { inputs: { place: odd } } });

const wrong = await kindsGenerate({ body: { image: [image] }, query: { cond_mod: ["sound"] } });
assert.equal(wrong.response?.status, 422);
const kind: "urn:anyview:wrong-input" | undefined = wrong.error?.type === "urn:anyview:wrong-input" ? wrong.error.type : undefined;
assert.ok(kind);
assert.match(wrong.error?.detail ?? "", /cond_mod names 'sound'/);
console.log(JSON.stringify(encoded.data?.mu));
