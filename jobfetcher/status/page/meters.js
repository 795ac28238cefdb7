// Progress bars of one job: one for each thing that is under way. `bars` remembers those that are there.

import { el, setClass, setText } from "./dom.js";
import { progress, share } from "./words.js";

export function fillMeters(place, bars, meters) {
  while (bars.length > meters.length) bars.pop().whole.remove();
  while (bars.length < meters.length) {
    const bar = el("i");
    const track = el("div", { className: "track", role: "progressbar" }, bar);
    const words = el("p");
    const whole = el("div", { className: "meter" }, track, words);
    bars.push({ whole, track, bar, words });
    place.append(whole);
  }
  meters.forEach((meter, at) => {
    const part = share(meter);
    const { track, bar, words } = bars[at];
    setClass(track, part === null ? "track unknown" : "track");
    bar.style.width = part === null ? "" : `${(part * 100).toFixed(1)}%`;
    if (part === null) track.removeAttribute("aria-valuenow");
    else track.setAttribute("aria-valuenow", Math.round(part * 100));
    track.setAttribute("aria-label", meter.phase);
    setText(words, progress(meter));
  });
}
