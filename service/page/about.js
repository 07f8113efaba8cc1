// About a model: its description, its card and its pictures, fetched when the panel is opened.

import { ask } from "./client.js";
import { h } from "./dom.js";

export function aboutPanel(manifest) {
  const at = (file) => `models/${manifest.name}/${file}`;
  const pictures = Object.keys(manifest.files).filter((file) => /^report\/[^/]+\.png$/.test(file));
  return unfolding(`About ${manifest.name}, version ${manifest.version}`, "h3", () => [
    h("p", {}, manifest.description),
    h("p", { class: "note" }, manifest.licence),
    manifest.files["report/card.md"] ? text("Model card: what it was measured to do", at("card")) : null,
    text("Manifest", `models/${manifest.name}`),
    ...pictures.map((file) => picture(at(file), file.slice(7, -4).replaceAll("_", " "))),
  ]);
}

function text(title, address) {
  return unfolding(title, "span", () => {
    const content = h("code");
    fetched(address, content, async (answer) => (content.textContent = await answer.text()));
    return [h("pre", { tabindex: "0", role: "region", "aria-label": title }, content)];
  });
}

function picture(address, name) {
  const image = h("img", { alt: name });
  const caption = h("figcaption", {}, name);
  fetched(address, caption, async (answer) => (image.src = URL.createObjectURL(await answer.blob())));
  return h("figure", {}, image, caption);
}

/** By fetch, which brings the key along where the service wants one; links and pictures would not. */
function fetched(address, place, use) {
  ask(address).then(use).catch((error) => (place.textContent = error.message));
}

/** What is made when it is opened for the first time. */
function unfolding(title, tag, make) {
  const element = h("details", { class: "about", ontoggle: () => {
    if (element.open && element.children.length === 1) element.append(...make().filter(Boolean));
  } }, h("summary", {}, h(tag, {}, title)));
  return element;
}
