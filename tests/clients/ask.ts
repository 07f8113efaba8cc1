// Uses the generated types as a user would: node built/ask.js ADDRESS FILE; FILE is an .npy of one image.
// Checked with tsc under strict settings, and then run. Prints the posterior's mean.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Form = components["schemas"]["kinds.Form"];

const [address = "", file = ""] = process.argv.slice(2);
/** What is answered as JSON, and whatever else there is. */
const client = createClient<paths, "application/json" | "application/problem+json">({ baseUrl: address });
const files = createClient<paths>({ baseUrl: address });

/** One part for each row: files and texts as they are, objects as JSON. */
function parts(form: Form): FormData {
  const made = new FormData();
  for (const [name, rows] of Object.entries(form))
    for (const row of rows ?? [])
      made.append(name, row instanceof Blob || typeof row === "string" ? row : JSON.stringify(row));
  return made;
}

async function uploads(content: Blob): Promise<number[][]> {
  const form: Form = { image: [content], animal: ["cat"], body: [{ height: 172 }] };
  const named = await client.POST("/models/kinds/encode", {
    params: { query: { N: 3, seed: 1, cond_mod: ["image", "animal"] } },
    body: form,
    bodySerializer: () => parts(form),
  });
  assert.ok(named.data, JSON.stringify(named.error));
  assert.deepEqual([named.data.model, named.data.cond_mod, named.data.z[0]?.length], ["kinds", ["image", "animal"], 3]);
  const only: Form = { image: [content] };
  const alone = await client.POST("/encode", { body: only, bodySerializer: () => parts(only) });
  assert.ok(alone.data, JSON.stringify(alone.error));
  return alone.data.mu;
}

async function asksInJson(): Promise<void> {
  const inputs: components["schemas"]["kinds.Inputs"] = {
    animal: ["owl", null, 0],
    body: [null, { height: 180, mass: null }, [1, null, 3]],
  };
  const { data } = await client.POST("/models/kinds/generate", {
    params: { query: { gen_mod: ["body", "animal"], K: 20 } },
    body: { inputs },
  });
  assert.deepEqual(data?.targets.body?.columns, ["height", "mass", "age"]);
  assert.equal(data?.targets.body?.mean?.length, 3);
  assert.deepEqual(new Set(data?.targets.animal?.ranked?.[0]), new Set(["cat", "dog", "owl"]));
  const cats: components["schemas"]["kinds.Document"] = { inputs: { animal: ["cat", "dog"] } };
  const scored = await client.POST("/models/kinds/score", { params: { query: { K: 50 } }, body: cats });
  assert.deepEqual(scored.data?.question, ["animal", "animal"]);
  const likely: number | null | undefined = scored.data?.log_prob[0];
  assert.equal(typeof likely, "number");
  const prior = await client.POST("/generate", { params: { query: { cond_mod: ["none"], n_data: 2 } } });
  assert.equal(prior.data?.n_data, 2);
  assert.equal((await client.POST("/score", { body: cats })).response.status, 200);
}

async function readsFiles(): Promise<void> {
  const picture = await files.POST("/models/kinds/generate", {
    params: { query: { cond_mod: ["none"], gen_mod: ["image"], N: 4 } },
    headers: { accept: "image/png" },
    parseAs: "arrayBuffer",
  });
  assert.ok(picture.data);
  assert.deepEqual([...new Uint8Array(picture.data).slice(1, 4)], [0x50, 0x4e, 0x47]);
  assert.ok(picture.response.headers.get("x-seed"));
}

async function readsErrors(): Promise<void> {
  const form: Form = { image: [new Blob(["no picture"])] };
  const refused = await client.POST("/models/kinds/encode", { body: form, bodySerializer: () => parts(form) });
  assert.equal(refused.data, undefined);
  assert.equal(refused.error?.status, 400);
  assert.match(refused.error?.detail ?? "", /part 'image'/);
  assert.equal(refused.error?.request_id, refused.response.headers.get("x-request-id"));
  const unknown = await client.POST("/models/{name}/encode", { params: { path: { name: "nobody" } } });
  assert.equal(unknown.error?.status, 404);
  const forbidden = await client.POST("/models/{name}/load", { params: { path: { name: "kinds" } } });
  assert.equal(forbidden.error?.status, 403);
}

async function looksAround(): Promise<void> {
  const path = { name: "kinds" };
  assert.equal((await client.GET("/models")).data?.default, "kinds");
  assert.equal((await client.GET("/models/{name}", { params: { path } })).data?.modalities[0]?.name, "image");
  const card = await files.GET("/models/{name}/card", { params: { path }, parseAs: "text" });
  assert.equal(card.data, "# kinds\n");
  for (const health of ["/livez", "/readyz"] as const) assert.equal((await client.GET(health)).response.status, 200);
  assert.match((await files.GET("/metrics", { parseAs: "text" })).data ?? "", /anyview_requests_total/);
}

const mu = await uploads(new Blob([await readFile(file)]));
await asksInJson();
await readsFiles();
await readsErrors();
await looksAround();
console.log(JSON.stringify(mu));
