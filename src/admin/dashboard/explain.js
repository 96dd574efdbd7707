// The box that explains a path: the document of /explain, as lists.

import { request } from "/api.js";
import { element } from "/charts.js";
import { bytes, count, seconds } from "/format.js";

/** The members that come first. */
const ORDER = ["route", "stored", "scope", "next_request", "status", "age_seconds", "whole", "views", "ttl_seconds", "lifetime_seconds", "limited_by", "rule", "rule_lifetime_seconds"];

const id = (name) => document.getElementById(name);

/** A member's name in words, and its value with the unit that the name ends in. */
function worded(name, value) {
  const [, words, unit] = /^(.*?)(_seconds|_bytes)?$/.exec(name);
  const units = { _seconds: seconds, _bytes: bytes };
  const text = typeof value === "number" ? (units[unit] ?? count)(value) : String(value);
  // The name of a view is its query.
  const label = name.includes("=") ? name : words.replaceAll("_", " ");
  return [label, typeof value === "boolean" ? (value ? "yes" : "no") : text];
}

/** A list of the members that say something. */
function list(document) {
  const place = ([name]) => ORDER.indexOf(name) + 1 || ORDER.length + 1;
  const members = Object.entries(document).sort((one, other) => place(one) - place(other));
  const rows = members.flatMap(([name, value]) => {
    const isEmpty = value === null || (typeof value === "object" && Object.keys(value).length === 0);
    if (isEmpty) return [];
    const [words, text] = worded(name, value);
    if (typeof value !== "object") return [element("dt", {}, words), element("dd", {}, text)];
    return [element("dt", { class: "over" }, words), element("dd", { class: "under" }, nested(value))];
  });
  return element("dl", { class: "explained" }, ...rows);
}

function nested(value) {
  if (!Array.isArray(value)) return list(value);
  const isPlain = value.every((one) => typeof one !== "object");
  return isPlain ? value.join(", ") : element("ol", {}, ...value.map((one) => element("li", {}, list(one))));
}

async function explain(event) {
  event?.preventDefault();
  const scope = id("explain-scope").value.trim();
  const query = new URLSearchParams({ path: id("explain-path").value.trim(), ...(scope && { scope }) });
  const show = (...parts) => id("explained").replaceChildren(...parts);
  try {
    const response = await request(`/explain?${query}`);
    if (!response.ok) return show(`${response.status}: ${(await response.text()).trim()}`);
    const { summary, ...rest } = await response.json();
    show(element("p", {}, element("b", {}, summary)), list(rest));
  } catch (error) {
    show(`No response from the proxy (${error.name})`);
  }
}

/** Explains this path. */
export function open(path) {
  id("explain-path").value = path;
  id("explain").scrollIntoView({ block: "nearest" });
  explain();
}

export function start() {
  id("explain").addEventListener("submit", explain);
}
