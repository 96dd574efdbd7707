// The purge form. The token is sent with the purge and kept nowhere else.

const id = (name) => document.getElementById(name);

const KINDS = {
  call: { label: "Call id", hint: "as in /v1/calls/{call_id}; for every token and query", word: "Purge this call" },
  scope: { label: "Digest of the scope", hint: "the scope in the access log: 8 hex digits or more", word: "Purge this scope" },
  all: { label: "", hint: "", word: "Purge everything" },
};

const kind = () => id("purge").elements.what.value;

function choose() {
  const { label, hint, word } = KINDS[kind()];
  const all = kind() === "all";
  id("which-label").textContent = label;
  id("which-hint").textContent = hint;
  id("which-row").hidden = all;
  id("which").required = !all;
  id("sure-row").hidden = !all;
  id("sure").checked = false;
  id("sure").required = all;
  id("purge-button").textContent = word;
  id("purge-button").classList.toggle("danger", all);
}

function say(text, good) {
  id("purged").textContent = text;
  id("purged").className = good ? "good" : "bad";
}

async function purge(event) {
  event.preventDefault();
  const what = kind() === "all" ? "all" : `${kind()}=${encodeURI(id("which").value.trim())}`;
  const headers = id("token").value ? { authorization: `Bearer ${id("token").value}` } : {};
  id("purge-button").disabled = true;
  try {
    const answer = await fetch(`/purge?${what}`, { method: "POST", headers, signal: AbortSignal.timeout(10_000) });
    const text = (await answer.text()).trim();
    say(answer.ok ? `Invalidated: ${JSON.parse(text).voided}` : `${answer.status}: ${text}`, answer.ok);
  } catch (error) {
    say(`No response from the proxy (${error.name}); the purge may or may not have been done`, false);
  } finally {
    id("purge-button").disabled = false;
  }
}

export function begin() {
  id("purge").addEventListener("change", (event) => event.target.name === "what" && choose());
  id("purge").addEventListener("submit", purge);
  choose();
}
