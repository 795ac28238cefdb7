// Requests to the worker. An answer that does not come within a few seconds counts as none.

const PATIENCE = 5000; // milliseconds

async function get(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
  if (!answer.ok) throw new Error((await answer.text()).trim() || `${path} answers ${answer.status}`);
  return answer;
}

export async function ask(path) {
  return (await get(path)).json();
}

export async function askText(path) {
  return (await get(path)).text();
}
