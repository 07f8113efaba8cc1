// Uses the generated types as a user would: node built/ask.js ADDRESS KEY FILE ARCHIVE; FILE is an .npy of one image,
// ARCHIVE an .npz with it. Checked with tsc under strict settings, and then run. Prints the posterior's mean, and which
// operations were called with success.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Form = components["schemas"]["KindsForm"];

const [address = "", key = "", file = "", archive = ""] = process.argv.slice(2);
const keyed = { baseUrl: address, headers: { authorization: `Bearer ${key}` } };
/** What is answered as JSON, and whatever else there is. */
const client = createClient<paths, "application/json" | "application/problem+json">(keyed);
const files = createClient<paths>(keyed);
const stranger = createClient<paths>({ baseUrl: address });

const used = new Set<string>();
const noting: Middleware = {
  onResponse({ request, response, schemaPath }) {
    if (response.ok) used.add(`${request.method} ${schemaPath}`);
  },
};
for (const each of [client, files, stranger]) each.use(noting);

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

const named = { path: { name: "kinds" } };

async function sendsArchives(content: Blob, mu: number[][]): Promise<void> {
  const request = { body: content, bodySerializer: (body: Blob) => body };
  for (const type of ["application/x-npz", "application/octet-stream"]) {
    const { data } = await client.POST("/encode/npz", { headers: { "content-type": type }, ...request });
    assert.deepEqual(data?.mu, mu);
  }
  const sent = { headers: { "content-type": "application/octet-stream" }, ...request };
  assert.deepEqual((await client.POST("/models/kinds/encode/npz", sent)).data?.mu, mu);
  const operations = ["/generate/npz", "/score/npz", "/models/kinds/generate/npz", "/models/kinds/score/npz"] as const;
  for (const path of operations) assert.equal((await client.POST(path, sent)).data?.n_data, 1);
  const any = ["/models/{name}/encode/npz", "/models/{name}/generate/npz", "/models/{name}/score/npz"] as const;
  for (const path of any) assert.equal((await client.POST(path, { params: named, ...sent })).data?.n_data, 1);
}

async function sendsTables(): Promise<void> {
  const headers = { "content-type": "text/csv" };
  const sent = { headers, body: "animal,place\ncat,it's\n", bodySerializer: (body: string) => body };
  const own = ["encode", "generate", "score"] as const;
  for (const operation of own) {
    for (const path of [`/${operation}/csv`, `/models/kinds/${operation}/csv`] as const)
      assert.equal((await client.POST(path, sent)).data?.n_data, 1);
    const any = await client.POST(`/models/{name}/${operation}/csv`, { params: named, ...sent });
    assert.equal(any.data?.n_data, 1);
  }
}

async function asksInJson(): Promise<void> {
  const inputs: components["schemas"]["KindsInputs"] = {
    animal: ["owl", null, "cat"],
    body: [null, { height: 180, mass: null }, null],
    place: [null, null, 'sea, "deep"'],
  };
  for (const path of ["/generate/json", "/models/kinds/generate/json"] as const) {
    const { data } = await client.POST(path, {
      params: { query: { gen_mod: ["body", "animal"], K: 20 } },
      body: { inputs },
    });
    assert.deepEqual(data?.targets.body?.columns, ["height", "mass", "age"]);
    assert.equal(data?.targets.body?.mean?.length, 3);
    assert.deepEqual(new Set(data?.targets.animal?.ranked?.[0]), new Set(["cat", "dog", "owl"]));
  }
  const cats: components["schemas"]["KindsDocument"] = { inputs: { animal: ["cat", "dog"] } };
  for (const path of ["/encode/json", "/models/kinds/encode/json"] as const)
    assert.equal((await client.POST(path, { body: cats })).data?.mu.length, 2);
  for (const path of ["/score/json", "/models/kinds/score/json"] as const) {
    const scored = await client.POST(path, { params: { query: { K: 50 } }, body: cats });
    assert.deepEqual(scored.data?.question, ["animal", "animal"]);
    const likely: number | null | undefined = scored.data?.log_prob[0];
    assert.equal(typeof likely, "number");
  }
  const animals: Form = { animal: ["cat", "dog"] };
  for (const path of ["/score", "/models/kinds/score"] as const)
    assert.equal((await client.POST(path, { body: animals, bodySerializer: () => parts(animals) })).data?.n_data, 2);
  const prior = await client.POST("/generate", { params: { query: { cond_mod: ["none"], n_data: 2 } } });
  assert.equal(prior.data?.n_data, 2);
}

