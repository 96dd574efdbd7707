// The page: polls /stats once a second for new points, and shows them.

import { request } from "/api.js";
import { Chart, bar, element, swatch } from "/charts.js";
import { bytes, count, percent, rate, seconds, span } from "/format.js";
import * as explain from "/explain.js";
import * as purge from "/purge.js";

const INTERVAL = 1000;
/** Polls between two reads of the replicas' reports. */
const REPLICAS_EVERY = 5;
const RANGES = { seconds: [60, 300], minutes: [3600, 24 * 3600] };
/** The share of failing requests to the origin that is an alarm. */
const ALARM = 0.05;
/** The share of a body below which a field is not listed. */
const MIN_SHARE = 0.005;
/** Fields that are listed. */
const MAX_FIELDS = 10;
/** Paths, and scopes, that are listed. */
const MAX_BUSIEST = 8;
const OUTCOMES = {
  hit: "from memory, fresh",
  stale: "from memory, no longer fresh",
  collapsed: "by another request's fetch",
  miss: "fetched: nothing was stored",
  expired: "fetched: stored, but no longer fresh",
  waited: "waited for a status or a change",
  bypass: "forwarded without a cache lookup",
  refused: "rejected by the proxy: invalid, or over a limit",
  failed: "error from the proxy: the log says why",
  aborted: "the connection ended before the response",
};

/** The classes of statuses, and their colours. */
const CLASSES = { 2: "one", 3: "three", 4: "two", 5: "bad" };

const SHARED = { in_step: "in step", catching_up: "catching up", alone: "alone" };

const id = (name) => document.getElementById(name);
const setText = (name, text) => { id(name).textContent = text; };

const known = { started: null, seconds: [], minutes: [], updated: null };
const stripped = new Map();

const perSecond = (of) => (point) => point.seconds > 0 ? of(point) / point.seconds : null;
const CHARTS = [
  new Chart("chart-requests", {
    stacked: true, format: rate,
    series: Object.keys(OUTCOMES).map((outcome) => ({
      name: outcome, colour: outcome, of: perSecond((point) => point.requests[outcome] ?? 0),
    })),
  }),
  new Chart("chart-statuses", {
    stacked: true, format: rate,
    series: Object.entries(CLASSES).map(([first, colour]) => ({
      name: `${first}xx`, colour, of: perSecond((point) => ofClass(point.statuses, first)),
    })),
  }),
  new Chart("chart-latency", {
    logarithmic: true, format: seconds,
    series: [
      { name: "hit p50", colour: "one", of: (point) => point.hit_seconds?.p50 },
      { name: "hit p99", colour: "one", dashed: true, of: (point) => point.hit_seconds?.p99 },
      { name: "fetch p50", colour: "two", of: (point) => point.fetch_seconds?.p50 },
      { name: "fetch p99", colour: "two", dashed: true, of: (point) => point.fetch_seconds?.p99 },
    ],
  }),
  new Chart("chart-upstream", {
    logarithmic: true, format: seconds,
    series: [
      { name: "p50", colour: "one", of: (point) => point.origin_seconds?.p50 },
      { name: "p99", colour: "one", dashed: true, of: (point) => point.origin_seconds?.p99 },
    ],
  }),
  new Chart("chart-ratio", {
    format: percent, most: () => 1,
    series: [{ name: "hit ratio", colour: "one", of: (point) => point.hit_ratio }],
  }),
  new Chart("chart-origin", {
    format: rate,
    series: [
      { name: "requests", colour: "one", of: perSecond((point) => point.origin_requests) },
      { name: "errors", colour: "bad", of: perSecond((point) => point.origin_errors) },
    ],
  }),
  new Chart("chart-bytes", {
    format: bytes, base: 1024,
    series: [
      { name: "from memory", colour: "one", of: perSecond((point) => point.memory_bytes) },
      { name: "from the origin", colour: "two", of: perSecond((point) => point.origin_bytes) },
    ],
  }),
  new Chart("chart-memory", {
    format: bytes, most: () => known.capacity,
    series: [{ name: "stored", colour: "one", of: (point) => point.weight_bytes }],
  }),
];

