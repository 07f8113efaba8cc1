// A client of openapi-generator, typescript-fetch: node fetch.js ADDRESS KEY FILE; FILE is an .npy of one image.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { Configuration, KindsApi, ResponseError } from "./client/index";

const [basePath = "", key = "", path = ""] = process.argv.slice(2);
const api = new KindsApi(new Configuration({ basePath, accessToken: key }));
const image = new Blob([await readFile(path)]);
const odd = ['sea, "deep"', "snow 🦉"];

const uploaded = await api.kindsGenerate({ image: [image, image], place: odd, genMod: ["animal"], k: 20 });
assert.deepEqual([uploaded.nData, uploaded.condMod], [2, ["image", "place"]]);
const first: number | undefined = uploaded.targets.animal?.probabilities?.[0]?.[0];
assert.ok(first !== undefined && first > 0);

const inputs = { place: [...odd, null], body: [{ height: 180, mass: null }, null, { age: 3 }] };
const rows = await api.kindsGenerateJson({ kindsDocument: { inputs }, genMod: ["body", "place"], k: 20 });
assert.deepEqual(rows.targets.body?.columns, ["height", "mass", "age"]);
assert.deepEqual(new Set(rows.targets.place?.ranked?.[0]), new Set([...odd, "it's"]));
const encoded = await api.kindsEncodeJson({ kindsDocument: { inputs: { place: odd } } });

const wrong = await api.kindsGenerate({ image: [image], condMod: ["sound"] }).catch((error: unknown) => error);
assert.ok(wrong instanceof ResponseError);
assert.equal(wrong.response.status, 422);
const problem = (await wrong.response.json()) as { detail: string };
assert.match(problem.detail, /cond_mod names 'sound'/);
console.log(JSON.stringify(encoded.mu));