async function namesAnyModel(content: Blob): Promise<void> {
  const path = { name: "kinds" };
  const body = { inputs: { animal: ["cat"] } };
  for (const operation of ["encode", "generate", "score"] as const) {
    const rows = await client.POST(`/models/{name}/${operation}/json`, { params: { path }, body });
    assert.equal(rows.data?.n_data, 1);
    const form = { image: content };
    const upload = { body: form, bodySerializer: () => parts({ image: [content] }) };
    const files = await client.POST(`/models/{name}/${operation}`, { params: { path }, ...upload });
    assert.equal(files.data?.n_data, 1);
  }
  const query = { flatten: true, fields: ["mu"] };
  const encoded = await client.POST("/models/{name}/encode/json", { params: { path, query }, body });
  assert.equal(encoded.data?.["z"], undefined);
  const generated = await client.POST("/models/{name}/generate/json", {
    params: { path, query: { gen_mod: ["animal"], K: 5 } },
    body,
  });
  assert.deepEqual(Object.keys(generated.data?.["targets"] ?? {}), ["animal"]);
}

/** Of each form of an answer, how its bytes begin. */
const begins = {
  "image/png": "\x89PNG", "image/gif": "GIF8", "audio/wav": "RIFF", "application/zip": "PK", "application/x-npz": "PK",
};
const targets: Record<string, "sound" | "clip"> = { "audio/wav": "sound", "image/gif": "clip" };

async function takesFiles(): Promise<void> {
  for (const [accept, start] of Object.entries(begins)) {
    const target = targets[accept] ?? "image";
    const { data, error, response } = await files.POST("/models/kinds/generate", {
      params: { query: { cond_mod: ["none"], gen_mod: [target] } },
      headers: { accept },
      parseAs: "arrayBuffer",
    });
    assert.ok(data, JSON.stringify(error));
    assert.equal(response.headers.get("content-type"), accept);
    assert.equal(Buffer.from(data.slice(0, start.length)).toString("latin1"), start);
    if (accept !== "application/x-npz") assert.ok(response.headers.get("x-seed"));
  }
  const table = await files.POST("/generate/csv", {
    params: { query: { K: 5, gen_mod: ["animal"] } },
    headers: { "content-type": "text/csv", accept: "text/csv" },
    body: "animal\ncat\n",
    bodySerializer: (body) => body,
    parseAs: "text",
  });
  assert.match(table.data ?? "", /^animal,/);
}

async function readsErrors(): Promise<void> {
  const form: Form = { image: [new Blob(["no picture"])] };
  const refused = await client.POST("/models/kinds/encode", { body: form, bodySerializer: () => parts(form) });
  assert.equal(refused.data, undefined);
  assert.equal(refused.error?.status, 400);
  assert.match(refused.error?.detail ?? "", /part 'image'/);
  assert.equal(refused.error?.request_id, refused.response.headers.get("x-request-id"));
  const unknown = await client.POST("/models/{name}/encode", { params: { path: { name: "nobody" } }, body: {} });
  assert.equal(unknown.error?.status, 404);
  const locked = await stranger.GET("/models");
  assert.equal(locked.error?.status, 401);
}

async function looksAround(): Promise<void> {
  const path = { name: "kinds" };
  assert.equal((await client.GET("/models")).data?.default, "kinds");
  assert.equal((await client.GET("/models/{name}", { params: { path } })).data?.modalities[0]?.name, "image");
  const card = await files.GET("/models/{name}/card", { params: { path }, parseAs: "text" });
  assert.equal(card.data, "# kinds\n");
  const latent = await client.GET("/models/{name}/latent", { params: { path } });
  assert.equal(latent.data?.points.length, 4);
  const value = await client.GET("/models/{name}/value", { params: { path } });
  assert.equal(value.data?.targets.animal?.views.image?.added, 0.25);
  const report = { params: { path: { ...path, file: "card.md" } }, parseAs: "arrayBuffer" } as const;
  const bytes = (await files.GET("/models/{name}/report/{file}", report)).data;
  assert.equal(Buffer.from(bytes ?? new ArrayBuffer()).toString(), "# kinds\n");
  const examples = await client.GET("/models/{name}/examples", { params: { path, query: { n_data: 2 } } });
  assert.equal(examples.data?.inputs["image"]?.length, 2);
  const example = { params: { path: { ...path, row: 0, modality: "image" } }, parseAs: "arrayBuffer" } as const;
  const picture = (await files.GET("/models/{name}/examples/{row}/{modality}", example)).data;
  assert.equal(Buffer.from(picture ?? new ArrayBuffer()).subarray(1, 4).toString(), "PNG");
  for (const health of ["/livez", "/readyz"] as const) assert.equal((await stranger.GET(health)).response.status, 200);
  assert.match((await files.GET("/metrics", { parseAs: "text" })).data ?? "", /anyview_requests_total/);
}

async function looksAfterModels(): Promise<void> {
  const params = { path: { name: "kinds" } };
  assert.deepEqual((await client.POST("/models/{name}/unload", { params })).data?.versions, []);
  assert.equal((await stranger.GET("/readyz")).response.status, 503);
  assert.deepEqual((await client.POST("/models/{name}/load", { params })).data?.versions, [1]);
}

const content = new Blob([await readFile(file)]);
const mu = await uploads(content);
await sendsArchives(new Blob([await readFile(archive)]), mu);
await sendsTables();
await asksInJson();
await namesAnyModel(content);
await takesFiles();
await readsErrors();
await looksAround();
await looksAfterModels();
console.log(JSON.stringify({ mu, used: [...used] }));