/** The responses with a status of this class. */
function ofClass(statuses, first) {
  const found = Object.entries(statuses ?? {}).filter(([status]) => status.startsWith(first));
  return found.reduce((sum, [, times]) => sum + times, 0);
}

/** All requests of a span of time. */
const all = ({ requests }) => Object.values(requests ?? {}).reduce((sum, one) => sum + one, 0);

/** The share of the requests to the origin that failed. */
function failing({ origin_errors: errors, origin_requests: requests }) {
  return requests ? errors / requests : 0;
}

function apply(stats) {
  if (stats.started !== known.started) Object.assign(known, { started: stats.started, seconds: [], minutes: [] });
  for (const ring of ["seconds", "minutes"]) {
    const newest = known[ring].at(-1)?.at ?? 0;
    known[ring].push(...stats.history[ring].filter((point) => point.at > newest));
    known[ring].splice(0, known[ring].length - (ring === "seconds" ? 300 : 1440));
  }
  known.capacity = stats.cache.capacity_bytes;
  known.updated = Date.now();
}

function showNow({ last_minute: minute, total, cache, ...stats }) {
  const share = cache.capacity_bytes ? cache.weight_bytes / cache.capacity_bytes : 0;
  setText("version", stats.version);
  setText("since", `up ${span(stats.uptime_seconds)} · ${count(stats.connections)} ${stats.connections === 1 ? "connection" : "connections"} · ${count(stats.in_flight)} in flight${stats.waiting ? `, ${count(stats.waiting)} of them waiting for a change` : ""}`);
  setText("hit-ratio", percent(minute.hit_ratio));
  setText("hit-ratio-total", `${percent(total.hit_ratio)} since start`);
  setText("rate", `${rate(minute.seconds > 0 ? all(minute) / minute.seconds : 0)} /s`);
  setText("rate-total", `${count(all(total))} since start`);
  for (const kind of ["hit", "fetch"]) {
    const latency = minute[`${kind}_seconds`];
    setText(`${kind}-latency`, seconds(latency?.p50));
    setText(`${kind}-latency-more`, latency ? `median · p99 ${seconds(latency.p99)}` : `no ${kind} in the last minute`);
  }
  const failed = minute.requests.failed ?? 0;
  setText("failed", all(minute) ? percent(failed / all(minute)) : "–");
  id("failed").classList.toggle("is-bad", failed > 0);
  setText("failed-more", `${count(failed)} of ${count(all(minute))} · ${count(total.requests.failed ?? 0)} since start`);
  setText("origin-errors", minute.origin_requests ? percent(failing(minute)) : "–");
  id("origin-errors").classList.toggle("is-bad", failing(minute) >= ALARM);
  setText("origin-errors-more", `${count(minute.origin_errors)} of ${count(minute.origin_requests)} · ${count(total.origin_errors)} since start`);
  setText("memory", bytes(cache.weight_bytes));
  id("memory-meter").value = share;
  setText("memory-more", `${percent(share)} of ${bytes(cache.capacity_bytes)} · ${count(cache.entries)} responses`);
  id("shared").hidden = !stats.shared;
  if (stats.shared) showShared(stats.shared);
  for (const [name, key] of [["memory", "memory_bytes"], ["view", "view_bytes"], ["coding", "coding_bytes"], ["sent", "sent_bytes"], ["origin", "origin_bytes"]]) {
    setText(`${name}-bytes`, bytes(minute[key]));
    setText(`${name}-bytes-total`, bytes(total[key]));
  }
  id("outcomes").replaceChildren(...Object.entries(OUTCOMES).map(([outcome, meaning]) => element("tr", { "data-outcome": outcome },
    element("th", { scope: "row" }, swatch(outcome), outcome, element("small", {}, meaning)),
    element("td", { class: "number" }, count(minute.requests[outcome] ?? 0)),
    element("td", { class: "number" }, count(total.requests[outcome] ?? 0)))));
}

