// DOM elements without markup in strings, so that the name of a model is always text.

const SVG = "http://www.w3.org/2000/svg";

/** h("p", { class: "note", onclick: f }, "text", child); "svg:path" makes an element of a drawing. */
export function h(tag, attributes = {}, ...children) {
  const element = tag.startsWith("svg:")
    ? document.createElementNS(SVG, tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export function button(text, onclick, attributes = {}) {
  return h("button", { type: "button", onclick, ...attributes }, text);
}

/** A file chooser that looks like a button; choosing the same file twice counts twice. */
export function upload(text, label, accept, onfile) {
  const input = h("input", {
    type: "file",
    accept,
    "aria-label": label,
    onchange: () => {
      if (input.files.length) onfile(input.files[0]);
      input.value = "";
    },
  });
  return h("span", { class: "button upload" }, text, input);
}

/** Files dropped on the element. */
export function droppable(element, onfile) {
  const over = (on) => element.classList.toggle("over", on);
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  element.addEventListener("dragleave", () => over(false));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    if (event.dataTransfer.files.length) onfile(event.dataTransfer.files[0]);
  });
}

/** Text that is new; the same text again would be laid out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** As many elements in the parent as there are items, each made once, and shown its item whenever there are new ones. */
export function repeated(parent, make) {
  const made = [];
  return (items) => {
    while (made.length < items.length) {
      made.push(make());
      parent.append(made.at(-1).element);
    }
    for (const { element } of made.splice(items.length)) element.remove();
    items.forEach((item, i) => made[i].show(item));
  };
}

export const percent = (share) =>
  share > 0 && share < 0.01 ? "< 1 %" : share > 0.99 ? "> 99 %" : `${Math.round(100 * share)} %`;

/** Three significant digits, without an exponent where people do not want one. */
export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2);
  return size >= 1000 ? Math.round(value).toLocaleString("en").replaceAll(",", " ") : String(Number(value.toPrecision(3)));
}

/** 'a', 'b' and 'c'. */
export function listed(names, last = "and") {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} ${last} ${names.at(-1)}`;
}
