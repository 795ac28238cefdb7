// Sizes and times for people.

export function size(bytes) {
  let count = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (count < 1024) return unit === "B" ? `${Math.round(count)} B` : `${count.toFixed(1)} ${unit}`;
    count /= 1024;
  }
  return `${count.toFixed(1)} TiB`;
}

export function span(seconds) {
  if (seconds < 60) return seconds < 10 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`;
  const whole = Math.floor(seconds);
  for (const [large, name, small, lesser] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
    if (whole >= large) return `${Math.floor(whole / large)} ${name} ${Math.floor((whole % large) / small)} ${lesser}`;
  }
  return `${whole} s`;
}

export function clock(seconds) {
  const when = new Date(seconds * 1000);
  const time = when.toLocaleTimeString([], { hour12: false });
  return when.toDateString() === new Date().toDateString() ? time : `${when.toLocaleDateString()} ${time}`;
}

export function firstLine(text) {
  return (text || "").split("\n", 1)[0];
}

const DOING = { download: "down", pull: "image", upload: "up" };

// "down 1.4 GiB of 2.0 GiB · 3 of 7 files · 86.2 MiB/s · 7 s left"
export function progress(meter) {
  const said = [`${DOING[meter.phase] || meter.phase} ${size(meter.done)}`];
  if (meter.total !== null) said[0] += ` of ${size(meter.total)}`;
  const thing = meter.phase === "pull" ? "layers" : "files";
  if (meter.files_total) said.push(`${meter.files} of ${meter.files_total} ${thing}`);
  if (meter.rate) said.push(`${size(meter.rate)}/s`);
  if (meter.seconds_left !== null && meter.rate) said.push(`${span(meter.seconds_left)} left`);
  return said.join(" · ");
}

// 0 to 1, or null where it is not known.
export function share(meter) {
  if (meter.total) return Math.min(1, meter.done / meter.total);
  return meter.files_total ? meter.files / meter.files_total : null;
}
