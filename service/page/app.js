// Joins the parts: the chosen model, its cards, what is asked about them, and what is shown.

import { aboutPanel } from "./about.js";
import { Cards, concerns, invitation } from "./cards.js";
import { Away, Latest, Refused, Watch, askJson, currentKey, forgetKey, path, post, useKey } from "./client.js";
import { button, h, listed } from "./dom.js";
import { Examples } from "./examples.js";
import { hasSamples, sampleOf } from "./kinds.js";
import { mapOf } from "./map.js";
import { answerFor, sentenceOf } from "./panels.js";
import { posteriorPanel } from "./posterior.js";
import { question } from "./questions.js";
import { snippetsPanel } from "./snippets.js";
import { fetchWav } from "./sound.js";

const $ = (id) => document.getElementById(id);
const MOST_SAMPLES = 36;

const watch = new Watch(onHere);
const snippets = snippetsPanel();
let page = null; // what is made anew for every model
let draws = 9;
let seed = 1;

const view = new Latest({ put, answer: both, show, fail: failed });

// --- asking ----------------------------------------------------------------------------------------------

function changed() {
  view.want();
  if (!page.cards.example) hint(page.cards.isEmpty ? invitation(page.manifest) : "Add another view, or switch one off, and see what changes.");
}

function put() {
  const asked = question(page.manifest, page.cards.observed, draws, seed);
  snippets.show(asked);
  return asked;
}

/** The posterior and what follows from it, shown together; neither is asked for again before both are here. */
async function both(asked) {
  const operations = ["encode", "generate"].map((operation) => askJson(path(asked, operation), post("", asked.body)));
  await Promise.allSettled(operations);
  return Promise.all(operations);
}

/** Keeps the height that it has: nothing may move under a pen. */
function hint(text) {
  if ($("hint").textContent === text) return;
  $("hint").style.minHeight = `${$("hint").offsetHeight}px`;
  $("hint").textContent = text;
}

function current(asked) {
  return page && asked.model === page.manifest.name;
}

function show([posterior, generated], asked) {
  if (!current(asked)) return;
  refused("");
  page.posterior.show(posterior, asked);
  page.map?.show(posterior.mu[0], posterior.log_var[0], asked.names);
  for (const [name, panel] of page.answers) panel.show(generated.targets[name], asked);
  showVerdict(generated, asked);
  $("answers").classList.remove("waiting");
  // For the profiler of the browser: from the question to the frame in which the answer is seen.
  requestAnimationFrame(() => setTimeout(() => {
    performance.clearMeasures();
    performance.measure("anyview:answer", { start: asked.at });
  }));
}

function showVerdict(answer, asked) {
  const said = page.manifest.modalities
    .filter((modality) => !asked.names.includes(modality.name))
    .map((modality) => sentenceOf(modality, answer.targets[modality.name]))
    .filter(Boolean);
  const made = page.manifest.modalities.map(({ name }) => name).filter((name) => !asked.names.includes(name));
  const given = asked.names.length ? `From ${listed(asked.names.map((name) => called(asked, name)))}: ` : "Before anything is known: ";
  $("verdict").replaceChildren(given, h("b", {}, said.join(", ") || `${listed(made)} below`));
}

/** A label by what it says, anything else by its name. */
function called(asked, name) {
  const { kind } = page.manifest.modalities.find((modality) => modality.name === name);
  return kind === "category" ? `${name} ${asked.observed[name].value}` : name;
}

function failed(error, asked) {
  if (error instanceof Away) watch.lost(error.message);
  else if (!(error instanceof Refused)) throw error;
  else if (error.status === 401) wantKey(error.key);
  else if (current(asked)) refused(error.message, asked);
}

function refused(detail, asked) {
  const onCard = asked?.names.some((name) => concerns(detail, name));
  $("refused").textContent = detail && !onCard ? detail : "";
  page.cards.refuse(detail);
  if (detail) $("answers").classList.add("waiting");
}

/** A row of one modality, made by the model from what is observed now. */
async function imagine(modality, wantsSound) {
  const asked = question(page.manifest, page.cards.observed, 1, Math.floor(2 ** 31 * Math.random()));
  const own = { gen_mod: modality.name, fields: "samples" };
  if (wantsSound) return { wav: await fetchWav(path(asked, "generate", own), post("", asked.body, { accept: "audio/wav" })) };
  const { targets } = await askJson(path(asked, "generate", own), post("", asked.body));
  return { row: sampleOf(modality, targets[modality.name]) };
}

// --- the service comes and goes ------------------------------------------------------------------------------

