// node generate.mjs openapi.json schema.ts: the types of a client; a file is a Blob, as openapi-typescript's
// documentation recommends.
import { readFile, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";
import ts from "typescript";

const [document, target] = process.argv.slice(2);
const blob = ts.factory.createTypeReferenceNode("Blob");
const nodes = await openapiTS(JSON.parse(await readFile(document, "utf8")), {
  transform: (schema) => (schema.format === "binary" ? blob : undefined),
});
await writeFile(target, astToString(nodes));
