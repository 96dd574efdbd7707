// The purge form.

import { request } from "/api.js";

const id = (name) => document.getElementById(name);

const KINDS = {
  call: { label: "Call id", hint: "as in /v1/calls/{call_id}; for every token and query", button: "Purge this call" },
  scope: { label: "Digest of the scope", hint: "the scope in the access log: 8 hex digits or more", button: "Purge this scope" },
  all: { label: "", hint: "", button: "Purge everything" },
};

const kind = () => id("purge").elements.what.value;

function updateForm() {
  const { label, hint, button } = KINDS[kind()];
  const all = kind() === "all";
  id("which-label").textContent = label;
  id("which-hint").textContent = hint;
  id("which-row").hidden = all;
  id("which").required = !all;
  id("sure-row").hidden = !all;
  id("sure").checked = false;
  id("sure").required = all;
  id("purge-button").textContent = button;
  id("purge-button").classList.toggle("danger", all);
}

function showResult(text, good) {
  id("purged").textContent = text;
  id("purged").className = good ? "good" : "bad";
}

function purged({ invalidated, stored, in_flight: fetches, replicas, confirmed, queued, others = {} }) {
  const done = `Invalidated: ${invalidated} (stored: ${stored}, in flight: ${fetches})`;
  if (queued) return [`${done} here; it is announced to the other replicas once the engine answers`, false];
  if (stored + fetches === 0 && !replicas) return [`${done}: nothing was stored here`, false];
  if (!replicas) return [done, true];
  const counts = Object.values(others);
  const elsewhere = counts.reduce((sum, count) => sum + count, 0);
  const counted = counts.length + 1 < replicas ? `, counted by ${counts.length} of ${replicas - 1}` : "";
  return [`${done}, confirmed by ${confirmed} of ${replicas} replicas (stored at the others: ${elsewhere}${counted})`, true];
}

async function purge(event) {
  event.preventDefault();
  const query = kind() === "all" ? "all" : `${kind()}=${encodeURI(id("which").value.trim())}`;
  id("purge-button").disabled = true;
  try {
    const response = await request(`/purge?${query}`, { method: "POST", timeout: 65_000 });
    const text = (await response.text()).trim();
    if (response.ok) showResult(...purged(JSON.parse(text)));
    else showResult(`${response.status}: ${text}`, false);
  } catch (error) {
    showResult(`No response from the proxy (${error.name}); the purge may or may not have been done`, false);
  } finally {
    id("purge-button").disabled = false;
  }
}

export function start() {
  id("purge").addEventListener("change", (event) => event.target.name === "what" && updateForm());
  id("purge").addEventListener("submit", purge);
  updateForm();
}