function showShared({ state, replicas, queued, lease_left_ms: left }) {
  setText("shared-state", SHARED[state]);
  id("shared-state").classList.toggle("is-bad", state === "alone");
  const lease = left > 0 ? `lease for ${seconds(left / 1000)}` : "no lease";
  setText("shared-more", `${count(replicas)} ${replicas === 1 ? "replica" : "replicas"} · ${lease}${queued ? ` · ${count(queued)} queued` : ""}`);
}

/** The replicas of the group, as each reports of itself. */
async function showReplicas() {
  const response = await request("/status");
  const { shared } = response.ok ? await response.json() : {};
  const reports = (shared?.reports ?? []).toSorted((one, other) => `${one.host}${one.member}`.localeCompare(`${other.host}${other.member}`));
  id("replicas-section").hidden = reports.length === 0;
  id("replicas").replaceChildren(...reports.map(({ last_minute: minute, ...report }) => {
    const number = (text) => element("td", { class: "number" }, text);
    const host = element("th", { scope: "row", class: "name" }, report.host, element("small", {}, report.member === shared.member ? "this replica" : report.member));
    return element("tr", { "data-member": report.member }, host,
      element("td", {}, report.version), number(span(report.uptime_seconds)),
      element("td", {}, SHARED[report.shared] ?? report.shared), element("td", {}, report.note),
      number(`${rate(all(minute) / (minute.seconds || 1))} /s`), number(percent(minute.hit_ratio)),
      number(`${seconds(minute.hit_seconds?.p50)} · ${seconds(minute.hit_seconds?.p99)}`), number(percent(failing(minute))), number(bytes(report.weight_bytes)));
  }));
}

/** Shows all notes; the first one is the banner. */
function showNotes(notes) {
  const [{ severity, title }] = notes;
  // Replaced only when changed: a screen reader announces each replacement.
  if (id("state").textContent !== title) setText("state", title);
  id("state").className = `pill ${severity}`;
  id("attention").replaceChildren(...notes.map((note) =>
    element("li", { class: `${note.severity}-note` }, element("b", {}, note.title), note.text, ...(note.runbook ? [" ", element("small", {}, note.runbook)] : []))));
}

function showFields({ fields }) {
  id("fields-none").hidden = fields.fills_measured > 0;
  id("fields-some").hidden = fields.fills_measured === 0;
  // Until the reader chooses: the largest whole fields, except the id of a call.
  const chosen = (field) => stripped.get(field.name) ?? (field.share >= 0.05 && !field.name.includes(".") && field.name !== "id");
  const strip = fields.heaviest.filter(chosen);
  const isPart = (field) => strip.some((other) => field.name.startsWith(`${other.name}.`));
  const saved = strip.filter((field) => !isPart(field)).reduce((sum, field) => sum + field.share, 0);
  setText("strip", strip.length ? `?strip=${strip.map((field) => field.name).join(",")}` : "?strip=…");
  setText("strip-saves", strip.length ? `would save ${percent(saved)} of a call` : "choose fields below");
  setText("fields-more", `Of a call of ${bytes(fields.body_bytes)}, uncompressed, measured at ${count(fields.fills_measured)} fetches; recent ones count most.`);
  const rows = fields.heaviest.filter((field) => field.share >= MIN_SHARE).slice(0, MAX_FIELDS).map((field) => {
    const box = element("input", { type: "checkbox", "aria-label": `strip ${field.name}`, "data-field": field.name });
    box.checked = chosen(field);
    return element("tr", {}, element("td", {}, box), element("th", { scope: "row", class: "name" }, field.name, bar(field.share, "one")),
      element("td", { class: "number" }, bytes(field.bytes)), element("td", { class: "number" }, percent(field.share)));
  });
  const focused = document.activeElement?.dataset?.field;
  id("fields").replaceChildren(...rows);
  if (focused) id("fields").querySelector(`[data-field="${CSS.escape(focused)}"]`)?.focus();
}

