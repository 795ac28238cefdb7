// Asks the worker each second, and hands what it says to the parts of the page.

import { ask } from "./ask.js";
import { Detail } from "./detail.js";
import { el, fillFacts, setClass, setText } from "./dom.js";
import { Jobs } from "./jobs.js";
import { Machine } from "./machine.js";
import { clock, size, span } from "./words.js";

const PERIOD = 1000; // milliseconds
const place = (id) => document.getElementById(id);
const detail = new Detail();
const open = (job) => detail.open(job);
const drawings = [...document.querySelectorAll(".machine")];
const machines = drawings.map((svg) => new Machine(svg, open));
const states = [...drawings[0].querySelectorAll(".state")].map((group) => group.dataset.state);
const jobs = new Jobs(states, open);
let lastAnswer = null;

// What holds now, in a row of words with dots: [class, text] each.
function showSigns(now) {
  const { api, engine, unsent, places, draining, health } = now;
  const signs = [
    health.ok ? ["good", "worker alive"] : ["bad", "worker stuck"],
    sign("API", api),
    now.runner === "docker" ? sign("engine", engine) : ["good", "runs processes"],
    [unsent ? "warn" : "good", unsent ? `${unsent} unsent` : "all sent"],
    ["", `${Math.min(Object.keys(now.jobs).length, places)} of ${places} places used`],
  ];
  if (draining) signs.push(["warn", "draining"]);
  fillSigns(signs);
}

function fillSigns(signs) {
  const list = place("signs");
  while (list.children.length > signs.length) list.lastChild.remove();
  while (list.children.length < signs.length) list.append(el("li", {}, el("span", { className: "dot" }), el("span")));
  signs.forEach(([kind, text], at) => {
    setClass(list.children[at], kind);
    setText(list.children[at].lastChild, text);
  });
}

function sign(name, answer) {
  if (answer.ok === null) return ["", `${name} not asked yet`];
  return answer.ok ? ["good", `${name} answers`] : ["bad", `${name} away`];
}

function showHardware(now) {
  const { hardware, offered, disk } = now;
  const gpus = hardware.gpus.map((gpu) => `${gpu.model}, ${size(gpu.memory * 2 ** 20)}, ${gpu.architecture}`);
  const gpu = offered.gpu_model ? `, ${offered.gpu_model} (${size(offered.gpu_mem * 2 ** 20)})` : "";
  fillFacts(place("hardware"), [
    ["Memory", size(hardware.memory * 2 ** 20)],
    ["Cores", String(hardware.cpu_cores)],
    ["GPUs", gpus.join("; ") || "none"],
    ["Disk free", `${size(disk.free)} of ${size(disk.total)}`, disk.free < disk.least ? "bad" : ""],
    ["Kept free", size(disk.least)],
    ["Offered", `${offered.cpu_cores} cores, ${size(offered.memory * 2 ** 20)}${gpu}`],
  ]);
}

function showHealth(now) {
  const problems = now.ready.problems.join(" ");
  fillFacts(place("health"), [
    ["Ready", now.ready.ok ? "yes, takes jobs on" : problems, now.ready.ok ? "good" : "warn"],
    ["API", lastWord(now.api, now.at), now.api.ok === false ? "bad" : ""],
    ["Address", now.api.url],
    now.runner === "docker" ? ["Engine", lastWord(now.engine, now.at), now.engine.ok === false ? "bad" : ""] : ["Runner", now.runner],
    ["Threads", Object.entries(now.threads).map(([name, beat]) => `${name} ${span(Math.max(0, now.at - beat))}`).join(", ") + " ago"],
    ["Started", `${clock(now.started_at)} (${span(now.at - now.started_at)} ago)`],
    ["Version", now.version],
  ]);
}

function lastWord(answer, now) {
  if (answer.ok === null) return "not asked yet";
  const ago = `${span(Math.max(0, now - answer.at))} ago`;
  return answer.ok ? `answered ${ago}` : `${answer.error} (${ago})`;
}

function show(now) {
  setText(place("worker"), `worker ${now.worker} · process ${now.pid} · up ${span(now.at - now.started_at)}`);
  document.title = `${Object.keys(now.jobs).length} at work · JobFetcher`;
  showSigns(now);
  showHardware(now);
  showHealth(now);
  for (const machine of machines) machine.show(now.recent, now.jobs, now.counts, now.at);
  jobs.show(now.recent, now.jobs, now.at);
  banner([...now.health.problems, now.database].filter(Boolean).join(" "), now.health.ok ? "warn" : "bad");
}

function banner(text, kind) {
  const shown = place("banner");
  setClass(shown, `banner ${kind}`);
  setText(shown, text);
  shown.hidden = !text;
}

function showSilence() {
  document.body.classList.add("silent");
  document.title = "no answer · JobFetcher";
  fillSigns([["bad", "no answer"]]);
  const since = lastAnswer ? `since ${clock(lastAnswer / 1000)}. What you see is what it said last` : "yet";
  banner(`The worker does not answer ${since}. It may have been stopped: see its log, or start it with 'jobfetcher run'.`, "bad");
}

async function turn() {
  try {
    const now = await ask("/api/status");
    lastAnswer = Date.now();
    document.body.classList.remove("silent");
    show(now);
  } catch (error) {
    console.debug(error);
    showSilence();
  }
}

// A page that nobody sees asks nothing.
async function forEver() {
  if (!document.hidden) await turn();
  setTimeout(forEver, PERIOD);
}

forEver();
