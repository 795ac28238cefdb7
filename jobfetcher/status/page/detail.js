// One job, whole: its timeline as a bar chart, its files, what the API heard, its container, its last lines.

import { TERMINAL, badge, el, fillFacts } from "./dom.js";
import { ask, askText } from "./ask.js";
import { fillMeters } from "./meters.js";
import { clock, size, span } from "./words.js";

const MOST_FILES = 200;
const PERIOD = 2000; // milliseconds

export class Detail {
  constructor() {
    this.dialog = document.getElementById("job");
    this.title = document.getElementById("job-title");
    this.state = document.getElementById("job-state");
    this.body = document.getElementById("job-body");
    this.job = null;
    this.dialog.addEventListener("close", () => { this.job = null; });
    this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
  }

  async open(job) {
    this.job = job;
    this.drawn = new Map();
    this.title.textContent = `Job ${job.id}`;
    this.state.replaceChildren(badge(job.state));
    this.body.replaceChildren(el("p", { className: "muted", textContent: "…" }));
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
    await this.refresh(job);
  }

  // Again and again, as long as the dialog shows this job.
  async refresh(job) {
    if (this.job !== job) return;
    try {
      const path = `/api/jobs/${encodeURIComponent(job.id)}`;
      const known = await ask(`${path}?key=${job.key}`);
      const log = known.container ? await askText(`${path}/log?key=${job.key}`) : "";
      if (this.job === job) this.draw(known, log);
    } catch (error) {
      if (this.job === job && !this.drawn.size) {
        this.body.replaceChildren(el("p", { textContent: `This job cannot be shown just now. ${error.message}` }));
      }
    }
    setTimeout(() => this.refresh(job), PERIOD);
  }

  draw(known, log) {
    this.state.replaceChildren(badge(known.state));
    const { moves, progress, detail, outbox, files } = known;
    const sections = [
      ["Timeline", moves, chart],
      ["Progress", progress.length ? [known.state, progress] : null, meters],
      ["What its owner is told", detail, (text) => el("pre", { textContent: text })],
      ["Facts", facts(known), factList],
      ["What the API hears", outbox, told],
      ["Files", files.length ? files : null, fileTable],
      ["Last lines of its container", log, (text) => el("pre", { className: "log", textContent: text })],
    ];
    const shown = sections.filter(([, what]) => what).map((section) => this.section(...section));
    if (shown.some((section, at) => this.body.children[at] !== section) || this.body.children.length > shown.length) {
      this.body.replaceChildren(...shown);
    }
    const lines = this.body.querySelector(".log.fresh");
    if (lines) lines.scrollTop = lines.scrollHeight;
  }

  // What is the same as before is not drawn again: a selection in it stays.
  section(title, what, draw) {
    const words = JSON.stringify(what);
    const known = this.drawn.get(title) || { whole: el("section", {}, el("h3", { textContent: title })) };
    if (known.words !== words) {
      const content = draw(what);
      content.classList.add("fresh");
      known.whole.replaceChildren(known.whole.firstChild, content);
      known.words = words;
    } else {
      known.whole.lastChild.classList.remove("fresh");
    }
    this.drawn.set(title, known);
    return known.whole;
  }
}

function chart(moves) {
  const start = moves.length ? moves[0].entered : 0;
  const ends = moves.map((stay) => stay.entered + (stay.seconds || 0));
  const whole = Math.max(...ends, start + 0.001) - start;
  const runs = moves.some((stay) => stay.run > 1);
  const lines = moves.map((stay, at) => {
    const going = at === moves.length - 1 && !TERMINAL.includes(stay.state);
    const bar = el("i", { className: going ? "going" : "" });
    bar.style.left = `min(${((stay.entered - start) / whole) * 100}%, 100% - 4px)`;
    bar.style.width = `${((stay.seconds || 0) / whole) * 100}%`;
    const lasted = stay.seconds === null ? clock(stay.entered) : span(stay.seconds);
    const why = `${stay.state} at ${clock(stay.entered)}, because: ${stay.because}`;
    const name = el("span", {}, badge(stay.state), runs ? el("span", { className: "run", textContent: `run ${stay.run}` }) : null);
    return el("li", { className: stay.state, title: why }, name,
      el("span", { className: "lane", role: "img", ariaLabel: `${stay.state}: ${lasted}` }, bar),
      el("span", { className: "number", textContent: lasted }));
  });
  return el("ol", { className: "chart" }, ...lines);
}

function meters([state, progress]) {
  const place = el("div", { className: state });
  fillMeters(place, [], progress);
  return place;
}

function facts(known) {
  const app = known.spec.app || {};
  const ended = known.exit;
  const tries = known.attempts > 1 && !TERMINAL.includes(known.state) ? `, attempt ${known.attempts}` : "";
  return [
    ["image", known.image],
    ["image id", known.image_id],
    ["command", (app.cmd || ["(the image's own)"]).join(" ")],
    ["container", (known.container || {}).name || "none yet"],
    ["run", `${known.run}${tries}`],
    ["exit code", ended ? `${ended.code} ${ended.reason || ""}`.trim() : null, ended && ended.code === 0 ? "" : "bad"],
    ["GPUs", known.gpus.join(", ")],
    ["lease", known.lease],
    ["taken back", known.gone ? "the API has forgotten this job or given it away" : null],
  ];
}

function factList(known) {
  const list = el("dl", { className: "facts" });
  fillFacts(list, known);
  return list;
}

function told(outbox) {
  const line = (update) => {
    const when = update.sent_at === null ? "yet to be sent" : clock(update.sent_at);
    return [update.status, when, update.sent_at === null ? "warn" : ""];
  };
  return factList(outbox.length ? outbox.map(line) : [["nothing", "yet"]]);
}

function fileTable(all) {
  const heads = ["Way", "Type", "Path", "Size", "SHA-256"].map((name) =>
    el("th", { scope: "col", textContent: name, className: name === "Size" ? "number" : "" }));
  const rows = all.slice(0, MOST_FILES).map((file) => el("tr", {},
    el("td", { textContent: file.direction === "up" ? "↑ up" : "↓ down" }),
    el("td", { textContent: file.kind }),
    el("td", { textContent: file.path }),
    el("td", { textContent: size(file.size), className: "number" }),
    el("td", {}, el("code", { textContent: (file.sha256 || "–").slice(0, 12), title: file.sha256 }))));
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
  const left = all.length - rows.length;
  const more = left > 0 ? el("p", { className: "muted", textContent: `and ${left} more: 'jobfetcher show' lists them all` }) : null;
  return el("div", { className: "scroll" }, table, more);
}