/** Paths need the admin token: without it there is a text instead of the list. */
function showBusiest({ callers, keys = [] }) {
  id("busiest").hidden = !callers;
  if (!callers) return;
  const isHidden = typeof keys === "string";
  const paths = isHidden ? [] : keys;
  const isEmpty = callers.length + paths.length === 0;
  id("busiest-some").hidden = isEmpty;
  setText("busiest-none", isHidden ? `Paths: ${keys}.` : isEmpty ? "No request has ended yet." : "");
  const row = (name, { requests, hit_ratio: hits, origin_requests: fetched, bytes: sent, refused }) => element("tr", {}, element("th", { scope: "row", class: "name" }, ...name),
    ...[count(requests), percent(hits), count(fetched), bytes(sent), Object.values(refused).map(count).join(" · ")].map((text) => element("td", { class: "number" }, text)));
  const link = (path) => element("button", { type: "button", class: "link", "data-path": path }, path);
  const focused = document.activeElement?.dataset?.path;
  id("paths").replaceChildren(...paths.slice(0, MAX_BUSIEST).map((traffic) => row([link(traffic.path)], traffic)));
  const caller = ({ name, scope, waiting }) => [name ?? scope, element("small", {}, [name && scope, waiting > 0 && `${count(waiting)} waiting`].filter(Boolean).join(" · "))];
  const listed = callers.filter(({ name }, place) => place < MAX_BUSIEST || name);
  id("callers").replaceChildren(...listed.map((traffic) => row(caller(traffic), traffic)));
  if (focused) id("paths").querySelector(`[data-path="${CSS.escape(focused)}"]`)?.focus();
}

function showHistory() {
  const range = document.querySelector("[name=range]:checked").value;
  const now = known.seconds.at(-1)?.at ?? 0;
  // Only as far back as there are points.
  const [least, most] = RANGES[range];
  const span = Math.min(most, Math.max(least, now - (known[range][0]?.at ?? now)));
  for (const chart of CHARTS) chart.show(known[range], now, span, Date.parse(known.started) / 1000);
}

let polls = 0;

async function poll() {
  try {
    const after = known.seconds.at(-1)?.at ?? 0;
    const fetchStats = async (time) => {
      const response = await request(`/stats?after=${time}&keys=1`);
      if (!response.ok) throw Object.assign(new Error(), { status: response.status });
      return response.json();
    };
    let stats = await fetchStats(after);
    // Another process than before: fetch its whole history.
    if (known.started && stats.started !== known.started) stats = await fetchStats(0);
    apply(stats);
    document.body.classList.remove("offline");
    showNow(stats);
    showNotes(stats.notes);
    showFields(stats);
    showBusiest(stats);
    known.fields = stats.fields;
    showHistory();
    if (stats.shared && polls % REPLICAS_EVERY === 0) await showReplicas();
  } catch (error) {
    const since = known.updated ? `for ${span((Date.now() - known.updated) / 1000)}` : "yet";
    document.body.classList.add("offline");
    const silent = `The admin listener has sent nothing ${since}: is the process up? The page shows the last values received.`;
    showNotes([error.status === 401
      ? { severity: "neutral", title: "The admin token is missing", text: "Enter it above: admin.token_for covers this page." }
      : { severity: "bad", title: "No response", text: silent }]);
  }
  polls += 1;
  document.documentElement.dataset.polls = String(polls);
  // A hidden page does not poll.
  if (document.hidden) {
    document.addEventListener("visibilitychange", poll, { once: true });
  } else {
    setTimeout(poll, INTERVAL);
  }
}

id("range").addEventListener("change", showHistory);
id("fields").addEventListener("change", ({ target }) => {
  stripped.set(target.dataset.field, target.checked);
  showFields({ fields: known.fields });
});
setText("zone", `times in ${Intl.DateTimeFormat().resolvedOptions().timeZone}`);
id("paths").addEventListener("click", ({ target }) => target.dataset.path && explain.open(target.dataset.path));
explain.start();
purge.start();
poll();
