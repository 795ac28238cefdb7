// The picture: puts each job as a pill into the box of its state, and lets it move when that changes.

import { TERMINAL, setText, svgEl } from "./dom.js";
import { share } from "./words.js";

const PILL = { width: 50, height: 20, gap: 4 };
const STAYS = 6; // seconds that a job which has just ended is seen in its end
const LONGEST = 6; // characters of an id that fit

export class Machine {
  constructor(svg, open) {
    this.layer = svg.querySelector(".pills");
    this.open = open;
    this.pills = new Map();
    this.boxes = new Map();
    for (const group of svg.querySelectorAll(".state")) {
      const { state, kind, x, y, width, height } = group.dataset;
      const box = { group, kind, x: +x, y: +y, width: +width, height: +height };
      box.count = group.querySelector(".count");
      box.more = group.appendChild(svgEl("text", { class: "more", x: box.x + box.width - 12, y: box.y + box.height - 9 }));
      this.boxes.set(state, box);
    }
  }

  show(jobs, live, counts, now) {
    const shown = jobs.filter((job) => !TERMINAL.includes(job.state) || now - job.since < STAYS);
    shown.sort((one, other) => one.key - other.key);
    const inside = grouped(shown);
    for (const [state, box] of this.boxes) this.fillBox(box, inside.get(state) || [], counts[state] || 0, live);
    const keys = new Set(shown.map((job) => job.key));
    for (const [key, pill] of this.pills) if (!keys.has(key)) this.remove(key, pill);
  }

  fillBox(box, jobs, count, live) {
    setText(box.count, count);
    box.group.classList.toggle("busy", jobs.length > 0);
    const across = Math.floor((box.width - 14 + PILL.gap) / (PILL.width + PILL.gap));
    const room = across * Math.floor((box.height - 54 + PILL.gap) / (PILL.height + PILL.gap));
    const ended = box.kind === "end" && box.height < 80;
    const places = ended ? 1 : Math.max(1, room);
    jobs.forEach((job, at) => {
      const place = Math.min(at, places - 1);
      const x = ended ? box.x + box.width / 2 - PILL.width / 2 : box.x + 7 + (place % across) * (PILL.width + PILL.gap);
      const y = ended ? box.y + 10 : box.y + 33 + Math.floor(place / across) * (PILL.height + PILL.gap);
      this.place(job, x, y, (live[job.key] || {}).meters || [], at >= places);
    });
    setText(box.more, jobs.length > places ? `+${jobs.length - places}` : "");
  }

  place(job, x, y, meters, hidden) {
    const pill = this.pills.get(job.key) || this.add(job);
    const known = meters.map(share).filter((part) => part !== null);
    const part = known.length ? known.reduce((sum, one) => sum + one, 0) / known.length : 0;
    pill.group.setAttribute("class", `pill ${job.state}${pill.fresh ? " new" : ""}`);
    pill.group.setAttribute("aria-label", `Job ${job.id}, ${job.state}`);
    pill.group.style.transform = `translate(${x}px, ${y}px)`;
    pill.group.style.visibility = hidden ? "hidden" : "visible";
    pill.fill.style.width = `${part * PILL.width}px`;
    setText(pill.title, `Job ${job.id}: ${job.state}`);
    if (pill.fresh) {
      pill.fresh = false;
      requestAnimationFrame(() => requestAnimationFrame(() => pill.group.classList.remove("new")));
    }
  }

  add(job) {
    const group = svgEl("g", { class: "pill new", tabindex: 0, role: "button" });
    const shape = { height: PILL.height, rx: PILL.height / 2 };
    const fill = svgEl("rect", { class: "fill", ...shape, width: 0 });
    const id = job.id.length > LONGEST ? `${job.id.slice(0, LONGEST - 1)}…` : job.id;
    const text = svgEl("text", { x: PILL.width / 2, y: 14 }, id);
    const title = svgEl("title");
    group.append(title, svgEl("rect", { class: "body", ...shape, width: PILL.width }), fill, text);
    group.addEventListener("click", () => this.open(job));
    group.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      this.open(job);
    });
    const pill = { group, fill, title, fresh: true };
    this.layer.append(group);
    this.pills.set(job.key, pill);
    return pill;
  }

  remove(key, pill) {
    this.pills.delete(key);
    pill.group.classList.add("leaving");
    setTimeout(() => pill.group.remove(), 900);
  }
}

function grouped(jobs) {
  const found = new Map();
  for (const job of jobs) found.set(job.state, [...(found.get(job.state) || []), job]);
  return found;
}
