// Makes and changes elements. All text goes through textContent: what comes from a job is never markup.

export const TERMINAL = ["finished", "error", "cancelled"];

export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  Object.assign(made, properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function svgEl(tag, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

// Only what differs is written, so that a selection or a screen reader is not disturbed each second.
export function setText(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

export function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

export function badge(state) {
  return el("span", { className: `badge ${state}`, textContent: state });
}

// A list of facts: [name, value, class] each; a value is text or an element.
export function fillFacts(list, facts) {
  const shown = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const same = list.dataset.names === shown.map(([name]) => name).join("|");
  if (same && shown.every(([, value]) => typeof value === "string")) {
    list.querySelectorAll("dd").forEach((dd, at) => {
      setText(dd, shown[at][1]);
      setClass(dd, shown[at][2] || "");
    });
    return;
  }
  list.dataset.names = shown.map(([name]) => name).join("|");
  list.replaceChildren(
    ...shown.flatMap(([name, value, kind]) => [
      el("dt", { textContent: name }),
      el("dd", { className: kind || "" }, value),
    ]),
  );
}