function onHere(here, reason) {
  $("away").textContent = here ? "" : `${reason} Nothing is lost; the page continues as soon as it is back.`;
  document.body.classList.toggle("is-away", !here);
  if (!here) return;
  if (page) changed();
  else start();
}

// --- one model --------------------------------------------------------------------------------------------------

async function open(name) {
  const manifest = await askJson(`models/${name}`);
  const latent = manifest.files["latent.npz"] ? await askJson(`models/${name}/latent`) : null;
  const examples = await Examples.of(manifest);
  const context = { fail: (error) => error instanceof Away && watch.lost(error.message) };
  page = {
    manifest,
    cards: new Cards(manifest, changed, imagine, examples),
    answers: new Map(manifest.modalities.map((modality, index) => [modality.name, answerFor(modality, index, context)])),
    posterior: posteriorPanel(manifest),
    map: latent?.points.length ? mapOf(manifest, latent) : null,
  };
  $("lead").textContent = `${manifest.description} ${invitationTo(manifest)}`;
  $("draws").parentElement.hidden = !hasSamples(manifest);
  $("cards").replaceChildren(...page.cards.elements);
  $("posterior").replaceChildren(page.posterior.element);
  const panels = [...page.answers.values(), ...(page.map ? [page.map] : [])];
  $("targets").replaceChildren(...panels.map((panel) => panel.element));
  $("snippets").replaceChildren(snippets.element);
  $("about").replaceChildren(aboutPanel(manifest));
  $("columns").hidden = false;
  history.replaceState(null, "", `#${name}`);
  const example = page.cards.loadExample();
  if (example) hint(invitation(manifest, example));
  else showCase();
}

/** What "any view in, any view out" means, by a case of which all views are there and one is given. */
function showCase() {
  const given = page.cards.showCase();
  hint(`A case that the model has not learned from: of it, the model is given the ${given} alone. Compare what it says with the other views, and switch them on, one by one.`);
}

function invitationTo(manifest) {
  const names = listed(manifest.modalities.map((modality) => modality.name), "or");
  return `Give the model any view that you have (${names}), alone or together: it concludes the others, and says how sure it is.`;
}

// --- the page ------------------------------------------------------------------------------------------------------

function knobs() {
  const count = h("output", { for: "draws" }, String(draws));
  const range = h("input", { id: "draws", type: "range", min: 1, max: MOST_SAMPLES, value: draws, oninput: () => {
    draws = Number(range.value);
    count.textContent = range.value;
    changed();
  } });
  const number = h("input", { id: "seed", type: "number", min: 0, step: 1, value: seed, oninput: () => {
    seed = Math.max(0, Math.floor(Number(number.value) || 0));
    changed();
  } });
  const again = button("New draws", () => {
    number.value = seed = seed + 1;
    changed();
  }, { title: "The next seed" });
  return [h("label", {}, "Samples ", range, count), h("label", {}, "Seed ", number), again];
}

function choice(models, chosen) {
  const select = h("select", { id: "model", onchange: () => open(select.value).catch(lost) },
    models.map(({ name }) => h("option", { value: name, selected: name === chosen }, name)));
  return [h("label", { for: "model" }, "Model"), select];
}

function lost(error) {
  if (error instanceof Away) watch.lost(error.message);
  else if (error.status === 401) wantKey(error.key);
  else $("lead").textContent = error.message;
}

/** Asks for a key and forgets the refused one. Several requests can carry it at once, and come back after its successor. */
function wantKey(refusedKey) {
  if (currentKey() !== null && currentKey() !== refusedKey) return;
  if (refusedKey !== null) $("key-refused").textContent = "The service does not know this key.";
  forgetKey();
  if (!page) $("lead").textContent = "";
  $("key").hidden = false;
  $("key-field").focus();
}

async function start() {
  try {
    const { models, default: standard, refused: bad } = await askJson("models");
    $("key").hidden = true;
    $("more").hidden = currentKey() !== null; // a link brings no key along
    if (page) return changed();
    if (!models.length) throw new Refused(503, bad[0] ? `No model could be loaded: ${bad[0].reason}` : "No model is loaded.");
    const wanted = [location.hash.slice(1), standard, models[0].name].find((name) => models.some((model) => model.name === name));
    $("choice").replaceChildren(...choice(models, wanted));
    await open(wanted);
  } catch (error) {
    lost(error);
  }
}

$("knobs").append(...knobs());
$("see").addEventListener("click", () => $("answers").scrollIntoView());
$("example").addEventListener("click", showCase);
$("reset").addEventListener("click", () => page.cards.clear());
$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("key-field").value.trim());
  $("key-refused").textContent = "";
  $("key-field").value = "";
  start();
});
start();
