// Requests to the admin listener. The admin token is kept only in this page.

const token = document.getElementById("token");

document.getElementById("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  document.getElementById("token-row").open = false;
});

/** Sends a request, with the admin token if there is one; a 401 shows its field. */
export async function request(path, { method = "GET", timeout = 5_000 } = {}) {
  const headers = token.value ? { authorization: `Bearer ${token.value}` } : {};
  const response = await fetch(path, { method, headers, cache: "no-store", signal: AbortSignal.timeout(timeout) });
  if (response.status === 401) document.getElementById("token-row").open = true;
  return response;
}
