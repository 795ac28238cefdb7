// The table of jobs: filtered, searched, and changed in place so that focus and scrolling stay.

import { TERMINAL, badge, el, setClass, setText } from "./dom.js";
import { fillMeters } from "./meters.js";
import { firstLine, span } from "./words.js";

const FILTERS = {
  all: () => true,
  "at work": (job) => !TERMINAL.includes(job.state),
  ended: (job) => TERMINAL.includes(job.state),
};

export class Jobs {
  constructor(states, open) {
    this.body = document.getElementById("rows");
    this.none = document.getElementById("no-rows");
    this.search = document.getElementById("search");
    this.filter = document.getElementById("filter");
    this.open = open;
    this.rows = new Map();
    this.latest = [[], {}, 0];
    this.filter.append(...[...Object.keys(FILTERS), ...states].map((name) => el("option", { value: name, textContent: name })));
    for (const control of [this.search, this.filter]) control.addEventListener("input", () => this.show(...this.latest));
  }

  show(jobs, live, now) {
    this.latest = [jobs, live, now];
    const wanted = jobs.filter((job) => this.wants(job));
    const keys = new Set(wanted.map((job) => job.key));
    for (const [key, row] of this.rows) {
      if (keys.has(key)) continue;
      row.line.remove();
      this.rows.delete(key);
    }
    wanted.forEach((job, at) => {
      const row = this.rows.get(job.key) || this.add(job);
      if (this.body.children[at] !== row.line) this.body.insertBefore(row.line, this.body.children[at] || null);
      this.fill(row, job, (live[job.key] || {}).meters || [], now);
    });
    this.none.hidden = wanted.length > 0;
    setText(this.none, jobs.length ? "No job is like that." : "No jobs yet. They appear here as soon as the API has one for this machine.");
  }

  wants(job) {
    const chosen = this.filter.value;
    const inState = FILTERS[chosen] ? FILTERS[chosen](job) : job.state === chosen;
    const sought = this.search.value.trim().toLowerCase();
    return inState && `${job.id} ${job.image} ${job.detail}`.toLowerCase().includes(sought);
  }

  add(job) {
    const cells = {};
    const classes = { id: "cut", state: "", since: "number since", run: "number reruns once", image: "cut image wide", what: "wide what" };
    for (const [name, className] of Object.entries(classes)) cells[name] = el("td", { className });
    const button = el("button", { type: "button", className: "link cut", textContent: job.id, title: `Job ${job.id}` });
    cells.id.append(button);
    const line = el("tr", {}, ...Object.values(cells));
    line.addEventListener("click", () => this.open(job));
    const said = el("p", { className: "said" });
    cells.what.append(said);
    const row = { line, cells, said, bars: [] };
    this.rows.set(job.key, row);
    return row;
  }

  fill(row, job, meters, now) {
    const { cells } = row;
    if (row.state !== job.state) cells.state.replaceChildren(badge(job.state));
    row.state = job.state;
    row.line.className = job.state;
    const ended = TERMINAL.includes(job.state);
    setText(cells.since, span(Math.max(0, ended ? job.since - job.created : now - job.since)));
    cells.since.title = ended ? "from its arrival to its end" : "in this state";
    setText(cells.run, job.run);
    setClass(cells.run, job.run > 1 ? "number reruns" : "number reruns once");
    cells.run.title = job.run > 1 ? "its container was lost and run again" : "";
    setText(cells.image, job.image.split("/").pop());
    cells.image.title = job.image;
    fillMeters(cells.what, row.bars, meters);
    setText(row.said, firstLine(job.detail));
    row.said.title = job.detail;
    row.said.hidden = !job.detail;
  }
}
